"""What a study scored, a mean over seeds for each place, and what its methods are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from vlseg.metrics import Estimate
from vlseg.records.study import Cell

Label = tuple[str, str]
RUNS = ("seed", "fold", "part")
"""Labels over which a mean is taken, or that several wants of one run differ in."""
TEST = "test"


@dataclass(frozen=True)
class Score:
    """A mean over seeds, each over its folds first.

    Attributes:
        labels: without those of `RUNS`.
        ends: of one run its interval; of several the widest of theirs, laid around the mean; None where one has none.
        deployable: False where the answers were told of the truth by their prompt; None where it is not known.
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


def scores(cells: Sequence[Cell]) -> list[Score]:
    """Dice under clean prompts, a mean over the seeds and folds of one place; each run once, whatever parts want it.

    On the test split; on the others where nothing was asked about that.

    Where two runs differ in nothing that their labels tell, they are of parts that set something else: those of the
    first part are taken.
    """
    plain = [
        cell
        for cell in cells
        if cell.kind in ("evaluate", "masks")
        and cell.labels.get("condition", "clean") == "clean"
        and _mean(cell) is not None
    ]
    tested = [cell for cell in plain if cell.labels.get("split", TEST) == TEST]
    places: dict[tuple[Label, ...], dict[tuple[str, str], Cell]] = {}
    for cell in tested or plain:
        place = tuple((name, value) for name, value in cell.labels.items() if name not in RUNS)
        run = cell.labels.get("seed", ""), cell.labels.get("fold", "")
        places.setdefault(place, {}).setdefault(run, cell)
    return [_score(dict(place), inside) for place, inside in places.items()]


def _score(labels: Mapping[str, str], inside: Mapping[tuple[str, str], Cell]) -> Score:
    seeds: dict[str, list[float]] = {}
    for (seed, _), cell in inside.items():
        seeds.setdefault(seed, []).append(_mean(cell) or 0.0)
    first = next(iter(inside.values()))
    told = [_honest(cell) for cell in inside.values()]
    mean = fmean(fmean(values) for values in seeds.values())
    return Score(
        labels,
        mean,
        _ends(mean, [cell.values["dice"].get("ci95") for cell in inside.values()]),
        int(first.values["dice"].get("n") or 0),
        len(inside),
        False if False in told else None if None in told else True,
    )


def _honest(cell: Cell) -> bool | None:
    """Whether the answers were told nothing of the truth; None where it is not known."""
    deployable = cell.values.get("deployable")
    read = cell.values.get("told", "prompt") in ("prompt", "unknown")
    return None if deployable is None else bool(deployable) or not read


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
