"""vlseg evaluate"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    estimate_of,
    finish,
)
from vlseg.records import origin

if TYPE_CHECKING:
    from rich.table import Table

    from vlseg.jobs.evaluate import Evaluated
    from vlseg.metrics import Aggregate


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
    evaluated = evaluate_either(source, masks, data, options, out)
    values = summary(evaluated, by)
    finish("evaluate", values, [] if json else _lines(evaluated, values), as_json=json)


def _lines(evaluated: "Evaluated", values: dict[str, Any]) -> list[str]:
    from vlseg.cli.terminal import shown
    from vlseg.reports.words import about_language, about_leak, about_scores

    spec = evaluated.spec
    swapped = spec.condition == "swapped" and spec.told == "prompt"
    return shown(
        _heading(evaluated),
        about_language(evaluated.scores, spec) if swapped else about_scores(evaluated.aggregate, spec),
        about_leak(spec),
        _scores(evaluated.aggregate, spec.nsd_tolerance, values.get("named")),
        _parts("dataset", values["by_dataset"]),
        _parts(values["by"]["column"], values["by"]["groups"]) if "by" in values else "",
        _corruptions(values.get("corruptions", [])),
        then=[f"scores: {values['scores']}"],
    )


def _heading(evaluated: "Evaluated") -> str:
    spec = evaluated.spec
    names = set(spec.data_fingerprints) or {spec.dataset}
    words = "made up" if names <= set(spec.phantoms) else origin(spec.prompt_sources)
    of = f"{evaluated.aggregate.n} samples of {evaluated.aggregate.n_images} images"
    return f"{spec.dataset} {spec.split}, prompt {spec.prompt} ({words}), {of}"


def _scores(whole: "Aggregate", tolerance: float, named: dict[str, Any] | None) -> "Table":
    """A line a metric. Swapped prompts: against the own target, then Dice against what the words name."""
    from vlseg.cli.terminal import table
    from vlseg.reports.words.numbers import estimate, percent, why

    unit = whole.distance_unit
    held = "all targets" if named is None else "own target"
    values = [
        (f"IoU, {held}", whole.iou),
        (f"NSD within {tolerance:g} {unit}, {held}", whole.nsd),
        (f"HD95 in {unit}, neither mask empty", whole.hd95),
    ]
    if named is None:
        values = [("Dice, targets that are there", whole.dice_present), ("Dice, all targets", whole.dice), *values]
    else:
        values = [("Dice, own target", whole.dice), ("Dice, target that is named", estimate_of(named["dice"])), *values]
    rows = [
        (name, estimate(one), str(one.n), "" if one.ci95 else why(one.reason, groups_known=whole.groups_known))
        for name, one in values
    ]
    present, absent = whole.n - whole.n_empty_truths, whole.n_empty_truths
    if named is None and absent:
        rows.append(("absent targets answered empty", percent(whole.absent_empty), str(absent), ""))
    if present:
        rows.append(("present targets not left empty", percent(whole.presence.sensitivity), str(present), ""))
    return table(("score", "mean [95 %]", "n", ""), rows)


def _parts(column: str, parts: dict[str, dict[str, Any]]) -> "Table":
    """Dice of each part of the samples."""
    from vlseg.cli.terminal import table
    from vlseg.reports.words.numbers import estimate, why

    rows = []
    for name, one in parts.items():
        there, all_targets = estimate_of(one["dice_present"]), estimate_of(one["dice"])
        missing = "" if all_targets.ci95 else why(all_targets.reason, groups_known=one["groups_known"])
        rows.append((name, str(one["n"]), estimate(there), estimate(all_targets), missing))
    return table((column, "n", "Dice, there [95 %]", "Dice, all [95 %]", ""), rows)


def _corruptions(found: list[dict[str, Any]]) -> "Table":
    from vlseg.cli.terminal import table
    from vlseg.reports.words.numbers import decimal, points, why

    rows = [
        (
            row["corruption"],
            str(row["severity"]),
            str(row["n"]),
            decimal(row["dice"]),
            points(row["delta_dice"], row["ci95"]),
            "" if row["ci95"] else why(row["reason"]),
        )
        for row in found
    ]
    return table(("corruption", "severity", "n", "Dice", "change in points [95 %]", ""), rows)
