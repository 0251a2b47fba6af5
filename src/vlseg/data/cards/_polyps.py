"""What the endoscopy cards share."""

from collections.abc import Callable, Sequence

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Item, Structure
from vlseg.data.cards.find import by_pattern

SYMMETRIES = frozenset({"horizontal", "vertical", "rotation"})
PROMPTS = (
    "p1 class; p2 + shape; p3 + colour; p4 + size; p5 + number; p6 + location; p7 class + description; p8 p5 + "
    "description; p9 p8 + location (MedVLSM)",
    "sources: p1, p7 class; all others mask (shape and colour were asked with the truth drawn in)",
)
TEST_DATASET = "PraNet's TestDataset.zip"


def test_dataset(folder: str) -> Structure:
    """The folder of a set inside the test collection that most polyp papers share."""
    find = by_pattern(
        rf"{folder}/images/(?P<stem>[^/]+)\.(?:png|jpg)", rf"{folder}/masks/(?P<stem>[^/]+)\.(?:png|jpg)", "polyp"
    )
    return Structure(
        f"{TEST_DATASET}: TestDataset/{folder}/images/1.png, TestDataset/{folder}/masks/1.png", False, find
    )


def numbered(image: str, mask: str) -> Callable[[Tree], Sequence[Item]]:
    """Numbered images and masks in two folders."""
    return by_pattern(
        rf"{image}/(?P<stem>\d+)\.(?:tif|tiff|png|bmp|jpg)",
        rf"{mask}/p?(?P<stem>\d+)\.(?:tif|tiff|png|bmp|jpg)",
        "polyp",
    )
