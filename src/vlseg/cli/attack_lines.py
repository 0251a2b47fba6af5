"""What vlseg attack prints."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

WORST = 2
"""Sentences of each attack."""


def attack_lines(values: dict[str, Any]) -> list[str]:
    """Tables and what they rest on."""
    from vlseg.cli.terminal import shown

    words = "lexicon" in values
    names = [
        f"{row['method']} {row['changes'] if words else format(row['epsilon'], 'g')}: {row['attack']}"
        for row in values["results"]
        if words or not row["published"]
    ]
    return shown(
        f"{values['dataset']} {values['split']}, prompt {values['prompt']}, {values['n']} samples",
        *(_words(values) if words else _table(values)),
        _matrix(values["matrix"]),
        *gradient_lines(values, signs=False),
        then=[*names, f"scores: {values['scores']}"],
    )


def gradient_lines(values: dict[str, Any], *, signs: bool) -> list[str]:
    """What a check of the gradients found: the signs, or what was compared."""
    from vlseg.metrics import budget_words
    from vlseg.reports.words.numbers import counted, gradient_words

    lines = []
    for one in values.get("gradients", []):
        where = f"gradients of {one['run']} under {one['attack']['search']['method']}, {budget_words(one['attack'])}"
        if signs:
            lines += [f"{where}: {sign}" for sign in one["signs"]]
        else:
            lines.append(f"{where}, {counted(one['n'], 'sample')}: {gradient_words(one)}")
    return lines


def _words(values: dict[str, Any]) -> "list[str | Table]":
    """Of attacks on sentences, and the worst sentences of each."""
    from vlseg.cli.terminal import Notes, table
    from vlseg.reports.words.numbers import decimal, interval, percent, points, why

    notes, rows = Notes(), []
    for row in values["results"]:
        drop = row["drop"]
        missing = "" if row["ci95"] else notes(why(row["reason"], groups_known=values["groups_known"]))
        rows.append(
            (
                row["method"],
                row["changes"],
                str(row["n"]),
                _asked(row),
                "" if row["random_dice"] is None else decimal(row["random_dice"]),
                decimal(row["clean_dice"]),
                interval(row["robust_dice"], row["ci95"]) + missing,
                points(drop["difference"], drop["ci95"]),
                "" if row["wanted_dice"] is None else decimal(row["wanted_dice"]),
                percent(row["left_empty"]),
            )
        )
    names = ("attack", "change", "n", "asked", "random", "as it is", "Dice [95 %]", "points [95 %]", "with wanted")
    worst = [
        (
            row["changes"],
            f"{pair['before']} → {pair['after']}",
            f"{decimal(pair['clean_dice'])} → {decimal(pair['dice'])}",
            str(pair["n"]),
        )
        for row in values["results"]
        for pair in row["sentences"][:WORST]
    ]
    left = max(row["left_out"] for row in values["results"])
    return [
        table((*names, "left empty"), rows),
        str(notes),
        f"{left} samples have nothing to change under some attack and are not counted there" if left else "",
        table(("change", "worst sentences", "Dice", "n"), worst),
    ]


def _asked(row: dict[str, Any]) -> str:
    """Sentences of a sample on average, and of how many a gradient was taken besides."""
    if row["queries"] is None:
        return ""
    return f"{row['queries']:.0f}" + (f" + {row['gradients']:.0f} gradients" if row["gradients"] else "")


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
    names = ("attack", "epsilon", "noise", "Dice [95 %]", "points [95 %]", "with wanted")
    return [table((*names, "left empty", "presence", "absent"), rows), str(notes)]


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
    from vlseg.metrics import budget_words, epsilon_words
    from vlseg.reports.words.numbers import decimal, interval, points

    cells = [
        (
            row["found_on"],
            row["onto"],
            row["method"],
            budget_words({**row, "words": True}) if "budget" in row else epsilon_words(row["epsilon"]),
            decimal(row["clean_dice"]),
            interval(row["dice"], row["ci95"]),
            points(row["drop"]["difference"], row["drop"]["ci95"]),
        )
        for row in rows
    ]
    return table(("found on", "scored on", "attack", "budget", "as it is", "Dice [95 %]", "points [95 %]"), cells)
