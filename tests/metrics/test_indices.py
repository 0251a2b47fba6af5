"""The two indices on reference models whose use of the prompt is known, from masks drawn here."""

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from vlseg.metrics import presence_index, selection_index
from vlseg.metrics.indices import chosen
from vlseg.records import SampleScore

PAGE = Path(__file__).resolve().parents[2] / "docs" / "probe.md"
SIDE = 32
Masks = Sequence[np.ndarray]
Model = Callable[[Masks, int, np.random.Generator], np.ndarray]


def row(**changes: object) -> SampleScore:
    values: dict[str, object] = {
        "dataset": "d", "split": "test", "sample_id": "s", "image_id": "i", "group": None, "site": None,
        "target": None, "named_target": None, "prompt": "p", "wording": "w", "prompt_sources": "class",
        "deployable": True, "condition": "clean", "condition_arguments": "{}", "model": "m", "run_id": "r", "seed": 0,
        "protocol": "corrected", "threshold": 0.5, "precision": "fp32", "dice": None, "iou": None, "hd95": None,
        "hd": None, "nsd": None, "nsd_tolerance": 2.0, "assd": None, "distance_unit": "px", "spacing": None,
        "image_diagonal": 45.0, "presence_score": None, "area": 0, "area_error": None, "empty_target": None,
        "empty_pred": False,
    }  # fmt: skip
    return SampleScore(**(values | changes))  # type: ignore[arg-type]


def scenes(count: int) -> list[list[np.ndarray]]:
    """Images with two to four boxes of very different sizes, one to a quarter of the image."""
    rng = np.random.default_rng(11)
    found = []
    for _ in range(count):
        masks = []
        for corner in rng.permutation(4)[: rng.integers(2, 5)]:
            height, width = rng.integers(2, 15, 2)
            mask = np.zeros((SIDE, SIDE), dtype=bool)
            top, left = (int(corner) // 2) * 16, (int(corner) % 2) * 16
            mask[top : top + height, left : left + width] = True
            masks.append(mask)
        found.append(masks)
    return found


def answers(model: Model, images: Sequence[Masks], seed: int = 5) -> list[SampleScore]:
    """Each target asked for, each answer held against all targets."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, masks in enumerate(images):
        for asked in range(len(masks)):
            answer = model(masks, asked, rng)
            for against, mask in enumerate(masks):
                told = {"asked": f"{number}-{asked}", "held_against": f"{number}-{against}"}
                total = int(answer.sum()) + int(mask.sum())
                rows.append(
                    row(
                        sample_id=f"{number}-{asked}",
                        image_id=str(number),
                        condition="selection",
                        condition_arguments=json.dumps(told),
                        dice=2 * int((answer & mask).sum()) / total,
                        area=int(answer.sum()),
                        area_error=int(answer.sum()) - int(mask.sum()),
                        empty_pred=not answer.any(),
                        empty_target=False,
                    )
                )
    return rows


def largest(masks: Masks) -> np.ndarray:
    return max(masks, key=lambda mask: int(mask.sum()))


def disc() -> np.ndarray:
    yy, xx = np.mgrid[:SIDE, :SIDE]
    return (yy - 15.5) ** 2 + (xx - 15.5) ** 2 < 8**2


def nothing() -> np.ndarray:
    return np.zeros((SIDE, SIDE), dtype=bool)


MODELS: dict[str, Model] = {
    "the asked one": lambda masks, asked, rng: masks[asked],
    "the asked one, or nothing every other time": lambda masks, asked, rng: (
        masks[asked] if rng.random() < 0.5 else nothing()
    ),
    "the asked one, or the largest every other time": lambda masks, asked, rng: (
        masks[asked] if rng.random() < 0.5 else largest(masks)
    ),
    "the largest": lambda masks, asked, rng: largest(masks),
    "the first": lambda masks, asked, rng: masks[0],
    "one at random": lambda masks, asked, rng: masks[int(rng.integers(len(masks)))],
    "all of them": lambda masks, asked, rng: np.logical_or.reduce(list(masks)),
    "the whole image": lambda masks, asked, rng: ~nothing(),
    "nothing": lambda masks, asked, rng: nothing(),
    "a disc in the centre": lambda masks, asked, rng: disc(),
    "another than the asked one": lambda masks, asked, rng: masks[asked - 1],
}  # fmt: skip
NOT_READING = ("the largest", "the first", "all of them", "the whole image", "nothing", "a disc in the centre")


def shown(value: float | None) -> str:
    return "none" if value is None else f"{value + 0.0:.2f}".replace("-0.00", "0.00")


@pytest.mark.parametrize("name", MODELS)
def test_the_table_in_the_docs_is_what_reference_models_get(name: str) -> None:
    index, none = selection_index(answers(MODELS[name], scenes(200)), groups_known=False)
    line = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {name} |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:] == [shown(index.value), shown(none.value)]


def test_the_docs_know_no_other_reference_model() -> None:
    table = re.search(r"\| answers with \|.*?\n\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert table is not None
    assert [line.split("|")[1].strip() for line in table[0].strip().splitlines()[2:]] == list(MODELS)


@pytest.mark.parametrize("name", NOT_READING)
def test_one_answer_to_all_prompts_has_index_zero_on_every_image(name: str) -> None:
    for masks in scenes(60):
        index, none = selection_index(answers(MODELS[name], [masks]), groups_known=False)
        assert none.value in (0.0, 1.0)  # the same for all prompts
        assert index.value is None if none.value == 1 else index.value == pytest.approx(0, abs=1e-12)


def test_any_one_mask_has_index_zero() -> None:
    """Blobs that have nothing to do with the targets, the same for every prompt of the image."""
    rng = np.random.default_rng(2)
    for masks in scenes(40):
        blob = rng.random((SIDE, SIDE)) < rng.choice([0.02, 0.3, 0.9])
        part = blob & masks[0] | masks[-1] & ~blob
        for fixed in (blob, part):
            index, _ = selection_index(answers(lambda m, a, r, fixed=fixed: fixed, [masks]), groups_known=False)  # type: ignore[misc]
            assert index.value is None or index.value == pytest.approx(0, abs=1e-12)


def test_reading_is_not_charged_for_finding_nothing() -> None:
    index, none = selection_index(
        answers(MODELS["the asked one, or nothing every other time"], scenes(60)), groups_known=False
    )
    assert index.value == 1
    assert none.value is not None
    assert 0.35 < none.value < 0.65
    nothing_chosen, all_none = selection_index(answers(MODELS["nothing"], scenes(12)), groups_known=False)
    assert (nothing_chosen.value, nothing_chosen.n, all_none.value) == (None, 0, 1)
    assert nothing_chosen.reason == "no answer chose one of the targets"


@pytest.mark.slow
def test_the_interval_of_a_random_choice_covers_zero_about_95_times_in_100() -> None:
    """Uneven choice among targets of uneven number, a fifth of the answers empty."""
    images = scenes(25)

    def choice(masks: Masks, asked: int, rng: np.random.Generator) -> np.ndarray:
        if rng.random() < 0.2:
            return nothing()
        weights = np.array([mask.sum() for mask in masks], dtype=float)
        return masks[int(rng.choice(len(masks), p=weights / weights.sum()))]

    covered, values = [], []
    for seed in range(100):
        index, _ = selection_index(answers(choice, images, seed), groups_known=False)
        assert index.ci95 is not None
        assert index.value is not None
        covered.append(index.ci95[0] <= 0 <= index.ci95[1])
        values.append(index.value)
    assert 0.90 <= np.mean(covered) <= 0.99
    assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5


def against(*pairs: tuple[float, int], area: int) -> dict[str, SampleScore]:
    return {str(n): row(dice=dice, area=area, area_error=area - true) for n, (dice, true) in enumerate(pairs)}


@pytest.mark.parametrize(
    ("pairs", "area", "expected"),
    [
        (((0.9, 100), (0.0, 100)), 100, "0"),
        (((0.05, 100), (0.0, 100)), 100, None),  # hardly touches one
        (((0.0, 100), (0.0, 100)), 0, None),
        (((2 / 3, 100), (2 / 3, 100)), 200, None),  # both
        (((200 / 220, 100), (20 / 130, 10)), 110, None),  # both, of unequal size
        (((1.0, 100), (0.1, 100)), 100, "0"),  # exactly the one, of two that overlap a little
        (((180 / 200, 100), (20 / 120, 20)), 100, "0"),  # spills over half of a small neighbour
        (((200 / 210, 100), (20 / 120, 10)), 110, None),  # takes in all of it
        (((1.0, 100), (10 / 105, 5)), 100, "0"),  # the organ, with a tumour inside
        (((180 / 190, 100), (10 / 95, 5)), 90, "0"),  # most of it
        (((10 / 105, 100), (1.0, 5)), 5, "1"),  # the tumour inside
    ],
)
def test_what_choosing_is(pairs: tuple[tuple[float, int], ...], area: int, expected: str | None) -> None:
    assert chosen(against(*pairs, area=area)) == expected


Scored = Callable[[int, int, bool, np.random.Generator], float]


def presences(score: Scored, seed: int, images: int = 40) -> tuple[list[SampleScore], list[SampleScore]]:
    """Test and val rows of images full of targets, which lack few, and of empty ones, which lack many."""
    rng = np.random.default_rng(seed)
    parts = []
    for split in ("test", "val"):
        rows = []
        for image in range(images):
            there = int(rng.integers(1, 8))
            for target in range(8):
                present = target < there
                value = score(image, there, present, rng)
                rows.append(row(image_id=f"{split}{image}", presence_score=value, empty_target=not present))
        parts.append(rows)
    return parts[0], parts[1]


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (lambda image, there, present, rng: 1.0, 0),
        (lambda image, there, present, rng: 0.0, 0),
        (lambda image, there, present, rng: there / 8, 0),  # sees how full the image is
        (lambda image, there, present, rng: (image * 7919 % 100) / 100, 0),
        (lambda image, there, present, rng: float(present), 1),
        (lambda image, there, present, rng: there / 80 + 0.5 * present, 1),
    ],
    ids=["always there", "never there", "how full", "by image", "oracle", "oracle and how full"],
)
def test_presence_of_what_does_not_depend_on_the_prompt_is_exactly_zero(score: Scored, expected: float) -> None:
    index = presence_index(*presences(score, 3), groups_known=False)
    assert index.value == pytest.approx(expected, abs=1e-12)
    assert index.n == 40


def test_presence_at_random_is_zero_within_its_interval() -> None:
    covered, values = [], []
    for seed in range(100):
        index = presence_index(*presences(lambda i, t, p, rng: float(rng.random()), seed, 25), groups_known=False)
        assert index.value is not None
        low, high = index.ci95 or (index.value, index.value)  # the threshold told all of them alike
        covered.append(low <= 0 <= high)
        values.append(index.value)
    assert 0.90 <= np.mean(covered) <= 0.99
    assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5


def test_presence_right_half_of_the_time_is_a_half() -> None:
    index = presence_index(
        *presences(lambda i, t, present, rng: float(present) if rng.random() < 0.5 else 0.5, 4, 200), groups_known=False
    )
    assert index.value == pytest.approx(0.5, abs=0.08)


def test_presence_needs_an_image_with_both_kinds() -> None:
    """One prompt per image, as in breast ultrasound: a detector of tumours is no reader."""
    rows = [row(image_id=str(n), presence_score=float(n % 2), empty_target=n % 2 == 0) for n in range(40)]
    index = presence_index(rows, rows, groups_known=False)
    assert index.value is None
    assert index.reason is not None
    assert "both a present and an absent" in index.reason


def test_the_threshold_of_presence_is_the_best_of_val() -> None:
    """Against trying every threshold."""
    test, val = presences(lambda i, t, present, rng: float(rng.normal(0.5 * present, 0.5)), 9, 15)
    index = presence_index(test, val, groups_known=False)

    def mean_j(rows: list[SampleScore], threshold: float) -> float:
        images = dict.fromkeys(one.image_id for one in rows)
        found = []
        for image in images:
            inside = [one for one in rows if one.image_id == image]
            told = [
                np.mean([(one.presence_score or 0) > threshold for one in inside if one.empty_target is empty])
                for empty in (False, True)
            ]
            found.append(told[0] - told[1])
        return float(np.mean(found))

    scores = sorted({one.presence_score or 0.0 for one in val})
    between = [scores[0] - 1, *((low + high) / 2 for low, high in pairwise(scores))]
    best = max(between, key=lambda threshold: round(mean_j(val, threshold), 9))
    assert index.value == pytest.approx(mean_j(test, best))
