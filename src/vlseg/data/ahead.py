"""Things made by threads while the caller still works on the ones before."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
DEPTH = 2
"""How many things are made ahead by each thread."""


def made_ahead(make: Callable[[int], T], count: int, threads: int) -> Iterator[T]:
    """make(0), ..., make(count - 1) in order; the next ones are being made while the caller uses one.

    Threads, not processes: decoding and tensor operations leave the interpreter's lock, and all share what is in
    memory. An error of `make` is raised where its result is due.

    Args:
        make: a pure function of the number, apart from caches that threads may share.
        count: how many.
        threads: 0 makes each when it is asked for.
    """
    if threads == 0:
        yield from (make(index) for index in range(count))
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for index in range(count):
                waiting.append(pool.submit(make, index))
                if len(waiting) > DEPTH * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
