"""A training run: data, model and prompt joined, trained, validated, saved, recorded."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vlseg.jobs.run_folder import begin
from vlseg.records import RunConfig, RunRecord


def train_run(
    config: RunConfig | None, out: Path, *, resume: bool = False, places: Mapping[str, Any] | None = None
) -> RunRecord:
    """Train into the folder `out` and return the record. With `resume`, go on where `out` stopped.

    `config` may be None only when a run is resumed; `places` then says where its data, weights or feature cache lie now
    if not where they were. A finished run is returned as it is.

    Raises:
        InputError: wrong configuration or data, or another process trains the run; nothing is written then.
        Exception: whatever stopped the training; the record says status failed and why.
    """
    with ExitStack() as held:
        started = begin(config, out, held, resume=resume, places=places)
        if isinstance(started, RunRecord):
            return started
        # Torch takes seconds to load: what is wrong with configuration or data is said before.
        from vlseg.jobs.fitting import close_run, open_run, recorded_failure, trainer_of, untrained

        run = open_run(started, held)
        with recorded_failure([run]):
            trainer = trainer_of(run, resume=resume)
            return close_run(run, trainer.run() if trainer else untrained(run))
