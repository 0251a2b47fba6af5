"""The progress bar on stderr; where stderr is no terminal, a line at each validation."""

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from vlseg.records.console import error_console


class ProgressBar:
    """Steps done, rate, loss, best val Dice, time left."""

    def __init__(self, total: int, done: int, *, named: bool = False, silent: bool = False) -> None:
        """With `named`, lines say which of several runs they are about; `silent` shows and says nothing."""
        self._console = error_console()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("val Dice {task.fields[dice]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=silent or not self._console.is_terminal,
            transient=True,
        )
        self._total, self._done, self._named, self._silent = total, done, named, silent
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task(
            "training", total=self._total, completed=self._done, loss=float("nan"), dice="-", rate=""
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, loss: float, best: float | None) -> None:
        """One optimiser step is done."""
        assert self._task is not None
        speed = self._bar.tasks[0].finished_speed or self._bar.tasks[0].speed
        rate = f"{speed:.1f} steps/s" if speed else ""
        dice = "-" if best is None else f"{best:.4f}"
        self._bar.update(self._task, advance=1, loss=loss, dice=dice, rate=rate)

    def validated(self, run: str, step: int, epoch: int, score: float, best: float | None) -> None:
        """Say a validation's result."""
        if self._silent:
            return
        best_text = "-" if best is None else f"{best:.4f}"
        self._console.print(
            f"{run}  step {step}  epoch {epoch}  val Dice {score:.4f}  best {best_text}"
            if self._named
            else f"step {step}/{self._total}  epoch {epoch}  val Dice {score:.4f}  best {best_text}",
            highlight=False,
        )
