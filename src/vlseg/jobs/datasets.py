"""Datasets by path, annotated with their prompts' provenance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vlseg.data import read_dataset, with_mask_max
from vlseg.prompts import Prompted, annotate, select, sources_of
from vlseg.records import Dataset, DatasetInfo, InputError, Source, is_deployable, unknown_name


@dataclass(frozen=True)
class Pool:
    """One or more datasets used together under one prompt name."""

    datasets: tuple[Dataset, ...]
    prompt: str

    @property
    def infos(self) -> dict[str, DatasetInfo]:
        """Info by dataset name."""
        return {dataset.info.name: dataset.info for dataset in self.datasets}

    @property
    def name(self) -> str:
        """The names, joined."""
        return "+".join(self.infos)

    @property
    def phantoms(self) -> list[str]:
        """Names of the datasets whose images are made up."""
        return [dataset.info.name for dataset in self.datasets if dataset.info.generator]

    @property
    def fingerprint(self) -> str:
        """The fingerprints, joined."""
        return "+".join(dataset.info.fingerprint for dataset in self.datasets)

    @property
    def sources(self) -> frozenset[Source]:
        """Every source that a prompt of this name draws on."""
        return frozenset().union(*(sources_of(dataset, self.prompt) for dataset in self.datasets))

    @property
    def deployable(self) -> bool:
        """True when no dataset's prompts leak the truth."""
        return is_deployable(self.sources)

    @property
    def targets(self) -> tuple[str, ...]:
        """All targets, sorted."""
        return tuple(sorted({t for dataset in self.datasets for t in dataset.info.targets}))

    def split(self, name: str) -> list[Prompted]:
        """The prompted samples of one split, dataset after dataset."""
        return [item for dataset in self.datasets for item in select(dataset, self.prompt, name)]


def open_dataset(path: Path, target: str | None = None, *, absent: bool = False, named: bool = False) -> Dataset:
    """A dataset with prompt provenance and mask range; `target` keeps only that structure.

    Where no entry names a target, `target` is what all of them show. What is wrong with it is said before masks are
    read.

    `absent` is that of `read_dataset`; with `named`, every entry must have a target.

    Raises:
        InputError: nothing readable there, a target the dataset does not have, or with `named` an entry without one.
    """
    dataset = annotate(read_dataset(path, target=target, absent=absent))
    kept = dataset if target is None else of_target(dataset, target)
    unnamed = [sample.id for sample in kept.samples if sample.target is None] if named else []
    if unnamed:
        raise InputError(
            f"{path}: {len(unnamed)} of {len(kept.samples)} entries name no target, e.g. {unnamed[0]}, which a "
            "model that reads no text needs; give --target, or 'target' in the annotation file"
        )
    whole = with_mask_max(dataset)  # one foreground for all masks of the set, those of other targets, too
    return Dataset(replace(kept.info, mask_max=whole.info.mask_max), kept.samples)


def of_target(dataset: Dataset, target: str) -> Dataset:
    """The dataset of one structure alone.

    Raises:
        InputError: it has others only.
    """
    known = {sample.target for sample in dataset.samples if sample.target}
    if known and target not in known:
        raise unknown_name(f"target of {dataset.info.name}", target, known)
    kept = [sample for sample in dataset.samples if not known or sample.target == target]
    return Dataset(replace(dataset.info, targets=(target,)), tuple(replace(sample, target=target) for sample in kept))


def open_pool(paths: Sequence[str], prompt: str, target: str | None = None, *, named: bool = False) -> Pool:
    """Datasets by path; `named` as for `open_dataset`.

    Raises:
        InputError: a path given twice, or two datasets of one name.
    """
    datasets = tuple(open_dataset(Path(path), target, named=named) for path in paths)
    names = [dataset.info.name for dataset in datasets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"data: two datasets are named '{name}'; give each another name in its dataset.json")
    return Pool(datasets, prompt)
