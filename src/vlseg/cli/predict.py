"""vlseg predict"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlseg.cli.options import Device, Json, ModelSettings, Precision, Revision, Threads, Weights, finish, say

if TYPE_CHECKING:
    from vlseg.evaluation import PredictedMask


def predict(
    source: Annotated[
        str, typer.Argument(help="Run folder, model folder, hub id or model name.", metavar="RUN_OR_MODEL")
    ],
    image: Annotated[Path, typer.Option(help="An image, or a folder of images.")],
    prompt: Annotated[list[str], typer.Option(help="What to segment; give it again for more.")],
    out: Annotated[Path, typer.Option(help="Folder for masks, overlays and predictions.json.")],
    threshold: Annotated[float | None, typer.Option(help="On probabilities.", min=0.0, max=1.0)] = None,
    settings: ModelSettings = None,
    weights: Weights = None,
    revision: Revision = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Masks at the images' own sizes for one or many prompts; each image is encoded once."""
    from vlseg.jobs.predict import predict_to_folder
    from vlseg.jobs.settings import model_settings

    masks, failures = predict_to_folder(
        source,
        image,
        prompt,
        out,
        options={
            "weights": weights,
            "revision": revision,
            "device": device,
            "precision": precision,
            "threads": threads,
            "threshold": threshold,
            **model_settings(settings or []),
        },
    )
    for failure in failures:
        say(f"vlseg: {failure}")
    lines = [_line(mask) for mask in masks]
    lines.append(f"{len(masks)} masks, overlays and predictions.json in {out}")
    values = {"masks": [asdict(mask) for mask in masks], "failures": failures}
    finish("predict", values, lines, as_json=json)
    raise typer.Exit(1 if failures else 0)


def _line(mask: "PredictedMask") -> str:
    """What was found, and what makes that doubtful."""
    told = f'{mask.mask}: {mask.area_px} px for "{mask.prompt}"'
    if mask.state == "cannot_judge":
        reasons = mask.familiar["reasons"] or ["the answer is not a number"]
        told += f"; cannot judge: {', '.join(reasons)}"
    elif mask.state == "not_found":
        told += ", not found by this model"
    return told + (f"; not in its training: {', '.join(mask.unknown_words)}" if mask.unknown_words else "")
