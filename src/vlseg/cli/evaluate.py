"""vlseg evaluate"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlseg.cli.options import (
    Cache,
    Data,
    Device,
    Engine,
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
        Literal["clean", "swapped", "corrupted", "blind", "smoothed"],
        typer.Option(
            help="swapped: another object's prompt. corrupted: noise, blur, JPEG ... in five severities. blind: one"
            " mask an image of a model that reads no text. smoothed: what is certified of the model under noise."
        ),
    ] = "clean",
    threshold: Annotated[float | None, typer.Option(help="On probabilities.", min=0.0, max=1.0)] = None,
    uncertainty: Annotated[
        Literal["flip"] | None, typer.Option(help="flip: how far the answer on the mirrored image differs.")
    ] = None,
    sigma: Annotated[
        list[float] | None,
        typer.Option(help="smoothed: deviation of the noise on images in [0, 1]; again for more. Default: 0.25."),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(help="smoothed: noisy copies of an image that are tested. Default: 100.", min=1)
    ] = None,
    tau: Annotated[
        float | None, typer.Option(help="smoothed: the probability that a pixel must exceed. Default: 0.75.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="smoothed: how often any pixel of an answer may be wrong. Default: 0.001.")
    ] = None,
    place: Annotated[
        Literal["input", "native"] | None,
        typer.Option(help="smoothed: noise on the image at the network's size (default), or at its own."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="smoothed: so many samples, spread over targets.", min=1)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for scores; default: inside the run.")] = None,
    settings: ModelSettings = None,
    weights: Weights = None,
    revision: Revision = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    engine: Engine = None,
    threads: Threads = None,
    cache: Cache = None,
    seed: Annotated[int, typer.Option(help="Of drawn noise; recorded with zero-shot scores.", min=0)] = 0,
    images: Images = True,
    json: Json = False,
) -> None:
    """Score a run, a model zero-shot, or anybody's masks: a row per image, target and wording; means with intervals."""
    from vlseg.jobs.evaluate import EvaluateOptions, evaluate_either, summary
    from vlseg.jobs.settings import model_settings
    from vlseg.metrics import Smoothing

    asked = {"sigmas": sigma and tuple(sigma), "draws": draws, "tau": tau, "alpha": alpha, "place": place}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
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
        engine=engine,
        threshold=threshold,
        seed=seed,
        uncertainty=uncertainty,
        cache=cache,
        pictures=images,
        smoothing=Smoothing(**given) if given else None,
        limit=limit,
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
        *_certificates(evaluated),
        then=[f"scores: {values['scores']}"],
    )


def _heading(evaluated: "Evaluated") -> str:
    from vlseg.reports.results import words_from

    spec = evaluated.spec
    of = f"{evaluated.aggregate.n} samples of {evaluated.aggregate.n_images} images"
    return f"{spec.dataset} {spec.split}, prompt {spec.prompt} ({words_from(spec)}), {of}"


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


def _certificates(evaluated: "Evaluated") -> list["str | Table"]:
    from vlseg.cli.terminal import table
    from vlseg.metrics import certificates
    from vlseg.reports.words import about_certificates, about_guarantee
    from vlseg.reports.words.numbers import decimal, estimate, percent

    known = evaluated.spec.groups_known
    found = certificates(evaluated.scores, groups_known=known)
    rows = [
        (
            f"{one.sigma:g}",
            f"{one.radius:.3g}",
            estimate(one.dice),
            percent(one.abstained.mean),
            estimate(one.certified_dice),
            decimal(one.certified_dice_present.mean),
            percent(one.certified_accuracy.mean),
        )
        for one in found
    ]
    names = ("sigma", "radius", "Dice, smoothed [95 %]", "abstained", "certified Dice [95 %]", "there", "right pixels")
    return [
        about_certificates(found, groups_known=known),
        table(names, rows),
        *(about_guarantee(one, groups_known=known) for one in found[:1]),
    ]
