"""vlseg train"""

from pathlib import Path
from typing import Annotated, Any

import typer

from vlseg.cli.options import Cache, Json, Revision, Target, Threads, Weights, finish

_DEFAULT_OUT = Path("runs")


def train(
    model: Annotated[str | None, typer.Option(help="Model name, see vlseg models.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="Dataset folder; give it again to pool several.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; default runs/MODEL.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Prompt name or alias, see vlseg prompts show.")] = None,
    target: Target = None,
    regime: Annotated[str | None, typer.Option(help="full, freeze_encoders or decoder.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Training settings: corrected (default) or published, where the model has one.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any configuration value.", metavar="KEY=VALUE")
    ] = None,
    weights: Weights = None,
    revision: Revision = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.")] = None,
    threads: Threads = None,
    cache: Cache = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and augmentation.", min=0)] = None,
    json: Json = False,
) -> None:
    """Fine-tune a model. Killed at any moment, it goes on with --resume as if nothing had happened."""
    from vlseg.studies.settings import config_from_options

    given: dict[str, Any] = {
        "model": model,
        "data": data,
        "prompt": prompt,
        "target": target,
        "regime": regime,
        "weights": weights,
        "revision": revision,
        "device": device,
        "precision": precision,
        "threads": threads,
        "feature_cache": str(cache) if cache else None,
        "seed": seed,
    }
    config = config_from_options(given, settings or [], resume=resume, recipe=recipe)
    folder = out or _DEFAULT_OUT / (model or "run")
    from vlseg.studies.train import train_run

    record = train_run(config, folder, resume=resume)
    summary = record.summary
    values = {
        "run": str(folder),
        "status": record.status,
        "epochs": summary.get("epochs"),
        "best_val_dice": summary.get("best_val_dice"),
        "seconds": summary.get("seconds"),
    }
    best = summary.get("best_val_dice")
    lines = [
        f"{folder}: {record.status} after {summary.get('steps')} steps, "
        f"best val Dice {'none (no val split)' if best is None else f'{best:.4f}'}"
    ]
    if record.status == "interrupted":
        lines.append(f"resume with: vlseg train --resume --out {folder}")
    finish("train", values, lines, as_json=json)
    raise typer.Exit(0 if record.status == "done" else 1)
