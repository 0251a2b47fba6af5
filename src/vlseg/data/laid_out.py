"""A source of one's own in a layout that is read where it lies (COCO, labelme, YOLO, CVAT, nnU-Net), as items."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from vlseg.data.cards.card import Item, Mask, Part
from vlseg.data.cards.find import prepared_suffix
from vlseg.data.formats.known import read_layout
from vlseg.data.info import read_info
from vlseg.data.matching import counted
from vlseg.data.names import Place, mask_folder, plain_stem, split_named
from vlseg.data.parted import UNNAMED, slug
from vlseg.data.read import layout_dataset, load_mask, with_mask_max
from vlseg.records import Dataset, InputError, Sample, unknown_name

_KEPT_PROMPTS = ("empty", "class")


@dataclass(frozen=True)
class LaidOut:
    """What such a source holds: items named by their source file, where those lie, and words as in `own.Found`."""

    items: list[Item]
    places: list[Place]
    about: str
    left_out: list[str]


def laid_out(root: Path, below: Path, target: str | None) -> LaidOut | None:
    """The items of a folder in such a layout; None where it has none.

    Args:
        root: the folder.
        below: where masks are drawn to; must last until the items' masks are made.
        target: keeps only that structure.

    Raises:
        InputError: what the layout's reader raises, a target that it does not have, a mask map, which only pictures of
            labels need, or an image that stands in two splits.
    """
    info = read_info(root)
    known = read_layout(root, absent=info.absent, below=below)
    if known is None:
        return None
    layout, found = known
    if target == UNNAMED:
        raise InputError(f"--mask-map: {root} has {layout}, which names its targets; leave the option out")
    dataset = with_mask_max(layout_dataset(info, found))
    samples = [sample for sample in dataset.samples if sample.mask_paths]
    targets = {sample.target or "" for sample in samples}
    if target is not None and target not in targets:
        raise unknown_name(f"target of {root}", target, targets)
    by_image: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if target in (None, sample.target):
            by_image[sample.image_path.relative_to(root).as_posix()].append(sample)
    folders = _folders(targets)
    items = [_item(path, inside, dataset, folders, drawn=found.split_drawn) for path, inside in by_image.items()]
    told = [layout, *([] if found.split_drawn else ["splits as it tells them"])]
    return LaidOut(items, [_place(path) for path in by_image], "; ".join(told), [*found.left_out, *_lost(dataset)])


def _folders(targets: Iterable[str]) -> dict[str, str]:
    """A folder for the masks of each target, also on disks that do not tell capitals apart."""
    folders: dict[str, str] = {}
    for target in sorted(targets):
        name = slug(target)
        while name.lower() in {folder.lower() for folder in folders.values()}:
            name += "_"
        folders[target] = name
    return folders


def _item(path: str, samples: Sequence[Sample], dataset: Dataset, folders: Mapping[str, str], *, drawn: bool) -> Item:
    splits = sorted({sample.split for sample in samples})
    if len(splits) > 1:
        raise InputError(f"{samples[0].image_path}: is in {' and in '.join(splits)}; keep it in one split")
    name = plain_stem(path)
    first = samples[0]
    parts = tuple(
        Part(
            sample.target or "",
            "/".join(part for part in (sample.reader, folders[sample.target or ""], f"{name}.png") if part),
            make=partial(_mask, sample, dataset),
            reader=sample.reader,
            attributes=sample.attributes,
        )
        for sample in samples
    )
    return Item(
        name + prepared_suffix(path),
        path,
        parts,
        official=None if drawn else first.split,
        group=first.group,
        site=first.site,
        spacing=first.spacing,
    )


def _mask(sample: Sample, dataset: Dataset, size: tuple[int, int]) -> Mask:
    return load_mask(sample, dataset.info, size)


def _place(path: str) -> Place:
    folders = PurePosixPath(path).parts[:-1]
    spoken = mask_folder(folders)
    context = folders if spoken is None else (*folders[: spoken[1]], *folders[spoken[1] + 1 :])
    return Place(path, False, context, ("", ""), plain_stem(PurePosixPath(path).name), split_named(folders))


def _lost(dataset: Dataset) -> list[str]:
    unlabelled = [sample.id for sample in dataset.samples if not sample.mask_paths]
    prompts = sorted({key for sample in dataset.samples for key in sample.prompts if key not in _KEPT_PROMPTS})
    return [
        *([counted(unlabelled, "entries without a mask")] if unlabelled else []),
        *([counted(prompts, "prompts (vlseg data convert --to medvlsm keeps them)")] if prompts else []),
    ]
