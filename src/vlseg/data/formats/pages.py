"""What annotation files say of one image each, and the entries of it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from vlseg.data.archives import shown
from vlseg.data.entries import Entry
from vlseg.data.formats import Found, identified
from vlseg.data.formats.coco_files import SPLIT_WORDS
from vlseg.data.formats.drawn import Drawn
from vlseg.data.matching import counted
from vlseg.data.splits import split_by_group
from vlseg.records import SPLITS, InputError


@dataclass(frozen=True)
class Page:
    """What is drawn in one image.

    Attributes:
        image: its file, below the dataset.
        where: the annotation file (and place in it), for errors.
        size: (H, W) of the image upright.
        outlines: by target, each as `vlseg.data.formats.outlines.decode` takes it; none at all = nothing is there.
        split: that the annotations name, or None.
        attributes: by target, of its objects, by name.
    """

    image: str
    where: str
    size: tuple[int, int]
    outlines: Mapping[str, Sequence[Any]]
    split: str | None = None
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def folder_split(image: str) -> str | None:
    """The split that a folder of the image's path is named for."""
    words = (SPLIT_WORDS.get(part.lower()) for part in PurePosixPath(image).parts[:-1])
    return next((split for split in words if split), None)


def of_pages(
    pages: Sequence[Page], targets: Sequence[str], drawn: Drawn, left_out: Sequence[str], absent: bool
) -> Found:
    """The entries of all pages by split: the pages' own, or where none has one drawn 80/10/10, seeded.

    Args:
        pages: at most one for an image and split.
        targets: of which an image without any outline gets an empty mask each; with `absent` every image of those that
            it lacks.
        drawn: where the masks are drawn to.
        left_out: what was found and not used, in words.
        absent: all there is was drawn.

    Raises:
        InputError: pages of which some have a split and others none, or what drawing raises.
    """
    without = [page for page in pages if page.split is None]
    if 0 < len(without) < len(pages):
        raise InputError(
            f"{drawn.root}: {without[0].image} is in no split, others are ({len(without)} of {len(pages)} images are "
            "in none); put all into folders (or CVAT's subsets) train, val and test, or none"
        )
    odd = next((page.image for page in pages if shown(page.image) != page.image), None)
    if odd is not None:
        raise InputError(f"{drawn.root}: the name {shown(odd)} is not UTF-8 text; rename the file or its folder")
    splits = [page.split or "" for page in pages] if not without else split_by_group([p.image for p in pages], 0)
    entries: dict[str, list[Entry]] = defaultdict(list)
    for page, split in zip(pages, splits, strict=True):
        lacking = [target for target in targets if target not in page.outlines]
        outlines = dict(page.outlines)
        if absent or not outlines:
            outlines |= {target: [] for target in lacking}
        entries[split] += [_entry(page, target, outlines[target], drawn) for target in outlines]
    found = {split: identified(split, entries[split]) for split in SPLITS if split in entries}
    return Found(found, tuple(left_out), drawn.elsewhere, split_drawn=bool(without))


def _entry(page: Page, target: str, outlines: Sequence[Any], drawn: Drawn) -> Entry:
    known = page.attributes.get(target, {})
    values = {
        "img_name": page.image,
        "mask_name": drawn.outlines(page.image, target, outlines, page.size, page.where),
        "target": target,
        "prompts": {"empty": "", "class": target},
        "prompt_sources": {"empty": ["none"], "class": ["class"]},
        # Whoever drew the outline said so, with sight of it.
        "attributes": [{"name": name, "value": value, "source": "label"} for name, value in known.items()],
    }
    return Entry.model_validate(values)


def not_used(kinds: Sequence[tuple[Sequence[str], str]]) -> list[str]:
    """One line for each kind of which there is something."""
    return [counted(names, words) for names, words in kinds if names]
