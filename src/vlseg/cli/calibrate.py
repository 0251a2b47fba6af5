"""vlseg calibrate"""

from pathlib import Path
from typing import Annotated

import typer

from vlseg.cli.options import Device, Json, ModelSettings, Precision, Target, Threads, finish


def calibrate(
    source: Annotated[str, typer.Argument(help="Run folder or model folder.", metavar="RUN_OR_MODEL")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Dataset folder: for a run if its data have moved; for a model's folder what it is for."),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Prompt name, for a model's folder.")] = None,
    target: Target = None,
    settings: ModelSettings = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Store with a model which images, words and presence scores are usual for it; vlseg train does it by itself."""
    from vlseg.jobs.calibrate import calibrate as run
    from vlseg.jobs.settings import model_settings

    options = {"device": device, "precision": precision, "threads": threads, **model_settings(settings or [])}
    done = run(source, [str(one) for one in data or []], prompt, target, options=options)
    finish("calibrate", done.to_json(), [*done.lines(), f"stored in {done.folder}"], as_json=json)
