"""The one console on stderr: bars of different rooms can only lie below each other on the same one."""

from functools import lru_cache

from rich.console import Console


@lru_cache(maxsize=1)
def error_console() -> Console:
    """For bars and lines of progress; results go to stdout."""
    return Console(stderr=True)
