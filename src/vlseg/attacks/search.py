"""Searching for a perturbation of each row of a batch; a row is a restart of a sample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlseg.attacks.balls import drawn_noise, drawn_start, generator
from vlseg.attacks.rules import rule_for
from vlseg.attacks.samples import Row, Samples
from vlseg.records import InputError

SPSA_PAIRS, SPSA_REACH = 16, 0.01
"""Random directions a step, each looked at both ways, and how far, in units of the image's range."""


@dataclass(frozen=True)
class Clean:
    """The samples' answers to the image as it is, (N,) each."""

    dice: Tensor
    success: Tensor
    loss: Tensor
    areas: list[int]


@dataclass(frozen=True)
class Trace:
    """Of B rows: the step that is kept, and all of them.

    Attributes:
        image, raw: (B, 3, h, w).
        loss, dice, success, step: (B,).
        losses, dices: (B, S + 1).
    """

    rows: Sequence[Row]
    image: Tensor
    raw: Tensor
    loss: Tensor
    dice: Tensor
    success: Tensor
    step: Tensor
    losses: Tensor
    dices: Tensor


class Batch:
    """The rows of one pass, all of one size."""

    def __init__(self, samples: Samples, rows: Sequence[Row], clean: Clean) -> None:
        self.samples, self.rows = samples, list(rows)
        self.numbers = [sample for sample, _ in rows]
        self.clean = torch.stack([samples.canvas(sample).image for sample in self.numbers])
        self.areas = [clean.areas[sample] for sample in self.numbers]
        self.keys = [(samples.canvas(sample).key, restart) for sample, restart in rows]
        self.objective = samples.objective(self.numbers)
        # Noise is drawn for an image, whatever the prompt: it is encoded once for all of them.
        same = {key: number for number, key in reversed(list(enumerate(self.keys)))}
        self.first = sorted(same.values())
        self.of = [self.first.index(same[key]) for key in self.keys]

    def drawn(self, draw: Callable[..., Tensor], *what: object) -> Tensor:
        """One draw for each row, (B, 3, h, w)."""
        budget, shape = self.samples.attack.budget, self.clean.shape[1:]
        seed, made = self.samples.attack.search.seed, {}
        for key in self.keys:
            if key not in made:
                made[key] = draw(shape, budget.norm, budget.epsilon, generator("attack", seed, *key, *what))
        return torch.stack([made[key] for key in self.keys]).to(self.clean)

    def look(self, images: Tensor, *, alike: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, Dice and success (B,) without gradients; `alike`: rows of one image and restart have one image."""
        with torch.no_grad():
            if alike:
                some = self.samples.inputs([self.numbers[row] for row in self.first], images[self.first])
                logits, inputs = self.samples.logits(some, self.numbers, self.of), some[self.of]
            else:
                inputs = self.samples.inputs(self.numbers, images)
                logits = self.samples.logits(inputs, self.numbers)
            answers = self.samples.answers(logits, inputs)
            return self.objective.losses(logits), *self.samples.scores(answers, self.numbers, self.areas)

    def climb(self, images: Tensor, share: float | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss, Dice, success (B,), and the gradient (B, 3, h, w) of the loss; `share` is SegPGD's.

        Raises:
            InputError: no gradient passes through the model.
        """
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            inputs = self.samples.inputs(self.numbers, images)
            logits = self.samples.logits(inputs, self.numbers)
            losses = self.objective.losses(logits)
            followed = losses if share is None else self.objective.losses(logits, share)
            if not followed.requires_grad:
                raise InputError(
                    f"model: no gradient passes through {self.samples.model.spec.name} (votes and thresholds have "
                    "none); attack an ensemble on the mean of its members, or take the search spsa"
                )
            (gradient,) = torch.autograd.grad(followed.sum(), images)
        answers = self.samples.answers(logits, inputs)
        dice, success = self.samples.scores(answers, self.numbers, self.areas)
        return losses.detach(), dice, success, gradient

    def guess(self, images: Tensor, step: int) -> Tensor:
        """A gradient from values alone: differences along random signs (Spall 1992)."""
        total = torch.zeros_like(images)
        for pair in range(SPSA_PAIRS):
            signs = self.drawn(_signs, "spsa", step, pair)
            with torch.no_grad():
                ends = [
                    self.objective.losses(
                        self.samples.logits(self.samples.inputs(self.numbers, end.clamp(0, 1)), self.numbers)
                    )
                    for end in (images + SPSA_REACH * signs, images - SPSA_REACH * signs)
                ]
            total += (ends[0] - ends[1])[:, None, None, None] / (2 * SPSA_REACH) * signs
        return total / SPSA_PAIRS


def search(batch: Batch) -> Trace:
    """All steps of a batch's rows, by the attack's method."""
    attack, clean = batch.samples.attack, batch.clean
    method, steps = attack.search.method, attack.search.steps
    assert steps is not None  # set when it was made
    noise = method == "noise"
    if noise:
        change = batch.drawn(drawn_noise, "noise", 0)
    else:
        change = batch.drawn(drawn_start, "start") if attack.search.random_start else torch.zeros_like(clean)
    rule, kept = rule_for(attack, clean), _Kept(batch, attack.search.keep == "worst")
    for step in range(steps + 1):
        raw = clean + change
        image = raw.clamp(0, 1)
        if noise or method == "spsa" or step == steps:
            losses, dice, success = batch.look(image, alike=noise)
            gradient = batch.guess(image, step) if method == "spsa" and step < steps else None
        else:
            share = step / (2 * steps) if method == "segpgd" else None
            losses, dice, success, gradient = batch.climb(image, share)
        kept.take(step, image, raw, losses, dice, success)
        if step < steps:
            change = batch.drawn(drawn_noise, "noise", step + 1) if noise else rule(image, _given(gradient), losses)
    return kept.trace()


class _Kept:
    """The best step of each row so far (or the last), and the curves."""

    def __init__(self, batch: Batch, worst: bool) -> None:
        self.batch, self.worst = batch, worst
        self.losses: list[Tensor] = []
        self.dices: list[Tensor] = []
        self.best: dict[str, Tensor] = {}

    def take(self, step: int, image: Tensor, raw: Tensor, loss: Tensor, dice: Tensor, success: Tensor) -> None:
        """One step's rows. Success decides, then the loss."""
        self.losses.append(loss.cpu())
        self.dices.append(dice)
        now = {"image": image, "raw": raw, "loss": loss.cpu(), "dice": dice, "success": success}
        now["step"] = torch.full(dice.shape, step)
        best = self.best
        if not best or not self.worst:
            self.best = now
            return
        better = (success > best["success"]) | ((success == best["success"]) & (now["loss"] > best["loss"]))
        self.best = {name: torch.where(_fit(better, new), new, best[name]) for name, new in now.items()}

    def trace(self) -> Trace:
        """What was kept."""
        curves = {"losses": torch.stack(self.losses, 1), "dices": torch.stack(self.dices, 1)}
        return Trace(self.batch.rows, **self.best, **curves)


def _fit(rows: Tensor, like: Tensor) -> Tensor:
    return rows.to(like.device).reshape(-1, *[1] * (like.ndim - 1))


def _given(gradient: Tensor | None) -> Tensor:
    assert gradient is not None  # every step but the last has one
    return gradient


def _signs(shape: torch.Size, norm: str, epsilon: float, rng: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(0, 2, shape, generator=rng) - 1
