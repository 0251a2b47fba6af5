"""Searching for settings: trials are asked of Optuna and told their val Dice, in one journal that survives kills.

STUDY/search/journal.log is Optuna's own (its dashboard opens it). A trial is written in one line when it is asked and
in one when it is told, so that a kill leaves it asked or not asked, never half. What is asked next is drawn anew from
the seed, the trial's number and the trials before it: in one order the same trials come, however often the search was
interrupted. The objective is the best val Dice of the training. Test data take no part.
"""

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from vlseg.data.seeds import derived_seed
from vlseg.records import InputError, write_text
from vlseg.records.study import Search

SEARCH = "search"
"""In a study's folder."""
JOURNAL = "journal.log"
FAILED = "failed"
"""In the journal, of a trial whose run failed. It may be told a value later, when the run is made again."""


@dataclass(frozen=True)
class Trial:
    """Settings that were asked for.

    Attributes:
        number: from 0, in the order in which they were asked.
        values: by setting.
        value: best val Dice; None = not told yet, or failed.
        failed: its run failed.
    """

    number: int
    values: Mapping[str, Any]
    value: float | None = None
    failed: bool = False

    @property
    def closed(self) -> bool:
        """Whether nothing more is to come of it by itself."""
        return self.failed or self.value is not None


def trials(folder: Path, name: str) -> list[Trial]:
    """The trials that were asked so far in the search `name`, in order; none where there is no journal."""
    if not (folder / JOURNAL).exists():
        return []
    _check_installed()
    with _calm() as optuna:
        storage = _storage(folder)
        found = {one.study_name: one._study_id for one in storage.get_all_studies()}
        if name not in found:
            return []
        return [
            Trial(
                one.number,
                dict(one.params),
                one.value if one.state == optuna.trial.TrialState.COMPLETE else None,
                FAILED in one.user_attrs and one.state != optuna.trial.TrialState.COMPLETE,
            )
            for one in storage.get_all_trials(found[name])
        ]


def ask(folder: Path, name: str, search: Search) -> Trial | None:
    """Ask for one more trial and write it down; None where all have been asked.

    Whoever asks holds the search (see `vlseg.studies.grow`): of two at once neither would know the other's trial.

    Args:
        folder: of the study's searches.
        name: of the search.
        search: its space, sampler, seed, and the number of trials.

    Raises:
        InputError: a space that cannot be searched; Optuna is not installed.
    """
    _check_installed()
    space = distributions(search)
    folder.mkdir(parents=True, exist_ok=True)
    with _calm() as optuna:
        _mend(folder / JOURNAL)
        study = optuna.create_study(
            storage=_storage(folder), study_name=name, direction="maximize", load_if_exists=True
        )
        before = study.get_trials(deepcopy=False)
        if len(before) >= wanted(search):
            return None
        running = optuna.trial.TrialState.RUNNING
        values = _drawn(search, space, before)
        study.add_trial(optuna.trial.create_trial(state=running, params=values, distributions=space))
    return Trial(len(before), values)


def tell(folder: Path, name: str, number: int, value: float | None) -> None:
    """Write down what became of a trial: its best val Dice, or None where its run failed. Told twice, the first counts.

    Args:
        folder: of the study's searches.
        name: of the search.
        number: of the trial.
        value: in [0, 1].
    """
    with _calm() as optuna:
        _mend(folder / JOURNAL)
        study = optuna.load_study(storage=_storage(folder), study_name=name)
        trial = study.get_trials(deepcopy=False)[number]
        if value is not None:
            study.tell(number, value, skip_if_finished=True)
        elif not trial.state.is_finished() and FAILED not in trial.user_attrs:
            study._storage.set_trial_user_attr(trial._trial_id, FAILED, True)


def best(found: Iterable[Trial]) -> Trial | None:
    """The trial of the highest val Dice, of equal ones the first; None where none has a value."""
    told = [one for one in found if one.value is not None]
    return max(told, key=lambda one: (one.value, -one.number), default=None)


def finished(found: Sequence[Trial], search: Search) -> bool:
    """Whether all trials have been asked and closed."""
    return len(found) >= wanted(search) and all(one.closed for one in found)


def wanted(search: Search) -> int:
    """The number of trials; of a grid no more than it has points."""
    return search.trials if search.sampler != "grid" else min(search.trials, len(_grid(search)))


def write_best(folder: Path, found: Mapping[str, Sequence[Trial]]) -> None:
    """best.yaml: of each search the best trial so far, its settings ready for `set:` of a study's part."""
    told = {}
    for name, asked in found.items():
        if (top := best(asked)) is not None:
            closed = sum(one.closed for one in asked)
            told[name] = {"set": dict(top.values), "val_dice": top.value, "trial": top.number, "trials": closed}
    if told:
        write_text(folder / "best.yaml", yaml.safe_dump(told, sort_keys=False))


def distributions(search: Search) -> dict[str, Any]:
    """Optuna's distribution of each setting.

    Raises:
        InputError: an axis that is neither a list of plain values nor {low, high, log, step}, or bounds that do not
            fit; a grid over an axis without steps; Optuna is not installed.
    """
    _check_installed()
    with _calm():
        found = {key: _distribution(key, axis) for key, axis in search.space.items()}
    if search.sampler == "grid":
        _grid(search)
    return found


def ends(axis: Any) -> list[Any]:
    """The values of an axis that show whether all are fit for their setting: each choice, or both bounds."""
    return list(axis) if isinstance(axis, list) else [axis["low"], axis["high"]]


BOUNDS = {"low", "high", "log", "step"}
PLAIN = (str, int, float, bool, type(None))


def _distribution(key: str, axis: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(axis, list):
        if not axis or not all(isinstance(value, PLAIN) for value in axis):
            raise InputError(f"search: space: {key}: a list holds choices, one or more plain values; got {axis}")
        if len({json.dumps(value) for value in axis}) < len(axis):
            raise InputError(f"search: space: {key}: a choice stands there twice: {axis}")
        return CategoricalDistribution(axis)
    numbers = isinstance(axis, dict) and all(
        isinstance(axis.get(end), int | float) and not isinstance(axis[end], bool) for end in ("low", "high")
    )
    if not numbers or set(axis) - BOUNDS:
        raise InputError(f"search: space: {key}: write [a, b] or {{low: 1, high: 9}} with log or step; got {axis}")
    step, log = axis.get("step"), bool(axis.get("log", False))
    whole = all(isinstance(axis[end], int) for end in ("low", "high")) and (step is None or isinstance(step, int))
    try:
        if whole:
            return IntDistribution(axis["low"], axis["high"], log=log, step=step or 1)
        return FloatDistribution(float(axis["low"]), float(axis["high"]), log=log, step=step)
    except ValueError as error:
        raise InputError(f"search: space: {key}: {error}") from error


def _points(key: str, axis: Any) -> list[Any]:
    """The values of an axis of a grid."""
    if isinstance(axis, list):
        return axis
    whole = isinstance(axis["low"], int) and isinstance(axis["high"], int)
    step = axis.get("step", 1 if whole else None)
    if step is None or axis.get("log"):
        raise InputError(f"search: space: {key}: a grid needs a list of choices, or bounds with a step and without log")
    count = int((axis["high"] - axis["low"]) / step + 1e-9) + 1
    return [min(axis["low"] + index * step, axis["high"]) for index in range(count)]


def _grid(search: Search) -> list[dict[str, Any]]:
    """All points of a grid, the last setting fastest."""
    axes = {key: _points(key, axis) for key, axis in search.space.items()}
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _drawn(search: Search, space: Mapping[str, Any], before: Sequence[Any]) -> dict[str, Any]:
    """The values of the next trial, by everything before it and its own random numbers."""
    import optuna

    if search.sampler == "grid":
        return _grid(search)[len(before)]
    seed = derived_seed(search.seed, SEARCH, len(before)) % 2**32
    kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(direction="maximize", sampler=kinds[search.sampler](seed=seed))
    study.add_trials(before)
    return dict(study.ask(dict(space)).params)


def _storage(folder: Path) -> Any:
    """Optuna's journal, which several machines may write: its lock is a file that can be made once, on NFS as well."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = str(folder / JOURNAL)
    return JournalStorage(JournalFileBackend(path, lock_obj=_lock(path)))


def _lock(path: str) -> Any:
    from optuna.storages.journal import JournalFileOpenLock

    return JournalFileOpenLock(path)


def _mend(path: Path) -> None:
    """Drop a last line that a killed writer left half: whatever came after it could not be read."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        file.seek(-1, 2)
        whole = file.read(1) == b"\n"
    if whole:
        return
    from optuna.storages.journal._file import get_lock_file

    with get_lock_file(_lock(str(path))), path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


@functools.cache
def _installed() -> bool:
    return find_spec("optuna") is not None


def _check_installed() -> None:
    if not _installed():
        raise InputError("search: Optuna is not installed here; pip install 'vlseg[search]'")


@contextmanager
def _calm() -> Iterator[Any]:
    """Optuna, without a line for every trial."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(before)
