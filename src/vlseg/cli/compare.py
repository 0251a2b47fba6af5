"""vlseg compare"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlseg.cli.options import Json, finish

if TYPE_CHECKING:
    from rich.table import Table


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run or evaluation folders.", metavar="RUN_A RUN_B ...")],
    metric: Annotated[
        str, typer.Option(help="dice, iou, nsd, hd95, hd95_penalised, hd, assd, pixel_precision, pixel_recall, brier.")
    ] = "dice",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    data: Annotated[
        list[str] | None, typer.Option(help="Dataset folder or name to take, repeatable; default: all.")
    ] = None,
    json: Json = False,
) -> None:
    """Paired differences between runs on the same samples: interval, permutation test, what could have been seen."""
    from vlseg.jobs.compare import compare_runs

    values = compare_runs(runs, metric=metric, split=split, data=data or ())
    finish("compare", values, [] if json else _lines(values), as_json=json)


MOST_SENTENCES = 3
"""Pairs that are told one by one; of more their number and the table."""


def _lines(values: dict[str, Any]) -> list[str]:
    from vlseg.cli.terminal import shown

    pairs = values["pairs"]
    heading = f"{values['metric']} on {values['split']}, second minus first; family for Holm: {values['family']}"
    return shown(
        heading,
        *_sentences(pairs, values["metric"]),
        *_pairs(pairs, values["metric"]),
        "\n".join(text for pair in pairs for text in _beside(pair, told=len(pairs) <= MOST_SENTENCES)),
        *_methods(values["methods"], values["metric"]),
        _over_datasets(values["over_datasets"], values["metric"]),
        "\n".join(_crossing(row) for row in values["cross_dataset"] if row["cross_dataset"] is not None),
    )


def _sentences(pairs: list[dict[str, Any]], metric: str) -> list[str]:
    from vlseg.reports.words import about_comparison, differs

    if len(pairs) <= MOST_SENTENCES:
        return [about_comparison(pair, metric=metric) for pair in pairs]
    found = sum(bool(differs(pair)) for pair in pairs)
    return [f"Of {len(pairs)} pairs of runs, {found or 'none'} {'differs' if found == 1 else 'differ'} {RULE}."]


RULE = "after Holm's correction over all pairs"


def _pairs(pairs: list[dict[str, Any]], metric: str) -> "list[str | Table]":
    from vlseg.cli.terminal import Notes, table
    from vlseg.reports.words.numbers import POINTS, difference, p_value, why

    notes = Notes()
    rows = [
        (
            f"{pair['second']} minus {pair['first']}",
            f"{pair['n']} ({pair['n_groups']})",
            difference(pair["difference"], pair["ci95"], metric) + ("" if pair["ci95"] else notes(why(pair["reason"]))),
            p_value(pair["p"]),
            p_value(pair["p_holm"]),
            difference(pair["detectable_holm"], None, metric, sign=False),
        )
        for pair in pairs
    ]
    unit = "points [95 %]" if metric in POINTS else "[95 %]"
    return [table(("", "n (groups)", f"{metric}, {unit}", "p", "Holm p", "80 % from"), rows), str(notes)]


def _beside(pair: dict[str, Any], *, told: bool) -> list[str]:
    """What a pair does not compare, and where no sentence has `told` it, what else it differs in."""
    differing = "" if told or not pair["differs"] else f"differs, too: {'; '.join(pair['differs'])}"
    texts = (_left_out(pair["left_out"]), differing)
    return [f"{pair['second']} minus {pair['first']}: {text}" for text in texts if text]


def _methods(methods: list[dict[str, Any]], metric: str) -> list["str | Table"]:
    """Runs alike but for the seed, and the differences of such methods; where there is one seed of each, that."""
    from vlseg.cli.terminal import table
    from vlseg.reports.words.numbers import decimal, difference, interval, why

    alone = [one for one in methods if not one["seeds"] or not isinstance(one["seeds"][0], list)]
    if all(len(one["seeds"]) == 1 for one in alone):
        return ["One run of each method: the intervals are for other images, not for another seed."]
    names = {one["method"]: f"method {place}" for place, one in enumerate(alone, start=1)}
    rows = []
    for one in methods:
        name = names.get(one["method"])
        change = name is None
        if name is None:
            two, _, first = one["method"].partition(" minus ")
            name = f"{names.get(two, two)} minus {names.get(first, first)}"
        mean = difference(one["mean"], one["ci95"], metric) if change else interval(one["mean"], one["ci95"])
        means = ", ".join(difference(value, None, metric) if change else decimal(value) for value in one["means"])
        rows.append((name, means, mean, "" if one["ci95"] else why(one["reason"])))
    told = "\n".join(f"{name}: {method}" for method, name in names.items())
    return [table(("", "mean of each seed", "over seeds [95 %]", ""), rows), told]


def _over_datasets(effects: list[dict[str, Any]], metric: str) -> "Table":
    from vlseg.cli.terminal import table
    from vlseg.reports.words.numbers import difference, why

    rows = [
        (
            f"{one['second']} minus {one['first']}",
            str(one["n_datasets"]),
            difference(one["difference"], one["ci95"], metric),
            "" if one["ci95"] else why(one["reason"]),
        )
        for one in effects
        if one["n_datasets"] > 1
    ]
    return table(("over datasets", "datasets", "difference [95 %]", ""), rows)


def _left_out(counts: dict[str, int]) -> str:
    from vlseg.reports.formats import omitted

    return f"not compared: {omitted(counts)}" if any(counts.values()) else ""


def _crossing(row: dict[str, Any]) -> str:
    """One run on data it was trained on and on others."""
    from vlseg.reports.words.numbers import decimal, interval, why

    means = ", ".join(f"{name} {decimal(mean)}" for name, mean in row["means"].items())
    if row["in_domain"] is None:
        known = (
            "not scored on data it was trained on" if row["trained_on"] else "what it was trained on is not recorded"
        )
        return f"{row['run']}: {means}; {known}"
    drop = interval(row["drop"], row["drop_ci95"]) + ("" if row["drop_ci95"] else f" ({why(row['reason'])})")
    return (
        f"{row['run']}: {means}; in domain {decimal(row['in_domain'])}, cross-dataset {decimal(row['cross_dataset'])}, "
        f"harmonic mean {decimal(row['harmonic_mean'])}, drop {drop}"
    )
