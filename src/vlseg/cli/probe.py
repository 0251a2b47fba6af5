"""vlseg probe"""

from pathlib import Path
from typing import Annotated, Any

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
)


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
        threshold=threshold,
        seed=seed,
        pictures=images,
        **model_settings(settings or []),
    )
    values = summary(probe_on(source, data, options, out, limit=limit))
    lines = [
        f"selection index  {_index(values['selection_index'])}",
        f"chose no target  {_index(values['chose_none'])}",
        f"presence index   {_index(values['presence_index'])}",
        f"{'condition':<24}{'n':>6}  change of Dice, own target",
        *(f"{test['name']:<24}{test['n']:>6}  {_effect(test)}" for test in values["tests"]),
        *_attributes(values["attributes"]),
        *(f"not asked: {name} ({reason})" for name, reason in values["not_asked"].items()),
        f"scores: {values['scores']}",
    ]
    finish("probe", values, lines, as_json=json)


def _index(index: dict[str, Any]) -> str:
    if index["value"] is None:
        return f"none ({index['reason']})"
    interval = index["ci95"]
    shown = f"95 % [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else f"no interval: {index['reason']}"
    return f"{index['value']:.3f}  {shown}, n = {index['n']}"


def _effect(test: dict[str, Any]) -> str:
    if test["delta_dice"] is None:
        return f"none ({test['reason']})"
    interval = test["ci95"]
    shown = f"[{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else f"(no interval: {test['reason']})"
    p = f", Holm p = {test['p_holm']:.4f}" if test["p_holm"] is not None else ""
    named = test["dice_named"]
    towards = test["delta_dice_named"]
    moved = f" ({towards['difference']:+.3f})" if towards and towards["difference"] is not None else ""
    seen = test["detectable_holm"]
    p += f", 80 % power from {seen:.3f}" if seen is not None else ""
    against = f"; Dice with what it names {named['mean']:.3f}{moved}" if named else ""
    return f"{test['delta_dice']:+.3f} {shown}{p}{against}"


def _attributes(table: dict[str, dict[str, float | None]]) -> list[str]:
    """The table by attribute, in points of Dice."""
    if not table:
        return []
    rows = [f"{'attribute':<24}{'wrong value':>12}{'random word':>12}{'left out':>12}   change of Dice in points"]
    for name, kinds in table.items():
        values = (kinds.get(kind) for kind in ("wrong", "random", "without"))
        rows.append(f"{name:<24}" + "".join(f"{'-':>12}" if one is None else f"{100 * one:>+12.1f}" for one in values))
    return rows
