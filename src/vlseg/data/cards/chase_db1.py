"""CHASE_DB1, retinal vessels by two readers."""

import re

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Card, Item, Part, Structure
from vlseg.data.cards.find import by_pattern, prepared_suffix

_TARGET = "retinal blood vessels"
_IMAGE = re.compile(r"(?:^|.*/)(?P<stem>Image_(?P<patient>\d+)[LR])\.jpg$", re.IGNORECASE)


def _two_readers(tree: Tree) -> list[Item]:
    """One part per reader; the masks lie beside the images."""
    items = []
    names = {name.lower(): name for name in tree.names}
    for path in tree.names:
        match = _IMAGE.match(path)
        if match is None:
            continue
        base = path[: -len(".jpg")].lower()
        parts = tuple(
            Part(_TARGET, f"reader{number}/{match['stem']}.png", (names[file],), reader=f"reader{number}")
            for number, order in ((1, "1st"), (2, "2nd"))
            if (file := f"{base}_{order}ho.png") in names
        )
        if parts:
            items.append(Item(match["stem"] + prepared_suffix(path), path, parts, group=match["patient"]))
    return items


CARD = Card(
    name="chase-db1",
    title="CHASE_DB1",
    modality="fundus photograph",
    targets=(_TARGET,),
    licence="CC BY 4.0",
    page="https://researchdata.kingston.ac.uk/96/",
    registration="none",
    files=("CHASEDB1.zip",),
    counts={"all": 28},
    defects=("no official split; papers take the first 20 images for training",),
    prompts=("none published; class name",),
    symmetries=frozenset({"horizontal"}),
    groups="child, in the file name (left and right eye)",
    structures=(
        Structure("Image_01L.jpg, Image_01L_1stHO.png, Image_01L_2ndHO.png in one folder", False, _two_readers),
        Structure(
            "in MedVLSM's layout: images/Image_01L.jpg, masks/Image_01L.png",
            True,
            by_pattern(
                r"images/(?P<stem>Image_(?P<patient>\d+)[LR])\.jpg",
                r"masks/(?P<stem>Image_(?P<patient>\d+)[LR])\.png",
                _TARGET,
                group="{patient}",
            ),
        ),
    ),
    citation="Fraz et al., An ensemble classification-based approach applied to retinal blood vessel segmentation, "
    "TBME 2012",
)
