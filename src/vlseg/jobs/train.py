"""A training run: data, model and prompt joined, trained, validated, saved, recorded."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vlseg.jobs.processes import helpers
from vlseg.jobs.run_folder import begin
from vlseg.records import RunConfig, RunRecord, started_place


def train_run(
    config: RunConfig | None, out: Path, *, resume: bool = False, places: Mapping[str, Any] | None = None
) -> RunRecord:
    """Train into the folder `out` and return the record. With `resume`, go on where `out` stopped.

    `config` may be None only when a run is resumed; `places` then says where its data, weights or feature cache lie now
    if not where they were, and how many devices train it if not as many as before. A finished run is returned as it is.

    Of processes that srun or torchrun started, each calls this once, and all get the record.

    Raises:
        InputError: wrong configuration or data, or another process trains the run; nothing is written then.
        LostProcessError: another process that trained the run has ended.
        Exception: whatever stopped the training; the record says status failed and why.
    """
    if started_place() is not None:
        return _among_others(config, out, resume, places)
    with ExitStack() as held:
        started = begin(config, out, held, resume=resume, places=places)
        if isinstance(started, RunRecord):
            return started
        # Torch takes seconds to load: what is wrong with configuration or data is said before.
        from vlseg.jobs.fitting import train_started

        if started.config.devices == 1:
            return train_started(started, held, resume=resume)
        from vlseg.models.device import shared_threads
        from vlseg.training.distributed import broadcast, shared_fate

        threads = started.config.threads or shared_threads(started.config.devices)
        with helpers(started.config.devices), shared_fate():
            broadcast((started, resume, threads))
            return train_started(started, held, resume=resume, threads=threads)


def _among_others(config: RunConfig | None, out: Path, resume: bool, places: Mapping[str, Any] | None) -> RunRecord:
    """As one of the processes that srun or torchrun started; the first one looks at everything and says what to do."""
    from vlseg.jobs.fitting import train_started
    from vlseg.training.distributed import barrier, broadcast, is_first, join, shared_fate

    place = started_place()
    assert place is not None
    join(place)
    with shared_fate(), ExitStack() as held:
        barrier()  # all are here before one may fail
        started = begin(config, out, held, resume=resume, places=places) if is_first() else None
        started = broadcast(started)
        assert started is not None
        if isinstance(started, RunRecord):
            return started
        return train_started(started, held, resume=resume)
