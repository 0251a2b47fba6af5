"""A search in a study: each trial is a training; the best of them, once all are closed, is what is evaluated."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vlseg.records import InputError, RunConfig
from vlseg.records.study import Planned, PlannedSearch, Search
from vlseg.studies.check import LISTED
from vlseg.studies.naming import BESIDE, digest
from vlseg.studies.search import SEARCH, Trial, best, distributions, ends, finished, trials

Made = tuple[Planned, RunConfig]
UNSEARCHED = {**LISTED, "target": "the study's set", "protocol": "protocols", "fold": "folds", "folds": "folds"}
"""Settings that no search may choose, because results under them are not of one task: where a part lists them."""


class Searches:
    """The searches of a study as it is expanded; each combination of a part's other axes is searched for itself.

    Attributes:
        found: those that were met so far.
    """

    def __init__(self, study: Path | None) -> None:
        self._study = study
        self.found: list[PlannedSearch] = []

    def runs(
        self,
        search: Search,
        make: Callable[[Mapping[str, Any]], Made | None],
        ask: Callable[[Planned, RunConfig], Iterable[Planned]],
    ) -> Iterator[Planned]:
        """The trainings of the trials that were asked so far; when all are closed, what is asked of the best.

        Args:
            search: what is searched for.
            make: the training with the given settings; None where it is excluded.
            ask: evaluations and probes of a training.

        Raises:
            InputError: a space that cannot be searched, or with values that a setting cannot have.
        """
        _check(search, make)
        plain = make({})
        if plain is None:
            return
        depends = [plain[0].identity, search.space, search.sampler, search.seed]
        name = f"{plain[0].name}-{digest(depends)[:8]}"
        asked = self._trials(name)
        known = [one for trial in asked if (one := make(trial.values)) is not None]
        if len(known) < len(asked):
            raise InputError("exclude: leaves out trials of a search; narrow the search's space instead")
        self.found.append(PlannedSearch(name=name, search=search, runs=[run.name for run, _ in known]))
        yield from (run for run, _ in known)
        if finished(asked, search) and (top := best(asked)) is not None:
            yield from ask(*known[top.number])

    def _trials(self, name: str) -> list[Trial]:
        return trials(self._study / SEARCH, name) if self._study is not None else []


def _check(search: Search, make: Callable[[Mapping[str, Any]], Made | None]) -> None:
    """That every axis is of a setting that may be searched for, and that its ends are values of that setting."""
    for key in search.space:
        if key in UNSEARCHED:
            raise InputError(f"search: space: '{key}' is not searched for; list its values under {UNSEARCHED[key]}")
        if key in BESIDE:
            raise InputError(f"search: space: '{key}' changes no result; leave it out")
    distributions(search)
    for key, axis in search.space.items():
        for value in ends(axis):
            make({key: value})
