"""Attacks on the samples of some images: what the network is given, and the change for other models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlseg.attacks import Attack, Attacked, Budget, apply_changes, canvas_of, fit_universal, run_attack
from vlseg.attacks.canvas import inputs_of
from vlseg.data import load_image
from vlseg.evaluation import MaskReader, read_truths
from vlseg.jobs.attack_files import after_file
from vlseg.jobs.attack_plan import Planned, RoundTrip
from vlseg.jobs.scoring import Job
from vlseg.models import Inputs, Rows, Segmenter
from vlseg.models.ensemble.model import averaged
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo

Key = tuple[str, str]
"""Dataset and sample id."""
MEAN_OF_MEMBERS = "the mean of its members"
"""What changes of a vote are found on: through votes no gradient passes."""


@dataclass(frozen=True)
class Attackable:
    """A model under attack: the one whose gradient is followed, and how it is asked.

    Attributes:
        model: through which gradients pass.
        threshold: of its answers.
        device: where it computes.
    """

    model: Segmenter
    threshold: float
    device: torch.device


@dataclass(frozen=True)
class Some:
    """Samples of a few images, ready to attack; lists run alike.

    Attributes:
        images: (3, H, W) on the device, in [0, 1]; samples of one image share the tensor.
        masks, wanted: (H, W) bool.
        prompts: what the model is told.
    """

    items: list[Prompted]
    images: list[Tensor]
    masks: list[Tensor]
    prompts: list[str]
    wanted: list[Tensor] | None

    @property
    def keys(self) -> list[Key]:
        """Of the samples."""
        return [key_of(item) for item in self.items]


@dataclass(frozen=True)
class Found:
    """What an attack came to for one sample.

    Attributes:
        inputs: one row of the network's inputs; None where they are those of the image as it is.
        change: (3, h, w) of the image that was attacked, where it was to be kept.
        image: (3, h, w) that was attacked, likewise.
    """

    inputs: Inputs | None
    change: Tensor
    image: Tensor | None = None


def attackable(job: Job, *, voting: bool = False) -> Attackable:
    """The model of a job; of a vote the mean, unless it is asked for answers alone (`voting`)."""
    assert job.model is not None  # mask files are not attacked
    mean = None if voting else averaged(job.model)
    if mean is not None:
        return Attackable(mean, mean.spec.threshold, job.setting.device)
    return Attackable(job.model, job.setting.threshold, job.setting.device)


def key_of(item: Prompted) -> Key:
    """Dataset and sample id."""
    return item.sample.dataset, item.sample.id


def told(model: Segmenter, item: Prompted) -> str:
    """The first wording, or the target's name where the model reads no text."""
    return item.wordings[0] if model.spec.uses_text else (item.sample.target or "")


def read_some(
    items: Sequence[Prompted],
    infos: Mapping[str, DatasetInfo],
    target: Attackable,
    wanted: Mapping[Key, Prompted] | None,
) -> Some:
    """Images and truths of some samples, on the model's device."""
    masks, pixels = MaskReader(infos), {}
    for item in items:
        image = (item.sample.dataset, item.sample.image_id)
        if image not in pixels:
            array = load_image(item.sample, infos[item.sample.dataset])
            pixels[image] = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).to(target.device)
    images = [pixels[item.sample.dataset, item.sample.image_id] for item in items]
    truths = [_mask(masks, item, image) for item, image in zip(items, images, strict=True)]
    aims = None
    if wanted is not None:
        aims = [
            torch.from_numpy(aim(wanted[key_of(item)], infos, (image.shape[-2], image.shape[-1])))
            for item, image in zip(items, images, strict=True)
        ]
    return Some(list(items), images, truths, [told(target.model, item) for item in items], aims)


def aim(item: Prompted, infos: Mapping[str, DatasetInfo], size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool of another sample, brought to a size by the nearest pixel."""
    mask = read_truths([item], infos)[item.sample.id]
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def found_by(
    planned: Planned, target: Attackable, some: Some, universal: Tensor | None, *, changes: bool
) -> dict[Key, Found]:
    """What an attack finds for each sample; `universal` is the change where it is one for all.

    Args:
        changes: keep them, for other models and for pictures.
    """
    attack = planned.attack
    assert attack is not None
    model, limit = target.model, target.threshold
    asked = some.images, some.prompts, some.masks
    if universal is not None:
        laid = [universal] * len(some.items)
        attacked = apply_changes(attack, model, *asked, laid, wanted=some.wanted, threshold=limit)
    else:
        attacked = run_attack(attack, model, *asked, wanted=some.wanted, threshold=limit)
    rows, after = attacked.inputs, attacked.clipped
    if planned.round_trip is not None:
        rows, after = _filed(planned.round_trip, attack.budget, target.model, some.images, after)
    own = _own_inputs(target.model, some.images)
    found = {}
    for number, key in enumerate(some.keys):
        row, mine = rows[[number]], own[id(some.images[number])]
        before = attacked.images[number]
        kept = (after[number] - before, before) if changes else (before.new_zeros(()), None)
        found[key] = Found(None if _same(row, mine) else row, *kept)
    return found


def laid_over(attack: Attack, target: Attackable, some: Some, found: Mapping[Key, Found]) -> dict[Key, Found]:
    """Changes found on another model, laid over the images for this one."""
    changes = [found[key].change for key in some.keys]
    attacked: Attacked = apply_changes(
        attack,
        target.model,
        some.images,
        some.prompts,
        some.masks,
        changes,
        wanted=some.wanted,
        threshold=target.threshold,
    )
    own = _own_inputs(target.model, some.images)
    rows = [attacked.inputs[[number]] for number in range(len(changes))]
    return {
        key: Found(None if _same(row, own[id(image)]) else row, change)
        for key, row, image, change in zip(some.keys, rows, some.images, changes, strict=True)
    }


def universal_change(attack: Attack, target: Attackable, some: Some) -> Tensor:
    """One change for all images, found on some."""
    found = fit_universal(
        attack, target.model, some.images, some.prompts, some.masks, wanted=some.wanted, threshold=target.threshold
    )
    return found.change


def _filed(
    kind: RoundTrip, budget: Budget, model: Segmenter, images: Sequence[Tensor], attacked: Sequence[Tensor]
) -> tuple[Inputs, list[Tensor]]:
    """The network's inputs of the attacked images as files give them back, and these."""
    after = [after_file(image, kind) for image in attacked]
    with torch.no_grad():
        canvases = {id(image): canvas_of(model, image, budget.place) for image in images}
        rows = [inputs_of(model, [canvases[id(image)]], one[None]) for image, one in zip(images, after, strict=True)]
    return Rows.join(rows), after


def _own_inputs(model: Segmenter, images: Sequence[Tensor]) -> dict[int, Inputs]:
    with torch.no_grad():
        return {key: model.prepare([image]) for key, image in {id(image): image for image in images}.items()}


def _same(first: Inputs, second: Inputs) -> bool:
    return all(torch.equal(first.tensors[name], second.tensors[name]) for name in second.tensors)


def _mask(masks: MaskReader, item: Prompted, image: Tensor) -> Tensor:
    mask = masks(item.sample, tuple(image.shape[-2:]))
    assert mask is not None  # samples without a truth are not attacked
    return torch.from_numpy(mask)
