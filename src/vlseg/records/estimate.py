"""What a study is expected to take: STUDY/estimate.json, by kind of run and by run."""

import json
from pathlib import Path
from typing import Self

import pydantic

from vlseg.records.files import write_text
from vlseg.records.run import Strict

ESTIMATE_FILE = "estimate.json"
Parts = dict[str, float]
"""Amounts by what they are of: "fixed", "steps", "images" and so on, see `vlseg.studies.amounts`."""


class KindCost(Strict):
    """What a kind of run costs.

    Attributes:
        what: the kind, for people.
        seconds: by unit of work ("steps": of one step); the sum of amounts times these is a run's time.
        bytes: the same for disk; "features" go when the study is done.
        measured: on a few images, not taken from done runs.
        unknown: why nothing could be measured.
    """

    what: str
    seconds: Parts = {}  # noqa: RUF012 pydantic copies defaults
    bytes: Parts = {}  # noqa: RUF012
    measured: bool = False
    unknown: str | None = None


class RunCost(Strict):
    """What one run is expected to take; None = unknown."""

    kind: str
    seconds: float | None
    bytes: float = 0.0
    feature_bytes: float = 0.0


class Estimate(Strict):
    """estimate.json.

    Attributes:
        host, device, threads: where it was measured, and with how many threads a process.
        workers: processes that were reckoned with.
        version: of vlseg.
        kinds: by kind.
        runs: by name.
        spent: seconds that measuring took.
        note: why nothing was measured.
    """

    host: str
    device: str
    threads: int
    workers: int
    version: str
    kinds: dict[str, KindCost] = {}  # noqa: RUF012
    runs: dict[str, RunCost] = {}  # noqa: RUF012
    spent: float = 0.0
    note: str | None = None

    def write(self, study: Path) -> None:
        """Write it into the study's folder."""
        write_text(study / ESTIMATE_FILE, json.dumps(self.model_dump(mode="json")) + "\n")

    @classmethod
    def read(cls, study: Path) -> Self | None:
        """None where there is none that this version can read: it is made anew."""
        try:
            return cls.model_validate_json((study / ESTIMATE_FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, pydantic.ValidationError):
            return None


def total(amounts: Parts, prices: Parts) -> float:
    """The sum of amounts times what one of each costs."""
    return sum(amount * prices.get(what, 0.0) for what, amount in amounts.items())
