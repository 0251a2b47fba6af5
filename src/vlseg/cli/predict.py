"""vlseg predict"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlseg.cli.options import Device, Engine, Json, ModelSettings, Precision, Revision, Threads, Weights, finish, say
from vlseg.records import InputError

if TYPE_CHECKING:
    from vlseg.evaluation import PredictedMask


def predict(
    source: Annotated[
        str, typer.Argument(help="Run folder, model folder, hub id or model name.", metavar="RUN_OR_MODEL")
    ],
    out: Annotated[Path, typer.Option(help="Folder for masks, overlays and predictions.json.")],
    image: Annotated[Path | None, typer.Option(help="An image, or a folder of images.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="What to segment; give it again for more.")] = None,
    jobs: Annotated[
        Path | None, typer.Option(help="Instead: JSON of images with prompts of their own; goes on where it was.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="On probabilities.", min=0.0, max=1.0)] = None,
    settings: ModelSettings = None,
    weights: Weights = None,
    revision: Revision = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    engine: Engine = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Masks at the images' own sizes for one or many prompts; each image is encoded once."""
    _check_asked(image, prompt, jobs)
    from vlseg.models.exported.opening import open_early

    if not (settings or weights or revision):
        open_early(source, threads=threads, engine=engine)
    from vlseg.jobs.predict import predict_jobs, predict_to_folder
    from vlseg.jobs.settings import model_settings

    options = {
        "weights": weights,
        "revision": revision,
        "device": device,
        "precision": precision,
        "threads": threads,
        "engine": engine,
        "threshold": threshold,
        **model_settings(settings or []),
    }
    if jobs is not None:
        try:
            written = predict_jobs(source, jobs, out, options=options)
        except KeyboardInterrupt:
            say("stopped; the same command goes on where it was")
            raise
    else:
        assert image is not None  # asked above
        written = predict_to_folder(source, image, prompt or [], out, options=options)
    masks, failures = written.masks, written.failures
    for failure in failures:
        say(f"vlseg: {failure}")
    lines = [_line(mask) for mask in masks]
    before = f"; {written.kept} of them were there" if written.kept else ""
    lines.append(f"{len(masks)} masks, overlays and predictions.json in {out}{before}")
    values = {"masks": [asdict(mask) for mask in masks], "failures": failures}
    finish("predict", values, lines, as_json=json)
    raise typer.Exit(1 if failures else 0)


def _check_asked(image: Path | None, prompt: list[str] | None, jobs: Path | None) -> None:
    if jobs is not None and (image is not None or prompt):
        raise InputError("--jobs: names images and prompts itself; leave out --image and --prompt")
    if jobs is None and image is None:
        raise InputError("--image: is missing; give it with --prompt, or a file with --jobs")
    if jobs is None and not prompt:
        raise InputError("--prompt: is missing; give at least one")


def _line(mask: "PredictedMask") -> str:
    """What was found, and what makes that doubtful."""
    told = f'{mask.mask}: {mask.area_px} px for "{mask.prompt}"'
    if mask.state == "cannot_judge":
        reasons = mask.familiar["reasons"] or ["the answer is not a number"]
        told += f"; cannot judge: {', '.join(reasons)}"
    elif mask.state == "not_found":
        told += ", not found by this model"
    return told + (f"; not in its training: {', '.join(mask.unknown_words)}" if mask.unknown_words else "")
