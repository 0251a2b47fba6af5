"""python -m vlseg.jobs.helper RANK WORLD PORT: a process that trains a run together with the one that started it."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from vlseg.jobs.fitting import train_started
from vlseg.records import InputError, LostProcessError, Place
from vlseg.training.distributed import broadcast, join, leave, shared_fate


def main(arguments: Sequence[str]) -> int:
    """Train what the first process says; the exit code. What went wrong the first process tells, unless it is gone."""
    rank, world, port = map(int, arguments)
    try:
        join(Place(rank, world, rank, world, port=port))
        with shared_fate(), ExitStack() as held:
            told: Any = broadcast(None)
            started, resume, threads = told
            train_started(started, held, resume=resume, threads=threads)
        leave()
    except KeyboardInterrupt:
        return 130
    except (InputError, FloatingPointError, LostProcessError, OSError) as error:
        if os.environ.get("VLSEG_DEBUG"):
            raise
        if rank == 1 and isinstance(error, LostProcessError) and error.first:
            print(f"vlseg: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
