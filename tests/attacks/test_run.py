"""What an attack on samples claims: budgets, ranges, order and batches, goals, and what is kept."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from attacked_models import BRIGHT, DARK, SQUARE, Toy, discs, samples, trained
from tiny_models import TARGETS, made
from torch import Tensor

from vlseg.attacks import (
    Attack,
    Attacked,
    Budget,
    Goal,
    Search,
    apply_changes,
    check_masking,
    fit_universal,
    run_attack,
)
from vlseg.attacks.balls import drawn_noise, drawn_start, generator, projected, steepest
from vlseg.attacks.objective import Objective, cross_entropy, dice_of, probability, success_of
from vlseg.attacks.rules import Pgd
from vlseg.losses import soft_dice_loss
from vlseg.metrics import dice_score
from vlseg.models import as_module
from vlseg.records import InputError

METHODS = ("fgsm", "pgd", "segpgd", "apgd", "spsa", "noise")
EPSILON = 12 / 255


def search(method: Any, **more: Any) -> Search:
    few = {} if method == "fgsm" else {"steps": 2 if method == "spsa" else 6}
    return Search(method, **{**few, **more})


def run(attack: Attack, count: int = 4, model: Any = None, **more: Any) -> Attacked:
    images, prompts, masks, _ = samples(count, 77)
    return run_attack(attack, model or trained(), images, prompts, masks, **more)


def dices(model: Any, done: Attacked, prompts: list[str], masks: list[Tensor]) -> list[float]:
    """By the model's own steps and the metrics' own Dice, from the inputs that come back."""
    with torch.no_grad():
        logits = model.forward(done.inputs, model.tokenize(prompts)).logits
        maps = model.restore(logits, done.inputs)
    pairs = zip(maps, masks, strict=True)
    return [dice_score((one[0].sigmoid() > model.spec.threshold).numpy(), mask.numpy() > 0.5) for one, mask in pairs]


@pytest.mark.parametrize("place", ["input", "native"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", METHODS)
def test_epsilon_0_changes_nothing_to_the_last_digit(method: Any, norm: Any, place: Any) -> None:
    model = trained()
    done = run(Attack(Budget(norm, 0.0, place), search=search(method)), 2)
    images, prompts, _, _ = samples(2, 77)
    for before, raw, after in zip(done.images, done.raw, done.clipped, strict=True):
        assert torch.equal(before, raw)
        assert torch.equal(before, after)
    own = model.prepare(images)
    assert all(torch.equal(done.inputs.tensors[key], own.tensors[key]) for key in own.tensors)
    assert torch.equal(done.dice, done.clean_dice)
    assert torch.equal(done.dices, done.clean_dice[:, None, None].expand_as(done.dices))
    with torch.no_grad():
        told = model.tokenize(prompts)
        assert torch.equal(model.forward(done.inputs, told).logits, model.forward(own, told).logits)


@pytest.mark.parametrize("size", [(20, 27), (64, 50)])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 2.0)])
@pytest.mark.parametrize("method", METHODS)
def test_the_budget_and_the_range_are_kept(method: Any, norm: Any, epsilon: float, size: tuple[int, int]) -> None:
    """Raw is within the budget, clipped within the range, too; up to the rounding of single precision."""
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(3, *size, generator=rng)
    image[:, :, : size[1] // 4], image[:, :, -size[1] // 4 :] = 0, 1  # a quarter at each end of the range
    for place in ("input", "native"):
        attack = Attack(Budget(norm, epsilon, place), search=search(method, keep="last"))
        done = run_attack(attack, trained(), [image], [BRIGHT], [torch.ones(size)])
        before, raw, after = done.images[0], done.raw[0], done.clipped[0]
        assert torch.equal(after, raw.clamp(0, 1))
        for changed in (raw - before, after - before):
            length = changed.abs().max() if norm == "linf" else changed.double().norm()
            assert float(length) <= epsilon * (1 + 1e-5) + 1e-7
        assert float((raw - before).abs().max()) > 0.01
        assert method == "apgd" or bool((raw != after).any())  # which blends images that are clipped already
        assert before.shape == ((3, *size) if place == "native" else (3, 32, 32))


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


def test_what_comes_back_is_what_the_model_answers() -> None:
    """Dice before and after by the model's own steps; the worst step of the worst restart, or the image as it is."""
    model = trained()
    images, prompts, masks, _ = samples(4, 77)
    done = run(Attack(Budget(epsilon=EPSILON), search=search("pgd", restarts=3)))
    assert done.losses.shape == done.dices.shape == (8, 3, 7)
    assert done.dice.tolist() == dices(model, done, prompts, masks)
    clean = replace(done, inputs=model.prepare(images))
    assert done.clean_dice.tolist() == dices(model, clean, prompts, masks)
    assert torch.equal(done.dice, torch.minimum(done.dices.flatten(1).amin(1), done.clean_dice))
    assert torch.equal(done.success, 1 - done.dice)
    for number in range(8):
        if done.step[number] >= 0:
            assert done.dices[number, done.restart[number], done.step[number]] == done.dice[number]
    last = run(Attack(Budget(epsilon=EPSILON), search=search("pgd", restarts=3, keep="last")))
    assert torch.equal(last.dices, done.dices)
    assert torch.equal(last.dice, done.dices[:, :, -1].amin(1))
    assert last.dice.tolist() == dices(model, last, prompts, masks)


@pytest.mark.parametrize("method", ["pgd", "apgd", "noise"])
def test_a_sample_is_attacked_alike_alone_and_in_any_batch(method: Any) -> None:
    """Draws are the same to the bit; what is computed from them, to the rounding of sums of another order."""
    attack = Attack(Budget(epsilon=EPSILON), search=search(method, restarts=2))
    images, prompts, masks, _ = samples(3, 77)
    torch.manual_seed(1)
    together = run_attack(attack, trained(), images, prompts, masks, rows=5)
    torch.manual_seed(2)
    back = run_attack(attack, trained(), images[::-1], prompts[::-1], masks[::-1])
    for number in range(6):
        alone = run_attack(
            attack, trained(), images[number : number + 1], prompts[number : number + 1], masks[number : number + 1]
        )
        for other, row in ((together, number), (back, 5 - number)):
            assert torch.allclose(other.losses[row, :, 0], alone.losses[0, :, 0], rtol=1e-5)
            assert torch.allclose(other.dices[row], alone.dices[0], atol=0.02)
            assert torch.allclose(other.losses[row], alone.losses[0], rtol=0.02)
    again = run_attack(attack, trained(), images, prompts, masks, rows=5)
    assert all(torch.equal(one, two) for one, two in zip(together.clipped, again.clipped, strict=True))
    other = run_attack(
        replace(attack, search=replace(attack.search, seed=1)), trained(), images, prompts, masks, rows=5
    )
    assert not torch.equal(other.losses, together.losses)


def test_the_model_is_left_as_it_was() -> None:
    model = made("clipseg-tiny")
    module = as_module(model)
    module.train()
    module.get_submodule("text_encoder").eval()
    first = next(module.parameters())
    first.requires_grad_(False)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    modes = [one.training for one in module.modules()]
    with torch.no_grad():
        run(Attack(), 1, model)
    with pytest.raises(InputError):
        run(Attack(goal=Goal("move")), 1, model)
    assert [one.training for one in module.modules()] == modes
    assert not first.requires_grad
    assert all(parameter.requires_grad for parameter in list(module.parameters())[1:])
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_text_and_weights_are_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each distinct prompt is read once, without autograd; a clean image, and noise on it, once for all its prompts."""
    model = made("clipseg-tiny")
    prompts_read, images_seen = [], []
    encode_prompts, encode_image = model.encode_prompts, model.encode_image

    def prompts(tokens: Any) -> Any:
        assert not torch.is_grad_enabled()
        prompts_read.append(len(tokens))
        return encode_prompts(tokens)

    def image(inputs: Any) -> Any:
        images_seen.append(len(inputs))
        assert not any(parameter.requires_grad for parameter in as_module(model).parameters())
        return encode_image(inputs)

    monkeypatch.setattr(model, "encode_prompts", prompts)
    monkeypatch.setattr(model, "encode_image", image)
    picture, words = torch.rand(3, 40, 40), [BRIGHT, DARK, SQUARE, BRIGHT]
    masks = [torch.ones(40, 40)] * 4
    run_attack(Attack(search=Search("pgd", steps=3, restarts=2)), model, [picture] * 4, words, masks)
    assert prompts_read == [3]
    assert images_seen == [1, 8, 8, 8, 8]  # the clean image, then a start and three steps of two restarts of four
    images_seen.clear()
    run_attack(Attack(search=Search("noise", steps=3, restarts=2)), model, [picture] * 4, words, masks)
    assert images_seen == [1, 2, 2, 2, 2]


def mean_and_spread(values: Tensor) -> tuple[float, float]:
    """The mean and half its 95 % interval."""
    return float(values.mean()), 1.96 * float(values.std()) / len(values) ** 0.5


def test_larger_budgets_and_better_searches_do_more() -> None:
    """By sample, on the same images: the interval of each paired difference lies on its side of 0."""
    by_size = [run(Attack(Budget(epsilon=one / 255), search=Search("pgd", steps=8)), 12).dice for one in (0, 4, 12, 24)]
    for smaller, larger in pairwise(by_size):
        mean, half = mean_and_spread(smaller - larger)
        assert mean - half > 0
    budget = Budget(epsilon=24 / 255)
    noise, fgsm, pgd, apgd = (
        run(Attack(budget, search=one), 12).dice
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
        return {one: float(run(attack, 8).dice.mean()) for one, attack in attacks.items()}

    usual = left()
    assert usual["dice"] < usual["both"] < usual["ce"]
    monkeypatch.setattr(trained(), "decode", Sure())
    sure = left()
    assert sure["both"] < sure["dice"] - 0.05
    assert sure["both"] < sure["ce"] + 0.01


def test_budgets_are_compared_on_the_same_draws() -> None:
    """Half the budget draws half the change."""
    for norm, epsilon in (("linf", 0.02), ("l2", 0.5)):
        small, large = (
            run(Attack(Budget(norm, size), search=Search("noise", steps=1, keep="last")), 1)
            for size in (epsilon, 2 * epsilon)
        )
        for one, two in zip(small.raw, large.raw, strict=True):
            assert torch.allclose(2 * (one - small.images[0]), two - large.images[0], atol=1e-6)


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
    attack = Attack(Budget("l2", 0.5), search=search("pgd"))
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


def test_votes_have_no_gradient_and_their_mean_does() -> None:
    images, prompts, masks, _ = samples(1, 77)
    members = [trained(), trained(1, 40)]
    voting = made("ensemble", members=members, combine="majority")
    with pytest.raises(InputError, match="mean of its members"):
        run_attack(Attack(), voting, images, prompts, masks)
    mean = made("ensemble", members=members, combine="mean")
    attack = Attack(Budget(epsilon=EPSILON), search=search("pgd"))
    done = run_attack(attack, mean, images, prompts, masks)
    assert float(done.dice.mean()) < float(done.clean_dice.mean())
    changes = [after - before for after, before in zip(done.clipped, done.images, strict=True)]
    transferred = apply_changes(attack, voting, images, prompts, masks, changes)
    assert float(transferred.dice.mean()) <= float(transferred.clean_dice.mean())


def test_image_only_and_target_models_are_told_the_targets_name() -> None:
    picture, masks = torch.rand(3, 40, 48), [torch.ones(40, 48), torch.zeros(40, 48)]
    for name in ("unet", "unet-target", "smp-unet"):
        model = made(name)
        done = run_attack(Attack(search=search("pgd")), model, [picture] * 2, list(TARGETS), masks)
        inputs = model.prepare([picture])
        with torch.no_grad():
            for number, target in enumerate(TARGETS):
                logits = model.forward(inputs, model.tokenize([target])).logits
                mask = model.restore(logits, inputs)[0][number if name != "unet-target" else 0].sigmoid() > 0.5
                assert done.clean_dice[number] == dice_score(mask.numpy(), masks[number].numpy() > 0.5)
        with pytest.raises(InputError, match="dark cyst"):
            run_attack(Attack(), model, [picture], ["dark cist"], masks[:1])


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


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"attack": Attack(goal=Goal("make"))}, "wanted"),
        ({"attack": Attack(goal=Goal("erase")), "wanted": [torch.zeros(32, 32)] * 2}, "wanted"),
        ({"attack": Attack(search=Search("universal"))}, "fit_universal"),
        ({"masks": [torch.zeros(32, 32)]}, "1 masks"),
        ({"masks": [torch.zeros(30, 32)] * 2}, "masks: number 0"),
        ({"images": [], "prompts": [], "masks": []}, "at least one"),
        ({"rows": 0}, "rows"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(more: dict[str, Any], named: str) -> None:
    images, prompts, masks, _ = samples(1, 77)
    given = {"attack": Attack(), "model": trained(), "images": images, "prompts": prompts, "masks": masks, **more}
    with pytest.raises(InputError, match=named) as caught:
        run_attack(**given)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="run_attack"):
        fit_universal(Attack(), trained(), images, prompts, masks)
