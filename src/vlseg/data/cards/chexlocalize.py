"""CheXlocalize."""

import json
import re
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Card, Item, Mask, Part, Structure
from vlseg.records import Attribute, InputError

_IMAGE = re.compile(
    r"(?:^|.*/)(?P<patient>patient\d+)/(?P<study>study\d+)/(?P<view>view\d+_(?P<side>frontal|lateral))\.jpg$"
)
FINDINGS = (
    "Airspace Opacity",
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Lung Lesion",
    "Pleural Effusion",
    "Pneumothorax",
    "Support Devices",
)


def _find(tree: Tree) -> list[Item]:
    truths: dict[str, dict[str, Any]] = {}
    for path in tree.names:
        if re.fullmatch(r"gt_segmentations_(val|test)\.json", PurePosixPath(path).name):
            truths |= _read(tree, path)
    items = []
    for path in tree.names:
        match = _IMAGE.match(path)
        if match is None:
            continue
        name = f"{match['patient']}_{match['study']}_{match['view']}"
        drawn = {finding: rle for finding, rle in truths.get(name, {}).items() if _area(path, rle) > 0}
        if drawn:
            items.append(_item(path, match, name, drawn))
    return items


def _read(tree: Tree, path: str) -> dict[str, dict[str, Any]]:
    try:
        values = json.loads(tree.read(path))
    except ValueError as error:
        raise InputError(f"{tree.source}: {path}: broken JSON ({error})") from error
    if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
        raise InputError(f"{tree.source}: {path}: must map images to findings")
    return values


def _item(path: str, match: re.Match[str], name: str, drawn: dict[str, Any]) -> Item:
    findings = sorted(drawn)
    return Item(
        image=f"{name}.jpg",
        file=path,
        parts=tuple(
            Part(
                finding.lower(),
                f"{name}_{finding.lower().replace(' ', '_')}.png",
                make=partial(_mask, path, drawn[finding]),
            )
            for finding in findings
        ),
        group=match["patient"],
        attributes=(
            Attribute("view", f"{match['side']} view", "metadata"),
            Attribute("pathologies", "; ".join(findings), "label"),
        ),
    )


def _area(path: str, rle: Any) -> int:
    from pycocotools import mask as coco

    return int(coco.area(_checked(path, rle)))


def _mask(path: str, rle: Any, size: tuple[int, int]) -> Mask:
    from pycocotools import mask as coco

    found: Mask = np.asarray(coco.decode(_checked(path, rle)), dtype=bool)
    if found.shape != size:
        raise InputError(f"{path}: its mask is {found.shape[1]}x{found.shape[0]}, the image {size[1]}x{size[0]}")
    return found


def _checked(path: str, rle: Any) -> dict[str, Any]:
    """Size and counts as pycocotools wants them; it crashes on anything else."""
    if (
        not isinstance(rle, dict)
        or not isinstance(rle.get("counts"), str)
        or not isinstance(rle.get("size"), list)
        or not all(isinstance(length, int) and 0 < length < 20000 for length in rle["size"])
        or len(rle["size"]) != 2
    ):
        raise InputError(f"{path}: its mask is no run-length code (size and counts)")
    return {"size": rle["size"], "counts": rle["counts"].encode()}


CARD = Card(
    name="chexlocalize",
    title="CheXlocalize",
    modality="chest X-ray",
    targets=tuple(finding.lower() for finding in FINDINGS),
    licence="Stanford University Dataset Research Use Agreement",
    page="https://stanfordaimi.azurewebsites.net/datasets/23c56a0d-15de-405b-87c8-99c30138950c",
    registration="account at Stanford AIMI",
    files=("CheXlocalize.zip (images of val and test, gt_segmentations_val.json, gt_segmentations_test.json)",),
    counts={"train": 1279, "val": 446, "test": 452},
    defects=(
        "holds positive findings only: what is absent is never asked for",
        "every published p6 ends with a blank; p5 and p6 name other findings than the target and call Airspace "
        "Opacity 'Lung Opacity'",
    ),
    prompts=(
        "p1 class; p2 + view; p3 + shape; p4 + location; p5 + all findings; p6 class + all findings (MedVLSM)",
        "sources: p1 class; p2 metadata; p3, p4 mask; p5 mask and label; p6 label",
    ),
    groups="patient, in the path",
    structures=(
        Structure(
            "CheXlocalize/CheXpert/{val,test}/patient64541/study1/view1_frontal.jpg, "
            "CheXlocalize/gt_segmentations_{val,test}.json",
            False,
            _find,
        ),
    ),
    citation="Saporta et al., Benchmarking saliency methods for chest X-ray interpretation, Nature Machine "
    "Intelligence 2022",
)
