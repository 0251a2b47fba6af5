"""Prompt names and provenance of a dataset, and the samples of a prompt with their truth."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from vlseg.prompts.schemes import Scheme, announces_absence, recognise, target_of
from vlseg.records import (
    LEAKING,
    Attribute,
    Dataset,
    InputError,
    Sample,
    Source,
    is_deployable,
    unknown_name,
)


@dataclass(frozen=True)
class Prompted:
    """A sample with the wordings of one prompt name and where these come from, over the whole set.

    `sample.mask_paths` is the prompt's truth: the union of all objects of the image that satisfy it,
    or nothing where there is no truth.
    """

    sample: Sample
    wordings: tuple[str, ...]
    prompt: str
    sources: frozenset[Source]


@dataclass(frozen=True)
class PromptRow:
    """One line of `vlseg prompts show`."""

    name: str
    alias: str | None
    sources: tuple[Source, ...]
    deployable: bool
    wordings: int
    max_words: int
    example: str
    missing: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def annotate(dataset: Dataset) -> Dataset:
    """The dataset with content names, sources and targets filled in.

    What the dataset declares wins; else a published scheme is recognised by its texts; else a prompt's
    sources are "unknown" (the empty text: "none").
    """
    scheme = recognise(dataset.samples)
    keys = dict.fromkeys(key for sample in dataset.samples for key in sample.prompts)
    sources = {key: _sources(dataset, key, scheme) for key in keys}
    aliases = {**(scheme.aliases if scheme else {}), **dataset.info.aliases}
    samples = with_targets(dataset.samples)
    targets = dataset.info.targets or tuple(sorted({sample.target for sample in samples if sample.target}))
    info = replace(
        dataset.info,
        scheme=scheme.name if scheme else None,
        aliases={key: name for key, name in aliases.items() if key in keys},
        prompt_sources=sources,
        targets=targets,
    )
    return Dataset(info, samples)


def with_targets(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples of a dataset, named by a published scheme's class texts where no target is given."""
    scheme = recognise(samples)
    if scheme is None:
        return tuple(samples)
    return tuple(sample if sample.target else replace(sample, target=target_of(scheme, sample)) for sample in samples)


def _sources(dataset: Dataset, key: str, scheme: Scheme | None) -> frozenset[Source]:
    """Declared for the set, else the union of what entries declare, else the scheme's, else unknown."""
    if key in dataset.info.prompt_sources:
        return dataset.info.prompt_sources[key]
    texts = {text for sample in dataset.samples for text in sample.prompts.get(key, ())}
    if texts <= {""}:
        return frozenset({"none"})
    holders = [sample for sample in dataset.samples if key in sample.prompts]
    if all(key in sample.prompt_sources for sample in holders):
        return frozenset().union(*(sample.prompt_sources[key] for sample in holders))
    if scheme is None:
        return frozenset({"unknown"})
    leak: frozenset[Source] = frozenset({"label"}) if announces_absence(dataset.samples) else frozenset()
    return scheme.added[key] | leak


def resolve_name(dataset: Dataset, name: str) -> str | None:
    """The annotation key that a prompt name or alias stands for; None for the built-in "empty" and "class".

    Raises:
        InputError: an unknown name (known keys and aliases are listed).
    """
    keys = {key for sample in dataset.samples for key in sample.prompts}
    if name in keys:
        return name
    by_alias = {alias: key for key, alias in dataset.info.aliases.items()}
    if name in by_alias:
        return by_alias[name]
    if name in ("empty", "class"):
        return None
    known = keys | by_alias.keys() | {"empty", "class"}
    if name in dataset.info.targets:
        raise InputError(
            f"--prompt: '{name}' is a target of {dataset.info.name}; prompts are chosen by name "
            f"({', '.join(sorted(known))}), e.g. --prompt class --target {shlex.quote(name)}"
        )
    raise unknown_name(f"prompt of {dataset.info.name}", name, known)


def sources_of(dataset: Dataset, name: str) -> frozenset[Source]:
    """The sources that a prompt name's words draw on, over the whole set.

    Raises:
        InputError: an unknown name.
    """
    key = resolve_name(dataset, name)
    if key is None:
        return frozenset({"none"}) if name == "empty" else frozenset({"class"})
    return dataset.info.prompt_sources.get(key, frozenset({"unknown"}))


def texts_of(dataset: Dataset, name: str) -> list[str]:
    """Every wording of a prompt name in all splits, each once; entries without it are left out.

    Raises:
        InputError: an unknown name.
    """
    key = resolve_name(dataset, name)
    if key is not None:
        found = (text for sample in dataset.samples for text in sample.prompts.get(key, ()))
    else:
        found = (sample.target or "" for sample in dataset.samples if name == "class")
    return list(dict.fromkeys(found))


def select(dataset: Dataset, name: str, split: str) -> list[Prompted]:
    """The samples of a split under one prompt name, in order, each with its truth.

    The truth of a prompt is the union of all objects that satisfy it: entries of one image with the same
    wordings become one sample with all their masks, those of each reader for themselves. The empty prompt on an
    image with several different targets names none of them and has no truth.

    Raises:
        InputError: an unknown name, a prompt missing from an entry, a class prompt without a target, or one prompt for
            several labels of a mask.
    """
    key = resolve_name(dataset, name)
    sources = sources_of(dataset, name)
    groups: dict[tuple[str, tuple[str, ...], str | None], list[Sample]] = {}
    for sample in dataset.split(split):
        wordings = _wordings(dataset, sample, name, key)
        groups.setdefault((sample.image_id, wordings, sample.reader), []).append(sample)
    return [
        Prompted(_united(samples, wordings), wordings, name, sources) for (_, wordings, _), samples in groups.items()
    ]


def _wordings(dataset: Dataset, sample: Sample, name: str, key: str | None) -> tuple[str, ...]:
    if key is None and name == "empty":
        return ("",)
    if key is None:
        if sample.target is None:
            raise InputError(
                f"{dataset.info.root}: sample {sample.id} names no target, so there is no class prompt; "
                "give --target or choose another --prompt"
            )
        return (sample.target,)
    if key not in sample.prompts:
        raise InputError(
            f"{dataset.info.root / 'anns' / f'{sample.split}.json'}: entry {sample.id} has no prompt '{key}' "
            f"(it has {', '.join(sorted(sample.prompts))}); add it or choose another --prompt"
        )
    return sample.prompts[key]


def _united(samples: Sequence[Sample], wordings: tuple[str, ...]) -> Sample:
    """One sample for all objects that a prompt names; of what describes an object it keeps what holds for all.

    Raises:
        InputError: the objects are different labels, of which a truth has only one.
    """
    first = samples[0]
    if len(samples) == 1:
        return first
    objects = {(path, sample.mask_value) for sample in samples for path in sample.mask_paths}
    labels = {sample.mask_value for sample in samples if sample.mask_paths}
    several = not any(wordings) and len(objects) > 1  # the empty prompt names none of them
    unlabelled = several or not all(sample.mask_paths for sample in samples)
    if len(labels) > 1 and not unlabelled:
        shown = ", ".join(str(label) for label in sorted(labels, key=str))
        raise InputError(
            f"{first.dataset}: samples {samples[0].id} and {samples[-1].id} have the same prompt '{wordings[0]}' but "
            f"other labels ({shown}) of their masks; give them prompts of their own, or one mask file for both"
        )

    def common(name: str) -> Any:
        values = [getattr(sample, name) for sample in samples]
        return values[0] if all(value == values[0] for value in values) else None

    prompts = {key: texts for key, texts in first.prompts.items() if _same_prompt(samples, key)}
    return replace(
        first,
        mask_paths=() if unlabelled else tuple(dict.fromkeys(path for one in samples for path in one.mask_paths)),
        mask_value=common("mask_value"),
        target=common("target"),
        prompts=prompts,
        prompt_sources={
            key: frozenset().union(*(sample.prompt_sources.get(key, frozenset()) for sample in samples))
            for key in first.prompt_sources
            if key in prompts
        },
        attributes=tuple(one for one in map(partial(_agreed, samples), first.attributes) if one is not None),
        group=common("group"),
        site=common("site"),
        spacing=common("spacing"),
        spacing_source=common("spacing_source") if common("spacing") else None,
    )


def _same_prompt(samples: Sequence[Sample], key: str) -> bool:
    return all(sample.prompts.get(key) == samples[0].prompts[key] for sample in samples)


def _agreed(samples: Sequence[Sample], attribute: Attribute) -> Attribute | None:
    """The attribute where every sample has it with this value; its source is a leak where one of theirs is."""
    found = [
        next((one for one in sample.attributes if (one.name, one.value) == (attribute.name, attribute.value)), None)
        for sample in samples
    ]
    alike = [one for one in found if one is not None]
    if len(alike) < len(found):
        return None
    return min(alike, key=lambda one: (one.source not in LEAKING, one.source != "unknown"))


def describe(dataset: Dataset) -> list[PromptRow]:
    """One row per prompt key, in the order of the files, and the built-in names that no key covers."""
    keys = list(dict.fromkeys(key for sample in dataset.samples for key in sample.prompts))
    rows = []
    for key in keys:
        holders = [sample for sample in dataset.samples if key in sample.prompts]
        texts = list(dict.fromkeys(text for sample in holders for text in sample.prompts[key]))
        sources = sources_of(dataset, key)
        rows.append(
            PromptRow(
                name=key,
                alias=dataset.info.aliases.get(key),
                sources=tuple(sorted(sources)),
                deployable=is_deployable(sources),
                wordings=len(texts),
                max_words=max((len(text.split()) for text in texts), default=0),
                example=texts[0] if texts else "",
                missing=len(dataset.samples) - len(holders),
            )
        )
    return rows
