"""The gallery: scored samples with image, truth and answer, to sort and filter; plain HTML and a short script."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from markupsafe import escape

from vlseg.records import SampleScore
from vlseg.records.pictures import GRID, SmallImage, read_pictures
from vlseg.reports.chosen import Row, answers, choose
from vlseg.reports.load import RunOnDisk
from vlseg.reports.outlines import coarser
from vlseg.reports.thumbnails import thumbnails

BUDGET = 17_000_000
"""Bytes of the gallery in the page; with all else a page stays below 20 MB."""
MOST_ROWS = 12_000
"""Answers shown at most: with more, browsers are slow."""
GRIDS = (GRID, GRID // 2, GRID // 4)
"""Units of an outline's longer side: the finest with which words and outlines take two fifths of the budget."""
CARD, PICTURE, OPTION = 240, 40, 40
"""Bytes of a card, an image and a filter's value, at most, beside what is counted: words, outlines, data URL."""
MOST_VALUES = 200
"""Values of a filter that one chooses from; what has more is searched for."""


@dataclass(frozen=True)
class Facet:
    """A filter: its label and its values in the order shown."""

    label: str
    values: list[str]


@dataclass(frozen=True)
class Card:
    """One answer as the gallery shows it.

    Attributes:
        image: place of its image in `Gallery.images`.
        width, height: of the outlines' grid.
        truth, answer: outlines; empty for empty masks, the truth None where there is none.
        verdict: in words, e.g. "Dice 0.84".
        sentence: that was asked; None where the model is told none.
        words: what the card is of, the sample's id first.
        keys: place of its value in each facet.
        dice, truth_share, answer_share: to sort by; shares of the image's area in percent.
    """

    image: int
    width: int
    height: int
    truth: str | None
    answer: str
    verdict: str
    sentence: str | None
    words: list[str]
    keys: list[int]
    dice: float | None
    truth_share: float | None
    answer_share: float | None


@dataclass(frozen=True)
class Gallery:
    """What gallery.html.j2 shows.

    Attributes:
        cards: in the order of a page without script.
        images: data URLs.
        side: longer side of these in pixels.
        ratio: width by height of a typical image, between 0.75 and 1.8.
        facets: filters with more than one value.
        searched: labels of what has too many values for a filter.
        total: answers that there are pictures of.
        why: why not all are shown; empty where they are.
        notes: what else is left out, and how pictures are to be read.
        groups: whether patients or sequences are named.
    """

    cards: list[Card]
    images: list[str]
    side: int
    ratio: float
    facets: list[Facet]
    searched: list[str]
    total: int
    why: str
    notes: list[str]
    groups: bool


@dataclass(frozen=True)
class _Drawn:
    """A row with its image and outlines; `scale` is of the outlines' grid to GRID."""

    row: Row
    image: SmallImage
    scale: float
    truth: str | None
    answer: str


def gallery(runs: Sequence[RunOnDisk], budget: int = BUDGET) -> Gallery | None:
    """The scored samples of all runs; None where no evaluation kept pictures.

    Each answer is shown once. Where there are more than fit, those to own prompts come first (see `choose`).

    Args:
        runs: as read.
        budget: bytes of the HTML that the template makes of this, beside some 8,000 of script and text.

    Raises:
        InputError: pictures of other scores, or files that cannot be read.
    """
    rows, out = answers(runs)
    if not rows:
        return None
    most = MOST_ROWS
    while True:
        chosen = choose(rows, most)
        pictured = sorted(_pictured(chosen.rows), key=_order)
        facets, searched, keys = _facets([one.row for one in pictured])
        drawn, size = _coarse_enough(pictured, budget * 2 // 5)
        size += sum(OPTION + len(str(escape(value)).encode()) for facet in facets for value in facet.values)
        allowed, taken = budget // 2, size
        if size <= budget // 2 or most <= 1:
            contents = list(dict.fromkeys(one.image.content for one in drawn))
            small = thumbnails(contents, budget - size - PICTURE * len(contents))
            # The smallest pictures of many images of noise may not fit either.
            allowed, taken = budget, size + PICTURE * len(contents) + sum(map(len, small.urls))
            if taken <= budget or most <= 1:
                break
        most = max(1, min(len(chosen.rows) - 1, len(chosen.rows) * allowed // taken))
    places = {content: place for place, content in enumerate(contents)}
    cards = [
        _card(one, places[one.image.content], key, searched + [facet.label for facet in facets])
        for one, key in zip(drawn, keys, strict=True)
    ]
    limit = f"a page with more than {MOST_ROWS:,} is slow" if most == MOST_ROWS else _megabytes(budget)
    return Gallery(
        cards,
        small.urls,
        small.side,
        min(1.8, max(0.75, median(one.image.width / one.image.height for one in drawn))) if drawn else 1.0,
        facets,
        searched,
        len(rows),
        f"{chosen.words}: {limit}" if chosen.words else "",
        _notes([one.row for one in drawn], out, len(chosen.rows) - len(drawn)),
        any(one.row.score.group is not None for one in drawn),
    )


def _megabytes(budget: int) -> str:
    return f"this part of the page is kept below {budget / 1e6:.3g} MB"


def _pictured(rows: Sequence[Row]) -> list[_Drawn]:
    """The rows with image and outlines; those without an answer on the sample's image are left out."""
    by_evaluation: dict[int, list[Row]] = {}
    for row in rows:
        by_evaluation.setdefault(id(row.evaluation), []).append(row)
    found = []
    for inside in by_evaluation.values():
        evaluation = inside[0].evaluation
        # Not `evaluation.pictures`, which keeps all: 150 runs would not fit into memory.
        pictures = read_pictures(evaluation.folder, len(evaluation.scores))
        if pictures is None:
            continue
        for row in inside:
            outline = pictures.outlines[row.index]
            image = pictures.images.get((row.score.dataset, row.score.image_id))
            if image is not None and outline.answer is not None:
                found.append(_Drawn(row, image, 1, outline.truth, outline.answer))
    return found


def _coarse_enough(drawn: list[_Drawn], budget: int) -> tuple[list[_Drawn], int]:
    """With the finest outlines of GRIDS that keep the cards within a budget, or the coarsest; and the cards' bytes."""
    varied = [label for label in ("dataset", "run") if len({FACETS[label](one.row) for one in drawn}) > 1]
    words = sum(CARD + _bytes(one.row, varied) for one in drawn)
    for grid in GRIDS:
        scale = grid / GRID
        found = [
            replace(
                one,
                scale=scale,
                truth=None if one.truth is None else coarser(one.truth, scale),
                answer=coarser(one.answer, scale),
            )
            for one in drawn
        ]
        size = words + sum(len(one.truth or "") + len(one.answer) for one in found)
        if size <= budget:
            break
    return found, size


def _bytes(row: Row, varied: Sequence[str]) -> int:
    """Of a card's words in HTML."""
    words = (*_words(row, varied), row.score.wording)
    return sum(len(str(escape(word)).encode()) + len("<bdi></bdi>, ") for word in words)


def _order(one: _Drawn) -> tuple[object, ...]:
    """Own prompts first, of these the lowest Dice first; what has no Dice over a present target last."""
    score = one.row.score
    dice = _dice(score)
    return (
        score.condition != "clean",
        dice is None,
        dice,
        *one.row.sample,
        one.row.run.record.id,
        one.row.evaluation.name,
        one.row.index,
    )


def _dice(score: SampleScore) -> float | None:
    """Over present targets alone: absent ones are answered empty or not."""
    return None if score.empty_target is not False else score.dice


def _card(one: _Drawn, image: int, keys: list[int], varied: Sequence[str]) -> Card:
    score = one.row.score
    truth = None if score.area_error is None else score.area - score.area_error
    return Card(
        image,
        round(one.image.width * one.scale),
        round(one.image.height * one.scale),
        one.truth,
        one.answer,
        _verdict(score),
        score.wording if one.row.evaluation.spec.told in ("prompt", "unknown") else None,
        _words(one.row, varied),
        keys,
        _dice(score),
        _percent(truth, score.pixels),
        _percent(score.area, score.pixels),
    )


def _percent(area: int | None, pixels: int | None) -> float | None:
    return None if area is None or not pixels else 100 * area / pixels


def _verdict(score: SampleScore) -> str:
    if score.empty_target is None:
        return "no truth" + (", nothing marked" if score.empty_pred else "")
    if score.empty_target:
        return "absent, nothing marked" if score.empty_pred else "absent, but marked"
    return f"Dice {score.dice:.2f}" + (", nothing marked" if score.empty_pred else "")


def _words(row: Row, varied: Sequence[str]) -> list[str]:
    """What a card says beside verdict and sentence; dataset and run where these vary."""
    score = row.score
    asked = "" if score.condition == "clean" else row.condition
    where = [FACETS[label](row) for label in ("dataset", "run") if label in varied]
    return [word for word in (score.sample_id, score.target, asked, score.group, *where) if word]


FACETS: Mapping[str, Callable[[Row], str]] = {
    "run": lambda row: row.run.record.id,
    "dataset": lambda row: row.score.dataset,
    "split": lambda row: row.score.split,
    "target": lambda row: row.score.target or "(no name)",
    "target is": lambda row: {True: "absent", False: "present", None: "no truth"}[row.score.empty_target],
    "answer": lambda row: "nothing marked" if row.score.empty_pred else "something marked",
    "asked with": lambda row: row.condition,
    "prompt": lambda row: row.score.prompt,
    "sentence": lambda row: row.score.wording or "(no words)",
    "group": lambda row: row.score.group or "(unknown)",
    "evaluation": lambda row: row.evaluation.name,
}
"""Filters by label. Of two that part the rows alike, the first is shown."""
WRITTEN = ("target", "sentence", "group", "run", "dataset")
"""Those whose value is written on each card, where the search finds it."""


def _facets(rows: Sequence[Row]) -> tuple[list[Facet], list[str], list[list[int]]]:
    """The filters with more than one value, the labels of those with too many, and each row's places of its values."""
    facets: list[Facet] = []
    searched: list[str] = []
    columns: set[tuple[int, ...]] = set()
    for label, of in FACETS.items():
        values = [of(row) for row in rows]
        first = {value: place for place, value in enumerate(dict.fromkeys(values))}
        column = tuple(first[value] for value in values)
        if len(first) < 2 or column in columns:
            continue
        columns.add(column)
        if len(first) <= MOST_VALUES:
            facets.append(Facet(label, sorted(first, key=_natural)))
        elif label in WRITTEN:
            searched.append(label)
    keys: list[list[int]] = [[] for _ in rows]
    for facet in facets:
        places = {value: place for place, value in enumerate(facet.values)}
        for key, row in zip(keys, rows, strict=True):
            key.append(places[FACETS[facet.label](row)])
    return facets, searched, keys


def _natural(text: str) -> tuple[bool, list[tuple[int, str]]]:
    """Own prompts first; numbers by their size."""
    parts = re.findall(r"\d+|\D+", text)
    return text != "own prompt", [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _notes(rows: Sequence[Row], out: Mapping[str, int], lost: int) -> list[str]:
    """What is left out for other reasons than room, and how pictures are to be read."""
    told = dict.fromkeys(row.run.record.id for row in rows if row.evaluation.spec.told in ("target", "nothing"))
    said = {
        "{:,} answers on other images than the sample's": out["elsewhere"] + lost,
        "{:,} rows that repeat an answer (held against another truth, or evaluated again)": out["again"],
    }
    left = [words.format(count) for words, count in said.items() if count]
    return [
        *([f"Left out: {'; '.join(left)}."] if left else []),
        *([f"No sentence is told to {', '.join(told)}."] if told else []),
        *(
            ["Answers to worsened images are drawn on the image as it is."]
            if any("severity" in row.score.condition_arguments for row in rows)
            else []
        ),
    ]
