"""vlseg probe"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlseg.cli.options import (
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
    finish,
)

if TYPE_CHECKING:
    from rich.table import Table

    from vlseg.jobs.probe import Probed
    from vlseg.metrics import LanguageUse


def probe(
    source: Annotated[str, typer.Argument(help="Run folder, model folder, hub id or model name.", metavar="RUN")],
    data: Data,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    prompt: Annotated[str | None, typer.Option(help="Prompt name; default: the run's own.")] = None,
    target: Target = None,
    limit: Annotated[int | None, typer.Option(help="Ask about so many images, spread over the split.", min=1)] = None,
    threshold: Annotated[float | None, typer.Option(help="On probabilities.", min=0.0, max=1.0)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for scores; default: inside the run.")] = None,
    settings: ModelSettings = None,
    weights: Weights = None,
    revision: Revision = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    engine: Engine = None,
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Of the choice of wrong words and other images.", min=0)] = 0,
    images: Images = True,
    json: Json = False,
) -> None:
    """Does it read the prompt? Asks with wrong, other, absent and no words, and without the image."""
    from vlseg.jobs.probe import probe_on, summary
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
        engine=engine,
        threshold=threshold,
        seed=seed,
        pictures=images,
        **model_settings(settings or []),
    )
    probed = probe_on(source, data, options, out, limit=limit)
    values = summary(probed)
    finish("probe", values, [] if json else _lines(probed, values), as_json=json)


def _lines(probed: "Probed", values: dict[str, Any]) -> list[str]:
    from vlseg.cli.terminal import shown
    from vlseg.reports.words import about_language, about_leak

    spec, use = probed.evaluated.spec, probed.use
    return shown(
        about_language(probed.evaluated.scores, spec, use=use),
        about_leak(spec),
        _indices(use, groups_known=spec.groups_known),
        *_effects(use, groups_known=spec.groups_known),
        _attributes(values["attributes"]),
        "\n".join(f"not asked: {name} ({reason})" for name, reason in use.not_asked.items()),
        then=[f"scores: {values['scores']}"],
    )


def _indices(use: "LanguageUse", *, groups_known: bool) -> "Table":
    from vlseg.cli.terminal import table
    from vlseg.reports.words.numbers import interval, why

    named = (
        ("selection index", use.selection),
        ("chose no target", use.chose_none),
        ("presence index", use.presence),
    )
    rows = [
        (
            name,
            interval(one.value, one.ci95),
            str(one.n),
            "" if one.ci95 else why(one.reason, groups_known=groups_known),
        )
        for name, one in named
    ]
    return table(("index", "value [95 %]", "n", ""), rows)


def _effects(use: "LanguageUse", *, groups_known: bool) -> "list[str | Table]":
    """A line a condition: the change of Dice with the own target, and towards what the words name."""
    from vlseg.cli.terminal import Notes, table
    from vlseg.reports.words.numbers import decimal, p_value, points, why

    rows, notes = [], Notes()
    for effect in use.effects:
        change = effect.original
        missing = "" if change.ci95 else notes(why(change.reason, groups_known=groups_known))
        rows.append(
            (
                effect.name,
                str(change.n),
                points(change.difference, change.ci95) + missing,
                p_value(change.p_holm),
                points(change.detectable_holm, sign=False),
                decimal(effect.named.mean) if effect.named else "",
                points(effect.towards.difference) if effect.towards else "",
            )
        )
    names = ("asked with", "n", "Dice, points [95 %]", "Holm p", "80 % from", "Dice, what it names", "towards it")
    return [table(names, rows), str(notes)]


def _attributes(found: dict[str, dict[str, float | None]]) -> "Table":
    """The table by attribute, in points of Dice."""
    from vlseg.cli.terminal import table
    from vlseg.reports.words.numbers import points

    kinds = ("wrong", "random", "without")
    rows = [(name, *(points(one.get(kind)) for kind in kinds)) for name, one in found.items()]
    return table(("attribute, points of Dice", "wrong value", "random word", "left out"), rows)
