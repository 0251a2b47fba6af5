"""Is an image like those that a model was trained on? Fitted on training images, its limit set on held-out ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vlseg.data.seeds import generator
from vlseg.evaluation.colours import CHROMA, NAMES, about, colour_statistics
from vlseg.evaluation.space import Space
from vlseg.models import ImageFeatures, Spec
from vlseg.models.pooling import pooled_features
from vlseg.records import InputError

RATE = 0.05
"""Wanted share of usual images that are called unlike."""
FEWEST_HELD_OUT = 9
"""Groups; fewer allow no limit under which less than a tenth of usual images is called unlike."""
FEWEST_TRAINED = 8
"""Images of a dataset, to fit a space to."""
FOLDS = 5
COLOUR_FLOOR = 0.01
"""Colour statistics that vary less among training images are taken to vary so much."""
FEATURE_FLOOR = 1e-4
HUE_STEP = 0.02
"""So far beyond the training images' chroma counts as much as the limit of the other signals, about."""

Signal = Literal["modality", "colours", "features"]
State = Literal["usual", "unlike", "unknown"]


@dataclass(frozen=True)
class Seen:
    """What is kept of one image until the fit is over.

    `dataset` and `group` (patient or sequence; the image itself where unknown) say what it belongs to; `colours` are
    its `colour_statistics`, `features` (D,) the encoder's pooled ones or None.
    """

    dataset: str
    group: str
    colours: np.ndarray
    features: np.ndarray | None


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
        grouped: whether patients or sequences are known of all of them; else an image counts as a group.
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
            pixels: (H, W, 3) float32, RGB in [0, 1].
            features: one row; None judges by colours alone.

        Raises:
            InputError: features of another model than it was fitted to.
        """
        colours = colour_statistics(pixels)
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


def fit_familiarity(
    train: Sequence[Seen], val: Sequence[Seen], spec: Spec, modalities: Mapping[str, str], *, rate: float = RATE
) -> Familiarity | str:
    """Spaces from training images, the limit from held-out ones.

    The limit is split conformal (Papadopoulos et al. 2002; Vovk et al. 2005): the k-th largest of n held-out scores, k
    the largest with k / (n + 1) up to `rate`, or 1. An image drawn as the held-out ones were is above it with a
    probability of at most k / (n + 1). Of each group one image, drawn by a fixed seed, counts: images of a patient are
    alike. Where n is too small for `rate`, the largest score is the limit, and its rate is what can be had.

    Args:
        train: images that the model was trained on.
        val: images that it was not trained on, like those that it is meant for.
        spec: of the model.
        modalities: by dataset, in words or "".
        rate: wanted false-alarm rate.

    Returns:
        The judge, or a line that says why there is none.
    """
    drawn = one_a_group(val)
    if (reason := too_few_held_out(len(drawn))) is not None:
        return reason
    if not any(len(one) >= FEWEST_TRAINED for one in _by_dataset(train).values()):
        return f"which images are usual is not told: no training set has {FEWEST_TRAINED} images or more"
    if not all(np.isfinite(one.features).all() for one in (*train, *drawn) if one.features is not None):
        return "which images are usual is not told: features of the image encoder are not finite numbers"
    parts, scales = fit_parts(train, modalities), out_of_fold_scales(train, modalities)
    scores = np.max(list(scaled(nearest(parts, *stacked(drawn)), scales).values()), axis=0)
    threshold, reached = conformal_limit(scores, rate)
    told = Told(
        threshold=threshold,
        rate=reached,
        n=len(drawn),
        images=len(val),
        grouped=len(drawn) < len(val),
        trained=len(train),
    )
    return Familiarity(parts, scales, told, (spec.name, spec.protocol, spec.image_size))


def too_few_held_out(groups: int) -> str | None:
    """Why so many held-out patients (images where unknown) allow no limit, or None."""
    if groups >= FEWEST_HELD_OUT:
        return None
    return (
        f"which images are usual is not told: val has {groups} patients (images where unknown), which allow a "
        f"false-alarm rate of {1 / (groups + 1):.0%} at best; {FEWEST_HELD_OUT} or more are needed"
    )


def conformal_limit(scores: np.ndarray, rate: float) -> tuple[float, float]:
    """The k-th largest score and k / (n + 1), k as large as `rate` allows and at least 1."""
    count = len(scores)
    rank = max(1, int(rate * (count + 1) + 1e-9))
    return float(np.sort(scores)[count - rank]), rank / (count + 1)


def one_a_group(seen: Sequence[Seen]) -> list[Seen]:
    """One image of each group, drawn by a fixed seed."""
    groups: dict[tuple[str, str], list[Seen]] = {}
    for one in seen:
        groups.setdefault((one.dataset, one.group), []).append(one)
    rng = generator(0, "familiarity", "group")
    return [members[int(rng.integers(len(members)))] for members in groups.values()]


def stacked(seen: Sequence[Seen]) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour statistics (N, C) and pooled features (N, D) or None."""
    features = [one.features for one in seen if one.features is not None]
    return np.stack([one.colours for one in seen]), np.stack(features) if len(features) == len(seen) else None


def fit_parts(seen: Sequence[Seen], modalities: Mapping[str, str]) -> tuple[Part, ...]:
    """A part for each dataset of enough images."""
    parts = []
    for dataset, members in _by_dataset(seen).items():
        if len(members) < FEWEST_TRAINED:
            continue
        colours, features = stacked(members)
        tone = colours[:, CHROMA]
        parts.append(
            Part(
                dataset=dataset,
                modality=modalities.get(dataset, ""),
                colours=Space.fit(colours, COLOUR_FLOOR),
                features=None if features is None else Space.fit(features, FEATURE_FLOOR),
                chroma=(float(tone.min()), float(tone.max())),
            )
        )
    return tuple(parts)


def out_of_fold_scales(seen: Sequence[Seen], modalities: Mapping[str, str]) -> dict[Signal, float]:
    """By signal, the 95th percentile of distances of images that the fit has not seen; 1 for the modality."""
    groups = {key: number for number, key in enumerate(sorted({(one.dataset, one.group) for one in seen}))}
    turn = generator(0, "familiarity", "fold").permutation(len(groups)) % FOLDS
    fold = np.array([turn[groups[one.dataset, one.group]] for one in seen])
    found: dict[Signal, list[np.ndarray]] = {}
    for number in range(FOLDS):
        rest = [one for one, own in zip(seen, fold, strict=True) if own != number]
        held = [one for one, own in zip(seen, fold, strict=True) if own == number]
        parts = fit_parts(rest, modalities) if held else ()
        for name, distances in nearest(parts, *stacked(held)).items() if parts else ():
            found.setdefault(name, []).append(distances)
    if not found:  # too few images to leave some out
        found = {name: [values] for name, values in nearest(fit_parts(seen, modalities), *stacked(seen)).items()}
    scales = {name: float(np.quantile(np.concatenate(values), 0.95)) for name, values in found.items()}
    return {name: 1.0 if name == "modality" else max(scale, 1e-9) for name, scale in scales.items()}


def _by_dataset(seen: Sequence[Seen]) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for one in seen:
        found.setdefault(one.dataset, []).append(one)
    return found


def _most(part: Part, colours: np.ndarray) -> str:
    """What the statistic farthest from the training images' is about, and which way it is off."""
    off = part.colours.deviations(colours)
    index = int(np.abs(off).argmax())
    word = about(NAMES[index])
    if word.startswith("where"):
        return word
    return word if word == "colour" else f"{'more' if off[index] > 0 else 'less'} {word}"
