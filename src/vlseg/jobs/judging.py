"""Fitting what lets a model say found, not found or cannot judge, when its training ends or afterwards."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vlseg.data import image_key, load_image, load_mask
from vlseg.data.seeds import generator
from vlseg.evaluation import ready
from vlseg.evaluation.answers import prompt_of
from vlseg.evaluation.colours import colour_statistics
from vlseg.evaluation.familiarity import Familiarity
from vlseg.evaluation.familiarity_fit import Seen, fit_familiarity, too_few_held_out
from vlseg.evaluation.judging import Judging
from vlseg.evaluation.predict import answer_prompts
from vlseg.evaluation.presence import PresenceCalibration, fit_presence, too_few
from vlseg.evaluation.query import Query
from vlseg.jobs.datasets import Pool
from vlseg.models import ImageFeatures, Inputs, Segmenter
from vlseg.models.features import FeatureStore, image_features
from vlseg.models.pooling import pooled_features
from vlseg.prompts import Prompted, vocabulary_of
from vlseg.records import LEAKING, RunConfig

Key = tuple[str, str]
"""Dataset and sample."""
TRAIN_IMAGES = 400
"""At most so many training images are looked at, of each of several datasets its part of them and at least FEWEST_EACH;
of val at most VAL_IMAGES, of every patient one before any has two."""
FEWEST_EACH = 60
VAL_IMAGES = 400


@dataclass(frozen=True)
class Fitting:
    """A trained model with its samples, on a device; `trained` are those that training showed."""

    model: Segmenter
    pool: Pool
    trained: Sequence[Prompted]
    val: Sequence[Prompted]
    device: torch.device
    precision: str
    store: FeatureStore | None = None


@dataclass(frozen=True)
class _Picture:
    """The samples of one image."""

    items: tuple[Prompted, ...]

    @property
    def owner(self) -> tuple[str, str]:
        """Dataset, and patient or, where unknown, the image."""
        sample = self.items[0].sample
        return sample.dataset, sample.group if sample.group is not None else f"image {sample.image_id}"


def fit_judging(fitting: Fitting) -> Judging:
    """Familiarity from training images with its limit from val, presence from val, vocabulary from training prompts.

    Nothing is encoded where val cannot tell anything.
    """
    ready(fitting.model, fitting.device)
    val = _drawn_val(_pictures(fitting.val))
    leak = _leak(fitting.pool)
    truths = {} if leak else _truths(val, fitting.pool)
    familiarity: Familiarity | str | None = too_few_held_out(len({picture.owner for picture in val}))
    have = sum(truths.values())
    presence: PresenceCalibration | str | None = leak or too_few(have, len(truths) - have)
    raw: dict[Key, float] = {}
    seen = []
    if familiarity is None or presence is None:
        seen = list(_seen(fitting, val, raw if presence is None else None))
    if familiarity is None:
        train = _seen(fitting, _drawn_train(_pictures(fitting.trained)), None)
        modalities = {name: info.modality for name, info in fitting.pool.infos.items()}
        familiarity = fit_familiarity(list(train), seen, fitting.model.spec, modalities)
    if presence is None:
        presence = fit_presence([raw[key] for key in raw], [truths[key] for key in raw])
    spec = fitting.model.spec
    targets = fitting.pool.targets or spec.targets
    return Judging(
        familiarity=None if isinstance(familiarity, str) else familiarity,
        presence=None if isinstance(presence, str) else presence,
        vocabulary=vocabulary_of(fitting.trained, targets, reads_text=spec.uses_text),
        missing=tuple(one for one in (familiarity, presence) if isinstance(one, str)),
    )


def _leak(pool: Pool) -> str | None:
    """Why presence is not to be learned from these prompts, or None."""
    made_up = len(pool.phantoms) == len(pool.datasets)
    # What is made up is described as someone who sees the scene would: its masks tell no more.
    leaks = (LEAKING - {"mask"} if made_up else LEAKING) & pool.sources
    if not leaks:
        return None
    return (
        f"presence stays a score: the prompts of val ({', '.join(sorted(leaks))}) may tell whether the target is "
        "there, which nobody who asks can"
    )


def _truths(pictures: Sequence[_Picture], pool: Pool) -> dict[Key, bool]:
    """Whether a sample's mask has foreground, by dataset and sample."""
    return {
        _key(item): bool(load_mask(item.sample, pool.infos[item.sample.dataset], None).any())
        for picture in pictures
        for item in picture.items
        if item.sample.mask_paths
    }


def _key(item: Prompted) -> Key:
    return item.sample.dataset, item.sample.id


def _pictures(prompted: Sequence[Prompted]) -> list[_Picture]:
    groups: dict[tuple[str, str], list[Prompted]] = {}
    for item in prompted:
        groups.setdefault((item.sample.dataset, item.sample.image_id), []).append(item)
    return [_Picture(tuple(items)) for items in groups.values()]


def _shuffled(pictures: Sequence[_Picture], purpose: str) -> list[_Picture]:
    return [pictures[index] for index in generator(0, "judging", purpose).permutation(len(pictures))]


def _drawn_train(pictures: Sequence[_Picture]) -> list[_Picture]:
    names = {picture.owner[0] for picture in pictures}
    limit = max(FEWEST_EACH, TRAIN_IMAGES // max(1, len(names)))
    mixed = _shuffled(pictures, "train")
    return [one for name in sorted(names) for one in [two for two in mixed if two.owner[0] == name][:limit]]


def _drawn_val(pictures: Sequence[_Picture]) -> list[_Picture]:
    met: dict[tuple[str, str], int] = {}
    turns: list[tuple[int, int, _Picture]] = []
    for picture in _shuffled(pictures, "val"):
        turns.append((met.get(picture.owner, 0), len(turns), picture))
        met[picture.owner] = met.get(picture.owner, 0) + 1
    return [picture for _, _, picture in sorted(turns, key=lambda turn: turn[:2])][:VAL_IMAGES]


def _seen(fitting: Fitting, pictures: Sequence[_Picture], raw: dict[Key, float] | None) -> Iterator[Seen]:
    """What is kept of each image; the presence score of each of its samples goes into `raw`."""
    for picture in pictures:
        sample = picture.items[0].sample
        info = fitting.pool.infos[sample.dataset]
        image = load_image(sample, info)
        features, inputs = image_features(
            fitting.model,
            fitting.store,
            image_key(sample, info),
            _pixels(image),
            device=fitting.device,
            precision=fitting.precision,
        )
        features = ImageFeatures(features.to(fitting.device).widened().tensors)
        if raw is not None:
            raw |= _presence_scores(fitting, picture, features, inputs)
        pooled = pooled_features(features, fitting.model.spec.image_size)
        yield Seen(
            *picture.owner, colour_statistics(image), None if pooled is None else pooled[0].numpy().astype(np.float64)
        )


def _pixels(image: np.ndarray) -> Callable[[], torch.Tensor]:
    return lambda: torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _presence_scores(fitting: Fitting, picture: _Picture, features: ImageFeatures, inputs: Inputs) -> dict[Key, float]:
    """By dataset and sample, asked with the first wording of each."""
    asked = [item for item in picture.items if item.sample.mask_paths]
    prompts = [prompt_of(fitting.model, Query(item, item.wordings[0], item.sample, ())) for item in asked]
    if not prompts:
        return {}
    answers = answer_prompts(
        fitting.model, features, inputs, prompts, device=fitting.device, precision=fitting.precision
    )
    return {
        _key(item): answer.presence for item, answer in zip(asked, answers, strict=True) if answer.presence is not None
    }


def shown(train: Sequence[Prompted], config: RunConfig) -> list[Prompted]:
    """The samples that training shows: those with a mask, and with pseudo-labels all."""
    return [item for item in train if item.sample.mask_paths or config.pseudo_labels != "none"]
