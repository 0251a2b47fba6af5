"""The probe on answers whose use of language is known: all of it, none of it, half of it."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vlseg.evaluation import (
    Answer,
    Prediction,
    Query,
    Scene,
    Setting,
    clean_queries,
    evaluate,
    probe_queries,
    read_truths,
)
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.metrics import Effect, LanguageUse, language_use, presence_index
from vlseg.phantoms import write_phantoms
from vlseg.records import SampleScore

SETTING = Setting("known", "corrected", "run", 0, torch.device("cpu"), 0.5)
MakeDataset = Callable[..., Path]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("probe") / "phantoms"
    write_phantoms(folder, level="easy", counts={"train": 1, "val": 20, "test": 40}, size=32, seed=3)
    return open_pool([str(folder)], "class+attributes")


class Known:
    """Follows the words in a share of its answers, drawn from image and words; else gives the image's first target."""

    def __init__(self, pool: Pool, share: float) -> None:
        self.share = share
        prompted = [item for split in ("val", "test") for item in pool.split(split)]
        truths = read_truths(prompted, pool.infos)
        self.by_words = {
            (item.sample.image_id, words): truths[item.sample.id] for item in prompted for words in item.wordings
        }
        self.first: dict[str, np.ndarray] = {}
        for item in prompted:
            if truths[item.sample.id].any():
                self.first.setdefault(item.sample.image_id, truths[item.sample.id])

    def __call__(self, image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        for query in group:
            key = (query.prompted.sample.image_id, query.wording)
            draw = hashlib.sha256(repr(key).encode()).digest()[0] / 256
            if draw < self.share:
                mask = self.by_words.get(key, np.zeros(image.shape[:2], dtype=bool))
                presence = float(mask.any())
            else:
                mask, presence = self.first[query.prompted.sample.image_id], 0.5
            yield Prediction(mask.astype(np.float32), mask, presence)


def probed(pool: Pool, answer: Answer) -> tuple[LanguageUse, list[SampleScore]]:
    prompted = pool.split("test")
    scene = Scene(pool.datasets[0], prompted, read_truths(prompted, pool.infos), 0)
    val = [replace(query, condition="val") for query in clean_queries(pool.split("val"))]
    rows = evaluate(answer, probe_queries(scene) + val, pool.infos, SETTING)
    return language_use(rows, groups_known=False), rows


def effect(use: LanguageUse, name: str) -> Effect:
    return next(one for one in use.effects if one.name == name)


def test_one_that_reads_everything_has_both_indices_at_one(pool: Pool) -> None:
    use, _ = probed(pool, Known(pool, 1.0))
    assert (use.selection.value, use.presence.value) == (1.0, 1.0)
    assert use.selection.ci95 is None
    assert use.selection.reason is not None
    swapped = effect(use, "swapped")
    assert swapped.towards is not None
    assert swapped.towards.difference is not None
    assert swapped.towards.difference > 0.95  # the own prompt's answer hardly touches the other target
    assert swapped.towards.p_holm is not None
    assert swapped.named is not None
    assert swapped.named.mean == pytest.approx(1.0)
    assert swapped.dice is not None
    assert swapped.dice < 0.05
    assert swapped.overlap.mean is not None
    assert swapped.overlap.mean < 0.05
    absent = effect(use, "absent_structure")
    assert absent.named is not None
    assert absent.named.mean == 1.0
    assert effect(use, "empty").original.difference == pytest.approx(-1.0)


def test_one_that_reads_nothing_has_both_at_zero(pool: Pool) -> None:
    use, rows = probed(pool, Known(pool, 0.0))
    assert use.selection.value == pytest.approx(0.0, abs=1e-12)
    assert use.presence.value == pytest.approx(0.0, abs=1e-12)
    for one in use.effects:
        assert one.original.difference == pytest.approx(0.0, abs=1e-12)
        assert one.overlap.mean == pytest.approx(1.0)
        assert one.original.p_holm == 1.0  # nothing differs
        assert one.towards is None or one.towards.difference == pytest.approx(0.0, abs=1e-12)
    assert {row.condition for row in rows} >= {"clean", "val", "selection", "mean_image", "other_image", "negation"}


@pytest.mark.slow
def test_one_that_reads_half_of_the_time_is_half_way(pool: Pool) -> None:
    """Accuracy 1/2 + 1/(2K) gives a selection index of 1/2; presence right for half of the prompts gives J = 1/2."""
    use, _ = probed(pool, Known(pool, 0.5))
    for index, above in ((use.selection, 0.2), (use.presence, 0.0)):  # of presence there are 22 images only
        assert index.ci95 is not None
        low, high = index.ci95
        assert index.value == pytest.approx(0.5, abs=0.15)
        assert above < low < 0.5 < high < 0.8


def test_one_that_looks_at_the_image_alone_has_presence_zero(pool: Pool) -> None:
    """Its presence score differs from image to image, but not from prompt to prompt."""

    def blind(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        mask = np.zeros(image.shape[:2], dtype=bool)
        presence = hashlib.sha256(image.tobytes()).digest()[0] / 256
        return [Prediction(mask.astype(np.float32), mask, presence) for _ in group]

    rows = [evaluate(blind, clean_queries(pool.split(split)), pool.infos, SETTING) for split in ("test", "val")]
    index = presence_index(rows[0], rows[1], groups_known=False)
    assert index.value == 0
    assert index.n > 10


def test_answering_nothing_is_choosing_none(pool: Pool) -> None:
    def silent(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        nothing = np.zeros(image.shape[:2], dtype=bool)
        return [Prediction(nothing.astype(np.float32), nothing, 0.1) for _ in group]

    use, _ = probed(pool, silent)
    assert use.selection.value is None
    assert use.selection.reason == "no answer chose one of the targets"
    assert use.chose_none.value == 1


def test_no_condition_asks_for_the_own_target_under_another_name(pool: Pool) -> None:
    """By what the objects are, not by the prompts' words: whatever has all the attributes told is what is named."""
    prompted = pool.split("test")
    truths = read_truths(prompted, pool.infos)
    queries = probe_queries(Scene(pool.datasets[0], prompted, truths, 0))
    told = {wording: item.sample.attributes for item in prompted for wording in item.wordings}
    counted: dict[str, int] = {}
    for query in queries:
        name = query.condition
        if name in ("other_image_prompt", "swapped", "absent_structure") or name.startswith("wrong_"):
            counted[name] = counted.get(name, 0) + 1
            own = {one.name: one.value for one in query.prompted.sample.attributes}
            assert query.wording not in query.prompted.wordings
            if query.wording in told and name not in ("swapped", "absent_structure"):  # these know the objects
                assert any(own.get(one.name, one.value) != one.value for one in told[query.wording]), query.wording
    assert counted["other_image_prompt"] > 50
    assert counted["swapped"] > 50


def test_the_prompts_of_one_structure_that_all_say_the_same_are_no_other_prompt(make_dataset: MakeDataset) -> None:
    pool = open_pool([str(make_dataset(counts=(1, 1, 4)))], "p2")
    prompted = [
        replace(item, wordings=(words, "A ROUND disc."))
        for item, words in zip(pool.split("test"), ["a round disc", "A round disc.", "a disc, left"] * 4, strict=False)
    ]
    scene = Scene(pool.datasets[0], prompted, read_truths(prompted, pool.infos), 0)
    queries = [query for query in probe_queries(scene) if query.condition in ("other_image_prompt", "swapped")]
    assert queries
    for query in queries:
        own = {wording.lower().strip(".") for wording in query.prompted.wordings}
        assert query.wording.lower().strip(".") not in own


def test_the_empty_prompt_and_denials_are_not_said_otherwise(make_dataset: MakeDataset) -> None:
    pool = open_pool([str(make_dataset(counts=(1, 1, 4)))], "p2")
    for words in ("", "no disc"):
        prompted = [replace(item, wordings=(words,)) for item in pool.split("test")]
        scene = Scene(pool.datasets[0], prompted, read_truths(prompted, pool.infos), 0)
        asked = {query.condition for query in probe_queries(scene)}
        assert "negation" not in asked
        assert "other_image_prompt" not in asked
        assert words or asked == {"clean", "foreign", "mean_image", "other_image"}


def test_asking_about_fewer_images_asks_the_same_about_them(pool: Pool) -> None:
    whole = pool.split("test")
    kept = list(dict.fromkeys(item.sample.image_id for item in whole))[::7]
    some = [item for item in whole if item.sample.image_id in kept]
    dataset = pool.datasets[0]
    masks = read_truths(whole, pool.infos)

    def asked(scene: Scene) -> dict[tuple[str, str], tuple[str, bytes | None]]:
        image = np.zeros((8, 8, 3), np.float32)
        return {
            (query.prompted.sample.id, query.condition): (
                query.wording,
                query.view(image).tobytes() if query.view is not None and query.condition == "other_image" else None,
            )
            for query in probe_queries(scene)
        }

    all_asked = asked(Scene(dataset, whole, masks, 0))
    some_asked = asked(Scene(dataset, some, masks, 0, whole))
    assert some_asked.items() <= all_asked.items()
    assert {key for key in all_asked if key[0] in {item.sample.id for item in some}} == some_asked.keys()


def test_the_same_seed_asks_the_same(pool: Pool) -> None:
    prompted = pool.split("test")
    truths = read_truths(prompted, pool.infos)

    def asked(seed: int) -> list[tuple[str, str, str]]:
        queries = probe_queries(Scene(pool.datasets[0], prompted, truths, seed))
        return [(query.prompted.sample.id, query.condition, query.wording) for query in queries]

    assert asked(0) == asked(0)
    assert asked(0) != asked(1)


def test_a_wrong_attribute_that_names_another_target_is_held_against_it(pool: Pool) -> None:
    _, rows = probed(pool, Known(pool, 1.0))
    wrong = [row for row in rows if row.condition.startswith("wrong_") and "named" in row.condition_arguments]
    assert wrong
    assert all(row.dice == 1.0 for row in wrong)


def test_data_that_cannot_tell_says_why(make_dataset: MakeDataset) -> None:
    pool = open_pool([str(make_dataset(counts=(2, 2, 3)))], "p1", "bright disc")
    prompted = pool.split("test")
    scene = Scene(pool.datasets[0], prompted, read_truths(prompted, pool.infos), 0)

    def first(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        mask = image.mean(axis=2) > 0.6
        return [Prediction(mask.astype(np.float32), mask, 0.9) for _ in group]

    use = language_use(evaluate(first, probe_queries(scene), pool.infos, SETTING), groups_known=False)
    assert use.selection.value is None
    assert use.selection.reason is not None
    assert "prompts of their own" in use.selection.reason
    assert use.presence.value is None
    assert use.presence.reason is not None
    assert "absent" in use.presence.reason
    assert all(one.original.ci95 is None for one in use.effects)  # three images
    assert use.not_asked["swapped"] == "no image has two targets that do not overlap"
    assert {"absent_structure", "wrong_X", "language_X"} <= use.not_asked.keys()
    assert not {"empty", "typos", "mean_image"} & use.not_asked.keys()


def test_the_mean_of_a_single_image_would_show_it(make_dataset: MakeDataset) -> None:
    """Nothing is taken away then: what the words alone give is not asked."""
    pool = open_pool([str(make_dataset(counts=(1, 0, 1)))], "p1")
    scene = Scene(pool.datasets[0], pool.split("test"), read_truths(pool.split("test"), pool.infos), 0)
    asked = {query.condition for query in probe_queries(scene)}
    assert "empty" in asked
    assert "mean_image" not in asked


def test_the_image_is_taken_away(pool: Pool) -> None:
    """Under mean_image all targets see one and the same picture; under other_image never their own."""
    seen: dict[str, list[bytes]] = {}
    own: dict[str, bytes] = {}

    def look(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        nothing = np.zeros(image.shape[:2], dtype=bool)
        for query in group:
            own[query.prompted.sample.image_id] = image.tobytes()
            if query.view is not None:
                shown = query.view(image)
                assert shown.shape == image.shape
                seen.setdefault(query.condition, []).append(shown.tobytes())
                assert shown.tobytes() != image.tobytes()
            yield Prediction(nothing.astype(np.float32), nothing, 0.5)

    probed(pool, look)
    assert len(set(seen["mean_image"])) == 1
    assert set(seen["other_image"]) <= set(own.values())
    assert len(set(seen["other_image"])) > 10


def test_two_datasets_whose_files_are_named_alike_are_probed_each_with_its_own_masks(
    trained: Path, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    from vlseg.jobs.evaluate import EvaluateOptions, evaluate_on
    from vlseg.jobs.probe import probe_on
    from vlseg.records import read_scores

    roots = [str(make_dataset("one", (1, 1, 2), 32)), str(make_dataset("two", (1, 1, 2), 40))]
    options = EvaluateOptions(prompt="p1", device="cpu", threads=1)

    def scores(data: list[str], name: str) -> list[tuple[object, ...]]:
        probe_on(str(trained / "run"), data, options, tmp_path / name)
        rows = read_scores(tmp_path / name / "scores.parquet")
        return sorted((row.dataset, row.sample_id, row.condition, row.condition_arguments, row.dice) for row in rows)

    assert scores(roots, "both") == sorted(scores(roots[:1], "first") + scores(roots[1:], "second"))
    ceilings = [
        evaluate_on(str(trained / "run"), data, options, tmp_path / f"clean{index}").spec.text_blind_ceiling
        for index, data in enumerate((roots, roots[:1], roots[1:]))
    ]
    assert ceilings[0] == pytest.approx((ceilings[1] + ceilings[2]) / 2)  # type: ignore[operator]


def test_the_other_side_is_asked_where_it_says_something_else(pool: Pool) -> None:
    """By the words: every left is a right and the other way round; who reads follows them away from the target."""
    use, rows = probed(pool, Known(pool, 1.0))
    prompted = pool.split("test")
    queries = probe_queries(Scene(pool.datasets[0], prompted, read_truths(prompted, pool.infos), 0))
    asked = [query for query in queries if query.condition == "other_side"]
    assert asked
    for query in asked:
        swapped = [{"left": "right", "right": "left"}.get(word, word) for word in query.prompted.wordings[0].split()]
        assert query.wording.split() == swapped
    assert "other_side" not in use.not_asked
    assert effect(use, "other_side").dice == pytest.approx(0.0, abs=0.05)
    named = [row for row in rows if row.condition == "other_side" and "named" in row.condition_arguments]
    assert all(row.dice == 1.0 for row in named)
