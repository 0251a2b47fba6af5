"""Prediction for files, with the model loaded once."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vlseg.evaluation import PredictedMask, find_images, load, predict_files
from vlseg.records import check_folder
from vlseg.records.console import error_console
from vlseg.records.names import listing


def predict_to_folder(
    source: str, image: Path, prompts: Sequence[str], out: Path, *, options: Mapping[str, Any]
) -> tuple[list[PredictedMask], list[str]]:
    """Masks of every image for every prompt, see `vlseg.evaluation.predict_files`; other files are named on stderr.

    Raises:
        InputError: no images, no model, an unwritable `out`.
    """
    check_folder("--out", out, written=True)
    found = find_images(image, out)
    if found.unused:
        print(f"{image}: {listing(found.unused)}, no image", file=sys.stderr)
    predictor = load(source, **options)
    console = error_console()
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("predicting", total=len(found.images))
        return predict_files(predictor, found, prompts, out, on_image=lambda: bar.advance(task))
