"""Which figures a study has, by what its cells hold, and the numbers that each is drawn from."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from vlseg.metrics import Comparison, Effect, Estimate, compare_ranks
from vlseg.records.study import Cell
from vlseg.reports.study_drawing import Drawing
from vlseg.reports.study_scores import RUNS, Label, Score, names_of, scores
from vlseg.reports.tables.entries import natural

MOST = 8
"""Figures of one kind; what more there would be is told in the last one's caption."""
MOST_METHODS = 12
"""Beyond so many methods figures that hold them against each other are of one prompt alone."""
GAP = Estimate(None, None, None, 0, "not there")
FEWEST_PROMPTS = 3
MARKED = "†: the prompt tells of the truth, or may."
DICE = "mean Dice"


def drawings(
    cells: Sequence[Cell], *, pools: Mapping[str, Collection[str]] | None = None, phantoms: bool = False
) -> list[Drawing]:
    """The figures that a study's cells allow, in the order of the page.

    - a critical-difference diagram where enough methods, each trained on the data that it is asked about, share enough
      datasets (`metrics.compare_ranks`);
    - a domain-shift matrix of each model that was trained on two datasets or pools, each asked about two;
    - curves over prompts where a model is asked with three;
    - slopes of each probed model;
    - intervals of the diagram's methods.

    Where nothing was trained on what it is asked about, diagram and intervals are of untrained models.

    Args:
        cells: of a study.
        pools: the datasets of each pool.
        phantoms: the images are made up; each figure says so.
    """
    found = scores(cells)
    own = [one for one in found if one.labels.get("trained_on") == one.labels.get("data")]
    own = own or [one for one in found if not one.labels.get("trained_on")]
    kinds = (_ranks(own), _matrices(found, pools or {}), _prompts(found), _slopes(cells), _intervals(own))
    drawn_from = [one for some in kinds for one in _few(list(some))]
    return [_made_up(one) for one in drawn_from] if phantoms else drawn_from


def _made_up(one: Drawing) -> Drawing:
    """Said in the picture, which may be shown without the page."""
    measured = one.values.get("measured")
    short = "made-up," if one.kind == "ranks" else "made-up images"  # which stands in the middle of a line
    values = {**one.values, "measured": f"{measured}, {short}"} if measured else one.values
    return replace(one, caption=f"Made-up images. {one.caption}", values=values)


def _few(found: list[Drawing]) -> list[Drawing]:
    """The first ones; the last says how many more there would be."""
    if len(found) <= MOST:
        return found
    more = f"{len(found) - MOST} more of this kind are not drawn: {'; '.join(one.title for one in found[MOST:])}."
    return [*found[: MOST - 1], replace(found[MOST - 1], caption=f"{found[MOST - 1].caption} {more}".strip())]


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
    """The scores to hold against each other, the name of each one's method, and what is to be said of the choice.

    Of more than `MOST_METHODS` those under the one prompt that most of them are asked with; of equal ones one that does
    not tell of the truth. Methods whose prompt does are marked.
    """
    leave = ("data", "trained_on")
    kept, chosen = list(own), ""
    names = names_of([one.labels for one in own], leave)
    if len(set(names)) > MOST_METHODS:
        methods: dict[str, set[str]] = {}
        honest: Counter[str] = Counter()
        for one, name in zip(own, names, strict=True):
            methods.setdefault(one.labels.get("asked", ""), set()).add(name)
            honest[one.labels.get("asked", "")] += one.deployable is True
        prompt = max(methods, key=lambda key: (len(methods[key]), honest[key], key))
        kept, chosen = (
            [one for one in own if one.labels.get("asked", "") == prompt],
            f"Under the prompt '{prompt}' alone.",
        )
        names = names_of([one.labels for one in kept], leave)
    leaking = {name for one, name in zip(kept, names, strict=True) if one.deployable is False}
    names = [f"{name} †" if name in leaking else name for name in names]
    return kept, names, " ".join(filter(None, [chosen, MARKED if leaking else ""]))


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
    """Of as many methods on as many datasets as there are without a gap."""
    found, names, chosen = _methods(own)
    table: dict[str, dict[str, float | None]] = {}
    for one, name in zip(found, names, strict=True):
        table.setdefault(name, {})[one.labels.get("data", "")] = one.mean
    if not table:
        return
    sets = [frozenset(row) for row in table.values()]
    blocks = [
        {name: {data: table[name][data] for data in sorted(one)} for name, row in table.items() if one <= set(row)}
        for one in (*sets, frozenset.intersection(*sets))
    ]
    kept = max(blocks, key=lambda block: sum(map(len, block.values())))
    ranks = compare_ranks(kept)
    if ranks.reason is not None:
        return
    rows = [{"method": name, **row} for name, row in kept.items()]
    left = len(table) - len(kept)
    are = "is" if left == 1 else "are"
    told = f"{left} without a result on one of these datasets {are} left out." if left else ""
    caption = " ".join(filter(None, [_trained(found), chosen, told]))
    yield Drawing("ranks", "", "critical-difference", caption, rows, {"found": ranks, "measured": "Dice"})


def _matrices(found: Sequence[Score], pools: Mapping[str, Collection[str]]) -> Iterator[Drawing]:
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
        told = " Its prompt tells of the truth, or may." if any(one.deployable is False for one in rows) else ""
        caption = f"{name}: trained on what stands at the left.{told} {_over(rows)}"
        runs = [(on, row, {on, *pools.get(on, ())}) for on, row in values.items()]
        given = {"runs": runs, "measured": DICE}
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
        prompts = sorted({one.labels.get("asked", "") for one in shown}, key=natural)
        curves = {name: dict.fromkeys(prompts, GAP) for name in lines}
        for name, line in lines.items():
            curves[name] |= {one.labels.get("asked", ""): one.estimate for one in line}
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
