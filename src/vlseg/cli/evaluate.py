"""vlseg evaluate"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vlseg.cli.options import (
    Cache,
    Data,
    Device,
    Images,
    Json,
    ModelSettings,
    Precision,
    Revision,
    Target,
    Threads,
    Weights,
    finish,
)
from vlseg.records import verdict


def evaluate(
    data: Data,
    source: Annotated[
        str | None, typer.Argument(help="Run folder, model folder, hub id or model name.", metavar="RUN_OR_MODEL")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Score the mask files of this folder instead of a model's answers.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Scores by site, target, size-bin, or any attribute, e.g. sex.", metavar="COLUMN")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    prompt: Annotated[str | None, typer.Option(help="Prompt name; default: the run's own.")] = None,
    target: Target = None,
    condition: Annotated[
        Literal["clean", "swapped", "corrupted", "blind"],
        typer.Option(
            help="swapped: another object's prompt. corrupted: noise, blur, JPEG ... in five severities. blind: one"
            " mask an image of a model that reads no text."
        ),
    ] = "clean",
    threshold: Annotated[float | None, typer.Option(help="On probabilities.", min=0.0, max=1.0)] = None,
    uncertainty: Annotated[
        Literal["flip"] | None, typer.Option(help="flip: how far the answer on the mirrored image differs.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for scores; default: inside the run.")] = None,
    settings: ModelSettings = None,
    weights: Weights = None,
    revision: Revision = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    threads: Threads = None,
    cache: Cache = None,
    seed: Annotated[int, typer.Option(help="Recorded with zero-shot scores.", min=0)] = 0,
    images: Images = True,
    json: Json = False,
) -> None:
    """Score a run, a model zero-shot, or anybody's masks: a row per image, target and wording; means with intervals."""
    from vlseg.jobs.evaluate import EvaluateOptions, evaluate_either, summary
    from vlseg.jobs.settings import model_settings

    options = EvaluateOptions(
        prompt=prompt,
        split=split,
        target=target,
        condition=condition,
        weights=weights,
        revision=revision,
        device=device,
        precision=precision,
        threads=threads,
        threshold=threshold,
        seed=seed,
        uncertainty=uncertainty,
        cache=cache,
        pictures=images,
        **model_settings(settings or []),
    )
    values = summary(evaluate_either(source, masks, data, options, out), by)
    finish("evaluate", values, _lines(values), as_json=json)


def _lines(values: dict[str, Any]) -> list[str]:
    words = f"{verdict(values['prompt_source'])}: {', '.join(values['prompt_source'])}"
    by = values.get("by", {"column": "", "groups": {}})
    return [
        f"{values['dataset']} {values['split']}, prompt {values['prompt']} ({words}), n = {values['n']}",
        *_means(values),
        *(f"  {name}: dice {_value(one['dice'])}" for name, one in values["by_dataset"].items()),
        *(f"  {by['column']} {name}: n = {one['n']}, dice {_value(one['dice'])}" for name, one in by["groups"].items()),
        *(
            f"  {row['corruption']} {row['severity']}: dice {row['dice']:.4f}, change {_change(row)}"
            for row in values.get("corruptions", [])
        ),
        f"  scores: {values['scores']}",
    ]


def _means(values: dict[str, Any]) -> list[str]:
    """A line a metric. Swapped prompts: against the own target, then Dice against what the words name."""
    where = f" {values['distance_unit']} where neither mask is empty (n = {values['hd95']['n']})"
    lines = [f"  {name:<6}{_value(values[name])}" for name in ("dice", "iou", "nsd")]
    lines.append(f"  hd95  {_value(values['hd95'], where)}")
    if "named" in values:
        lines.insert(0, "  swapped prompts, against the own target:")
        lines.append(f"  against the target that is named: dice {_value(values['named']['dice'])}")
    return lines


def _value(summary: dict[str, Any], unit: str = "") -> str:
    if summary.get("mean") is None:
        return f"none ({summary.get('reason')})"
    interval = summary.get("ci95")
    shown = f"[{interval[0]:.4f}, {interval[1]:.4f}]" if interval else f"no interval: {summary.get('reason')}"
    return f"{summary['mean']:.4f}{unit}  95 % {shown}"


def _change(row: dict[str, Any]) -> str:
    interval = row["ci95"]
    shown = f"[{interval[0]:+.4f}, {interval[1]:+.4f}]" if interval else f"(no interval: {row['reason']})"
    return f"{row['delta_dice']:+.4f} {shown}"
