"""Fitting what says which images are usual: spaces from training images, the limit from held-out ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlseg.data.seeds import generator
from vlseg.evaluation.colours import CHROMA
from vlseg.evaluation.familiarity import Familiarity, Part, Signal, Told, nearest, scaled
from vlseg.evaluation.space import Space
from vlseg.models import Spec

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
        parts = fit_parts(rest, modalities)
        held = [one for one in held if any(part.dataset == one.dataset for part in parts)]
        if not held:
            continue
        for name, distances in nearest(parts, *stacked(held)).items():
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
