"""vlseg train"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlseg.cli.options import Cache, Json, Revision, Target, Threads, Weights, finish
from vlseg.records import started_place

if TYPE_CHECKING:
    from vlseg.records import RunRecord

_RUNS = Path("runs")
_EXIT_CODES = {"done": 0, "interrupted": 130}


def train(
    model: Annotated[
        str | None, typer.Option(help="Model name, see vlseg models; default: guide, or the model of --weights.")
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help="Dataset folder; give it again to pool several.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; default runs/MODEL.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Prompt name or alias, see vlseg prompts show.")] = None,
    target: Target = None,
    regime: Annotated[
        str | None,
        typer.Option(
            help="What trains: full, freeze_text_encoder, freeze_encoders, decoder, or what is added (docs/models.md)."
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Training settings: corrected (default) or published, where the model has one.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any configuration value.", metavar="KEY=VALUE")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="Several runs, into folders of --out: every value of a setting.", metavar="KEY=[A,B]"),
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
    from vlseg.jobs.run_folder import MOVABLE
    from vlseg.jobs.settings import config_from_options, options_from
    from vlseg.models import DEFAULT_MODEL

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
    if grid:
        raise typer.Exit(_grid(options_from(given, settings or []), grid, recipe, out, resume=resume, as_json=json))
    config = config_from_options(given, settings or [], resume=resume, recipe=recipe)
    folder = out or _RUNS / (config.model if config else DEFAULT_MODEL)
    from vlseg.jobs.train import train_run

    options = options_from(given, settings or [])
    record = train_run(config, folder, resume=resume, places={key: options.get(key) for key in MOVABLE})
    place = started_place()
    if place is not None and place.rank > 0:  # the first of several processes tells the result
        raise typer.Exit(_EXIT_CODES.get(record.status, 1))
    values = _told(record, folder)
    best = values["best_val_dice"]
    lines = [
        f"{folder}: {record.status} after {record.summary.get('steps')} steps, "
        f"best val Dice {'none (no val split)' if best is None else f'{best:.4f}'}"
    ]
    if record.status == "interrupted":
        lines.append(f"resume with: vlseg train --resume --out {folder}")
    finish("train", values, lines, as_json=json)
    raise typer.Exit(_EXIT_CODES.get(record.status, 1))


def _told(record: "RunRecord", folder: Path) -> dict[str, Any]:
    """What is told of a run in the machine-readable last line."""
    summary = record.summary
    values = {key: summary.get(key) for key in ("epochs", "best_val_dice", "seconds")}
    return {"run": str(folder), "status": record.status, **values}


def _grid(
    options: Mapping[str, Any],
    axes: Sequence[str],
    recipe: str | None,
    out: Path | None,
    *,
    resume: bool,
    as_json: bool,
) -> int:
    """Train a grid and print it; the exit code."""
    from vlseg.records import InputError, read_record, started_place
    from vlseg.studies.grid import grid_study, link_by_values
    from vlseg.studies.run import RunOptions, prepare, run_alone

    if started_place() is not None:
        raise InputError("--grid: trains on one device; leave srun and torchrun out, or --grid")
    spec = grid_study(options, axes, recipe)
    folder = out or _RUNS / spec.parts[0].models[0]
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"--out: {folder} is not empty; add --resume to go on with it, or choose another folder")
    plan = prepare(spec, folder, RunOptions(retry=resume))
    found = run_alone(folder, plan)
    told = [_told(read_record(place / "run.json"), place) for place in link_by_values(folder, plan, axes).values()]
    best = [row["best_val_dice"] for row in told if row["best_val_dice"] is not None]
    failed = found.counts["failed"]
    values = {
        "run": str(folder),
        "status": "done" if len(told) == len(plan.runs) else "failed" if failed else "interrupted",
        "epochs": sum(row["epochs"] or 0 for row in told),
        "best_val_dice": max(best, default=None),
        "seconds": round(sum(row["seconds"] or 0 for row in told), 1),
        "runs": told,
    }
    lines = [f"{row['run']}: {row['status']}, best val Dice {row['best_val_dice']}" for row in told]
    lines += [f"{one.name}: failed: {one.error}" for one in found.failures]
    end = f"{len(told)} of {len(plan.runs)} runs done" + (
        "" if len(told) == len(plan.runs) else "; go on with the same command and --resume"
    )
    finish("train", values, [*lines, end], as_json=as_json)
    return _EXIT_CODES.get(str(values["status"]), 1)
