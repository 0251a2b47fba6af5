"""Batches: some images, each with some of its prompts, chosen by (seed, epoch, sample id) alone."""

import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vlseg.data import load_image, load_mask
from vlseg.models import Segmenter
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo
from vlseg.training.augment import augment
from vlseg.training.seeds import generator

CACHE_BYTES = 2 * 1024**3
"""Decoded images and masks kept in memory; beyond it the ones used longest ago go."""


@dataclass(frozen=True)
class ImageGroup:
    """All prompted samples of one image."""

    image_id: str
    prompted: tuple[Prompted, ...]


@dataclass(frozen=True)
class Draw:
    """One image of a batch with the chosen (prompted sample, wording) pairs."""

    group: ImageGroup
    chosen: tuple[tuple[Prompted, str], ...]


@dataclass(frozen=True)
class Batch:
    """What one step needs. Row i of `tokens`, `masks` belongs to image `image_of[i]`.

    Attributes:
        inputs: the model's inputs, one row per image.
        tokens: one row per prompt; empty for image-only models.
        image_of: (R,) int64.
        channel_of: (R,) int64, the logit channel compared with the mask.
        masks: (R, 1, h, w) in [0, 1].
    """

    inputs: Mapping[str, Tensor]
    tokens: Mapping[str, Tensor]
    image_of: Tensor
    channel_of: Tensor
    masks: Tensor


def group_by_image(prompted: Sequence[Prompted]) -> list[ImageGroup]:
    """Samples with a truth, grouped by image, in order of first appearance."""
    groups: dict[tuple[str, str], list[Prompted]] = {}
    for item in prompted:
        if item.sample.mask_paths:
            groups.setdefault((item.sample.dataset, item.sample.image_id), []).append(item)
    return [ImageGroup(image_id, tuple(items)) for (_, image_id), items in groups.items()]


def plan_epoch(
    groups: Sequence[ImageGroup],
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    prompts_per_image: int,
    pooling: Literal["size", "root_size", "dataset"] = "size",
) -> list[list[Draw]]:
    """The batches of an epoch: a pure function of its arguments.

    As many draws as there are images. By "size" every image is drawn once; else each dataset gets its share of the
    draws, and its images are drawn in turn, some of them or again from the start. Of each image up to
    `prompts_per_image` samples without repeats, and of each sample one wording. The last batch may be smaller.
    """
    chosen = range(len(groups)) if pooling == "size" else _by_dataset(groups, seed, epoch, pooling)
    order = generator(seed, "order", epoch).permutation(len(groups))
    draws = [_draw(groups[chosen[index]], seed, epoch, prompts_per_image) for index in order]
    return [draws[start : start + batch_size] for start in range(0, len(draws), batch_size)]


def _by_dataset(
    groups: Sequence[ImageGroup], seed: int, epoch: int, pooling: Literal["root_size", "dataset"]
) -> list[int]:
    """Indices of the images to draw, as many as there are, by dataset."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group.prompted[0].sample.dataset, []).append(index)
    weights = np.array([len(inside) ** 0.5 if pooling == "root_size" else 1.0 for inside in members.values()])
    shares = np.cumsum(weights / weights.sum()) * len(groups)
    counts = np.diff(np.rint(shares).astype(int), prepend=0)
    chosen: list[int] = []
    for (name, inside), count in zip(members.items(), counts, strict=True):
        rng = generator(seed, "pool", epoch, name)
        turns: list[int] = []
        while len(turns) < count:
            turns += [inside[position] for position in rng.permutation(len(inside))]
        chosen += turns[:count]
    return chosen


def _draw(group: ImageGroup, seed: int, epoch: int, prompts_per_image: int) -> Draw:
    rng = generator(seed, "prompts", epoch, group.image_id)
    picked = rng.permutation(len(group.prompted))[:prompts_per_image]
    items = [group.prompted[index] for index in sorted(picked)]
    return Draw(group, tuple((item, item.wordings[rng.integers(len(item.wordings))]) for item in items))


class ImageCache:
    """Decoded images (float32) and masks (bool) by file, within a byte budget."""

    def __init__(self, infos: Mapping[str, DatasetInfo], budget: int = CACHE_BYTES) -> None:
        self._infos = infos
        self._budget = budget
        self._used = 0
        self._arrays: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()

    def image(self, item: Prompted) -> np.ndarray:
        """(H, W, 3) float32 in [0, 1]."""
        sample = item.sample
        return self._get(
            (sample.dataset, str(sample.image_path)), lambda: load_image(sample, self._infos[sample.dataset])
        )

    def mask(self, item: Prompted, size: tuple[int, int]) -> np.ndarray:
        """(H, W) bool."""
        sample = item.sample
        key = (sample.dataset, "\n".join(str(path) for path in sample.mask_paths) + f"\n{sample.mask_value}")
        return self._get(key, lambda: load_mask(sample, self._infos[sample.dataset], size))

    def _get(self, key: tuple[str, str], load: Callable[[], np.ndarray]) -> np.ndarray:
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        array = load()
        self._arrays[key] = array
        self._used += array.nbytes
        while self._used > self._budget and len(self._arrays) > 1:
            self._used -= self._arrays.popitem(last=False)[1].nbytes
        return array


class EpochBatches(torch.utils.data.Dataset[Batch]):
    """The planned batches of one epoch, built on demand."""

    def __init__(
        self,
        plan: Sequence[Sequence[Draw]],
        model: Segmenter,
        cache: ImageCache,
        infos: Mapping[str, DatasetInfo],
        augmentation: tuple[int, int] | None,
    ) -> None:
        self._plan = plan
        self._model = model
        self._cache = cache
        self._infos = infos
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Batch:
        images, masks, texts, image_of, channels = [], [], [], [], []
        for position, draw in enumerate(self._plan[index]):
            image, chosen = self._load(draw)
            images.append(image)
            for item, text, mask in chosen:
                masks.append(mask)
                texts.append(prompt_for(self._model, item, text))
                channels.append(channel_for(self._model, item))
                image_of.append(position)
        tokens = self._model.tokenize(texts)
        return Batch(
            self._model.prepare(images).tensors,
            tokens.tensors if tokens is not None else {},
            torch.tensor(image_of),
            torch.tensor(channels),
            self._model.prepare_masks(masks),
        )

    def _load(self, draw: Draw) -> tuple[Tensor, list[tuple[Prompted, str, Tensor]]]:
        first = draw.chosen[0][0]
        image = self._cache.image(first)
        size = (image.shape[0], image.shape[1])
        masks = [self._cache.mask(item, size) for item, _ in draw.chosen]
        texts = [text for _, text in draw.chosen]
        if self._augmentation is not None:
            seed, epoch = self._augmentation
            rng = generator(seed, "augment", epoch, draw.group.image_id)
            symmetries = self._infos[first.sample.dataset].symmetries
            image, masks, texts = augment(image, masks, texts, symmetries, rng)
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        truths = [torch.from_numpy(np.ascontiguousarray(mask)) for mask in masks]
        items = [item for item, _ in draw.chosen]
        return pixels, list(zip(items, texts, truths, strict=True))


def prompt_for(model: Segmenter, item: Prompted, text: str) -> str:
    """What the model is told: the sentence, or the target's name."""
    return (item.sample.target or "") if model.spec.uses_target else text


def channel_for(model: Segmenter, item: Prompted) -> int:
    """The logit channel of the sample's target: 0 unless the model is image-only."""
    if model.spec.uses_text or model.spec.uses_target:
        return 0
    return model.spec.targets.index(item.sample.target or "")


def checksum(groups: Sequence[ImageGroup]) -> int:
    """CRC-32 of what is trained on, in order; a resumed run must find the same."""
    text = "\n".join(f"{item.sample.id}\t{'|'.join(item.wordings)}" for group in groups for item in group.prompted)
    return zlib.crc32(text.encode())
