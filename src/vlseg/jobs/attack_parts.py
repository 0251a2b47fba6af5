"""A few images at a time: what was done before an attack was cut off is not done again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from vlseg.jobs.attack_rows import Side, take_kept
from vlseg.jobs.attack_search import Key
from vlseg.prompts import Prompted
from vlseg.records.console import error_console

SAMPLES_AT_ONCE = 16
"""Whose attacked inputs are in memory, and more where one image has more; what is done is kept after so many."""
Advance = Callable[[int], None]
"""Tells the progress bar of so many images under one attack."""


def over_parts(
    sides: Sequence[Side], items: Sequence[Prompted], work: Callable[[int, list[Prompted], Advance], None]
) -> None:
    """Rows of all sides: those that are kept, and of the other parts what `work` makes of a part's number and items."""
    attacks = len(sides[0].planned)
    with _bar(len(images_of(items)) * attacks) as advance:
        for number, part in enumerate(_parts(items)):
            if take_kept(sides, number):
                advance(len(images_of(part)) * attacks)
            else:
                work(number, part, advance)


def images_of(items: Sequence[Prompted]) -> list[Key]:
    """Dataset and id of each image, once."""
    return list(dict.fromkeys((item.sample.dataset, item.sample.image_id) for item in items))


def _parts(items: Sequence[Prompted]) -> Iterator[list[Prompted]]:
    """All samples of one or more images at a time; those of an image follow each other."""
    part: list[Prompted] = []
    for _, inside in groupby(items, key=lambda item: (item.sample.dataset, item.sample.image_id)):
        same = list(inside)
        if part and len(part) + len(same) > SAMPLES_AT_ONCE:
            yield part
            part = []
        part += same
    yield part


@contextmanager
def _bar(total: int) -> Iterator[Advance]:
    console = error_console()
    columns = (TextColumn("attacking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task: TaskID = bar.add_task("attacking", total=total)
        yield lambda steps: bar.advance(task, steps)
