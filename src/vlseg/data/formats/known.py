"""Which of the layouts of others a folder has, and what it holds."""

from pathlib import Path

from vlseg.data.formats import Found, coco, cvat, labelme, nnunet, yolo
from vlseg.data.formats.lvit import is_lvit, read_lvit
from vlseg.records import InputError

DRAWN = frozenset({coco.MASKS, cvat.MASKS, labelme.MASKS, nnunet.MASKS, yolo.MASKS})
"""Folders of masks that reading such a layout may draw into it."""
ABSENT = (
    "'absent' is for COCO's, nnU-Net's, labelme's, YOLO's and CVAT's folders; in others an entry with an empty mask "
    "says what is not there"
)


def read_layout(root: Path, *, absent: bool = False, below: Path | None = None) -> tuple[str, Found] | None:
    """The layout in words, and what the folder holds; None when no layout is recognised.

    Args:
        root: the folder.
        absent: all there is was drawn: each image gets an empty mask of each target that it does not show.
        below: where masks that must be drawn go instead of the folder itself.

    Raises:
        InputError: what the layout's reader raises, or `absent` for LViT's, which has one mask per image.
    """
    if is_lvit(root):
        if absent:
            raise InputError(f"{root}: {ABSENT}")
        return "LViT's layout", read_lvit(root)
    for name, recognise, read in (
        ("nnU-Net's raw layout", nnunet.is_nnunet, nnunet.read_nnunet),
        ("COCO's layout", coco.is_coco, coco.read_coco),
        ("CVAT's layout", cvat.is_cvat, cvat.read_cvat),
        ("YOLO's layout", yolo.is_yolo, yolo.read_yolo),
        ("labelme's layout", labelme.is_labelme, labelme.read_labelme),
    ):
        if recognise(root):
            return name, read(root, absent=absent, below=below)
    return None
