"""From a study to its runs: every combination of the axes, checked before anything runs."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from vlseg.jobs.settings import config_of
from vlseg.models import architecture_of
from vlseg.models.manifest import default_weights
from vlseg.models.registry import saved_model
from vlseg.records import InputError, RunConfig
from vlseg.records.protocols import OF_KIND, PROTOCOLS
from vlseg.records.study import OWN, Evaluate, Kind, ModelEntry, Part, Plan, Planned, Probe, StudySpec
from vlseg.studies.check import EXTERNAL, check_study
from vlseg.studies.places import Places, contents
from vlseg.studies.trials import Searches

FEATURES = "features"
"""In a planned configuration: the study's own cache, wherever the study lies."""
RUN = "run:"
"""In a planned configuration, before a run's name: the model that it left."""
WHY = "why"
"""In an exclusion: its reason."""
USUAL = (
    *("model", "trained_on", "prompt", "protocol", "regime", "seed", "fold", "share"),
    *("data", "asked", "condition", "split"),
)
"""Labels that every run or evaluation has; others are a part's own axes."""
BESIDE = (
    "data",
    "weights",
    "revision",
    "device",
    "threads",
    "workers",
    "feature_cache",
    "feature_limit_gib",
    "compile",
    "devices",
    "nodes",
    "trackers",
)
"""Settings of a run that give it no other name: where things lie (their content is in the identity) and on what it
runs."""


def expand(spec: StudySpec, study: Path | None = None) -> Plan:
    """The runs that a study wants, and what is missing for others.

    Args:
        spec: the study.
        study: its folder, where searches may have been begun; None: they have not.

    Raises:
        InputError: what no data or weights would mend: an unknown model, setting, prompt or part, with the part's name,
            or what contradicts itself (`check_study`).
    """
    check_study(spec)
    places = Places(spec)
    runs: dict[str, Planned] = {}
    searches = Searches(study)
    for part in spec.parts:
        try:
            for run in _of_part(part, places, runs, searches):
                before = runs.get(run.name)
                parts = list(dict.fromkeys([*(before.parts if before else []), part.name]))
                runs[run.name] = run.model_copy(update={"parts": parts})
            for run in _worths(part, places, [run for run in runs.values() if part.name in run.parts]):
                runs[run.name] = run.model_copy(update={"parts": [part.name]})
        except InputError as error:
            raise InputError(f"part '{part.name}': {error}") from error
    for run in _external(spec, places):
        runs[run.name] = run
    holes = [*places.holes.values(), *places.excluded]
    return Plan(study=spec, runs=_in_order(list(runs.values())), holes=holes, searches=searches.found)


def _of_part(part: Part, places: Places, earlier: Mapping[str, Planned], searches: Searches) -> Iterator[Planned]:
    for model, on in product(part.models, part.data):
        known = places.spec.models.get(model, ModelEntry())
        architecture_of(known.model or model)  # an unknown name is told with the known ones
        _check_weights(model, known)
        members = places.members(on)
        there = [label for label in members if places.dataset(label) is not None]
        if not part.train:
            for label in there:
                yield from _untrained(part, places, model, known, label)
        elif len(there) == len(members) and all(places.has(label, "train") for label in members):
            yield from _trained(part, places, model, known, on, earlier, searches)


def _check_weights(model: str, entry: ModelEntry) -> None:
    """That a folder which says whose weights it holds is of the model.

    Raises:
        InputError: it is of another one.
    """
    name = entry.model or model
    holds = saved_model(Path(entry.weights)) if entry.weights else None
    if holds is not None and holds != name:
        raise InputError(f"weights of '{model}': {entry.weights} holds a '{holds}', not a '{name}'")


def _trained(
    part: Part,
    places: Places,
    model: str,
    entry: ModelEntry,
    on: str,
    earlier: Mapping[str, Planned],
    searches: Searches,
) -> Iterator[Planned]:
    """Trainings of one model on one dataset or pool, each followed by what is asked of it."""
    spec = places.spec
    if entry.weights and places.weights(entry.weights, entry.revision) is None:
        return
    prompts = places.prompts(on, _prompts(part, on))
    folds: Sequence[int | None] = range(part.folds) if part.folds else [None]
    combinations = product(
        part.regimes or (None,),
        part.protocols or (spec.protocol,),
        part.shares,
        prompts,
        folds,
        product(*part.axes.values()),
        part.seeds,
    )
    for regime, protocol, share, prompt, fold, values, seed in combinations:
        axes = dict(zip(part.axes, values, strict=True))
        options: dict[str, Any] = {
            "model": entry.model or model,
            "data": [places.folder(label) for label in places.members(on)],
            "prompt": prompt,
            "seed": seed,
            "train_share": share,
            "folds": part.folds,
            "fold": fold,
            "weights": entry.weights,
            "revision": entry.revision,
            "regime": regime,
        }
        options = {key: value for key, value in options.items() if value is not None}
        for level in (spec.set, entry.set, part.set, axes):
            options = _over(options, level)
        labels = {
            "model": model,
            "trained_on": on,
            "prompt": prompt,
            "protocol": protocol,
            "seed": str(seed),
            "fold": "" if fold is None else str(fold),
            "share": f"{share:g}",
            **{key: str(value) for key, value in axes.items()},
        }
        needs: list[str] = []
        if part.start_from is not None:
            source = _source(part, labels, earlier, places)
            needs, options["weights"] = [source.name], f"{RUN}{source.name}"
        make = partial(_training, part, places, entry, options, labels, needs, earlier)
        ask = partial(_asked, part, places)
        if part.search is not None:
            yield from searches.runs(part.search, make, ask)
        elif (made := make({})) is not None:
            yield made[0]
            yield from ask(*made)


def _training(
    part: Part,
    places: Places,
    entry: ModelEntry,
    options: Mapping[str, Any],
    labels: Mapping[str, str],
    needs: Sequence[str],
    earlier: Mapping[str, Planned],
    tried: Mapping[str, Any],
) -> tuple[Planned, RunConfig] | None:
    """A training with the settings that a search tries, if any; None where the part excludes it."""
    model, on = labels["model"], labels["trained_on"]
    recipes = architecture_of(entry.model or model).recipes
    recipe = entry.recipe or (labels["protocol"] if labels["protocol"] in recipes else None)
    config = config_of(_over(options, tried), recipe, f"model '{model}'")
    told = {**labels, "regime": config.regime, **{key: str(value) for key, value in tried.items()}}
    told["fold"] = "" if config.fold is None else str(config.fold)
    told["protocol"] = options.get("protocol") or recipe or "corrected"  # not every model has a published one
    if _excluded(part, told, places):
        return None
    if _shares_features(places.spec, config):
        config = config.model_copy(update={"feature_cache": FEATURES})
    values = config.model_dump(mode="json")
    return _planned("train", model, told, values, places, places.members(on), needs, earlier), config


def _shares_features(spec: StudySpec, config: RunConfig) -> bool:
    """Whether the run's encoders are frozen, so that their features serve others, too."""
    frozen = config.regime in ("freeze_encoders", "decoder")
    wanted = spec.features and config.feature_cache is None
    return wanted and frozen and not architecture_of(config.model).composed


def _asked(part: Part, places: Places, run: Planned, config: RunConfig) -> Iterator[Planned]:
    """Evaluations and probes of a trained model."""
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
            yield _planned("probe", model, labels, values, places, [label], [run.name], {run.name: run})


def _asked_about(one: Evaluate | Probe, places: Places, own: Sequence[str]) -> list[str]:
    """The datasets that an evaluation or probe is about, those that are there and have the split."""
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
    }
    return _planned("evaluate", run.labels["model"], labels, values, places, [label], [run.name], {run.name: run})


def _worths(part: Part, places: Places, runs: Sequence[Planned]) -> Iterator[Planned]:
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
            yield _planned("worth", labels["model"], labels, values, places, list(first.data), needs, known)


def _untrained(part: Part, places: Places, model: str, entry: ModelEntry, label: str) -> Iterator[Planned]:
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
    prompts = places.prompts(label, _prompts(part, label))
    settings = _over(_over({}, places.spec.set), entry.set)
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
            if _excluded(part, labels, places):
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
            }
            yield _planned("evaluate", model, labels, values, places, [label], [], {})


def _external(spec: StudySpec, places: Places) -> Iterator[Planned]:
    from pathlib import Path

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
            run = _planned("masks", one.name, labels, values, places, [label], [], {})
            yield run.model_copy(update={"parts": [EXTERNAL]})


def _planned(
    kind: Kind,
    model: str,
    labels: Mapping[str, str],
    config: Mapping[str, Any],
    places: Places,
    data: Sequence[str],
    needs: Sequence[str],
    known: Mapping[str, Planned],
) -> Planned:
    """A run with its name and identity."""
    named = {
        key: value for key, value in config.items() if key not in (*BESIDE, "masks", "cache") and _said(key, value)
    }
    beside = {key: labels[key] for key in BESIDE if key in labels}  # where they are an axis
    mark = _digest([kind, model, named, list(data), list(needs), beside])[:8]
    told = [labels[key] for key in ("model", "trained_on", "prompt") if labels.get(key)]
    told += [f"{key}-{value[:20]}" for key, value in labels.items() if key not in USUAL]
    told += [
        f"{key}-{value}"
        for key, usual in (("share", "1"), ("fold", ""))
        if (value := labels.get(key, "")) not in (usual, "")
    ]
    if kind != "train":
        told += [kind, labels["data"], labels["asked"]] + (
            [c] if (c := labels.get("condition", "clean")) != "clean" else []
        )
    told += [f"s{labels['seed']}"] if labels.get("seed") else []
    name = re.sub(r"[^A-Za-z0-9.+_-]+", "-", "_".join(told).replace("/", "-")).strip("-.")[:100]
    weights = config.get("weights")
    depends = {
        "config": named | {"cached": config.get("cache") is not None or config.get("feature_cache") is not None},
        "arguments": contents(config.get("model_arguments") or {}),
        "data": places.fingerprints(data),
        "weights": places.weights(weights, config.get("revision")) if weights and not weights.startswith(RUN) else None,
        "masks": contents({"masks": config["masks"]}) if "masks" in config else None,
        "protocols": {room: PROTOCOLS[room] for room in OF_KIND[kind]},
        "needs": [known[need].identity for need in needs],
    }
    near = known[needs[0]].near if kind != "train" and needs else _near(model, config, data)
    return Planned(
        name=f"{name}-{mark}",
        kind=kind,
        labels=dict(labels),
        parts=[],
        config=dict(config),
        data={label: places.folder(label) for label in data},
        needs=list(needs),
        identity=_digest(depends),
        near=near,
    )


def _said(key: str, value: Any) -> bool:
    """Whether a setting is other than usual: fields that later versions add give no run another name."""
    known = RunConfig.model_fields.get(key)
    usual = None if known is None or known.is_required() else known.get_default(call_default_factory=True)
    return bool(value != usual)


def _near(model: str, config: Mapping[str, Any], data: Sequence[str]) -> str:
    """Equal for runs that share the features of images."""
    return _digest([model, config.get("weights"), config.get("model_arguments"), sorted(data)])[:8]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _in_order(runs: list[Planned]) -> list[Planned]:
    """Runs that share features after each other, each directly followed by what reads it."""
    places: dict[str, int] = {}
    for run in runs:
        places.setdefault(run.near, len(places))
    return sorted(runs, key=lambda run: places[run.near])


def _prompts(part: Part, on: str) -> list[str]:
    if not isinstance(part.prompts, dict):
        return part.prompts
    if on not in part.prompts:
        raise InputError(f"prompts: names none for '{on}'; add it there, or give one list for all")
    return part.prompts[on]


def _over(options: Mapping[str, Any], level: Mapping[str, Any]) -> dict[str, Any]:
    """The options with another level of settings over them; "model_arguments.x" is one of the model's arguments."""
    merged = dict(options)
    for key, value in level.items():
        outer, dot, inner = key.partition(".")
        if outer == "model_arguments":
            given = {inner: value} if dot else value
            if not isinstance(given, Mapping):
                raise InputError(f"model_arguments: '{value}' is no mapping; write {{name: value}}")
            merged[outer] = {**merged.get(outer, {}), **given}
        else:
            merged[key] = value
    return merged


def _excluded(part: Part, labels: Mapping[str, str], places: Places) -> bool:
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
            values = wanted if isinstance(wanted, list) else [wanted]
            fits.append(labels[name] in [str(value) for value in values])
        if fits and all(fits):
            if WHY in rule:
                own = {} if "data" in labels else {"data": labels["trained_on"], "asked": labels["prompt"]}
                places.left_out(part.name, {**own, **labels}, str(rule[WHY]))
            return True
    return False


def _source(part: Part, labels: Mapping[str, str], earlier: Mapping[str, Planned], places: Places) -> Planned:
    """The run of another part that a training starts from."""
    on = part.start_data or labels["trained_on"]
    found = [
        run
        for run in earlier.values()
        if run.kind == "train"
        and part.start_from in run.parts
        and run.labels["trained_on"] == on
        and run.labels["model"] == labels["model"]
    ]
    for key in ("seed", "prompt", "fold", "share", "protocol"):  # where one fits, it is meant
        fitting = [run for run in found if run.labels[key] == labels[key]]
        found = fitting or found
    if len(found) != 1:
        what = "no run" if not found else f"{len(found)} runs"
        raise InputError(
            f"start_from: part '{part.start_from}' has {what} of '{labels['model']}' on '{on}' to start from; "
            "there must be one for each seed"
        )
    source = found[0]
    more = float(source.labels["share"]) > float(labels["share"])
    if set(source.data) & set(places.members(labels["trained_on"])) and (
        source.labels["fold"] != labels["fold"] or more
    ):
        raise InputError(
            f"start_from: the runs of part '{part.start_from}' have seen images of '{on}' that folds or shares of this "
            "part hold back; give that part the same folds and shares, or start_data of other images"
        )
    return source
