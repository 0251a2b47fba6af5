"""What attacks do to models that were trained: more with more budget, what their goals say, and elsewhere."""

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from attacked_models import BRIGHT, SQUARE, Toy, attacked, dices, discs, samples, trained
from tiny_models import made
from torch import Tensor

from vlseg.attacks import (
    Attack,
    Budget,
    Goal,
    Search,
    apply_changes,
    check_masking,
    fit_universal,
    run_attack,
    search,
)
from vlseg.metrics import dice_score
from vlseg.models import as_module
from vlseg.records import InputError


def mean_and_spread(values: Tensor) -> tuple[float, float]:
    """The mean and half its 95 % interval."""
    return float(values.mean()), 1.96 * float(values.std()) / len(values) ** 0.5


def test_larger_budgets_and_better_searches_do_more() -> None:
    """By sample, on the same images: the interval of each paired difference lies on its side of 0."""
    by_size = [
        attacked(Attack(Budget(epsilon=one / 255), search=Search("pgd", steps=8)), 12).dice for one in (0, 4, 12, 24)
    ]
    for smaller, larger in pairwise(by_size):
        mean, half = mean_and_spread(smaller - larger)
        assert mean - half > 0
    budget = Budget(epsilon=24 / 255)
    noise, fgsm, pgd, apgd = (
        attacked(Attack(budget, search=one), 12).dice
        for one in (Search("noise", steps=8), Search("fgsm"), Search("pgd", steps=8), Search("apgd", steps=8))
    )
    for weaker, stronger in ((noise, fgsm), (fgsm, pgd), (fgsm, apgd)):
        mean, half = mean_and_spread(weaker - stronger)
        assert mean - half > 0
    clean = by_size[0]
    assert float((clean - noise).mean()) < 0.25 * float((clean - pgd).mean())


class Sure:
    """A trained model whose logits are thirty times as large: the same masks."""

    def __init__(self) -> None:
        self.decode = trained().decode

    def __call__(self, image: Any, prompts: Any) -> Any:
        output = self.decode(image, prompts)
        return replace(output, logits=30 * output.logits)


def test_the_sum_of_losses_is_never_the_worst_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dice alone does most on a trained model, least where its answers are sure; the sum is close to the best."""

    def left() -> dict[str, float]:
        losses = ("ce", "dice", "both")
        attacks = {one: Attack(Budget(epsilon=16 / 255), Goal(loss=one), Search("apgd", steps=10)) for one in losses}
        return {one: float(attacked(attack, 8).dice.mean()) for one, attack in attacks.items()}

    usual = left()
    assert usual["dice"] < usual["both"] < usual["ce"]
    monkeypatch.setattr(trained(), "decode", Sure())
    sure = left()
    assert sure["both"] < sure["dice"] - 0.05
    assert sure["both"] < sure["ce"] + 0.01


def test_goals_do_what_they_say() -> None:
    """On a trained model: nothing is left; something appears where nothing is; the mask goes to the other disc."""
    model, budget, how = trained(), Budget(epsilon=0.4), Search("apgd", steps=20)
    images, bright, dark = discs(6, 123)
    erased = run_attack(Attack(budget, Goal("erase"), how), model, images, [BRIGHT] * 6, bright)
    assert float(erased.success.mean()) > 0.9
    assert float(erased.dice.mean()) < 0.2 < 0.9 < float(erased.clean_dice.mean())
    moved = run_attack(Attack(budget, Goal("move"), how), model, images, [BRIGHT] * 6, bright, wanted=dark)
    assert float(moved.success.mean()) > 0.5 > 0.2 > float(moved.dice.mean())
    nothing, region = [torch.zeros(32, 32)] * 6, torch.zeros(32, 32)
    region[4:14, 11:21] = 1
    absent = run_attack(Attack(budget, Goal("make"), how), model, images, [SQUARE] * 6, nothing, wanted=[region] * 6)
    assert float(absent.clean_dice.mean()) == 1.0
    assert float(absent.dice.mean()) == 0.0
    assert float(absent.success.mean()) > 0.3
    answers = model.restore(model.forward(absent.inputs, model.tokenize([SQUARE] * 6)).logits.detach(), absent.inputs)
    expected = [dice_score((one[0].sigmoid() > 0.5).numpy(), region.numpy() > 0.5) for one in answers]
    assert absent.success.tolist() == expected


def test_one_change_for_all_images_does_more_than_noise() -> None:
    """Found on some images, laid over others."""
    model, budget = trained(), Budget(epsilon=24 / 255)
    attack = Attack(budget, search=Search("universal", steps=6))
    images, prompts, masks, _ = samples(16, 5)
    found = fit_universal(attack, model, images, prompts, masks)
    assert found.change.shape == (3, 32, 32)
    assert float(found.change.abs().max()) <= budget.epsilon * (1 + 1e-6)
    assert len(found.success) == 7
    assert found.success[found.kept] == max(found.success)
    again = fit_universal(attack, model, images[::-1], prompts[::-1], masks[::-1])
    assert again.success == pytest.approx(found.success, abs=0.02)
    others, words, truths, _ = samples(12, 6)
    laid = apply_changes(attack, model, others, words, truths, [found.change] * 24)
    noise = run_attack(Attack(budget, search=Search("noise", steps=10)), model, others, words, truths)
    mean, half = mean_and_spread(noise.dice - laid.dice)
    assert mean - half > 0
    assert all(
        torch.equal(one, (image + found.change).clamp(0, 1))
        for one, image in zip(laid.clipped, laid.images, strict=True)
    )
    assert laid.dice.tolist() == dices(model, laid, words, truths)


def test_given_changes_are_counted_as_they_are() -> None:
    """Also where they help, and where they come from a model of another size."""
    model = trained()
    images, prompts, masks, _ = samples(2, 9)
    attack = Attack(Budget("l2", 0.5), search=Search("pgd", steps=6))
    changes = [torch.randn(3, 20, 20) for _ in images]
    laid = apply_changes(attack, model, images, prompts, masks, changes)
    for before, raw in zip(laid.images, laid.raw, strict=True):
        assert float((raw - before).norm()) <= 0.5 * (1 + 1e-5)
    assert laid.step.tolist() == [0] * 4
    assert laid.dice.tolist() == laid.dices[:, 0, 0].tolist() == dices(model, laid, prompts, masks)
    with pytest.raises(InputError, match="changes"):
        apply_changes(attack, model, images, prompts, masks, changes[:1])


class Masked(Toy):
    """Answers that stay as they are, but a gradient that points the wrong way, as of steps that round."""

    def encode_image(self, inputs: Any) -> Any:
        pixels = inputs.tensors["pixel_values"]
        turned = 2 * pixels.detach() - pixels if pixels.requires_grad else pixels
        return super().encode_image(type(inputs)({"pixel_values": turned}))


def contrast(pixels: Tensor) -> Tensor:
    return 4 * (pixels[:, :1] - 0.1)


def test_a_white_box_that_does_less_than_a_black_one_is_told() -> None:
    rng = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 8, 8, generator=rng) for _ in range(6)]
    masks = [(one[0] > 0.525).float() for one in images]
    attack, words = Attack(Budget(epsilon=0.15), search=Search("pgd", steps=10)), ["thing"] * 6
    honest, masked = Toy((8, 8), contrast), Masked((8, 8), contrast)
    told = check_masking(attack, masked, images, words, masks, other=honest)
    assert len(told.signs) == 2
    assert "transferred" in told.signs[0]
    assert "SPSA" in told.signs[1]
    assert float(told.spsa.mean()) > float(told.white.mean())
    clear = check_masking(attack, honest, images, words, masks, other=masked)
    assert clear.signs == ()
    assert clear.no_gradient == 0
    flat = Toy((8, 8), lambda pixels: (pixels[:, :1] > 0.1).float() + 0 * pixels[:, :1])
    assert any("exactly 0" in sign for sign in check_masking(attack, flat, images, words, masks).signs)


@pytest.mark.slow
def test_a_near_copy_of_an_honest_model_is_no_sign_of_masked_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes found on a copy whose weights are a little apart do a little more than the model's own, or less."""
    monkeypatch.setattr(search, "SPSA_PAIRS", 1)  # it is not what this is about, and takes its time
    images, prompts, masks, _ = samples(8, 77)
    attack, more = Attack(Budget(epsilon=16 / 255), search=Search("fgsm")), 0
    for seed in (3, 4):
        twin, rng = deepcopy(trained()), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in as_module(twin).parameters():
                weight += 0.02 * weight.abs().mean() * torch.randn(weight.shape, generator=rng)
        told = check_masking(attack, trained(), images, prompts, masks, other=twin)
        assert told.transfer is not None
        more += bool(told.transfer.mean() > told.white.mean())
        assert told.signs == ()
    assert more > 0, "more by chance was seen"


def test_votes_have_no_gradient_and_their_mean_does() -> None:
    images, prompts, masks, _ = samples(1, 77)
    members = [trained(), trained(1, 40)]
    voting = made("ensemble", members=members, combine="majority")
    with pytest.raises(InputError, match="mean of its members"):
        run_attack(Attack(), voting, images, prompts, masks)
    mean = made("ensemble", members=members, combine="mean")
    attack = Attack(Budget(epsilon=12 / 255), search=Search("pgd", steps=6))
    done = run_attack(attack, mean, images, prompts, masks)
    assert float(done.dice.mean()) < float(done.clean_dice.mean())
    changes = [after - before for after, before in zip(done.clipped, done.images, strict=True)]
    transferred = apply_changes(attack, voting, images, prompts, masks, changes)
    assert float(transferred.dice.mean()) <= float(transferred.clean_dice.mean())


def test_the_plain_loop_finds_the_same() -> None:
    """What `make bench` compares with: the losses of every restart and step agree to rounding."""
    from attack_speed import plain_loop

    images, prompts, masks, _ = samples(1, 77)
    attack = Attack(Budget(epsilon=8 / 255), search=Search("pgd", steps=4, restarts=2))
    done = run_attack(attack, trained(), images, prompts, masks)
    for row, sample in enumerate(zip(images, prompts, masks, strict=True)):
        plain = plain_loop(attack, trained(), *sample)
        assert torch.allclose(done.losses[row], plain, rtol=1e-3)
