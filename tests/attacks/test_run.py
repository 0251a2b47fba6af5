"""What an attack on samples claims: budgets, ranges, order and batches, and what is kept."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from attacked_models import BRIGHT, DARK, SQUARE, attacked, dices, samples, trained
from tiny_models import TARGETS, made

from vlseg.attacks import (
    Attack,
    Budget,
    Goal,
    Search,
    fit_universal,
    run_attack,
)
from vlseg.metrics import dice_score
from vlseg.models import as_module
from vlseg.records import InputError

METHODS = ("fgsm", "pgd", "segpgd", "apgd", "spsa", "noise")
EPSILON = 12 / 255


def search(method: Any, **more: Any) -> Search:
    few = {} if method == "fgsm" else {"steps": 2 if method == "spsa" else 6}
    return Search(method, **{**few, **more})


@pytest.mark.parametrize("place", ["input", "native"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", METHODS)
def test_epsilon_0_changes_nothing_to_the_last_digit(method: Any, norm: Any, place: Any) -> None:
    model = trained()
    done = attacked(Attack(Budget(norm, 0.0, place), search=search(method)), 2)
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


def test_what_comes_back_is_what_the_model_answers() -> None:
    """Dice before and after by the model's own steps; the worst step of the worst restart, or the image as it is."""
    model = trained()
    images, prompts, masks, _ = samples(4, 77)
    done = attacked(Attack(Budget(epsilon=EPSILON), search=search("pgd", restarts=3)))
    assert done.losses.shape == done.dices.shape == (8, 3, 7)
    assert done.dice.tolist() == dices(model, done, prompts, masks)
    clean = replace(done, inputs=model.prepare(images))
    assert done.clean_dice.tolist() == dices(model, clean, prompts, masks)
    assert torch.equal(done.dice, torch.minimum(done.dices.flatten(1).amin(1), done.clean_dice))
    assert torch.equal(done.success, 1 - done.dice)
    for number in range(8):
        if done.step[number] >= 0:
            assert done.dices[number, done.restart[number], done.step[number]] == done.dice[number]
    last = attacked(Attack(Budget(epsilon=EPSILON), search=search("pgd", restarts=3, keep="last")))
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


def test_budgets_are_compared_on_the_same_draws() -> None:
    """Half the budget draws half the change."""
    for norm, epsilon in (("linf", 0.02), ("l2", 0.5)):
        small, large = (
            attacked(Attack(Budget(norm, size), search=Search("noise", steps=1, keep="last")), 1)
            for size in (epsilon, 2 * epsilon)
        )
        for one, two in zip(small.raw, large.raw, strict=True):
            assert torch.allclose(2 * (one - small.images[0]), two - large.images[0], atol=1e-6)


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
        attacked(Attack(), 1, model)
    with pytest.raises(InputError):
        attacked(Attack(goal=Goal("move")), 1, model)
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
