"""Randomised smoothing: which pixels votes under noise certify, and what that says of Dice.

A classifier under Gaussian noise of deviation sigma answers, at each pixel, with the class that is likelier under the
noise. Where that class has a probability above tau, no change of the noised image of L2 norm up to sigma * Phi^-1(tau)
makes the other one likelier (Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing",
ICML 2019). Whether it has is tested on draws, at all pixels at once (Fischer, Baader and Vechev, "Scalable certified
segmentation via randomized smoothing", ICML 2021: SegCertify).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from vlseg.metrics.overlap import Mask, check_masks, dice_score
from vlseg.records import InputError, unknown_name

SMOOTHED = "smoothed"
"""The condition of rows of a smoothed model."""
GUESSES = 10
"""Draws that say which class is tested; those of the test are others. SegCertify's number."""


@dataclass(frozen=True)
class Smoothing:
    """How a model is smoothed and what is tested.

    Attributes:
        sigmas: standard deviations of the noise, in units of the image's range [0, 1].
        draws: of the test, for each image and sigma.
        tau: the probability that a pixel's class is tested to exceed.
        alpha: how probable it may be that any pixel of an answer is certified wrongly.
        place: what is noised: "input", the image at the size at which it lies in the network's input, or "native".

    Raises:
        InputError: a value that certifies nothing, or an unknown place.
    """

    sigmas: Sequence[float] = (0.25,)
    draws: int = 100
    tau: float = 0.75
    alpha: float = 0.001
    place: Literal["input", "native"] = "input"

    def __post_init__(self) -> None:
        if len(set(self.sigmas)) < len(self.sigmas):
            raise InputError("--sigma: one deviation is given twice; give each once")
        wrong = next((one for one in self.sigmas if not 0 < one < math.inf), None)
        if wrong is not None or not self.sigmas:
            raise InputError(f"--sigma: {wrong} is no deviation; give numbers above 0, in units of the image's range")
        if not 0.5 < self.tau < 1:
            raise InputError(f"--tau: {self.tau:g} certifies nothing; give a probability above 0.5 and below 1")
        if not 0 < self.alpha < 1:
            raise InputError(f"--alpha: {self.alpha:g} is no error probability; give a number above 0 and below 1")
        if self.draws < 1:
            raise InputError(f"--draws: {self.draws} draws test nothing; give at least 1")
        if self.place not in ("input", "native"):
            raise unknown_name("place", str(self.place), ("input", "native"))

    def radius(self, sigma: float) -> float:
        """The L2 norm up to which certified pixels are safe: sigma * Phi^-1(tau)."""
        return sigma * float(scipy.stats.norm.ppf(self.tau))


def draws_needed(pixels: int, tau: float, alpha: float) -> int:
    """The fewest draws that can certify a pixel of so many: all of them agree, tau^draws <= alpha / pixels."""
    draws = max(1, math.floor(math.log(alpha / pixels) / math.log(tau)) - 1)
    while _p_values(draws, tau)[draws] * pixels > alpha:
        draws += 1
    return draws


def certified_pixels(agreeing: NDArray[np.integer], draws: int, tau: float, alpha: float) -> Mask:
    """Where the tested class has a probability above tau; with probability 1 - alpha all of these are right.

    One-sided exact binomial tests, corrected for all pixels by Holm's method, which asks nothing of how they depend on
    each other.

    Args:
        agreeing: (H, W) how many of the draws gave the class that is tested. Which that is must not come from them.
        draws: their number.
        tau: see `Smoothing`.
        alpha: for all pixels together.

    Returns:
        (H, W) bool.
    """
    p = _p_values(draws, tau)
    pixels = np.bincount(agreeing.ravel(), minlength=draws + 1)
    # Equal counts have equal p-values and stand or fall together, so that Holm's steps go from count to count.
    left, least = agreeing.size, draws + 1
    while left and p[least - 1] * left <= alpha:
        least -= 1
        left -= int(pixels[least])
    return np.asarray(agreeing >= least)


def certified_dice(mask: Mask, abstained: Mask, truth: Mask) -> float:
    """The lowest Dice of all masks that agree with `mask` where nothing was abstained from.

    That of the one that is wrong at every abstained pixel: with Dice = 2t / (p + m) for t right ones of p, a further
    wrong pixel makes p larger, and a right one left out takes 2 from the one and 1 from the other, which lowers what is
    at most 1. An empty truth has 0 as soon as one pixel is not certified to be background.

    Args:
        mask, abstained, truth: (H, W) bool.

    Raises:
        InputError: see `check_masks`.
    """
    check_masks(abstained, truth)
    return dice_score(np.where(abstained, ~truth, mask), truth)


def certified_accuracy(mask: Mask, abstained: Mask, truth: Mask) -> float:
    """The share of pixels that are certified and right, as SegCertify reports it.

    Args:
        mask, abstained, truth: (H, W) bool.
    """
    return float(np.mean(~abstained & (mask == truth)))


def _p_values(draws: int, tau: float) -> NDArray[np.float64]:
    """(draws + 1,) how probable so many agreeing draws or more are where one agrees with probability tau."""
    return np.asarray(scipy.stats.binom.sf(np.arange(draws + 1) - 1, draws, tau))
