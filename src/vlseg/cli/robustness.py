"""vlseg robustness"""

from typing import TYPE_CHECKING, Annotated

import typer

from vlseg.cli.options import (
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
    say,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from vlseg.jobs.robustness import Measured
    from vlseg.metrics import RobustnessRow

COLUMNS = (
    "empty: share of targets that are there which are left empty; presence, absent: mean presence score of targets "
    "that are there, and of those that are not"
)


def robustness(
    source: Annotated[str, typer.Argument(help="Run folder, model folder, hub id or model name.", metavar="RUN")],
    data: Data,
    epsilon: Annotated[
        list[str] | None,
        typer.Option(help="Of attacks on images in [0, 1]; give it again for more. Default: 2/255 and 8/255."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="So many samples under each condition, spread over targets; as they are: all.", min=1),
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    prompt: Annotated[str | None, typer.Option(help="Prompt name; default: the run's own.")] = None,
    target: Target = None,
    threshold: Annotated[float | None, typer.Option(help="On probabilities.", min=0.0, max=1.0)] = None,
    settings: ModelSettings = None,
    weights: Weights = None,
    revision: Revision = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.", min=0)] = 0,
    images: Images = True,
    json: Json = False,
) -> None:
    """How robust is it? Measures what is missing: worse images, noise, attacks; one table with changes on the same
    samples.
    """
    from vlseg.jobs.robustness import robustness_of, summary
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
        pictures=images,
        **model_settings(settings or []),
    )
    try:
        measured = robustness_of(source, data, options, epsilons=epsilon or (), limit=limit, say=say)
    except KeyboardInterrupt:
        say("stopped; the same command goes on where it was")
        raise
    for name, reason in measured.refused.items():
        say(f"warning: no {name}: {reason}")
    finish("robustness", summary(measured), [] if json else _lines(measured), as_json=json)


def _lines(measured: "Measured") -> list[str]:
    from vlseg.cli.terminal import shown
    from vlseg.reports.words.robust import about_robustness, robustness_notes

    spec, table = measured.spec, measured.table
    shared = f"On the {len(table.common[0].samples)} samples that these rows share" if table.common else ""
    return shown(
        f"{spec.dataset} {spec.split}, prompt {spec.prompt}, threshold {spec.threshold:g}",
        about_robustness(table),
        *_table(table.rows, spec.groups_known),
        shared,
        *(_table(table.common, spec.groups_known) if table.common else []),
        "\n".join(f"{note}." for note in [*robustness_notes(table, spec), COLUMNS]),
        then=[f"evaluations: {measured.folder}"],
    )


def _table(rows: "Sequence[RobustnessRow]", groups_known: bool) -> "list[str | Table]":
    from vlseg.cli.terminal import Notes, table
    from vlseg.reports.words.numbers import decimal, estimate, percent, points, why
    from vlseg.reports.words.robust import row_name

    notes, cells = Notes(), []
    for row in rows:
        dice = estimate(row.dice) + ("" if row.dice.ci95 else notes(why(row.dice.reason, groups_known=groups_known)))
        change = ""
        if row.change is not None:
            change = points(row.change.difference, row.change.ci95)
            change += "" if row.change.ci95 else notes(why(row.change.reason, groups_known=groups_known))
        after = row.after
        cells.append(
            (
                row_name(row),
                str(len(row.samples)),
                dice,
                change,
                percent(after.left_empty),
                decimal(after.presence),
                "" if after.absent_presence is None else decimal(after.absent_presence),
            )
        )
    names = ("", "n", "Dice [95 %]", "points [95 %]", "empty", "presence", "absent")
    return [table(names, cells), str(notes)]
