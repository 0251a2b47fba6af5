"""Which figures a study has, by what its cells hold, and the numbers that each is drawn from."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from vlseg.metrics import Comparison, Effect, Estimate, compare_ranks
from vlseg.records import write_text
from vlseg.records.study import Cell
from vlseg.reports.figures import Figure, critical_difference, domain_shift, intervals, language_slopes, prompt_curves

Label = tuple[str, str]
MOST = 8
"""Figures of one kind; what more there would be is told in the last one's caption."""
MOST_METHODS = 12
"""Beyond so many methods figures that hold them against each other are of one prompt alone."""
FEWEST_PROMPTS = 3
RUNS = ("seed", "fold", "part")
"""Labels over which a mean is taken, or that several wants of one run differ in."""
DICE = "mean Dice"


@dataclass(frozen=True)
class Score:
    """A mean over seeds, each over its folds first.

    Attributes:
        labels: without those of `RUNS`.
        ends: of one run its interval; of several the widest of theirs, laid around the mean; None where one has none.
        deployable: False where the prompt tells of the truth; None where it is not known.
    """

    labels: Mapping[str, str]
    mean: float
    ends: tuple[float, float] | None
    n: int
    runs: int
    deployable: bool | None

    @property
    def estimate(self) -> Estimate:
        """As figures take it."""
        return Estimate(self.mean, None, self.ends, self.n, None if self.ends else "over several runs, or not known")


@dataclass(frozen=True)
class Drawing:
    """A figure before it is drawn.

    Attributes:
        kind: what draws it.
        title: what it is of, among those of its kind.
        name: of its files.
        caption: what stands before the figure's own.
        rows: what it is drawn from, as its CSV has it.
        values: what `kind` takes.
    """

    kind: str
    title: str
    name: str
    caption: str
    rows: Sequence[Mapping[str, Any]]
    values: Mapping[str, Any] = field(default_factory=dict)


def drawings(cells: Sequence[Cell]) -> list[Drawing]:
    """The figures that a study's cells allow, in the order of the page.

    A critical-difference diagram of at least three methods, each trained on the data that it is asked about, on three
    datasets at least; a domain-shift matrix of each model that was trained on two datasets or pools, asked about two;
    curves over prompts where a model is asked with three; slopes of each probed model; and intervals of the methods of
    the diagram. Where nothing was trained on what it is asked about, diagram and intervals are of untrained models.
    """
    found = scores(cells)
    own = [one for one in found if one.labels.get("trained_on") == one.labels.get("data")]
    own = own or [one for one in found if not one.labels.get("trained_on")]
    kinds = (_ranks(own), _matrices(found), _prompts(found), _slopes(cells), _intervals(own))
    return [one for some in kinds for one in _few(list(some))]


def _few(found: list[Drawing]) -> list[Drawing]:
    """The first ones; the last says how many more there would be."""
    if len(found) <= MOST:
        return found
    more = f"{len(found) - MOST} more of this kind are not drawn: {'; '.join(one.title for one in found[MOST:])}."
    return [*found[: MOST - 1], replace(found[MOST - 1], caption=f"{found[MOST - 1].caption} {more}".strip())]


def write_figures(found: Sequence[Drawing], folder: Path) -> list[tuple[Drawing, Figure]]:
    """Draw those that have anything to show; write NAME.svg, NAME.png and NAME.csv of each, earlier ones go.

    Raises:
        InputError: the folder cannot be written.
    """
    figures = []
    for drawing in found:
        figure = drawn(drawing)
        if figure is not None:
            figure.write(folder)
            write_text(folder / f"{figure.name}.csv", to_csv(drawing.rows))
            figures.append((drawing, figure))
    kept = {figure.name for _, figure in figures}
    for old in folder.glob("*.csv"):
        files = [old.with_suffix(suffix) for suffix in (".svg", ".png", ".csv")]
        if old.stem not in kept and all(file.is_file() for file in files):
            for file in files:
                file.unlink(missing_ok=True)  # another process may write the same report
    return figures


def drawn(one: Drawing) -> Figure | None:
    """The figure; None where there is nothing to show."""
    figure: Figure | None = DRAW[one.kind](**one.values, name=one.name)
    if figure is None:
        return None
    return replace(figure, caption=f"{one.caption} {figure.caption}".strip())


DRAW: Mapping[str, Any] = {
    "intervals": intervals,
    "ranks": critical_difference,
    "matrix": domain_shift,
    "prompts": prompt_curves,
    "slopes": language_slopes,
}


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The numbers of a figure; what is not there is empty."""
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


# Scores ---------------------------------------------------------------------------------------------------------------


def scores(cells: Sequence[Cell]) -> list[Score]:
    """Dice under clean prompts, a mean over the seeds and folds of one place; each run once, whatever parts want it.

    Where two runs differ in nothing that their labels tell, they are of parts that set something else: those of the
    first part are taken.
    """
    places: dict[tuple[Label, ...], dict[tuple[str, str], Cell]] = {}
    for cell in cells:
        if cell.kind not in ("evaluate", "masks") or cell.labels.get("condition", "clean") != "clean":
            continue
        if _mean(cell) is None:
            continue
        place = tuple((name, value) for name, value in cell.labels.items() if name not in RUNS)
        run = cell.labels.get("seed", ""), cell.labels.get("fold", "")
        places.setdefault(place, {}).setdefault(run, cell)
    return [_score(dict(place), inside) for place, inside in places.items()]


def _score(labels: Mapping[str, str], inside: Mapping[tuple[str, str], Cell]) -> Score:
    seeds: dict[str, list[float]] = {}
    for (seed, _), cell in inside.items():
        seeds.setdefault(seed, []).append(_mean(cell) or 0.0)
    first = next(iter(inside.values()))
    told = [cell.values.get("deployable") for cell in inside.values()]
    mean = fmean(fmean(values) for values in seeds.values())
    return Score(
        labels,
        mean,
        _ends(mean, [cell.values["dice"].get("ci95") for cell in inside.values()]),
        int(first.values["dice"].get("n") or 0),
        len(inside),
        False if False in told else None if None in told else True,
    )


def _ends(mean: float, intervals: Sequence[Any]) -> tuple[float, float] | None:
    if not all(intervals):
        return None
    if len(intervals) == 1:
        return float(intervals[0][0]), float(intervals[0][1])
    half = max(float(high) - float(low) for low, high in intervals) / 2
    return mean - half, mean + half


def _mean(cell: Cell) -> float | None:
    dice = cell.values.get("dice")
    value = dice.get("mean") if isinstance(dice, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def names_of(found: Sequence[Mapping[str, str]], leave: Sequence[str] = ()) -> list[str]:
    """What each is called: the model, its prompt (trained → asked), and every label in which one model's differ."""
    within: dict[str, dict[str, set[str]]] = {}
    for one in found:
        model = within.setdefault(one.get("model", ""), {})
        for name in one:
            model.setdefault(name, set()).add(one.get(name, ""))
    known = dict.fromkeys(name for one in found for name in one)
    asked = len({_asked(one) for one in found}) > 1
    varied = [
        name
        for name in known
        if name not in (*RUNS, *leave, "model", "prompt", "asked")
        and any(len(values.get(name, ())) > 1 for values in within.values())
    ]
    ask = asked and "asked" not in leave
    return [
        ", ".join(filter(None, [one.get("model", ""), _asked(one) if ask else "", *(one.get(n, "") for n in varied)]))
        for one in found
    ]


def _asked(one: Mapping[str, str]) -> str:
    """The prompt; trained → asked where these are two."""
    trained, asked = one.get("prompt", ""), one.get("asked", "")
    return f"{trained} → {asked}" if trained and asked and trained != asked else asked or trained


def _row(one: Score, **more: Any) -> dict[str, Any]:
    ends = one.ends or ("", "")
    return {**more, **one.labels, "dice": one.mean, "low": ends[0], "high": ends[1], "n": one.n, "runs": one.runs}


def _over(found: Sequence[Score]) -> str:
    """What a number is, for a caption."""
    counts = sorted({one.runs for one in found})
    if counts == [1]:
        return "One run each."
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    told = f"Means over {many} runs (seeds and folds)"
    return told + (
        ", each with the widest of its runs' intervals around it." if any(one.ends for one in found) else "."
    )


# What is held against each other --------------------------------------------------------------------------------------


def _methods(own: Sequence[Score]) -> tuple[list[Score], list[str], str]:
    """The scores to hold against each other, the name of each one's method, and how they were chosen.

    Of more than `MOST_METHODS` those under the one prompt that most of them are asked with; of equal ones one that does
    not tell of the truth.
    """
    leave = ("data", "trained_on")
    names = names_of([one.labels for one in own], leave)
    if len(set(names)) <= MOST_METHODS:
        return list(own), names, ""
    methods: dict[str, set[str]] = {}
    honest: Counter[str] = Counter()
    for one, name in zip(own, names, strict=True):
        methods.setdefault(one.labels.get("asked", ""), set()).add(name)
        honest[one.labels.get("asked", "")] += one.deployable is True
    prompt = max(methods, key=lambda key: (len(methods[key]), honest[key], key))
    kept = [one for one in own if one.labels.get("asked", "") == prompt]
    return kept, names_of([one.labels for one in kept], leave), f"Under the prompt '{prompt}' alone."


def _trained(own: Sequence[Score]) -> str:
    trained = any(one.labels.get("trained_on") for one in own)
    return "Each model trained on the data that it is asked about." if trained else "Untrained models."


def _intervals(own: Sequence[Score]) -> Iterator[Drawing]:
    found, names, chosen = _methods(own)
    if len(found) < 2 or not any(one.ends for one in found):
        return  # the table says the same
    order = sorted(zip(found, names, strict=True), key=lambda one: one[0].labels.get("data", ""))
    several = len({one.labels.get("data", "") for one in found}) > 1
    values = [(f"{one.labels['data']}: {name}" if several else name, one.estimate) for one, name in order]
    rows = [_row(one, method=name) for one, name in order]
    caption = " ".join(filter(None, [_trained(found), chosen, _over(found)]))
    yield Drawing("intervals", "", "intervals", caption, rows, {"values": values, "measured": DICE})


def _ranks(own: Sequence[Score]) -> Iterator[Drawing]:
    """Over the datasets that all methods have, of those methods that have the most."""
    found, names, chosen = _methods(own)
    table: dict[str, dict[str, float | None]] = {}
    for one, name in zip(found, names, strict=True):
        table.setdefault(name, {})[one.labels.get("data", "")] = one.mean
    widest = Counter(frozenset(row) for row in table.values()).most_common(1)
    if not widest:
        return
    datasets = sorted(widest[0][0])
    kept = {name: {data: row[data] for data in datasets} for name, row in table.items() if set(datasets) <= set(row)}
    ranks = compare_ranks(kept)
    if ranks.reason is not None:
        return
    rows = [{"method": name, **row} for name, row in kept.items()]
    left = len(table) - len(kept)
    told = f"{left} methods without a result on one of the {len(datasets)} datasets are left out." if left else ""
    caption = " ".join(filter(None, [_trained(found), chosen, told]))
    yield Drawing("ranks", "", "critical-difference", caption, rows, {"found": ranks})


def _matrices(found: Sequence[Score]) -> Iterator[Drawing]:
    """One a model and prompt: what it was trained on down, what it is asked about across."""
    trained = [one for one in found if one.labels.get("trained_on")]
    groups: dict[tuple[Label, ...], list[Score]] = {}
    for one in trained:
        key = tuple((name, value) for name, value in one.labels.items() if name not in ("data", "trained_on"))
        groups.setdefault(key, []).append(one)
    kept = {}
    for key, inside in groups.items():
        columns = Counter(one.labels["trained_on"] for one in inside)
        rows = [one for one in inside if columns[one.labels["trained_on"]] > 1]
        if len({one.labels["trained_on"] for one in rows}) > 1:
            kept[key] = rows
    for name, rows in zip(names_of([dict(key) for key in kept]), kept.values(), strict=True):
        values: dict[str, dict[str, float | None]] = {}
        order = list(dict.fromkeys(one.labels["data"] for one in rows))
        for one in rows:
            values.setdefault(one.labels["trained_on"], dict.fromkeys(order))[one.labels["data"]] = one.mean
        caption = f"{name}: trained on what stands at the left. {_over(rows)}"
        given = {"cells": values, "measured": DICE}
        yield Drawing("matrix", name, f"domain-shift-{name}", caption, [_row(one) for one in rows], given)


def _prompts(found: Sequence[Score]) -> Iterator[Drawing]:
    """One a dataset, untrained models and trained ones apart: a line a model, asked as it was trained."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for one in found:
        on, asked = one.labels.get("trained_on", ""), one.labels.get("asked", "")
        if not on or one.labels.get("prompt") == asked:
            groups.setdefault((one.labels.get("data", ""), on), []).append(one)
    for (data, on), inside in groups.items():
        lines: dict[str, list[Score]] = {}
        for one, name in zip(inside, names_of([one.labels for one in inside], ("asked", "prompt")), strict=True):
            lines.setdefault(name, []).append(one)
        lines = {name: line for name, line in lines.items() if len(line) >= FEWEST_PROMPTS}
        if not lines:
            continue
        shown = [one for line in lines.values() for one in line]
        prompts = sorted({one.labels.get("asked", "") for one in shown})
        curves = {
            name: {prompt: one.estimate for prompt in prompts for one in line if one.labels.get("asked", "") == prompt}
            for name, line in lines.items()
        }
        leaking = {one.labels.get("asked", "") for one in shown if one.deployable is False}
        how = "untrained" if not on else "trained on it" if on == data else f"trained on {on}"
        values = {"curves": curves, "leaking": leaking, "measured": DICE}
        caption = (
            f"{data}, models {how}, each asked as it was trained. {_over(shown)}"
            if on
            else f"{data}, untrained models."
        )
        rows = [_row(one, line=name) for name, line in lines.items() for one in line]
        yield Drawing("prompts", f"{data}, {how}", f"prompts-{data}-{how.replace(' ', '-')}", caption, rows, values)


def _slopes(cells: Sequence[Cell]) -> Iterator[Drawing]:
    """One a probed model: under which words its Dice changes, a mean over the datasets and runs it was probed on."""
    groups: dict[tuple[Label, ...], dict[tuple[str, ...], Cell]] = {}
    for cell in cells:
        if cell.kind == "probe" and cell.values.get("tests"):
            key = tuple((k, v) for k, v in cell.labels.items() if k not in (*RUNS, "data", "trained_on"))
            run = tuple(cell.labels.get(k, "") for k in ("seed", "fold", "trained_on", "data"))
            groups.setdefault(key, {}).setdefault(run, cell)  # each once, whatever parts want it
    for name, probes in zip(names_of([dict(key) for key in groups]), groups.values(), strict=True):
        tests = [{test["name"]: test for test in cell.values["tests"]} for cell in probes.values()]
        shared = [key for key in tests[0] if all(_whole(one.get(key)) for one in tests)]
        if not shared:
            continue
        effects = [_effect(key, [one[key] for one in tests]) for key in shared]
        data = ", ".join(sorted({cell.labels.get("data", "") for cell in probes.values()}))
        over = f"mean over {len(probes)} probes" if len(probes) > 1 else "one probe"
        caption = f"{name}, {over} ({data})" + ("; conditions that all of them have." if len(probes) > 1 else ".")
        rows = [
            {"condition": one.name, "own": (one.dice or 0.0) - (one.original.difference or 0.0), "other": one.dice}
            for one in effects
        ]
        yield Drawing("slopes", name, f"language-use-{name}", caption, rows, {"effects": effects})


def _whole(test: Mapping[str, Any] | None) -> bool:
    return test is not None and all(isinstance(test.get(key), int | float) for key in ("dice", "delta_dice"))


def _effect(name: str, tests: Sequence[Mapping[str, Any]]) -> Effect:
    """A mean over probes; the interval is a single probe's."""
    alone = tests[0] if len(tests) == 1 else {}
    ends = alone.get("ci95")
    n = sum(int(test.get("n") or 0) for test in tests)
    change = Comparison(
        difference=fmean(test["delta_dice"] for test in tests),
        ci95=(float(ends[0]), float(ends[1])) if ends else None,
        p=alone.get("p"),
        detectable=alone.get("detectable"),
        n=n,
        n_groups=int(alone.get("n_groups") or 0),
        reason=alone.get("reason") or (None if ends else "over several probes"),
    )
    none = Estimate(None, None, None, 0, "not read")
    return Effect(name, change, fmean(test["dice"] for test in tests), None, none)
