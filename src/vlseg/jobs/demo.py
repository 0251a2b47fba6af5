"""The demo: phantoms, three models trained for a fixed number of steps, all tested, prompts swapped."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from vlseg.jobs.evaluate import Evaluated, EvaluateOptions, evaluate_on
from vlseg.jobs.train import train_run
from vlseg.phantoms import write_phantoms
from vlseg.records import InputError, RunConfig, SampleScore
from vlseg.records.console import error_console

COUNTS = {"train": 1600, "val": 60, "test": 200}
IMAGE_SIZE = 96
PROMPT = "class+attributes"
STEPS = {"clipseg-tiny": 1000, "unet": 250, "unet-target": 250}


TYPICAL: Mapping[str, float] = {
    "phantoms": 30.0,
    "clipseg-tiny": 310.0,
    "unet": 45.0,
    "unet-target": 45.0,
    "tests": 30.0,
}
"""Seconds that each phase takes on two cores; only their ratios matter once a phase is done."""


class TimeLeft:
    """An estimate of the seconds left of phases that come in a known order, from the first second on."""

    TRUST = 10.0
    """Typical seconds that count as seen before any phase is done."""

    def __init__(self, typical: Mapping[str, float] = TYPICAL, now: Callable[[], float] = time.monotonic) -> None:
        self._typical, self._now = dict(typical), now
        self._phase: str | None = None
        self._begun = self._phase_begun = now()
        self._finished = self._spent = 0.0

    def begin(self, phase: str | None) -> None:
        """The phase before is over, this one begins; None = all are over."""
        if self._phase is not None:
            typical, spent = self._typical.pop(self._phase), self._now() - self._phase_begun
            if spent > typical / 20:  # else an earlier demo had done it, which says nothing of this machine
                self._finished, self._spent = self._finished + typical, self._spent + spent
        self._phase, self._phase_begun = phase, self._now()
        if phase is None:
            self._typical = {}

    @property
    def share(self) -> float:
        """Of the whole that is done, in [0, 1]."""
        gone = self._now() - self._begun
        left = self.seconds
        return gone / (gone + left) if gone + left > 0 else 1.0

    @property
    def seconds(self) -> float:
        """Left until the end; a phase that takes longer than expected counts a twentieth until it is over."""
        slower = (self._spent + self.TRUST) / (self._finished + self.TRUST)
        current = self._typical.get(self._phase or "", 0.0) * slower
        later = sum(self._typical.values()) * slower - current
        return later + max(current - (self._now() - self._phase_begun), current / 20)


class _Left(ProgressColumn):
    """The clock, read whenever the bar is drawn."""

    def __init__(self, clock: TimeLeft) -> None:
        super().__init__()
        self._clock = clock

    def render(self, task: Task) -> Text:
        minutes, seconds = divmod(round(self._clock.seconds), 60)
        task.completed = self._clock.share
        return Text(f"about {minutes}:{seconds:02d} left")


def time_left_bar(clock: TimeLeft) -> Progress:
    """A bar over all phases, above those of the phases; on a terminal only."""
    console = error_console()
    bar = Progress(
        TextColumn("demo"), BarColumn(), _Left(clock), console=console, disable=not console.is_terminal, transient=True
    )
    bar.add_task("demo", total=1.0)
    return bar


@dataclass(frozen=True)
class DemoResult:
    """Where everything lies, and the figures of the design's demo line."""

    runs: tuple[Path, ...]
    text_blind_ceiling: float
    class_ceiling: float
    figures: dict[str, dict[str, float | None]]
    seconds: float


def run_demo(
    out: Path, *, seed: int = 0, threads: int | None = None, say: Callable[[str], None], clock: TimeLeft | None = None
) -> DemoResult:
    """Make phantoms, train, evaluate; what an earlier, interrupted demo finished is kept.

    Args:
        out: DEMO folder: data/, runs/.
        seed: of the phantoms and of every run.
        threads: CPU threads; None = torch's choice.
        say: told what is going on, a line at a time.
        clock: told which phase has begun.

    Raises:
        InputError: `out` holds a demo of another seed, or something else.
    """
    begin = time.monotonic()
    clock = clock or TimeLeft()
    clock.begin("phantoms")
    data = _phantoms(out, seed, say)
    evaluated: dict[str, Evaluated] = {}
    for model in STEPS:
        run = out / "runs" / model
        clock.begin(model)
        say(f"training {model} for {STEPS[model]} steps")
        train_run(_config(model, data, seed, threads), run, resume=True)
        evaluated[model] = evaluate_on(str(run), [str(data)], EvaluateOptions(threads=threads))
        say(f"  test Dice over present targets {evaluated[model].aggregate.dice_present.mean:.3f}")
    clock.begin("tests")
    say("asking the U-Net once an image, whatever the prompt")
    blind_options = EvaluateOptions(threads=threads, condition="blind")
    evaluated["blind"] = evaluate_on(str(out / "runs" / "unet"), [str(data)], blind_options)
    say("swapping prompts")
    text_run = str(out / "runs" / "clipseg-tiny")
    swapped = evaluate_on(text_run, [str(data)], EvaluateOptions(threads=threads, condition="swapped"))
    clock.begin(None)
    figures = _figures(evaluated, swapped)
    spec = evaluated["clipseg-tiny"].spec
    assert spec.text_blind_ceiling is not None  # phantoms have several objects an image, and several of a class
    assert spec.class_ceiling is not None
    runs = tuple(out / "runs" / model for model in STEPS)
    return DemoResult(runs, spec.text_blind_ceiling, spec.class_ceiling, figures, time.monotonic() - begin)


def _phantoms(out: Path, seed: int, say: Callable[[str], None]) -> Path:
    data = out / "data" / "phantoms"
    if data.exists():
        made = json.loads((data / "dataset.json").read_text(encoding="utf-8")).get("generator", {})
        if made.get("seed") != seed:
            raise InputError(f"{out}: holds a demo of seed {made.get('seed')}; give another --out")
        return data
    if out.exists() and any(out.iterdir()) and not (out / "data").exists():
        raise InputError(f"--out: {out} is not empty and holds no demo; give another folder")
    say(f"drawing {sum(COUNTS.values())} phantoms")
    write_phantoms(data, level="easy", counts=COUNTS, size=IMAGE_SIZE, seed=seed)
    return data


def _config(model: str, data: Path, seed: int, threads: int | None) -> RunConfig:
    # A fixed number of steps, no early stop: the result depends on the seed alone.
    common: dict[str, Any] = {
        "model": model,
        "model_arguments": {"image_size": IMAGE_SIZE},
        "data": [str(data)],
        "prompt": PROMPT,
        "seed": seed,
        "threads": threads,
        "device": "cpu",
        "max_steps": STEPS[model],
        "epochs": 10_000,
        "validate_every": 1,
        "validate_limit": 60,
        "patience": None,
        "augment": False,
        "batch_size": 8,
        "prompts_per_image": 4,
        "learning_rate": 2e-3,
        "presence_weight": 0.3,
    }
    return RunConfig(**common)


def _figures(evaluated: dict[str, Evaluated], swapped: Evaluated) -> dict[str, dict[str, float | None]]:
    text = evaluated["clipseg-tiny"].aggregate
    return {
        "text": {"dice": text.dice_present.mean, "absent_empty": text.absent_empty},
        "blind": {"dice": evaluated["blind"].aggregate.dice_present.mean},
        "image_only": {"dice": evaluated["unet"].aggregate.dice_present.mean},
        "target_conditioned": {"dice": evaluated["unet-target"].aggregate.dice_present.mean},
        "text_swapped": {
            "dice_vs_original": _mean_dice(swapped.scores, "original"),
            "dice_vs_named": _mean_dice(swapped.scores, "named"),
        },
    }


def _mean_dice(scores: list[SampleScore], against: str) -> float:
    values = [
        score.dice
        for score in scores
        if score.dice is not None and json.loads(score.condition_arguments)["against"] == against
    ]
    return sum(values) / len(values)
