"""Batches: some images, each with some of its prompts, chosen by (seed, epoch, sample id) alone."""

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlseg.data import image_key, load_mask, load_pixels, unit_range
from vlseg.data.seeds import generator
from vlseg.models import Rows, Segmenter
from vlseg.models.features import SIZE_KEY, FeatureStore, image_features, prompt_features
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo
from vlseg.training.augment import Augmentation, Variant, draw_variant
from vlseg.training.rewording import Rewording

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
    """What one step needs. Row i of `masks` belongs to image `image_of[i]` and prompt `prompt_of[i]`.

    Attributes:
        inputs: the model's inputs, one row per image; its features where `encoded`.
        tokens: one row per distinct prompt, features where `encoded_prompts`; empty for image-only models.
        image_of: (R,) int64.
        prompt_of: (R,) int64.
        channel_of: (R,) int64, the logit channel compared with the mask.
        masks: (R, 1, h, w) in [0, 1].
        encoded, encoded_prompts: features take the place of inputs and tokens, in the precision they were kept in.
        one_each: row i belongs to image i.
        spare: another process has these images, and here they count for nothing (see `part_of`).
        pseudo: (R,) bool, the mask is a pseudo-label; None where none is.
        references: (U, 1, h, w), for each of the U rows with a pseudo-label the mask that its answer should be like;
            None where that has no weight.
        sizes: (H, W) of each image as `prepare` got it; empty where `encoded`.
        place: the epoch it was drawn for and its number there.
        whole: images of the batch in all processes together.
    """

    inputs: Mapping[str, Tensor]
    tokens: Mapping[str, Tensor]
    image_of: Tensor
    prompt_of: Tensor
    channel_of: Tensor
    masks: Tensor
    encoded: bool = False
    encoded_prompts: bool = False
    one_each: bool = False
    spare: bool = False
    pseudo: Tensor | None = None
    references: Tensor | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    place: tuple[int, int] = (0, 0)
    whole: int = 0

    def tensors(
        self, device: torch.device
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor], Tensor, Tensor, Tensor, Tensor]:
        """What a step computes with, in the order of the fields, on a device."""
        inputs, tokens = (
            {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
            for tensors in (self.inputs, self.tokens)
        )
        image_of, prompt_of, channel_of, masks = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.image_of, self.prompt_of, self.channel_of, self.masks)
        )
        return inputs, tokens, image_of, prompt_of, channel_of, masks


def group_by_image(prompted: Sequence[Prompted], *, unlabelled: bool = False) -> list[ImageGroup]:
    """Samples with a truth, or also those without, grouped by image, in order of first appearance."""
    groups: dict[tuple[str, str], list[Prompted]] = {}
    for item in prompted:
        if item.sample.mask_paths or unlabelled:
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


def part_of(draws: Sequence[Draw], rank: int, world: int) -> Sequence[Draw]:
    """What one of several processes takes of a batch: every `world`-th image.

    Where there are fewer images than processes the last ones take the first image again, so that all have the same to
    do; it must not count.
    """
    return draws[rank::world] or draws[:1]


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
    """Decoded images and masks by file, within a byte budget; threads may share it.

    8-bit images are kept in 8 bit, which loses nothing. With `reduced_to`, the longer side of the network's input,
    larger images and their masks are kept at the size whose shorter side is that long (antialiased, 8 bit): what the
    network sees then differs by a second rounding, and photographs of many megapixels are resized once instead of in
    every epoch.
    """

    def __init__(
        self, infos: Mapping[str, DatasetInfo], *, budget: int = CACHE_BYTES, reduced_to: int | None = None
    ) -> None:
        self._infos = infos
        self._budget = budget
        self.reduced_to = reduced_to
        self._used = 0
        self._arrays: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._sizes: dict[tuple[str, str], tuple[int, int]] = {}
        self._lock = threading.Lock()

    def image(self, item: Prompted) -> np.ndarray:
        """(H, W, 3) float32 in [0, 1]."""
        key = self._image_key(item)

        def load() -> np.ndarray:
            pixels = load_pixels(item.sample, self._infos[item.sample.dataset])
            self._sizes[key] = (pixels.shape[0], pixels.shape[1])
            return self._reduced(pixels)

        return unit_range(self._get(key, load))

    def size(self, item: Prompted) -> tuple[int, int]:
        """The image's own (H, W)."""
        key = self._image_key(item)
        if key not in self._sizes:
            self.image(item)
        return self._sizes[key]

    def mask(self, item: Prompted, size: tuple[int, int] | None) -> np.ndarray:
        """(H, W) bool, or where it was reduced float32 in [0, 1]; `size` is the image's own (H, W), or not known."""

        def load() -> np.ndarray:
            mask = load_mask(item.sample, self._infos[item.sample.dataset], size)
            smaller = self._reduced(mask.astype(np.uint8) * np.uint8(255))
            return mask if smaller.shape == mask.shape else smaller

        kept = self._get(self._mask_key(item), load)
        return kept if kept.dtype == np.bool_ else unit_range(kept)

    def derived(self, item: Prompted, how: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Something made of a mask, made once."""
        name, files = self._mask_key(item)
        return self._get((name, f"{files}\n{how}"), make)

    def _reduced(self, pixels: np.ndarray) -> np.ndarray:
        """8-bit pixels (H, W) or (H, W, 3) at the size they are kept in; deeper ones stay as they are."""
        side = self.reduced_to
        shorter = min(pixels.shape[:2])
        if side is None or shorter <= side or pixels.dtype != np.uint8:
            return pixels
        height, width = (max(side, round(length * side / shorter)) for length in pixels.shape[:2])
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))

    def _image_key(self, item: Prompted) -> tuple[str, str]:
        return item.sample.dataset, str(item.sample.image_path)

    def _mask_key(self, item: Prompted) -> tuple[str, str]:
        sample = item.sample
        return sample.dataset, "\n".join(str(path) for path in sample.mask_paths) + f"\n{sample.mask_value}"

    def _get(self, key: tuple[str, str], load: Callable[[], np.ndarray]) -> np.ndarray:
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        array = load()  # not under the lock: threads decode side by side
        with self._lock:
            if key not in self._arrays:
                self._arrays[key] = array
                self._used += array.nbytes
            while self._used > self._budget and len(self._arrays) > 1:
                self._used -= self._arrays.popitem(last=False)[1].nbytes
        return array


@dataclass(frozen=True)
class Known:
    """Features that frozen encoders gave once and for all.

    Attributes:
        store: where they are kept.
        views: how many fixed variants of each image there are; 1 = the image as it is.
        prompts: those of prompts, too: the model reads, and its text encoder is frozen.
        device, precision: of the computation of what is not there yet.
    """

    store: FeatureStore
    views: int
    prompts: bool
    device: torch.device
    precision: str


class Unlabelled(Protocol):
    """What takes the place of masks that are not there."""

    def label(self, item: Prompted, variant: Variant, size: tuple[int, int]) -> Tensor:
        """(1, 1, h, w) in [0, 1] on the changed image, whose (H, W) was `size` before."""
        ...

    def reference(self, item: Prompted, epoch: int) -> Prompted | None:
        """The labelled sample whose mask the answer should be like, if any."""
        ...


class EpochBatches:
    """The planned batches of one epoch, built on demand, by several threads if need be.

    Where features are known the encoders must be in eval mode: what is not there yet is encoded as in prediction.
    Samples without a mask get what `unlabelled` has for them in `epoch`; without it their masks are zeros, for answers
    that are held against nothing.
    """

    def __init__(
        self,
        plan: Sequence[Sequence[Draw]],
        model: Segmenter,
        cache: ImageCache,
        infos: Mapping[str, DatasetInfo],
        augmentation: Augmentation | None,
        known: Known | None = None,
        rewording: Rewording | None = None,
        unlabelled: Unlabelled | None = None,
        epoch: int = 0,
    ) -> None:
        self._plan = plan
        self._model = model
        self._cache = cache
        self._infos = infos
        self._augmentation = augmentation
        self._known = known
        self._rewording = rewording
        self._unlabelled = unlabelled
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Batch:
        images: list[Tensor | Rows] = []
        masks, image_of, channels, told, pseudo, references = [], [], [], [], [], []
        for position, draw in enumerate(self._plan[index]):
            variant, words = self._variant(draw)
            image, size = self._image(draw, variant)
            images.append(image)
            for (item, _), said in zip(draw.chosen, words, strict=True):
                pseudo.append(not item.sample.mask_paths)
                masks.append(self._label(item, variant, size) if pseudo[-1] else self._mask(item, variant, size))
                if pseudo[-1] and (like := self._reference(item, variant)) is not None:
                    references.append(like)
                told.append(said)
                channels.append(channel_for(self._model, said))
                image_of.append(position)
        distinct = list(dict.fromkeys(told))
        return Batch(
            inputs=self._joined(images).tensors,
            tokens=self._prompts(distinct),
            image_of=torch.tensor(image_of),
            prompt_of=torch.tensor([distinct.index(text) for text in told]),
            channel_of=torch.tensor(channels),
            masks=torch.cat(masks),
            encoded=self._known is not None,
            encoded_prompts=self._known is not None and self._known.prompts,
            one_each=image_of == list(range(len(images))),
            pseudo=torch.tensor(pseudo) if any(pseudo) else None,
            references=torch.cat(references) if references else None,
            sizes=tuple((one.shape[1], one.shape[2]) for one in images if isinstance(one, Tensor)),
        )

    def _variant(self, draw: Draw) -> tuple[Variant, list[str]]:
        """How the image is changed, and what the model is told as it is on it: prompts, or names of targets."""
        texts = [prompt_for(self._model, item, self._reworded(draw, item, text)) for item, text in draw.chosen]
        if self._augmentation is None:
            return Variant(), texts
        seed, epoch, zoom, rotate = self._augmentation
        rng = generator(seed, "augment", epoch, draw.group.image_id)
        if self._known is not None:
            # The views are the same for every seed and run, so that all share them; which one is shown is drawn.
            view = int(rng.integers(self._known.views))
            if view == 0:
                return Variant(), texts
            rng = generator(0, "view", view, draw.group.image_id)
        symmetries = self._infos[draw.chosen[0][0].sample.dataset].symmetries
        return draw_variant(texts, symmetries, rng, known_targets(self._model), zoom=zoom, rotate=rotate)

    def _reworded(self, draw: Draw, item: Prompted, text: str) -> str:
        return self._rewording.text(item, text, draw.group.prompted) if self._rewording else text

    def _joined(self, images: Sequence[Tensor | Rows]) -> Rows:
        """Inputs of images (3, H, W), or the rows of features one after another."""
        rows = [image for image in images if isinstance(image, Rows)]
        return Rows.join(rows) if rows else self._model.prepare([one for one in images if isinstance(one, Tensor)])

    def _image(self, draw: Draw, variant: Variant) -> tuple[Tensor | Rows, tuple[int, int]]:
        """The image (3, H, W), or a row of features, and the image's (H, W) before it was changed."""
        first = draw.chosen[0][0]

        def pixels() -> Tensor:
            changed = variant.image(self._cache.image(first))
            return torch.from_numpy(np.ascontiguousarray(changed.transpose(2, 0, 1)))

        known = self._known
        if known is None:
            return pixels(), self._cache.size(first)
        key = pixels_key(first, self._infos[first.sample.dataset], variant, self._cache.reduced_to)
        features, sizes = image_features(
            self._model,
            known.store,
            key,
            pixels,
            device=known.device,
            precision=known.precision,
            own_size=lambda: _turned(self._cache.size(first), variant),
        )
        height, width = (int(side) for side in sizes.tensors[SIZE_KEY][0])
        return features, _turned((height, width), variant)

    def _label(self, item: Prompted, variant: Variant, size: tuple[int, int]) -> Tensor:
        """(1, 1, h, w) in place of a mask that is not there."""
        if self._unlabelled is None:
            return torch.zeros(1, 1, *self._model.spec.image_size)
        return self._unlabelled.label(item, variant, size)

    def _reference(self, item: Prompted, variant: Variant) -> Tensor | None:
        """(1, 1, h, w), the mask of another sample, changed as this one's image and text are."""
        like = self._unlabelled.reference(item, self._epoch) if self._unlabelled else None
        return None if like is None else self._mask(like, variant, None)

    def _mask(self, item: Prompted, variant: Variant, size: tuple[int, int] | None) -> Tensor:
        """(1, 1, h, w) on the network's grid."""

        def make() -> np.ndarray:
            changed = np.ascontiguousarray(variant.mask(self._cache.mask(item, size)))
            return self._model.prepare_masks([torch.from_numpy(changed)]).numpy()

        if self._known is None:
            return torch.from_numpy(make())
        return torch.from_numpy(self._cache.derived(item, str(variant), make))

    def _prompts(self, texts: Sequence[str]) -> Mapping[str, Tensor]:
        known = self._known
        if known is not None and known.prompts:
            found = [
                prompt_features(self._model, known.store, text, device=known.device, precision=known.precision)
                for text in texts
            ]
            return Rows.join(found).tensors
        tokens = self._model.tokenize(texts)
        return tokens.tensors if tokens is not None else {}


def pixels_key(item: Prompted, info: DatasetInfo, variant: Variant, reduced_to: int | None) -> str:
    """The same for the same pixels: the file's bytes, how they are read, made smaller and changed."""
    changes = [] if reduced_to is None else [f"reduced to {reduced_to}"]
    changes += [] if variant == Variant() else [str(variant)]
    return " ".join([image_key(item.sample, info), *changes])


def _turned(size: tuple[int, int], variant: Variant) -> tuple[int, int]:
    """An image's (H, W) after, or before, its variant's quarter turns."""
    height, width = size
    return (width, height) if variant.turns % 2 else (height, width)


def prompt_for(model: Segmenter, item: Prompted, text: str) -> str:
    """What the model is told, or which of its channels is asked for: the sentence, or the target's name."""
    return text if model.spec.uses_text else item.sample.target or ""


def known_targets(model: Segmenter) -> tuple[str, ...] | None:
    """The targets that a model knows which is told one instead of reading; None for models that read."""
    return None if model.spec.uses_text else tuple(model.spec.targets)


def channel_for(model: Segmenter, told: str) -> int:
    """The logit channel of what the model is told: 0 unless it is image-only."""
    if model.spec.uses_text or model.spec.uses_target:
        return 0
    return model.spec.targets.index(told)


def checksum(groups: Sequence[ImageGroup]) -> int:
    """CRC-32 of what is trained on, in order; a resumed run must find the same."""
    text = "\n".join(f"{item.sample.id}\t{'|'.join(item.wordings)}" for group in groups for item in group.prompted)
    return zlib.crc32(text.encode())
