"""vlseg attack"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vlseg.cli.options import (
    Data,
    Device,
    Json,
    ModelSettings,
    Precision,
    Revision,
    Target,
    Threads,
    Weights,
    finish,
    say,
)

if TYPE_CHECKING:
    from rich.table import Table


def attack(
    sources: Annotated[
        list[str],
        typer.Argument(help="Run folder, model folder, hub id or model name; several: a matrix.", metavar="RUN"),
    ],
    data: Data,
    method: Annotated[
        Literal["fgsm", "pgd", "segpgd", "apgd", "spsa", "noise", "universal"] | None,
        typer.Option(help="How a change is looked for; default: pgd. docs/attacks.md describes them."),
    ] = None,
    epsilon: Annotated[
        list[str] | None,
        typer.Option(help="How far, on images in [0, 1]; give it again for more. Default: 2/255 and 8/255."),
    ] = None,
    norm: Annotated[Literal["linf", "l2"], typer.Option(help="What epsilon measures.")] = "linf",
    place: Annotated[
        Literal["input", "native"], typer.Option(help="Change the image at the network's size, or at its own.")
    ] = "input",
    goal: Annotated[
        Literal["untargeted", "erase", "make", "move"],
        typer.Option(help="Away from the truth; no mask; a mask of what is absent; the mask of another target."),
    ] = "untargeted",
    loss: Annotated[Literal["ce", "dice", "both"], typer.Option(help="What is followed on the way.")] = "both",
    steps: Annotated[int | None, typer.Option(help="Default: 20; 1 of fgsm; 5 passes of universal.", min=1)] = None,
    step_size: Annotated[str | None, typer.Option(help="A number or fraction; default: 2.5 epsilon / steps.")] = None,
    restarts: Annotated[int, typer.Option(help="Searches from other starts; the worst counts.", min=1)] = 1,
    whole: Annotated[
        list[str] | None,
        typer.Option("--attack", help="A whole attack, as a table names it (repr or JSON), in place of the above."),
    ] = None,
    preset: Annotated[
        Literal["published"] | None,
        typer.Option(help="published: as arXiv 2505.02971 did it, and without its faults beside it."),
    ] = None,
    round_trip: Annotated[
        Literal["8bit", "jpeg"] | None, typer.Option(help="Write the attacked image to such a file, read it, score.")
    ] = None,
    onto: Annotated[
        list[str] | None, typer.Option(help="Lay the changes over the images for this model, too; again for more.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Attack so many samples, spread over targets.", min=1)] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    prompt: Annotated[str | None, typer.Option(help="Prompt name; default: the run's own.")] = None,
    target: Target = None,
    threshold: Annotated[float | None, typer.Option(help="On probabilities.", min=0.0, max=1.0)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for scores; default: inside the run.")] = None,
    settings: ModelSettings = None,
    weights: Weights = None,
    revision: Revision = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Of random starts and noise.", min=0)] = 0,
    save_images: Annotated[
        bool, typer.Option("--save-images", help="Keep small copies of images and outlines: patient data.")
    ] = False,
    json: Json = False,
) -> None:
    """How far does a change of the image that nobody sees push the mask? Dice under attack, noise beside it."""
    from vlseg.jobs.attack import attack_on
    from vlseg.jobs.attack_plan import AttackOptions
    from vlseg.jobs.attack_summary import summary
    from vlseg.jobs.scoring import EvaluateOptions
    from vlseg.jobs.settings import model_settings

    options = EvaluateOptions(
        prompt=prompt,
        split=split,
        target=target,
        weights=weights,
        revision=revision,
        device=device,
        precision=precision,
        threads=threads,
        threshold=threshold,
        seed=seed,
        pictures=save_images,
        **model_settings(settings or []),
    )
    asked = AttackOptions(
        method=method,
        epsilons=epsilon or (),
        norm=norm,
        place=place,
        goal=goal,
        loss=loss,
        steps=steps,
        step_size=step_size,
        restarts=restarts,
        seed=seed,
        attacks=whole or (),
        limit=limit,
        round_trip=round_trip,
        preset=preset,
    )
    try:
        values = summary(attack_on(sources, data, options, asked, onto=onto or (), out=out))
    except KeyboardInterrupt:
        if not save_images:
            say("stopped; the same command goes on where it was")
        raise
    for line in values["rises"]:
        say(f"warning: {line}")
    finish("attack", values, [] if json else _lines(values), as_json=json)


def _lines(values: dict[str, Any]) -> list[str]:
    from vlseg.cli.terminal import shown

    names = [
        f"{row['method']} {row['epsilon']:g}: {row['attack']}" for row in values["results"] if not row["published"]
    ]
    return shown(
        f"{values['dataset']} {values['split']}, prompt {values['prompt']}, {values['n']} samples",
        *_table(values),
        _matrix(values["matrix"]),
        then=[*names, f"scores: {values['scores']}"],
    )


def _table(values: dict[str, Any]) -> "list[str | Table]":
    from vlseg.cli.terminal import Notes, table
    from vlseg.metrics import epsilon_words
    from vlseg.reports.words.numbers import decimal, interval, points, why

    results, notes = values["results"], Notes()
    first = results[0]
    dice = interval(values["clean_dice"], values["clean_ci95"])
    rows = [("as it is", "", "", dice, "", "", *_claims(first, "clean_"))]
    for row in results:
        drop = row["drop"]
        missing = "" if row["ci95"] else notes(why(row["reason"], groups_known=values["groups_known"]))
        rows.append(
            (
                f"{'published ' if row['published'] else ''}{row['method']}",
                epsilon_words(row["epsilon"], normalised=row["published"]),
                "" if row["noise_dice"] is None else decimal(row["noise_dice"]),
                interval(row["robust_dice"], row["ci95"]) + missing,
                points(drop["difference"], drop["ci95"]),
                "" if row["wanted_dice"] is None else decimal(row["wanted_dice"]),
                *_claims(row),
            )
        )
    names = (
        "attack",
        "epsilon",
        "noise",
        "Dice [95 %]",
        "points [95 %]",
        "with wanted",
        "left empty",
        "presence",
        "absent",
    )
    return [table(names, rows), str(notes)]


def _claims(row: dict[str, Any], when: str = "") -> tuple[str, str, str]:
    """Whether it claims that something is there: present targets left empty, presence of present and of absent ones."""
    from vlseg.reports.words.numbers import decimal, percent

    left, there, absent = (row[f"{when}{name}"] for name in ("left_empty", "presence", "absent_presence"))
    return (
        "" if left is None else percent(left),
        "" if there is None else decimal(there),
        "" if absent is None else decimal(absent),
    )


def _matrix(rows: list[dict[str, Any]]) -> "Table":
    """Found on one model, scored on another."""
    from vlseg.cli.terminal import table
    from vlseg.metrics import epsilon_words
    from vlseg.reports.words.numbers import decimal, interval, points

    cells = [
        (
            row["found_on"],
            row["onto"],
            row["method"],
            epsilon_words(row["epsilon"]),
            decimal(row["clean_dice"]),
            interval(row["dice"], row["ci95"]),
            points(row["drop"]["difference"], row["drop"]["ci95"]),
        )
        for row in rows
    ]
    return table(("found on", "scored on", "attack", "epsilon", "as it is", "Dice [95 %]", "points [95 %]"), cells)
