"""From a model's presence score to a probability that the named thing is in the image, learned on held-out samples."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import scipy

FEWEST = 10
"""Held-out samples with the target, and as many without, below which nothing is learned."""
SMALLEST = 1e-6
"""Scores are kept this far from 0 and 1."""


@dataclass(frozen=True)
class PresenceCalibration:
    """probability = sigmoid(slope * logit(score) + offset); rises with the score, or is flat where that says nothing.

    `n` held-out samples taught it, `present` of them with the target; the probability is for prompts and cases like
    theirs, as many of them with the target.
    """

    slope: float
    offset: float
    n: int
    present: int

    def score(self, raw: float) -> float:
        """The probability for a raw score in [0, 1]."""
        return float(
            scipy.special.expit(self.slope * scipy.special.logit(np.clip(raw, SMALLEST, 1 - SMALLEST)) + self.offset)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """What `to_json` gave. Raises KeyError or TypeError for anything else."""
        return cls(float(values["slope"]), float(values["offset"]), int(values["n"]), int(values["present"]))


def too_few(have: int, lack: int) -> str | None:
    """Why nothing can be learned from so many held-out samples with and without the target, or None."""
    if min(have, lack) >= FEWEST:
        return None
    return (
        f"presence stays a score: val has {have} samples with and {lack} without the target; {FEWEST} of each are "
        "needed to make it a probability"
    )


def fit_presence(raw: Sequence[float], present: Sequence[bool]) -> PresenceCalibration | str:
    """Platt's logistic curve on the logit of the score, with his smoothed labels (Platt 1999) and no falling slope.

    Two parameters, as held-out samples without the target are few: isotonic regression needs some thousand
    (Niculescu-Mizil and Caruana 2005). A slope below 0 would call a higher score less likely: then the curve is flat,
    at the share that have the target.

    Args:
        raw: scores in [0, 1] of held-out samples; those that are not finite are left out.
        present: whether each sample's mask has foreground.

    Returns:
        The calibration, or a line that says why there is none.
    """
    scores, truth = np.asarray(raw, dtype=np.float64), np.asarray(present, dtype=bool)
    usable = np.isfinite(scores)
    scores, truth = scores[usable], truth[usable]
    have, lack = int(truth.sum()), int((~truth).sum())
    if (reason := too_few(have, lack)) is not None:
        return reason
    places = scipy.special.logit(np.clip(scores, SMALLEST, 1 - SMALLEST))
    wanted = np.where(truth, (have + 1) / (have + 2), 1 / (lack + 2))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        line = parameters[0] * places + parameters[1]
        off = scipy.special.expit(line) - wanted
        value = float((np.logaddexp(0, line) - wanted * line).sum())
        return value, np.array([(off * places).sum(), off.sum()])

    start = np.array([1.0, 0.0])
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)])
    return PresenceCalibration(float(found.x[0]), float(found.x[1]), have + lack, have)
