"""Projections, draws, steps and losses against what they are by hand."""

import numpy as np
import pytest
import torch

from vlseg.attacks import (
    Budget,
    Goal,
)
from vlseg.attacks.balls import drawn_noise, drawn_start, generator, projected, steepest
from vlseg.attacks.objective import Objective, cross_entropy, dice_of, probability, success_of
from vlseg.attacks.rules import Apgd, Pgd, checkpoints
from vlseg.losses import soft_dice_loss


def test_projections_and_steps_are_the_nearest_and_the_steepest() -> None:
    rng = np.random.default_rng(0)
    change = torch.from_numpy(rng.normal(size=(3, 3, 4, 5)))
    change[1] *= 0.01
    for row, (own, flat) in enumerate(zip(projected(change, "l2", 2.0), change, strict=True)):
        length = float(np.linalg.norm(flat.numpy()))
        expected = flat.numpy() * (2.0 / length if row != 1 else 1.0)
        assert np.allclose(own.numpy(), expected, rtol=1e-12)
    assert torch.equal(projected(change, "linf", 0.3), torch.from_numpy(np.clip(change.numpy(), -0.3, 0.3)))
    assert torch.equal(projected(torch.zeros(1, 3, 2, 2), "l2", 0.0), torch.zeros(1, 3, 2, 2))
    gradient = torch.from_numpy(rng.normal(size=(2, 3, 4, 5))) * 1e-30  # squares would vanish in single precision
    gradient[1] = 0
    unit = steepest(gradient.float(), "l2")
    assert float(unit[0].norm()) == pytest.approx(1)
    assert torch.equal(unit[1], torch.zeros(3, 4, 5))
    assert torch.equal(steepest(gradient, "linf"), gradient.sign())


def test_random_starts_fill_the_ball_and_noise_takes_all_of_it() -> None:
    shape = torch.Size((3, 40, 50))
    for norm in ("linf", "l2"):
        start = drawn_start(shape, norm, 0.5, generator("start", norm))
        noise = drawn_noise(shape, norm, 0.5, generator("noise", norm))
        if norm == "linf":
            assert float(start.abs().max()) <= 0.5
            assert float(start.abs().mean()) == pytest.approx(0.25, abs=0.01)
            assert set(noise.flatten().tolist()) == {-0.5, 0.5}
        else:
            assert float(noise.double().norm()) == pytest.approx(0.5, rel=1e-6)
            assert float(start.norm()) <= 0.5
        assert abs(float(noise.mean())) < 0.02
    few = torch.stack(
        [drawn_start(torch.Size((3, 1, 1)), "l2", 1.0, generator(number)).flatten() for number in range(4000)]
    )
    assert float((few.norm(dim=1) < 0.5).float().mean()) == pytest.approx(0.125, abs=0.02)  # the share of the volume


def test_momentum_is_mi_fgsms() -> None:
    """Sums of gradients over their mean absolute value, older ones weighed less: computed anew with numpy."""
    rng = np.random.default_rng(3)
    gradients = rng.normal(size=(4, 1, 3, 5, 5)) * np.array([1, 100, 0.01, 3.0])[:, None, None, None, None]
    clean = torch.full((1, 3, 5, 5), 0.5, dtype=torch.float64)
    rule, image = Pgd(clean, Budget("linf", 0.1), 0.03, momentum=0.9), clean
    total, mine = np.zeros((1, 3, 5, 5)), np.zeros((1, 3, 5, 5))
    for gradient in gradients:
        total = 0.9 * total + gradient / np.abs(gradient).mean()
        mine = np.clip(mine + 0.03 * np.sign(total), -0.1, 0.1)
        image = clean + rule(image, torch.from_numpy(gradient), torch.zeros(1))
        assert np.allclose(image.numpy() - 0.5, mine)


def test_losses_are_the_librarys_where_those_have_a_gradient() -> None:
    rng = torch.Generator().manual_seed(2)
    logits, mask = 5 * torch.randn(3, 1, 6, 7, generator=rng), torch.rand(3, 1, 6, 7, generator=rng)
    library = torch.nn.functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    assert torch.allclose(cross_entropy(logits, mask), library, rtol=1e-5, atol=1e-6)
    assert torch.allclose(probability(logits), logits.sigmoid(), atol=1e-6)
    for row in range(3):
        one = slice(row, row + 1)
        each = Objective(Goal(loss="both"), mask[one], 0.5).losses(logits[one])
        assert float(each) == pytest.approx(
            float(library[row].mean() + soft_dice_loss(logits[one], mask[one])), rel=1e-5
        )
        assert float(Objective(Goal("erase", "both"), mask[one], 0.5).losses(logits[one])) == pytest.approx(
            -float(each)
        )
    sure = torch.tensor([40.0, -40.0]).reshape(1, 1, 1, 2).requires_grad_()
    right = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    for loss in ("ce", "dice"):
        (gradient,) = torch.autograd.grad(Objective(Goal(loss=loss), right, 0.5).losses(sure).sum(), sure)
        assert gradient.sign().flatten().tolist() == [-1, 1]


def test_segpgd_weighs_as_the_paper_does() -> None:
    """Pixels that are wrong by (t - 1) / 2T, those that are right by the rest; towards a mask the other way round."""
    logits = torch.tensor([3.0, -2.0, 1.0, -4.0]).reshape(1, 1, 2, 2)
    truth = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    each = cross_entropy(logits, truth).flatten()
    wrong = torch.tensor([False, True, True, False])
    for share in (0.0, 0.2, 0.45):
        weighed = (each * torch.where(wrong, share, 1 - share)).mean()
        assert float(Objective(Goal(loss="ce"), truth, 0.5).losses(logits, share)) == pytest.approx(float(weighed))
        towards = (each * torch.where(wrong, 1 - share, share)).mean()
        goal = Goal("move", "ce")
        assert float(Objective(goal, truth, 0.5).losses(logits, share)) == pytest.approx(-float(towards))


def test_dice_and_success_by_hand() -> None:
    full, none = torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.bool)
    half = torch.tensor([[True, True], [False, False]])
    assert [dice_of(none, none), dice_of(none, full), dice_of(half, full)] == [1.0, 0.0, pytest.approx(2 / 3)]
    assert success_of(Goal(), half, full, None, 4) == pytest.approx(1 / 3)
    assert success_of(Goal("erase"), half, full, None, 4) == 0.5
    assert success_of(Goal("erase"), full, full, None, 2) == 0.0
    assert [success_of(Goal("erase"), one, full, None, 0) for one in (none, half)] == [1.0, 0.0]
    assert success_of(Goal("make"), half, none, full, 0) == pytest.approx(2 / 3)


def bumpy(x: np.ndarray) -> tuple[float, np.ndarray]:
    """A value with many maxima, and its gradient."""
    slopes = np.linspace(20, 60, x.size).reshape(x.shape)
    return float(np.sin(slopes * x).sum() + 3 * x.sum()), slopes * np.cos(slopes * x) + 3


def paper_apgd(start: np.ndarray, clean: np.ndarray, epsilon: float, marks: list[int], steps: int) -> list[np.ndarray]:
    """Algorithm 1 of Croce and Hein (2020) for one image and linf, step by step."""

    def nearest(x: np.ndarray) -> np.ndarray:
        return np.clip(np.clip(x, clean - epsilon, clean + epsilon), 0, 1)

    size, images, values = 2 * epsilon, [start], [bumpy(start)[0]]
    images.append(nearest(start + size * np.sign(bumpy(start)[1])))
    values.append(bumpy(images[1])[0])
    sizes, bests, last, before = [size], [values[0]], 0, start
    for step in range(1, steps):
        best = int(np.argmax(values))
        now = images[step]
        if step in marks:
            risen = sum(values[one + 1] > values[one] for one in range(last, step))
            few = risen < 0.75 * (step - last)
            stuck = (len(sizes) == 1 or sizes[-1] == sizes[-2]) and values[best] == bests[-1]
            sizes.append(sizes[-1] / 2 if few or stuck else sizes[-1])
            bests.append(values[best])
            last = step
            now = images[best] if few or stuck else now
        ahead = nearest(now + sizes[-1] * np.sign(bumpy(now)[1]))
        images.append(nearest(now + 0.75 * (ahead - now) + 0.25 * (now - before)))
        values.append(bumpy(images[-1])[0])
        before = now  # where it went back to the best, that
    return images


@pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.3])
def test_apgd_is_the_papers_algorithm_in_every_row(epsilon: float) -> None:
    rng = np.random.default_rng(4)
    clean = rng.uniform(size=(5, 3, 2, 3))
    start = np.clip(clean + rng.uniform(-epsilon, epsilon, clean.shape), 0, 1)
    steps = 40
    theirs = [paper_apgd(one, base, epsilon, checkpoints(steps), steps) for one, base in zip(start, clean, strict=True)]
    rule, image = Apgd(torch.from_numpy(clean), Budget("linf", epsilon), steps), torch.from_numpy(start)
    for step in range(steps):
        found = [bumpy(one) for one in image.numpy()]
        values, gradients = (torch.from_numpy(np.array(side)) for side in zip(*found, strict=True))
        image = (torch.from_numpy(clean) + rule(image, gradients, values)).clamp(0, 1)
        expected = np.stack([images[step + 1] for images in theirs])
        assert np.allclose(image.numpy(), expected, atol=1e-9), step


def test_apgd_halves_where_it_climbs_below_its_best() -> None:
    """The second condition alone: nearly every step rises, and none gets as far as the start."""
    clean = torch.full((2, 3, 2, 2), 0.5)
    rule = Apgd(clean, Budget("linf", 0.1), 100)
    for step in range(23):
        below, above = (10.0, 10.0) if step == 0 else (float(step) / 4, 10.0 + step)
        rule(clean, torch.ones_like(clean), torch.tensor([below, above]))
    assert rule._state["size"].tolist() == pytest.approx([0.1, 0.2])
