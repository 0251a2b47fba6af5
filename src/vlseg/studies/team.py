"""A worker that is several processes, as srun starts them: the first one claims runs, all of them train."""

from pathlib import Path
from typing import Any

from vlseg.records import LostProcessError, started_place
from vlseg.studies.worker import work


def work_together(study: Path, **options: Any) -> int:
    """As `work`, by this process and those that were started with it; how many runs this process closed.

    The first one evaluates alone. What stops a run in one process stops it in all, and they go on with the next.

    Raises:
        LostProcessError: another process has ended without a word; its run is left to other workers.
    """
    place = started_place()
    if place is None:
        return work(study, **options)
    from vlseg.training.distributed import broadcast, join, leave

    join(place)
    if place.rank > 0:
        _follow()
        closed = 0
    else:
        closed = work(study, **options)
        broadcast(None)
    leave()
    return closed


def _follow() -> None:
    """Train along with the first process until it says that it is over."""
    from vlseg.jobs.train import train_run
    from vlseg.training.distributed import broadcast

    while True:
        call: Any = broadcast(None)
        if call is None:
            return
        try:
            train_run(**call)
        except LostProcessError as error:
            if error.silent:
                raise
        except (Exception, KeyboardInterrupt):  # the first one has it, too, and tells it
            continue
