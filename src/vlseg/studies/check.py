"""What contradicts itself in a study: told before any data are read."""

from collections.abc import Iterable, Sequence
from typing import Any

from vlseg.jobs.attack_asked import attacks_of
from vlseg.jobs.attack_plan import attack_options
from vlseg.metrics import Smoothing
from vlseg.models.additions import check_regime
from vlseg.records import InputError, unknown_name
from vlseg.records.study import OWN, Attacked, Evaluate, ModelEntry, Part, Probe, StudySpec, Worth, several

LISTED = {
    "model": "models",
    "data": "data",
    "prompt": "prompts",
    "seed": "seeds",
    "train_share": "shares",
    "weights": "the study's models",
    "revision": "the study's models",
}
"""Settings that are lists of a part, by the name there: set otherwise, tables would tell of others than were run."""
EXTERNAL = "external"
"""The part under which mask files stand in tables."""


def check_study(spec: StudySpec) -> None:
    """That names of parts, models and pools fit together, and that nothing is set in two ways.

    Raises:
        InputError: what does not, with the part's or pool's name.
    """
    _check_pools(spec)
    _check_set(spec.set, "set")
    for label, entry in spec.models.items():
        _check_set(entry.set, f"models: {label}: set")
    for part in spec.parts:
        try:
            _check_part(part, spec)
        except InputError as error:
            raise InputError(f"part '{part.name}': {error}") from error
    for table in spec.tables:
        for name in several(table.where.get("part", [])):
            known = [*(part.name for part in spec.parts), EXTERNAL]
            if name not in known:
                raise InputError(f"table '{table.name}': where: {unknown_name('part', name, known)}")


def _check_pools(spec: StudySpec) -> None:
    for name, members in spec.pools.items():
        inside = next((member for member in members if member in spec.pools and member != name), None)
        if inside is not None:
            raise InputError(f"pools: '{name}' holds the pool '{inside}'; list its datasets instead")
    for name, members in spec.pools.items():
        if name in spec.data or name in members:
            raise InputError(f"pools: '{name}' is a dataset, too; give the pool a name of its own")
        if len(set(members)) < len(members):
            raise InputError(f"pools: '{name}' names a dataset twice; give each once")
        folders = {spec.data[member] for member in members if member in spec.data}
        if len(folders) < sum(member in spec.data for member in members):
            raise InputError(f"pools: '{name}' holds one folder under two names; give each once")


def _check_set(settings: Iterable[str], where: str) -> None:
    for key in settings:
        if key in LISTED:
            raise InputError(f"{where}: '{key}' is listed by each part; give it under {LISTED[key]}")


NO_OPTION = {"data", "split", "limit", "models"}
"""Of a study's attack, what says on what and of whom."""
OF_WORDS = {"words", "sizes", "candidates"}
"""Named where they are given alone: other attacks keep the names that they had before there were any."""


def attack_values(one: Attacked) -> dict[str, Any]:
    """The options of `vlseg attack`."""
    values = one.model_dump(exclude=NO_OPTION)
    return {name: value for name, value in values.items() if value or name not in OF_WORDS}


def _check_part(part: Part, spec: StudySpec) -> None:
    _check_set(part.set, "set")
    _check_set(part.axes.keys() - {"weights", "revision"}, "axes")
    if part.regimes is not None:
        for regime in part.regimes:
            check_regime(regime, {})
        levels = [spec.set, part.set, part.axes, *(spec.models.get(one, ModelEntry()).set for one in part.models)]
        if any("regime" in level for level in levels):
            raise InputError("regimes: the regime is set, too; give one of the two")
    for name, some in (
        ("evaluate", part.evaluate),
        ("probe", part.probe),
        ("attack", part.attack),
        ("worth", part.worth),
    ):
        for one in some:
            _check_names(one.models or [], part.models, name)
    for rule in part.exclude:
        _check_names(several(rule.get("model", [])), part.models, "exclude")
    asked: list[Evaluate | Probe | Attacked | Worth] = [*part.evaluate, *part.probe, *part.attack, *part.worth]
    if part.folds is not None and any(one.split != "test" for one in asked):
        raise InputError("folds: split 'test' alone can be asked about; each fold trains on images of the others")
    same = next((one.honest for one in part.worth if one.honest == one.leaking), None)
    if same is not None:
        raise InputError(f"worth: compares '{same}' with itself; give a leaking and an honest prompt")
    for one in part.evaluate:
        Smoothing(**one.smoothing.model_dump())
        usual = Evaluate()
        if "smoothed" not in one.conditions and (one.smoothing, one.limit) != (usual.smoothing, usual.limit):
            raise InputError("evaluate: smoothing and limit are for the condition smoothed; add it to conditions")
    for one in part.attack:
        attacks_of(attack_options(attack_values(one)))
    if not part.train:
        _check_untrained(part)


def _check_names(names: Iterable[str], known: Sequence[str], where: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"{where}: {unknown_name('model of the part', name, known)}")


def _check_untrained(part: Part) -> None:
    """An untrained model has neither seeds nor settings of a training, and is asked what the part itself lists."""
    usual = Part(name=part.name, models=part.models, data=part.data)
    names = ("regimes", "seeds", "folds", "shares", "axes", "set", "start_from", "probe", "attack", "worth", "search")
    given = [name for name in names if getattr(part, name) != getattr(usual, name)]
    if given:
        raise InputError(f"train: false: takes no {', '.join(given)}; leave that out, or train")
    if any(one.data != OWN or one.prompts != OWN for one in part.evaluate):
        raise InputError("train: false: asks about the part's own data and prompts; list them there, not in evaluate")
