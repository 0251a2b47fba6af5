"""Other layouts than ours, read where they lie: LViT's, COCO, nnU-Net's raw one, labelme, YOLO, CVAT; some written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlseg.data.entries import Entry


@dataclass(frozen=True)
class Found:
    """What a folder in another layout holds.

    Entries by split, with names below the folder; in words what of it is not used; where masks that had to be drawn
    lie, when it is not the folder itself; and whether the split was drawn because nothing tells one.
    """

    entries: Mapping[str, Sequence[Entry]]
    left_out: tuple[str, ...] = ()
    masks: Path | None = None
    split_drawn: bool = False


def identified(split: str, entries: Sequence[Entry]) -> list[Entry]:
    """The entries with an id of split, image and target where they have none: it outlives corrected outlines."""
    return [
        entry if entry.id else entry.model_copy(update={"id": f"{split}/{entry.img_name} {entry.target}"})
        for entry in entries
    ]
