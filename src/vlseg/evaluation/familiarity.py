"""Is an image like those that a model was trained on?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vlseg.data import unit_range
from vlseg.evaluation.colours import CHROMA, NAMES, colour_statistics, in_words
from vlseg.evaluation.space import Space
from vlseg.models import ImageFeatures
from vlseg.models.pooling import pooled_features
from vlseg.records import InputError

HUE_STEP = 0.02
"""So far beyond the training images' chroma counts as much as the limit of the other signals, about."""

Signal = Literal["modality", "colours", "features"]
State = Literal["usual", "unlike", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """On one image.

    Attributes:
        state: "usual" or "unlike" the training images.
        score: 0 or more; the largest of the signals, each in units of what training images reach.
        threshold: above which the image is unlike.
        reasons: a line for each signal above it, strongest first.
    """

    state: State
    score: float
    threshold: float
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As answers and `vlseg predict --json` give it."""
        return {"state": self.state, "reasons": list(self.reasons)}


UNKNOWN: Mapping[str, Any] = {"state": "unknown", "reasons": []}
"""In place of a verdict's plain values, of a model that has nothing stored to judge by."""


@dataclass(frozen=True)
class Part:
    """The images of one training dataset: their spaces, and from the least to the most colour among them."""

    dataset: str
    modality: str
    colours: Space
    features: Space | None
    chroma: tuple[float, float]

    def distances(self, colours: np.ndarray, features: np.ndarray | None) -> dict[Signal, np.ndarray]:
        """(N,) by signal, of colour statistics (N, C) and pooled features (N, D)."""
        low, high = self.chroma
        tone = colours[:, CHROMA]
        found: dict[Signal, np.ndarray] = {
            "modality": np.maximum(np.maximum(low - tone, tone - high), 0) / HUE_STEP,
            "colours": self.colours.distance(colours),
        }
        if self.features is not None and features is not None:
            found["features"] = self.features.distance(features)
        return found


@dataclass(frozen=True)
class Told:
    """What is known of the limit.

    Attributes:
        threshold: of the score.
        rate: at most this share of images like the held-out ones is called unlike, on the average over draws of them.
        n: held-out groups, one image each, that set it.
        images: held-out images among which those were drawn.
        grouped: whether several of those are of one patient or sequence.
        trained: training images that the spaces were fitted to.
    """

    threshold: float
    rate: float
    n: int
    images: int
    grouped: bool
    trained: int


@dataclass(frozen=True)
class Familiarity:
    """Judges images for one model.

    Attributes:
        parts: one a training dataset; an image is as far away as from the nearest.
        scales: by signal, what 95 % of training images that a fit has not seen reach.
        told: where the limit comes from.
        model: name, protocol and input size (h, w) that its features belong to.
    """

    parts: tuple[Part, ...]
    scales: Mapping[Signal, float]
    told: Told
    model: tuple[str, str, tuple[int, int]]

    @property
    def threshold(self) -> float:
        """Scores above it are unlike."""
        return self.told.threshold

    def judge(self, pixels: np.ndarray, features: ImageFeatures | None) -> Verdict:
        """An image by its pixels and by what the model's image encoder gave.

        What is not a number is unlike.

        Args:
            pixels: (H, W, 3) RGB, uint8 or float32 in [0, 1].
            features: one row; None judges by colours alone.

        Raises:
            InputError: features of another model than it was fitted to.
        """
        colours = colour_statistics(unit_range(pixels))
        pooled = None if features is None else pooled_features(features, self.model[2])
        vector = None if pooled is None else pooled[:1].numpy().astype(np.float64)
        fitted = {part.features.mean.shape for part in self.parts if part.features is not None}
        if vector is not None and fitted - {vector.shape[1:]}:
            raise InputError(
                f"{self.model[0]}: what says which images are usual was fitted to another model's features; "
                "run vlseg calibrate again"
            )
        signals = {name: float(found[0]) for name, found in self.signals(colours[None], vector).items()}
        score = max(signals.values())
        if not np.isfinite(list(signals.values())).all():
            return Verdict("unlike", float("inf"), self.threshold, ("its pixels or features are not finite numbers",))
        above = sorted((name for name in signals if signals[name] > self.threshold), key=lambda name: -signals[name])
        reasons = tuple(self._reason(name, colours) for name in above)
        return Verdict("unlike" if reasons else "usual", score, self.threshold, reasons)

    def signals(self, colours: np.ndarray, features: np.ndarray | None) -> dict[Signal, np.ndarray]:
        """(N,) by signal, of colour statistics (N, C) and pooled features (N, D), in units of its scale."""
        return scaled(nearest(self.parts, colours, features), self.scales)

    def _reason(self, signal: Signal, colours: np.ndarray) -> str:
        part = min(self.parts, key=lambda one: float(one.colours.distance(colours[None])[0]))
        those = "the training images" + (f" ({part.modality})" if part.modality else "")
        if signal == "modality":
            more = colours[CHROMA] > part.chroma[1]
            return f"has {'more' if more else 'less'} colour than any of {those}"
        if signal == "colours":
            return f"colours unlike {those}: {_most(part, colours)}"
        return f"looks unlike {those} to the image encoder"


def nearest(parts: Sequence[Part], colours: np.ndarray, features: np.ndarray | None) -> dict[Signal, np.ndarray]:
    """(N,) by signal: the smallest over the parts."""
    found = [part.distances(colours, features) for part in parts]
    return {name: np.min([one[name] for one in found], axis=0) for name in found[0]}


def scaled(distances: Mapping[Signal, np.ndarray], scales: Mapping[Signal, float]) -> dict[Signal, np.ndarray]:
    """In units of what training images reach."""
    return {name: found / scales[name] for name, found in distances.items()}


def _most(part: Part, colours: np.ndarray) -> str:
    """What the statistic farthest from the training images' says."""
    off = part.colours.deviations(colours)
    index = int(np.abs(off).argmax())
    return in_words(NAMES[index], float(off[index]))
