"""Training with images that have no mask: which these are, and what takes the mask's place."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlseg.models import Segmenter, as_module
from vlseg.prompts import Prompted
from vlseg.records import InputError, RunConfig
from vlseg.training.augment import Variant
from vlseg.training.batches import Draw, Known, group_by_image
from vlseg.training.distributed import world
from vlseg.training.pseudo_labels import PseudoLabels
from vlseg.training.references import References, text_vectors


class SemiSupervised:
    """What a run knows of its samples without a mask: pseudo-labels, and references where they have a weight."""

    def __init__(
        self,
        model: Segmenter,
        train: Sequence[Prompted],
        config: RunConfig,
        folder: Path,
        device: torch.device,
        known: Known | None,
    ) -> None:
        """`model` as the run starts from it, on `device`; `folder` is where checkpoints lie."""
        groups = group_by_image([item for item in train if not item.sample.mask_paths], unlabelled=True)
        self.items = [item for group in groups for item in group.prompted]
        self.labels = PseudoLabels(folder, self.items, model.spec.image_size, config.pseudo_beta)
        self.stretched = bool(model.prepare_masks([torch.ones(2, 6)]).min() > 0)
        at_once = config.prompts_per_image
        whole = [
            Draw(group, tuple((item, item.wordings[0]) for item in group.prompted[start : start + at_once]))
            for group in groups
            for start in range(0, len(group.prompted), at_once)
        ]
        self.plan = [whole[start : start + config.batch_size] for start in range(0, len(whole), config.batch_size)]
        """Every sample once, in order, under its first wording."""
        self._model, self._references = model, None
        if config.lv_weight:
            as_module(model).eval()
            labelled = [item for item in train if item.sample.mask_paths]
            self._references = References(
                labelled,
                self.items,
                lambda texts: text_vectors(model, texts, device, config.precision, known),
                config.seed,
            )

    def label(self, item: Prompted, variant: Variant, size: tuple[int, int]) -> Tensor:
        """A sample's pseudo-label (1, 1, h, w) on the changed image, whose (H, W) was `size` before."""
        found = variant.map(self.labels.of(item), size, stretched=self.stretched)
        label = torch.from_numpy(np.ascontiguousarray(found))[None, None]
        if self.stretched:
            return label
        return label * (self._model.prepare_masks([torch.ones(size[::-1] if variant.turns % 2 else size)]) > 0)

    def reference(self, item: Prompted, epoch: int) -> Prompted | None:
        """The labelled sample whose mask the answer should be like; None where that has no weight."""
        return self._references.of(item, epoch) if self._references else None


def has_unlabelled(train: Sequence[Prompted], config: RunConfig) -> bool:
    """Whether there is anything to make pseudo-labels for, and they are wanted."""
    return config.pseudo_labels != "none" and any(not item.sample.mask_paths for item in train)


def check_pseudo_labels(config: RunConfig, model: Segmenter, train: Sequence[Prompted]) -> None:
    """What cannot be trained with pseudo-labels.

    Raises:
        InputError: a model that reads no text with `lv_weight`, several processes, a run that ends in its warm-up.
    """
    if config.pseudo_labels == "none":
        return
    if config.lv_weight and not model.spec.uses_text:
        raise InputError(
            f"lv_weight: finds reference masks by their texts, and this '{config.model}' reads none; leave it out"
        )
    if world() > 1:
        raise InputError("pseudo_labels: epi is trained in one process; leave devices and nodes out")
    images = len(group_by_image(train))
    if not has_unlabelled(train, config) or config.max_steps is None or not images:
        return
    batches = math.ceil(images / config.batch_size)
    pieces = 1 if config.accumulate == "auto" else config.accumulate
    warmup = config.warmup_epochs * math.ceil(batches / pieces)
    if config.max_steps <= warmup:
        raise InputError(
            f"max_steps: {config.max_steps} steps end before the first pseudo-labels, after {warmup} (pseudo_warmup "
            f"{config.pseudo_warmup} of {config.epochs} epochs); lower epochs or pseudo_warmup"
        )
