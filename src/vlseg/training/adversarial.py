"""Adversarial training: batches whose images are changed to the model's harm while it learns from them.

The change is one of the RGB image in [0, 1] at the size of the network's input, L-inf, before normalisation; padding is
never changed. The batch holds what `prepare` made of the images, so the change is added as `prepare` weighs colours.

Inner passes of pgd are passes of the step: in its mode, with its weights, batch statistics and dropout (draws of their
own). They leave nothing behind: no gradient of a weight, no running statistic, no random number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vlseg.attacks.canvas import canvas_of
from vlseg.attacks.layout import CLOSE, NotPlainError, layout_of, pixel_names
from vlseg.data.seeds import derived_seed, generator
from vlseg.models import Inputs, Segmenter, as_module
from vlseg.prompts import Prompted
from vlseg.records import InputError, RunConfig
from vlseg.training.batches import Batch
from vlseg.training.distributed import rank, world
from vlseg.training.precision import Arithmetic
from vlseg.training.semi import has_unlabelled
from vlseg.training.weights import unchanged_buffers

Loss = Callable[[Batch], Tensor]
TRIED = ((24, 40), (40, 24), (32, 32))
"""Sizes of images by which a model's `prepare` is looked at before anything is trained."""


def check_adversarial(config: RunConfig, model: Segmenter, train: Sequence[Prompted]) -> None:
    """What cannot be trained adversarially.

    Raises:
        InputError: the network's input is no plain picture of the image, or several ones of different sizes; free
            replays for longer than the epochs before or after the first pseudo-labels.
    """
    if config.adversarial == "none":
        return
    parts = (config.warmup_epochs, config.epochs - config.warmup_epochs)
    if has_unlabelled(train, config) and any(0 < epochs < config.replays for epochs in parts):
        raise InputError(
            f"adversarial_steps: free shows each batch {config.replays} times, and the first pseudo-labels come after "
            f"{parts[0]} of {config.epochs} epochs; give more epochs, or lower adversarial_steps"
        )
    device = next(as_module(model).parameters()).device
    rng = torch.Generator().manual_seed(0)
    for size in TRIED:
        image = torch.rand(3, *size, generator=rng).to(device)
        try:
            colours_of(model, image)
            canvas_of(model, image, "input")
        except (NotPlainError, InputError) as error:
            why = str(error) if isinstance(error, NotPlainError) else "images are not plainly resized to it"
            raise InputError(
                f"adversarial: images cannot be attacked at the input of '{model.spec.name}': {why}; leave adversarial "
                "out"
            ) from error


@dataclass(frozen=True)
class Colours:
    """How `prepare` weighs colours in one tensor of the input.

    Attributes:
        weights: (3, 3), what red, green and blue add to each channel.
        inverse: (3, 3), the way back.
        black: (3,), what black becomes.
    """

    weights: Tensor
    inverse: Tensor
    black: Tensor

    def image(self, pixels: Tensor) -> Tensor:
        """RGB (B, 3, h, w) of the input (B, 3, h, w)."""
        return _mixed(self.inverse, pixels - self.black[:, None, None])

    def change(self, change: Tensor) -> Tensor:
        """What a change (B, 3, h, w) of the RGB image changes in the input."""
        return _mixed(self.weights, change)


def _mixed(weights: Tensor, channels: Tensor) -> Tensor:
    # A sum of three products each, in single precision everywhere: a matrix product may be rounded by a GPU.
    mixed: Tensor = sum(weights[index][:, None, None] * channels[:, index : index + 1] for index in range(3))  # type: ignore[assignment]
    return mixed


def colours_of(model: Segmenter, rgb: Tensor) -> dict[str, Colours]:
    """How colours are weighed in every tensor of the input that holds the image.

    Args:
        model: whose `prepare` is asked.
        rgb: (3, H, W), an image of the size that is asked about.

    Raises:
        NotPlainError: more is done, or tensors have the image at other sizes or places.
    """
    white, black = (model.prepare([torch.full_like(rgb, value)]).tensors for value in (1.0, 0.0))
    names = pixel_names(Inputs(black), model)
    for name, tensor in black.items():
        if name not in names and tensor.is_floating_point() and not torch.equal(tensor, white[name]):
            raise NotPlainError("its members look at images of different sizes")
    found, boxes = {}, []
    for name in names:
        layout = layout_of(model, rgb, name)
        own = layout.black.flatten(1).mean(1)
        if bool((layout.black - own[:, None, None]).abs().max() > CLOSE):
            raise NotPlainError("black is not the same everywhere")
        inverse = torch.linalg.inv(layout.weights.cpu().double()).to(layout.weights)
        found[name] = Colours(layout.weights, inverse, own)
        boxes.append(layout.box)
    if any(box != boxes[0] for box in boxes):
        raise NotPlainError("its members lay the image out in different ways")
    return found


@dataclass(frozen=True)
class Room:
    """How far the images of a batch may be changed.

    Attributes:
        batch: as it is, its inputs on the device.
        colours: by tensor of the input.
        least, most: (B, 3, h, w) of RGB, 0 in padding and for images that are not attacked.
        attacked: (B,) bool.
    """

    batch: Batch
    colours: Mapping[str, Colours]
    least: Tensor
    most: Tensor
    attacked: Tensor

    def within(self, change: Tensor) -> Tensor:
        """The nearest change that leaves the image in [0, 1] and within the budget."""
        return torch.clamp(change, self.least, self.most)

    def laid(self, change: Tensor) -> Batch:
        """The batch with a change (B, 3, h, w) of its images; none is none to the last bit."""
        changed = {name: self.batch.inputs[name] + colours.change(change) for name, colours in self.colours.items()}
        return replace(self.batch, inputs={**self.batch.inputs, **changed})


class Adversary:
    """What attacks the batches of a run.

    `changes` is what free carries from one batch to the next, (B, 3, h, w) for each batch of a step; pgd keeps nothing.
    """

    def __init__(self, model: Segmenter, config: RunConfig, arithmetic: Arithmetic) -> None:
        self.model, self.config, self.arithmetic = model, config, arithmetic
        self.epsilon, self.step_size = config.adversarial_epsilon, config.attack_step_size
        self.changes: list[Tensor] = []
        self._colours: dict[str, Colours] = {}
        self._insides: dict[tuple[int, int], Tensor] = {}
        self._open: tuple[int, Tensor, Tensor] | None = None

    def against(self, batch: Batch, number: int, loss: Loss) -> Batch:
        """The batch to learn from.

        Args:
            batch: as it is.
            number: of the batch in its step.
            loss: the training loss of a batch.
        """
        if batch.spare:
            return batch
        room = self._room(batch)
        if self.config.adversarial == "free":
            change = self._carried(number, room).requires_grad_()
            self._open = number, change, room.attacked
            return room.laid(room.within(change))
        if not bool(room.attacked.any()):
            return batch
        return room.laid(self._searched(room, loss))

    def learn(self) -> None:
        """Of free: move the change along the gradient that the backward pass left."""
        if self._open is None:
            return
        number, change, attacked = self._open
        self._open = None
        moved = change.detach() + self.step_size * _signs(self._given(change.grad)) * attacked[:, None, None, None]
        self.changes[number][: len(moved)] = moved.clamp(-self.epsilon, self.epsilon)

    def start(self, batch: Batch) -> Tensor:
        """PGD's random start, (B, 3, h, w) uniform in the budget; by (seed, epoch, batch, image) alone."""
        name = next(iter(self._known(batch)))
        shape = batch.inputs[name].shape[1:]
        draws = []
        for row in range(len(batch.sizes)):
            rng = torch.Generator().manual_seed(
                derived_seed(self.config.seed, "adversarial start", *batch.place, rank() + world() * row)
            )
            draws.append((2 * torch.rand(shape, generator=rng) - 1) * self.epsilon)
        return torch.stack(draws).to(self.arithmetic.device)

    def largest(self, batch: Batch, loss: Loss) -> Tensor:
        """The loss of a batch whose change asks for a gradient, which is what takes most memory."""
        room = self._room(batch)
        return loss(room.laid(torch.zeros_like(room.most).requires_grad_()))

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"changes": self.changes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.changes = [change.to(self.arithmetic.device) for change in state["changes"]]

    def _searched(self, room: Room, loss: Loss) -> Tensor:
        """The change after k steps along the loss (Madry et al. 2018, section 2.1)."""
        device = self.arithmetic.device
        change = room.within(self.start(room.batch))
        cards = [device] if device.type == "cuda" else []
        with unchanged_buffers(as_module(self.model)), torch.random.fork_rng(devices=cards):
            torch.manual_seed(derived_seed(self.config.seed, "adversarial passes", *room.batch.place, rank()))
            for _ in range(self.config.attack_steps):
                change = change.detach().requires_grad_()
                value = self.arithmetic.scaled(loss(room.laid(change)))
                # Of the change alone: weights get no gradient here.
                (gradient,) = torch.autograd.grad(value, change, allow_unused=True)
                change = room.within(change.detach() + self.step_size * _signs(self._given(gradient)))
        return change

    def _carried(self, number: int, room: Room) -> Tensor:
        """What free starts from: the change that the same rows had, at first none."""
        while len(self.changes) <= number:
            self.changes.append(torch.zeros_like(room.most))
        kept, wanted = self.changes[number], len(room.most)
        if len(kept) < wanted:
            kept = torch.cat([kept, torch.zeros_like(room.most[len(kept) :])])
            self.changes[number] = kept
        return kept[:wanted].clone()

    def _room(self, batch: Batch) -> Room:
        device = self.arithmetic.device
        colours = self._known(batch)
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()}
        name, first = next(iter(colours.items()))
        image = first.image(inputs[name])
        attacked = self._attacked(batch).to(device)
        free = attacked[:, None, None, None] & torch.stack([self._inside(size) for size in batch.sizes])[:, None]
        least = (-image).clamp(min=-self.epsilon, max=0) * free
        most = (1 - image).clamp(min=0, max=self.epsilon) * free
        return Room(replace(batch, inputs=inputs), colours, least, most, attacked)

    def _attacked(self, batch: Batch) -> Tensor:
        """Which of this process's images are attacked: the share of the whole batch, one more by chance, drawn anew."""
        rng = generator(self.config.seed, "adversarial share", *batch.place)
        count = int(self.config.adversarial_share * batch.whole + rng.random())
        chosen = set(rng.permutation(batch.whole)[:count].tolist())
        return torch.tensor([rank() + world() * row in chosen for row in range(len(batch.sizes))])

    def _known(self, batch: Batch) -> dict[str, Colours]:
        if not self._colours:
            self._colours = colours_of(self.model, self._blank(batch.sizes[0]))
        return self._colours

    def _inside(self, size: tuple[int, int]) -> Tensor:
        """(h, w) bool, where images of a size lie in the input."""
        if size not in self._insides:
            name = next(iter(self._colours))
            blank = self._blank(size)
            white, black = (self.model.prepare([blank + value]).tensors[name][0] for value in (1.0, 0.0))
            self._insides[size] = (white - black).abs().amax(0) > 0
        return self._insides[size]

    def _blank(self, size: tuple[int, int]) -> Tensor:
        return torch.zeros(3, *size, device=self.arithmetic.device)

    def _given(self, gradient: Tensor | None) -> Tensor:
        if gradient is None:
            raise InputError(
                f"adversarial: no gradient of the loss reaches the image through '{self.model.spec.name}' under regime "
                f"'{self.config.regime}'; leave adversarial out"
            )
        return gradient


def _signs(gradient: Tensor) -> Tensor:
    """Of a gradient; 0 where it overflowed (fp16)."""
    return gradient.sign().nan_to_num(0.0)
