"""What is asked of a study's models: evaluations, probes and comparisons of trained ones, and of untrained ones."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from vlseg.metrics import SMOOTHED
from vlseg.models.manifest import default_weights
from vlseg.records import InputError, RunConfig
from vlseg.records.study import OWN, Attacked, Evaluate, ModelEntry, Part, Planned, Probe, StudySpec, several
from vlseg.studies.check import EXTERNAL, attack_values
from vlseg.studies.naming import FEATURES, planned_run, settings_over
from vlseg.studies.places import Places

WHY = "why"
"""In an exclusion: its reason."""


def asked_of(part: Part, places: Places, run: Planned, config: RunConfig) -> Iterator[Planned]:
    """Evaluations, probes and attacks of a trained model."""
    model = run.labels["model"]
    frozen = config.feature_cache == FEATURES
    for one in part.evaluate:
        if one.models is not None and model not in one.models:
            continue
        for label in _asked_about(one, places, list(run.data)):
            wanted = [run.labels["prompt"]] if one.prompts == OWN else list(one.prompts)
            for prompt, condition in product(places.prompts(label, wanted), one.conditions):
                yield _evaluation(places, run, config, label, prompt, condition, one)
    for probe in part.probe:
        if probe.models is not None and model not in probe.models:
            continue
        for label in _asked_about(probe, places, list(run.data)):
            labels = {**run.labels, "data": label, "asked": run.labels["prompt"], "split": probe.split}
            values = {"prompt": run.labels["prompt"], "split": probe.split, "limit": probe.limit}
            values |= {"cache": FEATURES if frozen else None, "target": config.target}
            yield planned_run("probe", model, labels, values, places, [label], [run.name], {run.name: run})
    for attack in part.attack:
        if attack.models is not None and model not in attack.models:
            continue
        asked = attack_values(attack)
        for label in _asked_about(attack, places, list(run.data)):
            labels = {**run.labels, "data": label, "asked": run.labels["prompt"], "split": attack.split}
            labels["attack"] = "words" if attack.words else attack.preset or attack.method or "pgd"
            how: dict[str, Any] = {"prompt": run.labels["prompt"], "split": attack.split, "limit": attack.limit}
            how |= {"attack": asked, "target": config.target, "pictures": False}
            yield planned_run("attack", model, labels, how, places, [label], [run.name], {run.name: run})


def _asked_about(one: Evaluate | Probe | Attacked, places: Places, own: Sequence[str]) -> list[str]:
    """The datasets that an evaluation, probe or attack is about, those that are there and have the split."""
    wanted = list(own) if one.data == OWN else [label for name in one.data for label in places.members(name)]
    return [label for label in dict.fromkeys(wanted) if places.has(label, one.split)]


def _evaluation(
    places: Places, run: Planned, config: RunConfig, label: str, prompt: str, condition: str, one: Evaluate
) -> Planned:
    labels = {**run.labels, "data": label, "asked": prompt, "condition": condition, "split": one.split}
    cached = config.feature_cache == FEATURES and condition == "clean"
    values = {
        "prompt": prompt,
        "condition": condition,
        "split": one.split,
        "threshold": one.threshold,
        "target": config.target,
        "cache": FEATURES if cached else None,
        **_smoothing(one, condition),
    }
    return planned_run("evaluate", run.labels["model"], labels, values, places, [label], [run.name], {run.name: run})


def _smoothing(one: Evaluate, condition: str) -> dict[str, Any]:
    """Of condition smoothed alone: what says nothing of other runs must not tell them apart."""
    if condition != SMOOTHED:
        return {}
    return {"smoothing": one.smoothing.model_dump(), "limit": one.limit}


def worths(part: Part, places: Places, runs: Sequence[Planned]) -> Iterator[Planned]:
    """For each pair of prompts, the trainings that are alike but for prompt and seed, as many of both."""
    trained = [run for run in runs if run.kind == "train"]
    for one in part.worth:
        kinds: dict[tuple[tuple[str, str], ...], dict[str, list[Planned]]] = {}
        for run in trained:
            if one.models is None or run.labels["model"] in one.models:
                alike = tuple((key, value) for key, value in run.labels.items() if key not in ("prompt", "seed"))
                kinds.setdefault(alike, {}).setdefault(run.labels["prompt"], []).append(run)
        if trained and not any({one.leaking, one.honest} <= prompts.keys() for prompts in kinds.values()):
            raise InputError(
                f"worth: no model is trained on both '{one.leaking}' and '{one.honest}'; add them to prompts"
            )
        for alike, prompts in kinds.items():
            leaking, honest = prompts.get(one.leaking, []), prompts.get(one.honest, [])
            if not leaking or not honest:
                continue
            if {run.labels["seed"] for run in leaking} != {run.labels["seed"] for run in honest}:
                raise InputError(
                    f"worth: '{one.leaking}' and '{one.honest}' of '{dict(alike)['model']}' have other seeds; "
                    "pairs are of one seed, so exclude none of them alone"
                )
            first = leaking[0]
            if not all(places.has(label, one.split) for label in first.data):
                continue
            for label in first.data:
                places.check_honest(label, one.honest)
            labels = dict(alike) | {"prompt": one.leaking, "asked": one.honest, "data": first.labels["trained_on"]}
            labels |= {"seed": "", "split": one.split, "condition": "clean"}
            cached = first.config.get("feature_cache") == FEATURES
            values = {"split": one.split, "target": first.config.get("target"), "cache": FEATURES if cached else None}
            needs = [run.name for run in (*leaking, *honest)]
            known = {run.name: run for run in trained}
            yield planned_run("worth", labels["model"], labels, values, places, list(first.data), needs, known)


def untrained(part: Part, places: Places, model: str, entry: ModelEntry, label: str) -> Iterator[Planned]:
    """Zero-shot: the model as its weights are."""
    name = entry.model or model
    source = entry.weights or default_weights(name)
    if source is None:
        places.missing(
            f"weights of {model}", f"no weights are known for '{name}'; give models: {{{model}: {{weights: ...}}}}"
        )
        return
    if places.weights(source, entry.revision) is None:
        return
    prompts = places.prompts(label, prompts_of(part, label))
    settings = settings_over(settings_over({}, places.spec.set), entry.set)
    for protocol, one in product(part.protocols or (None,), part.evaluate):
        if (one.models is not None and model not in one.models) or not places.has(label, one.split):
            continue
        for prompt, condition in product(prompts, one.conditions):
            labels = {
                "model": model,
                "trained_on": "",
                "prompt": "",
                "protocol": protocol or "",
                "regime": "zero_shot",
                "seed": "",
                "fold": "",
                "share": "",
                "data": label,
                "asked": prompt,
                "condition": condition,
                "split": one.split,
            }
            if excluded(part, labels, places):
                continue
            values: dict[str, Any] = {
                "model": name,
                "weights": source,
                "revision": entry.revision,
                "model_arguments": settings.get("model_arguments", {}),
                "protocol": protocol,
                "prompt": prompt,
                "condition": condition,
                "split": one.split,
                "threshold": one.threshold,
                "target": settings.get("target"),
                "cache": FEATURES if places.spec.features and condition == "clean" else None,
                **_smoothing(one, condition),
            }
            yield planned_run("evaluate", model, labels, values, places, [label], [], {})


def external(spec: StudySpec, places: Places) -> Iterator[Planned]:
    """Somebody's mask files, one run for each dataset whose folder is there."""
    for one in spec.external:
        for label in (label for name in one.data for label in places.members(name)):
            folder = one.masks.replace("{data}", label)
            if not Path(folder).is_dir():
                places.missing(f"masks of {one.name} on {label}", f"{folder}: no such folder; put the mask files there")
                continue
            if not places.has(label, one.split):
                continue
            places.prompts(label, [one.prompt])
            labels = dict.fromkeys(("trained_on", "prompt", "protocol", "regime", "seed", "fold", "share"), "")
            labels |= {"model": one.name, "data": label, "asked": one.prompt, "condition": "clean", "split": one.split}
            values = {"masks": folder, "prompt": one.prompt, "split": one.split, "target": spec.set.get("target")}
            run = planned_run("masks", one.name, labels, values, places, [label], [], {})
            yield run.model_copy(update={"parts": [EXTERNAL]})


def prompts_of(part: Part, on: str) -> list[str]:
    """Names and patterns of a part's prompts for a dataset or pool.

    Raises:
        InputError: they are given by dataset, and not for this one.
    """
    if not isinstance(part.prompts, dict):
        return part.prompts
    if on not in part.prompts:
        raise InputError(f"prompts: names none for '{on}'; add it there, or give one list for all")
    return part.prompts[on]


def excluded(part: Part, labels: Mapping[str, str], places: Places) -> bool:
    """Whether one of the part's exclusions fits; `data` of a training means what it is trained on.

    One that says `why` leaves a hole that tables tell of.
    """
    for rule in part.exclude:
        fits = []
        for key, wanted in rule.items():
            if key == WHY:
                continue
            name = "trained_on" if key == "data" and "data" not in labels else key
            name = "asked" if key == "prompt" and labels["regime"] == "zero_shot" else name
            if name not in labels:
                raise InputError(f"exclude: unknown label '{key}' (known: {', '.join(sorted(labels))})")
            fits.append(labels[name] in several(wanted))
        if fits and all(fits):
            if WHY in rule:
                own = {} if "data" in labels else {"data": labels["trained_on"], "asked": labels["prompt"]}
                places.left_out(part.name, {**own, **labels}, str(rule[WHY]))
            return True
    return False
