"""MoNuSeg 2018."""

import re
from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageDraw

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Card, Item, Mask, Part, Structure
from vlseg.data.cards.lvit import lvit_structure
from vlseg.data.safe_xml import parse_xml
from vlseg.records import InputError

_PATIENT = r"TCGA-[0-9A-Za-z]{2}-[0-9A-Za-z]{4}"
_TILE = re.compile(rf"(?:^|.*/)(?P<stem>(?P<patient>{_PATIENT})[^/]*)\.(?P<kind>tif|tiff|xml)$", re.IGNORECASE)


def _polygons(tree: Tree, path: str) -> Callable[[tuple[int, int]], Mask]:
    """The union of the outlines that ImageScope wrote."""

    def make(size: tuple[int, int]) -> Mask:
        root = parse_xml(tree.read(path), f"{tree.source}: {path}")
        try:
            outlines = [
                [(float(vertex.attrib["X"]), float(vertex.attrib["Y"])) for vertex in region.iter("Vertex")]
                for region in root.iter("Region")
            ]
        except (KeyError, ValueError) as error:
            raise InputError(f"{tree.source}: {path}: no outlines of ImageScope ({error})") from error
        mask = Image.new("1", (size[1], size[0]))
        draw = ImageDraw.Draw(mask)
        for outline in outlines:
            if len(outline) >= 3:
                draw.polygon(outline, fill=1)
        return np.asarray(mask)

    return make


def _find(tree: Tree) -> list[Item]:
    outlines: dict[str, tuple[str, str]] = {}
    tiles: dict[str, tuple[str, str]] = {}
    for path in tree.names:
        match = _TILE.match(path)
        if match:
            (outlines if match["kind"].lower() == "xml" else tiles)[match["stem"]] = (path, match["patient"])
    return [
        Item(
            image=f"{stem}.png",
            file=path,
            parts=(Part("nuclei", f"{stem}.png", make=_polygons(tree, outlines[stem][0])),),
            official="test" if any("test" in part.lower() for part in PurePosixPath(path).parts) else "train",
            group=patient,
        )
        for stem, (path, patient) in sorted(tiles.items())
        if stem in outlines
    ]


CARD = Card(
    name="monuseg",
    title="MoNuSeg 2018",
    modality="H&E histology",
    targets=("nuclei",),
    licence="CC BY-NC-SA 4.0",
    page="https://monuseg.grand-challenge.org/Data/",
    registration="none",
    files=("MoNuSeg 2018 Training Data.zip", "MoNuSegTestData.zip", "or LViT's MoNuSeg.zip"),
    counts={"train": 24, "val": 6, "test": 14},
    defects=("LViT's texts describe where nuclei are dense: written with sight of the label",),
    prompts=("text: LViT's sentence; source unknown, content from the nuclei's label",),
    symmetries=frozenset({"horizontal", "vertical", "rotation"}),
    groups="patient, in the TCGA name",
    structures=(
        lvit_structure("nuclei", seen=True, group=_PATIENT),
        Structure(
            "MoNuSeg 2018 Training Data/Tissue Images/TCGA-*.tif, Annotations/TCGA-*.xml; MoNuSegTestData/TCGA-*.tif, "
            "TCGA-*.xml",
            False,
            _find,
        ),
    ),
    citation="Kumar et al., A Multi-Organ Nucleus Segmentation Challenge, TMI 2020",
    val_share=0.2,
)
