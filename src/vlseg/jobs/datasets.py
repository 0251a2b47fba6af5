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


def open_dataset(path: Path, target: str | None = None, *, absent: bool = False) -> Dataset:
    """A dataset with prompt provenance and mask range; `target` keeps only that structure.

    `absent` is that of `read_dataset`.

    Raises:
        InputError: nothing readable there, or a target the dataset does not have.
    """
    dataset = with_mask_max(annotate(read_dataset(path, target=target, absent=absent)))
    if target is not None:
        known = {sample.target for sample in dataset.samples if sample.target}
        if target not in known:
            raise unknown_name(f"target of {dataset.info.name}", target, known)
        kept = tuple(sample for sample in dataset.samples if sample.target == target)
        dataset = Dataset(replace(dataset.info, targets=(target,)), kept)
    return dataset


def open_pool(paths: Sequence[str], prompt: str, target: str | None = None) -> Pool:
    """Datasets by path.

    Raises:
        InputError: a path given twice, or two datasets of one name.
    """
    datasets = tuple(open_dataset(Path(path), target) for path in paths)
    names = [dataset.info.name for dataset in datasets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"data: two datasets are named '{name}'; give each another name in its dataset.json")
    return Pool(datasets, prompt)
