"""What `vlseg data list`, `show` and `prepare` do."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vlseg.checks.near import describe_images, near_duplicates
from vlseg.data import load_mask, read_dataset, reader_agreement, with_mask_max
from vlseg.data.cards import Card, card_names, find_card
from vlseg.data.prepare import Prepared, prepare
from vlseg.data.readers import Combine
from vlseg.prompts import annotate, describe
from vlseg.records import SPLITS, Dataset, InputError
from vlseg.records.console import error_console

OWN = "own"
T = TypeVar("T")


def list_cards() -> list[dict[str, Any]]:
    """One plain dict per dataset card."""
    return [card_values(find_card(name)) for name in card_names()]


def card_values(card: Card) -> dict[str, Any]:
    """A card as plain values."""
    return {
        "name": card.name,
        "title": card.title,
        "modality": card.modality,
        "targets": list(card.targets),
        "licence": card.licence,
        "page": card.page,
        "registration": card.registration,
        "files": list(card.files),
        "counts": dict(card.counts),
        "defects": list(card.defects),
        "prompts": list(card.prompts),
        "symmetries": sorted(card.symmetries),
        "groups": card.groups,
        "intensity": card.intensity.kind,
        "structures": [{"about": one.about, "seen": one.seen} for one in card.structures],
        "citation": card.citation,
    }


def describe_dataset(path: Path, target: str | None = None) -> dict[str, Any]:
    """A dataset folder as plain values: numbers by split, groups, prompts with their sources, readers' agreement.

    Raises:
        InputError: nothing readable there.
    """
    dataset = annotate(read_dataset(path, target=target))
    samples = dataset.samples
    return {
        "name": dataset.info.name,
        "licence": dataset.info.licence,
        "targets": list(dataset.info.targets),
        "fingerprint": dataset.info.fingerprint,
        "generator": dict(dataset.info.generator),
        "groups_known": dataset.info.groups_known,
        "symmetries": sorted(dataset.info.symmetries),
        "entries": {split: len(dataset.split(split)) for split in SPLITS},
        "images": {split: len({s.image_id for s in dataset.split(split)}) for split in SPLITS},
        "groups": {split: len({s.group for s in dataset.split(split) if s.group}) for split in SPLITS},
        "without_mask": {split: sum(not s.mask_paths for s in dataset.split(split)) for split in SPLITS},
        "sites": sorted({s.site for s in samples if s.site}),
        "attributes": sorted({a.name for s in samples for a in s.attributes}),
        "prompts": [row.to_json() for row in describe(dataset)],
        "readers": _readers(dataset),
        "left_out": list(dataset.info.left_out),
    }


def _readers(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Mean Dice with its interval for each pair of readers whose masks are kept apart."""
    if len({sample.reader for sample in dataset.samples if sample.reader}) < 2:
        return {}
    dataset = with_mask_max(dataset)
    cases: dict[tuple[str, str | None], dict[str, Any]] = {}
    groups: dict[tuple[str, str | None], str | None] = {}
    for sample in dataset.samples:
        if sample.reader and sample.mask_paths:
            key = (sample.image_id, sample.target)
            cases.setdefault(key, {})[sample.reader] = load_mask(sample, dataset.info, None)
            groups[key] = sample.group or sample.image_id
    found = reader_agreement(list(cases.values()), [groups[key] for key in cases])
    return {
        " / ".join(pair): {"dice": estimate.mean, "ci95": estimate.ci95, "n": estimate.n, "reason": estimate.reason}
        for pair, estimate in found.items()
    }


def prepare_dataset(
    name: str,
    source: Path | None,
    out: Path,
    *,
    anns: Path | None = None,
    target: str | None = None,
    table: Path | None = None,
    mask_map: Path | None = None,
    masks: str | None = None,
    groups: str | None = None,
    readers: Combine = "apart",
    seed: int = 0,
    regroup: bool = False,
) -> Prepared:
    """`vlseg.data.prepare.prepare` by name, with a progress bar; "own" is the user's own data.

    Raises:
        InputError: an unknown name, no source (where to get it is said), or what preparing raises.
    """
    card = None if name == OWN else find_card(name)
    if source is None:
        if card is None:
            raise InputError("--source: give the folder or archive with your images and masks")
        raise InputError(
            f"--source: {card.title} cannot be downloaded for you. Get {', '.join(card.files)} from {card.page} "
            f"(registration: {card.registration}; licence: {card.licence}) and give the file or folder"
        )
    for option, value in (("--target", target), ("--table", table), ("--groups", groups), ("--mask-map", mask_map)):
        if card is not None and value is not None:
            raise InputError(f"{option}: is for your own data (vlseg data prepare own); {card.title} has a card")
    if target is not None and mask_map is not None:
        raise InputError("--target: --mask-map names the targets; give one of the two")
    return prepare(
        card,
        source,
        out,
        anns=anns,
        target=target,
        table=table,
        mask_map=mask_map,
        masks=masks,
        groups=groups,
        readers=readers,
        seed=seed,
        progress=lambda placed: with_bar(placed, "preparing"),
        copies=_copies if regroup else None,
    )


def _copies(files: Sequence[Path]) -> list[tuple[int, int]]:
    """Pairs of images that look the same."""
    described = describe_images(files)
    pairs = near_duplicates(described, bar=lambda blocks: with_bar(blocks, "comparing images"))
    return [(pair.first, pair.second) for pair in pairs]


def with_bar(items: Sequence[T], words: str) -> Iterator[T]:
    """The items, with a progress bar on a terminal's stderr."""
    console = error_console()
    columns = (TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield from bar.track(items, total=len(items))


def show_card(name: str) -> dict[str, Any]:
    """The card of that name as plain values.

    Raises:
        InputError: no such card; the known ones are listed.
    """
    return card_values(find_card(name))
