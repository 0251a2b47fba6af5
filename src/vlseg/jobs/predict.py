"""Prediction for files, with the model loaded once."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vlseg.evaluation import Written, find_images, load, predict_files, predict_missing
from vlseg.evaluation.predict import check_prompts
from vlseg.jobs.lock import run_lock
from vlseg.jobs.prediction_jobs import read_jobs
from vlseg.records import InputError, check_folder
from vlseg.records.console import error_console
from vlseg.records.names import listing


def predict_to_folder(
    source: str, image: Path, prompts: Sequence[str], out: Path, *, options: Mapping[str, Any]
) -> Written:
    """Masks of every image for every prompt, see `vlseg.evaluation.predict_files`; other files are named on stderr.

    Raises:
        InputError: no images, no model, an unwritable `out`.
    """
    check_folder("--out", out, written=True)
    found = find_images(image, out)
    if found.unused:
        print(f"{image}: {listing(found.unused)}, no image", file=sys.stderr)
    predictor = load(source, **options)
    with _bar(len(found.images)) as bar:
        return Written(*predict_files(predictor, found, prompts, out, on_image=bar))


def predict_jobs(source: str, jobs: Path, out: Path, *, options: Mapping[str, Any]) -> Written:
    """Masks of images with prompts of their own; those that are in `out` already are kept.

    Raises:
        InputError: anything wrong in the file `jobs`, before the model is loaded; no model; an unwritable `out`, or one
            that another process writes.
    """
    check_folder("--out", out, written=True)
    asks = read_jobs(jobs)
    predictor = load(source, **options)
    try:
        check_prompts(predictor.model, list(dict.fromkeys(one.prompt for ask in asks for one in ask.wanted)))
    except InputError as error:
        raise InputError(f"--jobs: {jobs}: {error}") from error
    try:
        with run_lock(out, "written"), _bar(len(asks)) as bar:
            return predict_missing(predictor, asks, out, on_image=bar)
    finally:
        with suppress(OSError):  # an empty folder is nobody's
            out.rmdir()


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    """A bar; what it gives is called for each image."""
    console = error_console()
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("predicting", total=total)
        yield lambda: bar.advance(task)
