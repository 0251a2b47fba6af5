"""What votes under noise certify: against exact arithmetic, statsmodels, all small masks, and repetition."""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from vlseg.metrics import (
    Smoothing,
    certified_accuracy,
    certified_dice,
    certified_pixels,
    dice_score,
    draws_needed,
    holm,
)
from vlseg.records import InputError


@cache
def exact_p(agreeing: int, draws: int, tau: Fraction) -> Fraction:
    """P(X >= agreeing), X binomial."""
    return sum(
        (Fraction(math.comb(draws, one)) * tau**one * (1 - tau) ** (draws - one) for one in range(agreeing, draws + 1)),
        Fraction(0),
    )


@pytest.mark.parametrize("seed", range(5))
def test_pixels_are_those_of_exact_tests_with_holms_method(seed: int) -> None:
    rng = np.random.default_rng(seed)
    draws, alpha = int(rng.integers(8, 60)), float(rng.choice([0.3, 0.05, 0.001]))
    tau = Fraction(int(rng.integers(51, 95)), 100)
    shape = tuple(rng.integers(1, 9, 2))
    agreeing = rng.binomial(draws, rng.beta(8, 1, shape))
    p = [float(exact_p(int(one), draws, tau)) for one in agreeing.ravel()]
    found = certified_pixels(agreeing, draws, float(tau), alpha)
    np.testing.assert_array_equal(found.ravel(), multipletests(p, alpha, "holm")[0])
    np.testing.assert_array_equal(found.ravel(), [(one or 0.0) <= alpha for one in holm(p)])
    assert found.shape == shape


def test_holm_certifies_more_than_one_correction_for_all() -> None:
    agreeing = np.array([[60] * 90 + [56] * 10])
    p = stats.binom.sf(55, 60, 0.75)
    assert 0.01 / 100 < p <= 0.01 / 10
    assert certified_pixels(agreeing, 60, 0.75, 0.01).all()


@pytest.mark.parametrize(
    ("pixels", "tau", "alpha"), [(1, 0.75, 0.001), (1024, 0.75, 0.001), (352 * 352, 0.9, 0.01), (10**7, 0.51, 0.05)]
)
def test_draws_needed_is_where_certifying_begins(pixels: int, tau: float, alpha: float) -> None:
    needed = draws_needed(pixels, tau, alpha)
    assert tau**needed <= alpha / pixels < tau ** (needed - 1)
    some = np.full(min(pixels, 2000), needed)
    if pixels <= 2000:
        assert certified_pixels(some, needed, tau, alpha).all()
        assert not certified_pixels(some - 1, needed - 1, tau, alpha).any()


def dependent(rng: np.random.Generator, draws: int, p: np.ndarray) -> np.ndarray:
    """Votes of pixels that look at one number for each draw."""
    return (rng.random((draws, 1)) < p[None]).sum(0)


def independent(rng: np.random.Generator, draws: int, p: np.ndarray) -> np.ndarray:
    return rng.binomial(draws, p)


VOTES = {"dependent": dependent, "independent": independent}
PROBABILITIES = {
    "all at tau": np.full(64, 0.75),
    "half at tau, half above": np.repeat([0.75, 0.95], 32),
    "from no to all": np.linspace(0.02, 0.98, 64),
}


@pytest.mark.parametrize("kind", VOTES)
@pytest.mark.parametrize("name", PROBABILITIES)
def test_any_wrong_pixel_is_as_rare_as_alpha(name: str, kind: str) -> None:
    """Guess and test as in an evaluation, 1500 times: wrong is a class whose probability is tau or less."""
    rng, alpha, draws, times = np.random.default_rng(5), 0.05, 100, 1500
    p, votes = PROBABILITIES[name], VOTES[kind]
    wrong = alone = 0
    for _ in range(times):
        foreground = 2 * votes(rng, 10, p) > 10
        tests = votes(rng, draws, p)
        agreeing = np.where(foreground, tests, draws - tests)
        false = np.where(foreground, p, 1 - p) <= 0.75
        wrong += bool((certified_pixels(agreeing[None], draws, 0.75, alpha)[0] & false).any())
        alone += bool(((stats.binom.sf(agreeing - 1, draws, 0.75) <= alpha) & false).any())
    assert stats.binomtest(wrong, times, alpha, "greater").pvalue > 1e-3, f"{wrong} of {times}"
    assert alone > wrong
    if kind == "independent" and "tau" in name:
        assert stats.binomtest(alone, times, alpha, "greater").pvalue < 1e-3, "without a correction this would fail"
        assert wrong > 0, "a bound that is never reached tests nothing"


def every_mask(shape: tuple[int, int]) -> list[np.ndarray]:
    size = shape[0] * shape[1]
    return [np.array(bits, dtype=bool).reshape(shape) for bits in product((False, True), repeat=size)]


def test_certified_dice_is_the_lowest_of_all_masks_that_are_possible() -> None:
    """All 2 x 2 truths, answers and abstentions, the empty ones included."""
    masks = every_mask((2, 2))
    for truth, abstained, answer in product(masks, masks, masks):
        mask = answer & ~abstained
        possible = [other for other in masks if np.array_equal(other[~abstained], mask[~abstained])]
        lowest = min(dice_score(other, truth) for other in possible)
        assert certified_dice(mask, abstained, truth) == lowest
        assert lowest <= dice_score(mask, truth)


def test_an_empty_truth_is_certified_as_a_whole_or_not_at_all() -> None:
    nothing, one = np.zeros((3, 3), bool), np.zeros((3, 3), bool)
    one[0, 0] = True
    assert certified_dice(nothing, nothing, nothing) == 1
    assert certified_dice(nothing, one, nothing) == 0
    assert certified_accuracy(nothing, one, nothing) == pytest.approx(8 / 9)


def test_the_radius_is_that_of_the_paper() -> None:
    """SegCertify's tables: sigma 0.25 and tau 0.75 give 0.17, tau 0.9 gives 0.32, sigma 0.5 0.34."""
    assert Smoothing().radius(0.25) == pytest.approx(0.17, abs=5e-3)
    assert Smoothing(tau=0.9).radius(0.25) == pytest.approx(0.32, abs=5e-3)
    assert Smoothing().radius(0.5) == pytest.approx(0.34, abs=5e-3)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Smoothing(sigmas=(0.0,)), "--sigma: 0.0"),
        (lambda: Smoothing(sigmas=(float("nan"),)), "--sigma: nan"),
        (lambda: Smoothing(sigmas=()), "--sigma"),
        (lambda: Smoothing(sigmas=(0.1, 0.1)), "given twice"),
        (lambda: Smoothing(tau=0.5), "--tau: 0.5"),
        (lambda: Smoothing(tau=1.0), "--tau: 1"),
        (lambda: Smoothing(alpha=0.0), "--alpha: 0"),
        (lambda: Smoothing(draws=0), "--draws: 0"),
        (lambda: Smoothing(place="sky"), "place"),  # type: ignore[arg-type]
    ],
)
def test_what_certifies_nothing_is_refused(make: Callable[[], Smoothing], told: str) -> None:
    with pytest.raises(InputError, match=told):
        make()
