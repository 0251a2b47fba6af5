"""Smoothed answers: closed forms, attacks inside the radius, the plain model without noise, and what they depend on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from attacked_models import BRIGHT, DARK, Toy, discs, trained
from scipy import stats
from tiny_models import NAMES, READING, TARGETS, made
from torch import Tensor

from vlseg.attacks.canvas import canvas_of, inputs_of
from vlseg.evaluation import Prediction, Setting, predict_image, predict_smoothed, smoothed
from vlseg.metrics import Smoothing, certified_dice, dice_score
from vlseg.models import as_module, build_model
from vlseg.records import InputError

CPU = torch.device("cpu")
SIDE = 6


def setting(model: Any, threshold: float | None = None) -> Setting:
    spec = model.spec
    return Setting(spec.name, spec.protocol, "run", 0, CPU, spec.threshold if threshold is None else threshold)


def answers(
    model: Any,
    rgb: np.ndarray,
    prompts: Sequence[str] = ("thing",),
    *,
    sigma: float = 0.25,
    seed: int = 0,
    threshold: float | None = None,
    **how: Any,
) -> list[Prediction]:
    return list(
        predict_smoothed(model, rgb, prompts, setting(model, threshold), Smoothing((sigma,), **how), sigma, seed)
    )


def linear(seed: int) -> tuple[Toy, Tensor, Tensor]:
    """Logits that are linear in all values of the image, (pixels, values) weights and (pixels,) biases in [0, 1]."""
    rng = torch.Generator().manual_seed(seed)
    weights = torch.randn(SIDE * SIDE, 3 * SIDE * SIDE, generator=rng)
    biases = 3 * torch.randn(SIDE * SIDE, generator=rng)
    mean, std = torch.tensor([0.5, 0.4, 0.3])[:, None, None], torch.tensor([0.25, 0.5, 0.2])[:, None, None]

    def answer(pixels: Tensor) -> Tensor:
        image = (pixels * std + mean).flatten(1)
        return (image @ weights.T + biases).reshape(len(pixels), 1, SIDE, SIDE)

    return Toy((SIDE, SIDE), answer), weights, biases


def image(seed: int, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    return np.random.default_rng(seed).random((*shape, 3), dtype=np.float32)


def flat(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy()).flatten()


def test_a_certified_pixel_of_a_linear_model_is_further_than_the_radius_from_the_other_class() -> None:
    certified = sure = 0
    for seed in range(12):
        model, weights, biases = linear(seed)
        rgb = image(seed)
        (found,) = answers(model, rgb, seed=seed)
        margin = (weights @ flat(rgb) + biases) / weights.norm(dim=1)
        distance = margin.abs().reshape(SIDE, SIDE).numpy()
        kept = ~found.abstained
        radius = Smoothing().radius(0.25)
        assert (distance[kept] > radius).all()
        np.testing.assert_array_equal(found.mask[kept], (margin > 0).reshape(SIDE, SIDE).numpy()[kept])
        assert not found.mask[found.abstained].any()
        far = stats.norm.cdf(distance / 0.25) > 0.99
        certified, sure = certified + int((kept & far).sum()), sure + int(far.sum())
    assert sure > 100
    assert certified > 0.9 * sure, "pixels that are this sure are certified"


def test_no_change_within_the_radius_leaves_the_smoothed_model_less_than_the_certified_dice() -> None:
    """The smoothed linear model is known exactly: the sign of the same sums."""
    lower, lowest = 0, []
    for seed in range(8):
        model, weights, biases = linear(seed)
        rgb = image(seed)
        truth = (weights @ flat(rgb) + biases > 0).reshape(SIDE, SIDE).numpy()
        (found,) = answers(model, rgb, seed=seed)
        bound = certified_dice(found.mask, found.abstained, truth)

        def dice(change: Tensor, at: Any = (weights, biases, rgb, truth)) -> float:
            weights, biases, rgb, truth = at
            mask = weights @ (flat(rgb) + change) + biases > 0
            return dice_score(mask.reshape(SIDE, SIDE).numpy(), truth)

        signs = torch.from_numpy(np.where(truth, -1.0, 1.0)).flatten().float()
        rng = torch.Generator().manual_seed(seed)
        directions = [signs @ (weights * torch.rand(len(signs), 1, generator=rng)) for _ in range(60)]
        directions += list(signs[:, None] * weights)
        radius = Smoothing().radius(0.25)
        inside = [dice(radius * one / one.norm()) for one in directions]
        assert min(inside) >= bound
        lowest.append(min(inside))
        lower += min(dice(20 * radius * one / one.norm()) for one in directions) < bound
    assert min(lowest) < 1, "the changes do something"
    assert lower == 8, "further out they break it"


@pytest.mark.slow
def test_pixels_exactly_at_tau_are_certified_as_rarely_as_alpha() -> None:
    """From noise to certificate, 300 times: red values that give pixels probability tau, one above and one below."""
    sigma, alpha, times = 0.25, 0.05, 300
    limits = 0.5 - sigma * stats.norm.ppf([0.75] * 34 + [0.999, 0.5])
    shift = torch.tensor(limits, dtype=torch.float32).reshape(1, 1, SIDE, SIDE)
    model = Toy((SIDE, SIDE), lambda pixels: pixels[:, :1] * 0.25 + 0.5 - shift)
    rgb = np.full((SIDE, SIDE, 3), 0.5, dtype=np.float32)
    wrong = right = 0
    for seed in range(times):
        (found,) = answers(model, rgb, sigma=sigma, seed=seed, alpha=alpha)
        kept = ~found.abstained.ravel()
        wrong += bool(kept[:34].any() or kept[35])
        right += bool(kept[34] and found.mask.ravel()[34])
    assert stats.binomtest(wrong, times, alpha, "greater").pvalue > 1e-3, f"{wrong} of {times}"
    assert right > 0.95 * times


def attack(model: Any, canvas: Any, prompt: str, kept: Tensor, mask: Tensor, sigma: float, radius: float) -> Tensor:
    """A change of L2 norm `radius` against certified pixels, along gradients averaged over noise."""
    told = model.encode_prompts(model.tokenize([prompt] * 24))
    rng = torch.Generator().manual_seed(1)
    change = torch.zeros_like(canvas.image)
    signs = torch.where(mask, 1.0, -1.0) * kept
    for _ in range(25):
        change.requires_grad_(True)
        noise = torch.randn(24, *canvas.image.shape, generator=rng)
        inputs = inputs_of(model, [canvas] * 24, canvas.image + change + sigma * noise)
        maps = model.restore(model.decode(model.encode_image(inputs), told).logits, inputs)
        votes = torch.stack([one[0] for one in maps]).sigmoid().mean(0)
        (gradient,) = torch.autograd.grad(-(votes * signs).clamp(max=0.1).sum(), change)
        with torch.no_grad():
            change = change + 0.3 * radius * gradient / gradient.norm().clamp(min=1e-12)
            change = change * min(1.0, radius / float(change.norm().clamp(min=1e-12)))
    return change.detach()


def frequency(model: Any, canvas: Any, prompt: str, change: Tensor, sigma: float, draws: int) -> Tensor:
    """How many of so many fresh noisy copies of the changed image have foreground."""
    rng = torch.Generator().manual_seed(2)
    votes = torch.zeros(())
    told = model.encode_prompts(model.tokenize([prompt] * 50))
    for _ in range(draws // 50):
        noise = torch.randn(50, *canvas.image.shape, generator=rng)
        inputs = inputs_of(model, [canvas] * 50, canvas.image + change + sigma * noise)
        with torch.no_grad():
            maps = model.restore(model.decode(model.encode_image(inputs), told).logits, inputs)
        votes = votes + sum((one[0].sigmoid() > model.spec.threshold).int() for one in maps)
    return votes


@pytest.mark.slow
@pytest.mark.parametrize("prompt", [BRIGHT, DARK])
def test_an_attack_within_the_radius_changes_no_certified_pixel(prompt: str) -> None:
    """clipseg-tiny trained on discs; further out the same attack does."""
    model, sigma, draws = trained(), 0.1, 400
    pixels = discs(1, 31)[0][0]
    (found,) = answers(model, pixels.numpy().transpose(1, 2, 0), [prompt], sigma=sigma)
    kept, mask = torch.from_numpy(~found.abstained), torch.from_numpy(found.mask)
    assert mask.any()
    assert kept.float().mean() > 0.9
    radius = Smoothing((sigma,)).radius(sigma)
    canvas = canvas_of(model, pixels, "input")
    flipped = {}
    for times in (1, 40):
        change = attack(model, canvas, prompt, kept, mask, sigma, times * radius)
        assert float(change.norm()) <= times * radius * (1 + 1e-5)
        votes = frequency(model, canvas, prompt, change, sigma, draws)
        agreeing = torch.where(mask, votes, draws - votes)[kept].numpy()
        # Fewer than half of the draws, by more than chance over all pixels.
        flipped[times] = int((stats.binom.cdf(agreeing, draws, 0.5) < 1e-3 / agreeing.size).sum())
    assert flipped[1] == 0
    assert flipped[40] > 10


QUICK = ("clipseg-tiny", "guide", "lvit", "smp-deeplabv3plus", "unet", "unet-target", "ensemble")
"""Of every kind one: sentences, targets, one channel a target, an image that is padded, members."""


@pytest.mark.parametrize(
    "name",
    [
        "vote",
        "mean of two sizes",
        *(one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in NAMES),
    ],
)
def test_without_noise_it_is_the_model_itself(name: str) -> None:
    """Every architecture, at an own size that is neither square nor the network's; thresholds that cut its answers."""
    if name == "vote":
        model = made("ensemble", combine="majority")
    elif name == "mean of two sizes":
        members = [build_model("unet", arguments={"image_size": side}, targets=TARGETS) for side in (32, 48)]
        model = build_model("ensemble", arguments={"members": members, "combine": "mean"})
        as_module(model).eval()
    else:
        model = made(name)
    rgb = np.ascontiguousarray(np.kron(image(3, (5, 4)), np.ones((9, 10, 1), dtype=np.float32)))
    prompts = ["a dark cyst", "bright nodule"] if name in READING or name == "vote" else list(TARGETS)
    plain = list(predict_image(model, rgb, prompts, device=CPU))
    limit = 0.5 if name == "vote" else float(np.median(plain[0].probability))
    (plain, found) = (
        list(predict_image(model, rgb, prompts, device=CPU, threshold=limit)),
        answers(model, rgb, prompts, sigma=1e-9, threshold=limit, draws=30, alpha=0.5),
    )
    for before, after in zip(plain, found, strict=True):
        same = before.mask == after.mask
        assert same.mean() > 0.995, "but for values that are the threshold to rounding"
        assert after.abstained is not None
        assert after.abstained.mean() < 0.005
    assert name == "vote" or 0 < plain[0].mask.mean() < 1


def test_answers_do_not_depend_on_what_is_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, _ = linear(0)
    first = answers(model, image(0), draws=70)[0]
    again = answers(model, image(0), draws=70)[0]
    others = [answers(model, image(0), draws=70, seed=seed)[0] for seed in range(1, 9)]
    monkeypatch.setattr(smoothed, "DRAWS_AT_ONCE", 3)
    alone = answers(model, image(0), draws=70)[0]
    for one in (again, alone):
        np.testing.assert_array_equal(one.mask, first.mask)
        np.testing.assert_array_equal(one.abstained, first.abstained)
    assert any(not np.array_equal(other.abstained, first.abstained) for other in others)


def test_prompts_of_one_image_are_answered_as_they_are_alone() -> None:
    model = made("clipseg-tiny")
    rgb = discs(1, 31)[0][0].numpy().transpose(1, 2, 0)
    plain = next(predict_image(model, rgb, [BRIGHT], device=CPU))
    how: dict[str, Any] = {"sigma": 0.02, "threshold": float(np.median(plain.probability))}
    together = answers(model, rgb, [BRIGHT, DARK, BRIGHT], **how)
    alone = [answers(model, rgb, [prompt], **how)[0] for prompt in (BRIGHT, DARK, BRIGHT)]
    for one, other in zip(together, alone, strict=True):
        assert (one.mask == other.mask).mean() > 0.995
    np.testing.assert_array_equal(together[0].mask, together[2].mask)
    assert not np.array_equal(together[0].mask, together[1].mask)


def test_noise_is_on_the_image_without_padding_has_sigma_and_is_not_clipped() -> None:
    seen: list[Tensor] = []

    def answer(pixels: Tensor) -> Tensor:
        seen.append(pixels.clone())
        return pixels[:, :1]

    rgb = np.ones((40, 40, 3), dtype=np.float32)
    answers(Toy((40, 40), answer), rgb, sigma=0.3)
    std = torch.tensor([0.25, 0.5, 0.2])[:, None, None]
    noise = torch.cat(seen) * std + torch.tensor([0.5, 0.4, 0.3])[:, None, None] - 1
    assert len(noise) == 110
    seen.clear()
    answers(Toy((40, 40), answer), rgb, sigma=0.1)
    weaker = torch.cat(seen) * std + torch.tensor([0.5, 0.4, 0.3])[:, None, None] - 1
    torch.testing.assert_close(3 * weaker, noise, atol=1e-5, rtol=1e-5)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.max() > 0.3
    flat_noise = noise.flatten(1)
    alike = torch.corrcoef(flat_noise) - torch.eye(110)
    assert alike.abs().max() < 0.1, "draws of the guess and the test are other ones"


def test_noise_at_the_own_size_is_averaged_by_the_resizing() -> None:
    seen: list[Tensor] = []

    def answer(pixels: Tensor) -> Tensor:
        seen.append(pixels.clone())
        return pixels[:, :1]

    model = Toy((16, 16), answer)
    rgb = np.full((64, 64, 3), 0.5, dtype=np.float32)
    answers(model, rgb, sigma=0.3, place="native")
    native = torch.cat(seen)[:, 0].std().item() * 0.25
    seen.clear()
    answers(model, rgb, sigma=0.3)
    assert torch.cat(seen)[:, 0].std().item() * 0.25 == pytest.approx(0.3, rel=0.05)
    assert native < 0.15


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(InputError, match="elbow"):
        answers(linear(0)[0], image(0), ["elbow"])
