"""From a study to its runs: every combination of the axes, checked before anything runs."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from vlseg.jobs.settings import config_of
from vlseg.models import architecture_of
from vlseg.models.additions import suits_cache
from vlseg.models.registry import saved_model
from vlseg.records import InputError, RunConfig
from vlseg.records.study import ModelEntry, Part, Plan, Planned, StudySpec
from vlseg.studies.asking import asked_of, excluded, external, prompts_of, untrained, worths
from vlseg.studies.check import check_study
from vlseg.studies.naming import FEATURES, RUN, planned_run, settings_over
from vlseg.studies.places import Places
from vlseg.studies.trials import Searches


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
            for run in worths(part, places, [run for run in runs.values() if part.name in run.parts]):
                runs[run.name] = run.model_copy(update={"parts": [part.name]})
        except InputError as error:
            raise InputError(f"part '{part.name}': {error}") from error
    for run in external(spec, places):
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
                yield from untrained(part, places, model, known, label)
        elif len(there) == len(members) and all(places.has(label, "train") for label in members):
            yield from _trained(part, places, model, known, on, earlier, searches)


def _check_weights(model: str, entry: ModelEntry) -> None:
    """That a folder which says whose weights it holds is of the model.

    Raises:
        InputError: it is of another one.
    """
    name = entry.model or model
    holds = saved_model(Path(entry.weights)) if entry.weights else None
    if holds is not None and holds != name and holds not in architecture_of(name).starts_from:
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
    prompts = places.prompts(on, prompts_of(part, on))
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
            options = settings_over(options, level)
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
            source = _source(part, labels, earlier, places, options.get("label_share", 1.0))
            needs, options["weights"] = [source.name], f"{RUN}{source.name}"
        make = partial(_training, part, places, entry, options, labels, needs, earlier)
        ask = partial(asked_of, part, places)
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
    config = config_of(settings_over(options, tried), recipe, f"model '{model}'")
    told = {**labels, "regime": config.regime, **{key: str(value) for key, value in tried.items()}}
    told["fold"] = "" if config.fold is None else str(config.fold)
    told["protocol"] = options.get("protocol") or recipe or "corrected"  # not every model has a published one
    if excluded(part, told, places):
        return None
    if _shares_features(places.spec, config):
        config = config.model_copy(update={"feature_cache": FEATURES})
    values = config.model_dump(mode="json")
    return planned_run("train", model, told, values, places, places.members(on), needs, earlier), config


def _shares_features(spec: StudySpec, config: RunConfig) -> bool:
    """Whether the run's encoders are frozen, so that their features serve others, too; attacked images have none."""
    wanted = spec.features and config.feature_cache is None and config.adversarial == "none"
    return wanted and suits_cache(config.regime) and not architecture_of(config.model).composed


def _in_order(runs: list[Planned]) -> list[Planned]:
    """Runs that share features after each other, each directly followed by what reads it."""
    places: dict[str, int] = {}
    for run in runs:
        places.setdefault(run.near, len(places))
    return sorted(runs, key=lambda run: places[run.near])


def _source(
    part: Part, labels: Mapping[str, str], earlier: Mapping[str, Planned], places: Places, label_share: float
) -> Planned:
    """The run of another part that a training with so many labels starts from."""
    on, model = part.start_data or labels["trained_on"], part.start_model or labels["model"]
    held, own = (places.spec.models.get(one, ModelEntry()).model or one for one in (model, labels["model"]))
    if held != own and held not in architecture_of(own).starts_from:
        starts = ", ".join(sorted(architecture_of(own).starts_from)) or "no other model"
        raise InputError(
            f"start_model: '{own}' starts from weights of {starts}, not of '{held}'; leave start_model out"
        )
    found = [
        run
        for run in earlier.values()
        if run.kind == "train"
        and part.start_from in run.parts
        and run.labels["trained_on"] == on
        and run.labels["model"] == model
    ]
    for key in ("seed", "prompt", "fold", "share", "protocol", "label_share"):  # where one fits, it is meant
        fitting = [run for run in found if run.labels.get(key) == labels.get(key)]
        found = fitting or found
    if len(found) != 1:
        what = "no run" if not found else f"{len(found)} runs"
        raise InputError(
            f"start_from: part '{part.start_from}' has {what} of '{model}' on '{on}' to start from; "
            "there must be one for each seed"
        )
    source = found[0]
    more = float(source.labels["share"]) > float(labels["share"]) or source.config["label_share"] > label_share
    if set(source.data) & set(places.members(labels["trained_on"])) and (
        source.labels["fold"] != labels["fold"] or more
    ):
        raise InputError(
            f"start_from: the runs of part '{part.start_from}' have seen images of '{on}' that folds or shares of this "
            "part hold back; give that part the same folds and shares, or start_data of other images"
        )
    return source
