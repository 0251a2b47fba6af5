"""Samples as the searches need them: canvases, prompts read once, masks on both grids; and the model asked of rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor

from vlseg.attacks.canvas import Canvas, canvas_of, inputs_of
from vlseg.attacks.objective import Objective, dice_of, success_of
from vlseg.attacks.plan import Attack
from vlseg.models import Inputs, PromptFeatures, Rows, Segmenter, as_module
from vlseg.records import InputError, unknown_name

T = TypeVar("T")
Row = tuple[int, int]
"""A sample's number and a restart's."""
PROMPTS_AT_ONCE = 16


@contextmanager
def at_rest(model: Segmenter) -> Iterator[None]:
    """The model in eval mode and without gradients to its weights; as it was afterwards."""
    module = as_module(model)
    training = [one for one in module.modules() if one.training]
    learning = [one for one in module.parameters() if one.requires_grad]
    module.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for one in training:
            one.training = True


@dataclass(frozen=True)
class Samples:
    """N samples of an attack on a model; canvases and prompts are those of the distinct ones.

    Attributes:
        canvases: of the distinct images; sample i's is `canvases[image[i]]`.
        prompts: features of the distinct prompts, row `prompt[i]` is sample i's; None where the model reads nothing.
        told: N prompts.
        channels: (N,) of the logits.
        masks: N of (H_i, W_i) bool, the truth.
        wanted: N of (H_i, W_i) bool, or None.
        grids: (N, 1, h, w) what the loss compares with.
        threshold: on probabilities.
    """

    attack: Attack
    model: Segmenter
    canvases: list[Canvas]
    image: list[int]
    prompts: PromptFeatures | None
    prompt: list[int]
    told: list[str]
    channels: Tensor
    masks: list[Tensor]
    wanted: list[Tensor] | None
    grids: Tensor
    threshold: float

    def __len__(self) -> int:
        return len(self.image)

    def canvas(self, sample: int) -> Canvas:
        """The sample's."""
        return self.canvases[self.image[sample]]

    def objective(self, rows: Sequence[int]) -> Objective:
        """For rows that are samples, repeats allowed."""
        return Objective(self.attack.goal, self.grids[list(rows)], self.threshold)

    def inputs(self, rows: Sequence[int], images: Tensor) -> Inputs:
        """The network's inputs for images (B, 3, h, w), row i a change of sample rows[i]'s image."""
        return inputs_of(self.model, [self.canvas(row) for row in rows], images)

    def logits(self, inputs: Inputs, rows: Sequence[int], of: Sequence[int] | None = None) -> Tensor:
        """Logits (B, 1, h, w) of the samples `rows`; row i sees input of[i] (None: input i), encoded once."""
        features = self.model.encode_image(inputs)
        reads = self.prompts is not None
        if of is not None and reads:
            features = features[list(of)]
        told = self.prompts[[self.prompt[row] for row in rows]] if self.prompts is not None else None
        logits = self.model.decode(features, told).logits
        if of is not None and not reads:
            logits = logits[list(of)]
        return logits[torch.arange(len(rows), device=logits.device), self.channels[list(rows)]][:, None]

    def answers(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Predicted masks (H, W) of bool at the images' own sizes."""
        restored = self.model.restore(logits.detach(), inputs)
        return [maps[0].sigmoid() > self.threshold for maps in restored]

    def scores(self, answers: Sequence[Tensor], rows: Sequence[int], areas: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Dice with the truth, and success, (B,) of float64 on the CPU; `areas` are the clean answers'."""
        goal, dice, success = self.attack.goal, [], []
        for answer, row, area in zip(answers, rows, areas, strict=True):
            wanted = None if self.wanted is None else self.wanted[row]
            dice.append(dice_of(answer, self.masks[row]))
            success.append(success_of(goal, answer, self.masks[row], wanted, area))
        return torch.tensor(dice, dtype=torch.float64), torch.tensor(success, dtype=torch.float64)


def samples_of(
    attack: Attack,
    model: Segmenter,
    images: Sequence[Tensor],
    prompts: Sequence[str],
    masks: Sequence[Tensor],
    wanted: Sequence[Tensor] | None,
    threshold: float | None,
) -> Samples:
    """Everything that is computed once; the model is at rest.

    Raises:
        InputError: what does not fit together.
    """
    _check(attack, images, prompts, masks, wanted)
    device = next((one.device for one in as_module(model).parameters()), images[0].device)
    distinct = {id(image): image for image in images}
    order = list(distinct)
    with torch.no_grad():
        canvases = [canvas_of(model, image.to(device), attack.budget.place) for image in distinct.values()]
        features, numbers, channels = _told(model, prompts, device)
        truths = [mask.to(device) > 0.5 for mask in masks]
        aims = None if wanted is None else [mask.to(device) > 0.5 for mask in wanted]
        goals = truths if attack.goal.kind == "untargeted" else (aims or [torch.zeros_like(one) for one in truths])
        grids = model.prepare_masks([mask.float() for mask in goals])
    return Samples(
        attack,
        model,
        canvases,
        [order.index(id(image)) for image in images],
        features,
        numbers,
        list(prompts),
        channels,
        truths,
        aims,
        grids,
        model.spec.threshold if threshold is None else threshold,
    )


def _told(
    model: Segmenter, prompts: Sequence[str], device: torch.device
) -> tuple[PromptFeatures | None, list[int], Tensor]:
    """Features of the distinct prompts, each sample's row there, and each sample's channel of the logits."""
    distinct = list(dict.fromkeys(prompts))
    spec, numbers = model.spec, [distinct.index(prompt) for prompt in prompts]
    if not spec.uses_text:
        for name in distinct:
            if name not in spec.targets:
                raise unknown_name("target", name, spec.targets)
    if not spec.uses_text and not spec.uses_target:
        channels = [spec.targets.index(prompt) for prompt in prompts]
        return None, numbers, torch.tensor(channels, device=device)
    parts = []
    for start in range(0, len(distinct), PROMPTS_AT_ONCE):
        tokens = model.tokenize(distinct[start : start + PROMPTS_AT_ONCE])
        part = model.encode_prompts(None if tokens is None else tokens.to(device))
        assert part is not None  # the model is told something
        parts.append(part)
    return Rows.join(parts), numbers, torch.zeros(len(prompts), dtype=torch.long, device=device)


def _check(
    attack: Attack,
    images: Sequence[Tensor],
    prompts: Sequence[str],
    masks: Sequence[Tensor],
    wanted: Sequence[Tensor] | None,
) -> None:
    kind = attack.goal.kind
    if (wanted is None) != (kind in ("untargeted", "erase")):
        mend = "give wanted, a mask for each sample" if wanted is None else "leave wanted out"
        raise InputError(f"goal: '{kind}' is {'' if wanted is None else 'not '}told which mask is wanted; {mend}")
    lists: dict[str, Sequence[object]] = {"images": images, "prompts": prompts, "masks": masks}
    if wanted is not None:
        lists["wanted"] = wanted
    if not len(images) or any(len(one) != len(images) for one in lists.values()):
        told = ", ".join(f"{len(one)} {name}" for name, one in lists.items())
        raise InputError(f"samples: {told}; give one of each for every sample, and at least one")
    for name, given in (("masks", masks), ("wanted", wanted or [])):
        for number, (image, mask) in enumerate(zip(images, given, strict=False)):
            size, own = tuple(image.shape[-2:]), tuple(mask.shape)
            if own != size:
                raise InputError(f"{name}: number {number} is {own} and its image {size}; give masks of its size")


def chunks(samples: Samples, restarts: int, rows: int, some: Sequence[int] | None = None) -> Iterator[list[Row]]:
    """Rows of one size of image, those of one image and restart beside each other; of all samples or of some."""

    def size(row: Row) -> tuple[int, ...]:
        return tuple(samples.canvas(row[0]).image.shape)

    chosen = range(len(samples)) if some is None else some
    every = [(sample, restart) for sample in chosen for restart in range(restarts)]
    every.sort(key=lambda row: (size(row), samples.image[row[0]], row[1]))
    for _, members in groupby(every, key=size):
        yield from parts(list(members), rows)


def parts(items: Sequence[T], rows: int) -> Iterator[list[T]]:
    """At most `rows` at a time, in order."""
    if rows < 1:
        raise InputError(f"rows: {rows} is no number of images of at least 1")
    return (list(items[start : start + rows]) for start in range(0, len(items), rows))
