"""Which images are usual: the false-alarm rate that is stated, what is told apart, what is kept."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.stats import binom

from vlseg.evaluation import Judging, familiarity_of, state_of, write_judging
from vlseg.evaluation.colours import NAMES, colour_statistics
from vlseg.evaluation.familiarity import Familiarity
from vlseg.evaluation.familiarity_fit import Seen, conformal_limit, fit_familiarity, one_a_group
from vlseg.evaluation.space import DIRECTIONS, Space
from vlseg.models import ImageFeatures, Spec
from vlseg.records import InputError

SPEC = Spec(name="made", uses_text=True, image_size=(32, 32))


def scene(rng: np.random.Generator, size: int = 48) -> np.ndarray:
    """A grey image with a bright disc in its upper half."""
    yy, xx = np.mgrid[:size, :size] / size
    disc = np.hypot(yy - rng.uniform(0.2, 0.4), xx - rng.uniform(0.3, 0.7)) < rng.uniform(0.1, 0.2)
    grey = np.clip(rng.normal(rng.uniform(0.35, 0.45), 0.05, (size, size)) + 0.3 * disc, 0, 1)
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.float32)


def seen(
    rng: np.random.Generator,
    count: int,
    *,
    make: Callable[[np.random.Generator], np.ndarray] = scene,
    dataset: str = "set",
    vector: Callable[[np.random.Generator], np.ndarray] | None = None,
) -> list[Seen]:
    return [
        Seen(dataset, f"image {index}", colour_statistics(make(rng)), None if vector is None else vector(rng))
        for index in range(count)
    ]


def fitted(train: Sequence[Seen], val: Sequence[Seen], **words: str) -> Familiarity:
    found = fit_familiarity(train, val, SPEC, words)
    assert isinstance(found, Familiarity), found
    return found


def plain(rng: np.random.Generator, count: int, mean: float = 0.0, width: int = 12) -> list[Seen]:
    """Colours and features that are drawn as numbers."""
    return [
        Seen("set", f"image {index}", rng.normal(mean, 1, len(NAMES)), rng.normal(mean, 1, width) ** 3)
        for index in range(count)
    ]


def unlike(found: Familiarity, these: Sequence[Seen]) -> np.ndarray:
    colours = np.stack([one.colours for one in these])
    features = [one.features for one in these if one.features is not None]
    signals = found.signals(colours, np.stack(features) if features else None)
    return np.asarray(np.max(list(signals.values()), axis=0) > found.threshold)


@pytest.mark.parametrize(
    ("count", "rate", "rank"), [(9, 0.05, 1), (19, 0.05, 1), (20, 0.05, 1), (71, 0.05, 3), (99, 0.1, 10)]
)
def test_the_limit_is_the_kth_largest(count: int, rate: float, rank: int) -> None:
    scores = np.random.default_rng(count).permutation(count).astype(float)
    limit, reached = conformal_limit(scores, rate)
    assert (scores >= limit).sum() == rank
    assert reached == pytest.approx(rank / (count + 1))


@pytest.mark.parametrize("count", [9, 20, 60])
@pytest.mark.parametrize("shape", ["even", "heavy"])
def test_a_new_score_is_above_the_limit_as_often_as_stated(count: int, shape: str) -> None:
    rng, draws = np.random.default_rng(count), 20000
    scores = rng.random((draws, count + 1)) if shape == "even" else rng.standard_cauchy((draws, count + 1))
    above = sum(float(row[-1]) > conformal_limit(row[:-1], 0.05)[0] for row in scores)
    low, high = binom.interval(0.999, draws, conformal_limit(scores[0, :-1], 0.05)[1])
    assert low <= above <= high


@pytest.mark.parametrize(("count", "low", "high"), [(20, 0.003, 0.14), (99, 0.02, 0.09)])
def test_one_limits_own_rate_may_be_another(count: int, low: float, high: float) -> None:
    """The interval of docs/cannot-judge.md, of limits of even scores, whose own rate is what lies above them."""
    rng = np.random.default_rng(0)
    rates = [1 - conformal_limit(rng.random(count), 0.05)[0] for _ in range(4000)]
    assert np.quantile(rates, 0.05) == pytest.approx(low, rel=0.2)
    assert np.quantile(rates, 0.95) == pytest.approx(high, rel=0.1)


def test_new_usual_images_are_called_unlike_as_often_as_stated() -> None:
    """The whole fit, many times: heavy-tailed features, so that no Gaussian is right."""
    above = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found = fitted(plain(rng, 40), plain(rng, 39))
        assert found.told.rate == pytest.approx(2 / 40)
        above += int(unlike(found, plain(rng, 20)).sum())
    # Twenty images share a limit, which itself is drawn: Beta(2, 38) about 0.05, standard deviation 0.034.
    error = np.sqrt((0.034**2 + 0.05 * 0.95 / 20) / 300)
    assert abs(above / 6000 - 0.05) < 4 * error


def test_training_images_that_are_closer_than_new_ones_do_no_harm() -> None:
    """As when a network has learned its training images by heart."""
    above = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        train = [Seen(one.dataset, one.group, one.colours / 2, one.features) for one in plain(rng, 40)]
        above += int(unlike(fitted(train, plain(rng, 19)), plain(rng, 20)).sum())
    assert above / 4000 < 0.05 + 4 * np.sqrt((0.049**2 + 0.05 * 0.95 / 20) / 200)


def test_a_patient_counts_once() -> None:
    rng = np.random.default_rng(0)
    few = [Seen("set", f"patient {index % 5}", one.colours, one.features) for index, one in enumerate(plain(rng, 50))]
    assert len(one_a_group(few)) == 5
    told = fit_familiarity(plain(rng, 40), few, SPEC, {})
    assert isinstance(told, str)
    assert "val has 5 patients" in told
    assert "17%" in told
    many = [Seen("set", f"patient {index % 25}", one.colours, one.features) for index, one in enumerate(plain(rng, 50))]
    found = fitted(plain(rng, 40), many)
    assert (found.told.n, found.told.images, found.told.grouped) == (25, 50, True)
    assert found.told.rate == pytest.approx(1 / 26)


def test_images_alike_within_patients_keep_the_rate() -> None:
    above = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        own = [rng.normal(0, 1, len(NAMES)) for _ in range(22)]
        val = [Seen("set", f"p{index}", colours, None) for index, colours in enumerate(own[:20]) for _ in range(8)]
        train = [Seen(one.dataset, one.group, one.colours, None) for one in plain(rng, 40)]
        above += int(unlike(fitted(train, val), [Seen("set", "new", own[20], None)])[0])
    low, high = binom.interval(0.999, 300, 1 / 21)
    assert low <= above <= high


def test_too_few_training_images_are_said() -> None:
    rng = np.random.default_rng(0)
    assert "no training set has 8 images" in cast(str, fit_familiarity(plain(rng, 7), plain(rng, 30), SPEC, {}))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "black": lambda image: np.zeros_like(image),
    "white": lambda image: np.ones_like(image),
    "inverted": lambda image: 1 - image,
    "turned upside down": lambda image: np.ascontiguousarray(image[::-1]),
    "a colour cast": lambda image: image * np.array([1, 0.85, 0.7], np.float32),
    "noise": lambda image: np.random.default_rng(0).random(image.shape, np.float32),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_changed_images_are_unlike(change: str) -> None:
    rng = np.random.default_rng(0)
    found = fitted(seen(rng, 60), seen(rng, 60), set="ultrasound")
    verdicts = [found.judge(CHANGES[change](scene(rng)), None) for _ in range(20)]
    assert np.mean([verdict.state == "unlike" for verdict in verdicts]) >= 0.9
    assert all("(ultrasound)" in reason for verdict in verdicts for reason in verdict.reasons)
    assert all((verdict.state == "unlike") == bool(verdict.reasons) for verdict in verdicts)
    assert all((verdict.score > verdict.threshold) == (verdict.state == "unlike") for verdict in verdicts)


def test_reasons_say_what_is_unlike() -> None:
    rng = np.random.default_rng(0)
    found = fitted(seen(rng, 60), seen(rng, 60))
    coloured = found.judge(scene(rng) * np.array([1, 0.5, 0.5], np.float32), None).reasons
    assert any("more colour than any of the training images" in reason for reason in coloured)
    assert "colours unlike the training images: brighter" in found.judge(scene(rng) * 0.2 + 0.7, None).reasons
    assert "colours unlike the training images: darker" in found.judge(scene(rng) * 0.2 + 0.1, None).reasons


def test_bytes_are_judged_as_what_they_stand_for() -> None:
    rng = np.random.default_rng(0)
    found = fitted(seen(rng, 60), seen(rng, 60))
    whole = (scene(rng) * 255).round().astype(np.uint8)
    assert found.judge(whole, None).score == pytest.approx(found.judge(whole / np.float32(255), None).score)


def test_small_sets_of_a_pool_do_not_blow_up_the_scale() -> None:
    """Left out of a fold, an image whose set has no part then says nothing of how far usual images lie."""
    rng = np.random.default_rng(0)
    sets = dict(zip("abc", (-40, 0, 40), strict=True))

    def drawn(count: int) -> list[Seen]:
        return [one for name, place in sets.items() for one in seen(rng, count, dataset=name, vector=_at(place))]

    assert fitted(drawn(9), drawn(9)).scales["features"] < 5


def _at(place: float) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda own: own.normal(place, 1, 8)


def test_the_images_size_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    found = fitted(seen(rng, 60), seen(rng, 60))
    big = [np.repeat(np.repeat(scene(rng), 4, axis=0), 4, axis=1) for _ in range(20)]
    assert sum(found.judge(image, None).state == "unlike" for image in big) <= 4


def test_each_of_pooled_sets_is_usual_and_what_lies_between_is_not() -> None:
    rng = np.random.default_rng(0)
    train = [*seen(rng, 40, dataset="a", vector=_at(-20)), *seen(rng, 40, dataset="b", vector=_at(20))]
    val = [*seen(rng, 30, dataset="a", vector=_at(-20)), *seen(rng, 30, dataset="b", vector=_at(20))]
    found = fitted(train, val)
    for place in (-20, 20):
        assert unlike(found, seen(rng, 40, vector=_at(place))).mean() < 0.25
    assert unlike(found, seen(rng, 40, vector=_at(0))).all()


def features_of(values: Any) -> ImageFeatures:
    return ImageFeatures({"vector": torch.tensor(np.asarray(values)[None], dtype=torch.float32)})


def test_features_decide_and_what_is_no_number_is_unlike() -> None:
    rng = np.random.default_rng(0)
    draw = lambda own: own.normal(3, 1, 8)  # noqa: E731
    found = fitted(seen(rng, 60, vector=draw), seen(rng, 60, vector=draw))
    image = scene(rng)
    assert found.judge(image, features_of(np.full(8, 3.0))).state == "usual"
    odd = found.judge(image, features_of(np.full(8, 30.0)))
    assert (odd.state, odd.reasons) == ("unlike", ("looks unlike the training images to the image encoder",))
    broken = found.judge(image, features_of(np.full(8, np.nan)))
    assert (broken.state, len(broken.reasons)) == ("unlike", 1)
    assert found.judge(np.full_like(image, np.nan), None).state == "unlike"
    with pytest.raises(InputError, match="another model's features; run vlseg calibrate"):
        found.judge(image, features_of(np.zeros(9)))


def test_features_that_are_no_numbers_stop_no_training() -> None:
    rng = np.random.default_rng(0)
    train, val = plain(rng, 20), plain(rng, 20)
    train[3] = Seen("set", "image 3", train[3].colours, np.full(12, np.inf))
    assert "not finite" in cast(str, fit_familiarity(train, val, SPEC, {}))


def test_without_features_the_colours_decide_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = fitted(seen(rng, 60), seen(rng, 60), set="ultrasound")
    write_judging(tmp_path, Judging(familiarity=found))
    assert json.loads((tmp_path / "judging" / "familiarity.json").read_text())["features"] is None
    again = familiarity_of(tmp_path)
    assert again is not None
    picture = ImageFeatures({"pixels": torch.ones(1, 3, 32, 32)})  # nothing that could be pooled
    for image in (scene(rng), 1 - scene(rng)):
        first, second = found.judge(image, picture), again.judge(image, None)
        assert (second.state, second.reasons) == (first.state, first.reasons)
        assert second.score == pytest.approx(first.score, rel=1e-4)


def test_no_training_image_is_kept() -> None:
    rng = np.random.default_rng(0)
    train = plain(rng, 200, width=64)
    part = fitted(train, plain(rng, 20, width=64)).parts[0]
    for space, name in ((part.colours, "colours"), (part.features, "features")):
        assert space is not None
        assert len(space.directions) <= DIRECTIONS
        own = np.stack([getattr(one, name) for one in train])
        kept = np.concatenate([space.mean[None], space.scale[None], space.directions])
        assert np.abs(kept[:, None] - own[None]).max(axis=2).min() > 1e-3
        centred = (own - space.mean) / space.scale
        turned = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        assert np.abs(space.directions @ turned.T).max() < 0.95  # nor one of them but for its length


def test_distances_are_mahalanobis_where_all_directions_are_kept() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (4000, 5)) @ rng.normal(0, 1, (5, 5))
    space = Space.fit(vectors, 1e-6)
    scaled = (vectors - vectors.mean(0)) / vectors.std(0, ddof=1)
    covariance = 0.9 * np.cov(scaled.T) + 0.1 * np.eye(5)
    wanted = np.sqrt(np.einsum("ni,ij,nj->n", scaled, np.linalg.inv(covariance), scaled) / 5)
    np.testing.assert_allclose(space.distance(vectors), wanted, rtol=1e-6)


def test_numbers_that_never_vary_are_no_trouble() -> None:
    vectors = np.repeat(np.arange(6.0)[None], 20, axis=0)
    space = Space.fit(vectors, 0.01)
    assert np.isfinite(space.distance(vectors)).all()
    assert space.distance(vectors + 1)[0] > 100 * space.distance(vectors + 0.001)[0]


def test_colour_statistics_of_known_images() -> None:
    half = np.zeros((40, 40, 3), np.float32)
    half[:, 20:] = (1.0, 0.0, 0.0)
    told = dict(zip(NAMES, colour_statistics(half), strict=True))
    assert told["colour"] == pytest.approx(0.5, abs=0.01)
    assert told["red against green"] == pytest.approx(0.5, abs=0.01)
    assert told["dark share"] == pytest.approx(0.5, abs=0.01)
    assert told["change across"] > 0
    assert told["change down"] == 0
    assert told["field 0 0"] == pytest.approx(-1 / 6, abs=0.01)
    assert told["field 2 2"] == pytest.approx(1 / 6, abs=0.01)


@pytest.mark.parametrize(
    ("area", "familiar", "finite", "state"),
    [
        (0, "usual", True, "not_found"),
        (1, "usual", True, "found"),
        (0, "unknown", True, "not_found"),
        (9, "unknown", True, "found"),
        (0, "unlike", True, "cannot_judge"),
        (9, "unlike", True, "cannot_judge"),
        (0, "usual", False, "cannot_judge"),
    ],
)
def test_what_an_answer_says(area: int, familiar: str, finite: bool, state: str) -> None:
    assert state_of(area, familiar, finite=finite) == state
