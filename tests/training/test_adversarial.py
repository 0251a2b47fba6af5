"""Adversarial training: what is learned from, what it leaves behind, and that what it teaches is no masked gradient."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from adversarial_runs import apart, config_for, same
from attacked_models import Toy
from tiny_models import NAMES, TARGETS, TINY, made
from torch import Tensor
from torch.nn import functional as F

from vlseg.attacks import Attack, Budget, Search, run_attack
from vlseg.data import load_mask, load_pixels, unit_range
from vlseg.jobs.datasets import open_pool
from vlseg.jobs.subsets import choose
from vlseg.models import Inputs, as_module, build_model
from vlseg.records import InputError, RunConfig
from vlseg.training import Fit
from vlseg.training.adversarial import Adversary, check_adversarial
from vlseg.training.batches import Batch
from vlseg.training.drawing import steps_shown
from vlseg.training.precision import Arithmetic
from vlseg.training.step import TrainingStep, training_loss

MakeDataset = Callable[..., Path]
EPSILON = 8 / 255


def fit_of(config: RunConfig, folder: Path, **options: Any) -> Fit:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    pool = open_pool(config.data, config.prompt)
    model = build_model(config.model, arguments=config.model_arguments, targets=pool.targets)
    return Fit(model, choose(pool.split("train"), [], config).train, pool.infos, config, folder, **options)


def weights_of(trainer: Fit) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}


def trained(config: RunConfig, folder: Path, **options: Any) -> dict[str, Tensor]:
    trainer = fit_of(config, folder, **options)
    trainer.run()
    return weights_of(trainer)


def share_apart(one: dict[str, Tensor], two: dict[str, Tensor], before: dict[str, Tensor]) -> float:
    """How far two trainings are apart, as a share of how far they went: Adam's steps enlarge what is rounded."""
    return apart(one, two) / apart(one, before)


PLAIN: list[dict[str, Any]] = [
    {},
    {"accumulate": 2, "class_prompt_share": 0.5},
    {"model": "clipseg", "regime": "freeze_encoders"},
    {"model": "unet"},
    {"model": "smp-unet"},
    {"model": "clipseg", "checkpoint_activations": True},
    {"model": "guide", "regime": "decoder", "precision": "bf16"},
    {"label_share": 0.5, "pseudo_labels": "epi"},
]


@pytest.mark.parametrize(
    "settings", [*PLAIN[:3], *(pytest.param(one, marks=pytest.mark.slow) for one in PLAIN[3:])], ids=str
)
@pytest.mark.parametrize("how", [{"adversarial": "pgd", "adversarial_steps": 2}, {"adversarial": "free"}], ids=str)
def test_without_a_budget_it_is_plain_training_bit_by_bit(
    make_dataset: MakeDataset, tmp_path: Path, settings: dict[str, Any], how: dict[str, Any]
) -> None:
    data = make_dataset()
    attacked = {**how, "adversarial_epsilon": 0.0}
    if how["adversarial"] == "free":
        attacked["adversarial_steps"] = 1
    plain = trained(config_for(data, epochs=2, **settings), tmp_path / "plain")
    assert same(plain, trained(config_for(data, epochs=2, **settings, **attacked), tmp_path / "attacked"))
    attacked["adversarial_epsilon"] = EPSILON
    assert not same(plain, trained(config_for(data, epochs=2, **settings, **attacked), tmp_path / "more"))


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("name", ["clipseg-tiny", pytest.param("smp-unet", marks=pytest.mark.slow)])
def test_a_step_of_pgd_is_what_plain_torch_makes_of_it(
    make_dataset: MakeDataset, tmp_path: Path, name: str, share: float
) -> None:
    """Adam's step on the images that k signed steps from the same start lead to; batch norm's statistics included.

    In double precision: signs of gradients near 0 and norms over two values enlarge what is rounded.
    """
    config = config_for(
        make_dataset(), model=name, adversarial="pgd", adversarial_steps=3, adversarial_share=share, max_steps=1
    )
    ours, theirs = fit_of(config, tmp_path / "ours"), fit_of(config, tmp_path / "theirs")
    batch, model = theirs.first_batch(), theirs.model
    batch = replace(batch, inputs={**batch.inputs, "pixel_values": batch.inputs["pixel_values"].double()})
    for trainer in (ours, theirs):
        trainer.network.double()
        trainer._begin_step()
    before = weights_of(theirs)
    ours.gradients([batch])
    ours.arithmetic.step(ours.optimizer, 1.0)
    start = theirs.adversary.start(batch)  # type: ignore[union-attr]
    network = TrainingStep(model)
    pixels = batch.inputs["pixel_values"]
    normalised = model.prepare([torch.ones(3, 32, 32), torch.zeros(3, 32, 32)]).tensors["pixel_values"].double()
    deviation = 1 / (normalised[0] - normalised[1])
    image = pixels * deviation - normalised[1] * deviation
    assert float(image.min()) > -1e-5
    assert float(image.max()) < 1 + 1e-5
    rows = theirs.adversary._attacked(batch)  # type: ignore[union-attr]
    assert int(rows.sum()) == round(share * 2)

    def loss(change: Tensor) -> Tensor:
        tokens, rest = batch.tokens, (batch.image_of, batch.prompt_of, batch.channel_of)
        logits = network(
            {**batch.inputs, "pixel_values": pixels + change / deviation}, tokens, *rest, False, False
        ).float()
        return training_loss(config, logits, batch.masks)[0]

    def bounded(change: Tensor) -> Tensor:
        inside = (image + change.clamp(-EPSILON, EPSILON)).clamp(0, 1) - image
        return inside * rows[:, None, None, None]

    change = bounded(start)
    statistics = {name: buffer.clone() for name, buffer in theirs.network.named_buffers()}
    for _ in range(3):
        change.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(change), change)
        change = bounded((change + 2.5 * EPSILON / 3 * gradient.sign()).detach())
    for name_, buffer in theirs.network.named_buffers():
        buffer.copy_(statistics[name_])
    loss(change.detach()).backward()
    torch.nn.utils.clip_grad_norm_(theirs.network.parameters(), 1.0)
    theirs.optimizer.step()
    plain = fit_of(config.model_copy(update={"adversarial": "none"}), tmp_path / "plain")
    plain.network.double()
    plain._begin_step()
    plain.gradients([batch])
    plain.arithmetic.step(plain.optimizer, 1.0)
    assert share_apart(weights_of(theirs), weights_of(ours), before) < 0.01
    assert share_apart(weights_of(plain), weights_of(ours), before) > 0.1


def test_free_is_what_plain_torch_makes_of_it(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Shafahi et al.'s algorithm 1: each batch m times, one backward pass a time, the change goes on to the next."""
    config = config_for(make_dataset(), adversarial="free", adversarial_steps=2, epochs=4, augment=False)
    ours, theirs = fit_of(config, tmp_path / "ours"), fit_of(config, tmp_path / "theirs")
    before = weights_of(theirs)
    ours.run()
    assert ours.progress.step == 4 * 3  # as many steps as ever
    model, network = theirs.model, TrainingStep(theirs.model)
    normalised = model.prepare([torch.ones(3, 32, 32), torch.zeros(3, 32, 32)]).tensors["pixel_values"]
    deviation = 1 / (normalised[0] - normalised[1])
    change, step = torch.zeros(2, 3, 32, 32), 0
    theirs.config = config.model_copy(update={"adversarial": "none", "adversarial_steps": None})
    for epoch in (0, 2):
        theirs.progress.epoch = epoch
        for (batch,) in list(theirs._epoch()):
            pixels = batch.inputs["pixel_values"]
            image = (pixels - normalised[1]) * deviation
            for _ in range(2):
                theirs.progress.step = step
                theirs._begin_step()
                change.requires_grad_()
                seen = pixels + ((image + change).clamp(0, 1) - image) / deviation
                rest = (batch.image_of, batch.prompt_of, batch.channel_of)
                logits = network({**batch.inputs, "pixel_values": seen}, batch.tokens, *rest, False, False)
                training_loss(config, logits, batch.masks)[0].backward()
                assert change.grad is not None
                change = (change + EPSILON * change.grad.sign()).detach().clamp(-EPSILON, EPSILON)
                torch.nn.utils.clip_grad_norm_(theirs.network.parameters(), 1.0)
                theirs.optimizer.step()
                theirs.optimizer.zero_grad()
                step += 1
    assert step == 12
    plain = trained(config.model_copy(update={"adversarial": "none"}), tmp_path / "plain")
    assert share_apart(weights_of(theirs), weights_of(ours), before) < 0.01
    assert share_apart(plain, weights_of(ours), before) > 0.1


def batch_of(model: Any, images: list[Tensor], share: float = 1.0) -> tuple[Batch, Adversary]:
    """A batch of images with one sample each, on which every step of the network is moved."""
    config = RunConfig(
        model="any",
        data=["d"],
        adversarial="pgd",
        adversarial_steps=2,
        adversarial_epsilon=0.1,
        adversarial_share=share,
    )
    told = model.tokenize([TARGETS[0]])
    rows, zeros = torch.arange(len(images)), torch.zeros(len(images), dtype=torch.long)
    batch = Batch(
        inputs=model.prepare(images).tensors,
        tokens={} if told is None else told.tensors,
        image_of=rows,
        prompt_of=zeros,
        channel_of=zeros,
        masks=model.prepare_masks([torch.ones(image.shape[1:]) for image in images]),
        sizes=tuple((image.shape[1], image.shape[2]) for image in images),
        whole=len(images),
    )
    return batch, Adversary(model, config, Arithmetic("fp32", torch.device("cpu")))


def loss_of(model: Any) -> Callable[[Batch], Tensor]:
    step = TrainingStep(model)

    def loss(batch: Batch) -> Tensor:
        *arguments, masks = batch.tensors(torch.device("cpu"))
        return F.binary_cross_entropy_with_logits(step(*arguments, False, False), masks)

    return loss


def pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    rng = torch.Generator().manual_seed(5)
    return [torch.rand(3, *size, generator=rng).round(decimals=1) for size in sizes]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ensemble"])
def test_every_model_is_attacked_within_the_budget_and_the_image(name: str) -> None:
    check_change(made(name), "pixel_values")


@pytest.mark.parametrize(("name", "protocol"), [("cris", "original"), ("lvit-unet", "published")])
def test_letterboxes_and_other_orders_of_colours(name: str, protocol: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, arguments=TINY[name], targets=TARGETS, protocol=protocol)
    check_change(model, "pixel_values")


def test_members_with_other_colours_get_the_same_change() -> None:
    model: Any = made("ensemble", members=[made("clipseg"), made("cris")])
    found = [check_change(model, f"{number}.pixel_values") for number in range(2)]
    assert torch.allclose(found[0], found[1], atol=1e-5)


def check_change(model: Any, name: str) -> Tensor:
    """Held against what black and white become, the change is at most 0.1 of the range, and nothing in padding."""
    as_module(model).eval()
    check_adversarial(RunConfig(model="any", data=["d"], adversarial="pgd"), model, [])
    images = pictures((40, 52), (52, 40), (30, 90))
    batch, adversary = batch_of(model, images)
    torch.manual_seed(0)
    attacked = adversary.against(batch, 0, loss_of(model))
    white, black = (
        model.prepare([torch.full_like(image, value) for image in images]).tensors[name] for value in (1.0, 0.0)
    )
    before, after, gain = batch.inputs[name], attacked.inputs[name], white - black
    padding = gain == 0
    assert torch.equal(before[padding], after[padding])
    moved = ((after - before) / gain)[~padding]
    assert float(moved.abs().max()) <= 0.1 + 1e-5
    assert float((moved.abs() > 1e-3).float().mean()) > 0.5
    values = ((after - black) / gain)[~padding]
    assert float(values.min()) > -1e-4
    assert float(values.max()) < 1 + 1e-4
    for other, tensor in batch.inputs.items():
        if not other.endswith("pixel_values"):
            assert torch.equal(tensor, attacked.inputs[other])
    return moved


def test_a_share_of_the_images_is_attacked_and_over_batches_the_share() -> None:
    model = made("clipseg-tiny")
    images = pictures((32, 32), (32, 32), (32, 32))
    batch, adversary = batch_of(model, images, share=0.5)
    counts = []
    for number in range(200):
        counts.append(int(adversary._attacked(replace(batch, place=(1, number))).sum()))
    assert set(counts) == {1, 2}
    assert sum(counts) / 600 == pytest.approx(0.5, abs=0.05)
    changed = adversary.against(batch, 0, loss_of(model)).inputs["pixel_values"] != batch.inputs["pixel_values"]
    assert torch.equal(changed.flatten(1).any(1), adversary._attacked(batch))


def test_starts_are_drawn_anew_by_seed_epoch_batch_and_image() -> None:
    batch, adversary = batch_of(made("clipseg-tiny"), pictures((32, 32), (32, 32)))
    draws = [adversary.start(replace(batch, place=place)) for place in ((0, 0), (0, 1), (1, 0))]
    adversary.config = adversary.config.model_copy(update={"seed": 1})
    rows = [row for draw in [*draws, adversary.start(batch)] for row in draw]
    assert all(not torch.equal(one, two) for index, one in enumerate(rows) for two in rows[:index])
    assert float(torch.stack(rows).abs().max()) == pytest.approx(0.1, abs=1e-3)
    adversary.config = adversary.config.model_copy(update={"seed": 0})
    assert torch.equal(adversary.start(batch), draws[0])


def test_inner_passes_leave_nothing_behind() -> None:
    """No gradient of a weight, no running statistic, no random number, no mode."""
    model = made("smp-unet")
    network = as_module(model)
    network.train()
    batch, adversary = batch_of(model, pictures((40, 52), (52, 40), (64, 64)))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    passes = []

    def loss(seen: Batch) -> Tensor:
        passes.append(seen)
        torch.rand(5)
        return loss_of(model)(seen)

    attacked = adversary.against(batch, 0, loss)
    assert len(passes) == 2
    assert torch.equal(torch.rand(3), wanted)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(module.training for module in network.modules())
    assert not attacked.inputs["pixel_values"].requires_grad
    loss_of(model)(attacked)  # batch statistics do move when it is learned from
    assert any(not torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())


def test_small_gradients_are_seen_in_half_precision() -> None:
    """As weights' are: the loss is multiplied before the backward pass. What overflows moves nothing."""
    model = Toy((8, 8), lambda pixels: pixels[:, :1].half().float())
    batch, plain = batch_of(model, pictures((8, 8)))
    scaled = Adversary(model, plain.config, Arithmetic("fp16", torch.device("cpu")))
    start = plain._room(batch).within(plain.start(batch))

    def steps(adversary: Adversary, factor: float) -> float:
        """Share of red values that are not where they started from."""
        inputs = adversary.against(batch, 0, lambda seen: loss_of(model)(seen) * factor).inputs["pixel_values"]
        red = (inputs - batch.inputs["pixel_values"])[:, 0] * 0.25
        return float(((red - start[:, 0]).abs() > 0.02).float().mean())

    assert steps(plain, 1e-6) == 0
    assert steps(scaled, 1e-6) > 0.5
    assert steps(scaled, float("nan")) == 0


def test_replays_are_as_many_steps_as_ever() -> None:
    """Three steps an epoch, five epochs, each step twice: the drawings of epochs 0, 2 and half that of 4."""
    epochs = [(epoch // 2 * 2, steps_shown(epoch % 2, 0, 3, 2)) for epoch in range(5)]
    assert epochs == [(0, [0, 0, 1]), (0, [1, 2, 2]), (2, [0, 0, 1]), (2, [1, 2, 2]), (4, [0, 0, 1])]
    assert steps_shown(1, 2, 3, 2) == [2]  # a resumed run goes on in the middle
    assert steps_shown(1, 3, 3, 2) == []
    assert steps_shown(0, 0, 4, 1) == [0, 1, 2, 3]


def test_what_cannot_be_attacked_at_the_input_is_refused() -> None:
    config = RunConfig(model="any", data=["d"], adversarial="pgd")

    class Curved(Toy):
        def prepare(self, rgb: Any) -> Inputs:
            inputs = super().prepare(rgb)
            return Inputs({**inputs.tensors, "pixel_values": inputs.tensors["pixel_values"] ** 2})

    class Blind(Toy):
        def prepare(self, rgb: Any) -> Inputs:
            return Inputs({"original_size": super().prepare(rgb).tensors["original_size"]})

    for kind in (Curved, Blind):
        with pytest.raises(InputError, match=r"^adversarial: .*'toy'.*leave adversarial out$"):
            check_adversarial(config, kind((8, 8), lambda pixels: pixels[:, :1]), [])
    with pytest.raises(InputError, match=r"different sizes; leave adversarial out$"):
        check_adversarial(config, made("ensemble"), [])
    check_adversarial(config.model_copy(update={"adversarial": "none"}), made("ensemble"), [])


@pytest.mark.slow
def test_it_is_no_masked_gradient(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """A different and stronger attack than the one it was trained on leaves more than of the plain model."""
    found = {}
    for name, how in (("plain", {}), ("pgd", {"adversarial": "pgd", "adversarial_steps": 3})):
        config = config_for(make_dataset(name, (32, 2, 12)), epochs=25, batch_size=4, learning_rate=3e-3, **how)
        config = config.model_copy(update={"adversarial_epsilon": 16 / 255})
        trainer = fit_of(config, tmp_path / name / "run")
        trainer.run()
        found[name] = under_attack(trainer, config)
    (clean, attacked), (own_clean, own_attacked) = found["plain"], found["pgd"]
    assert clean > 0.8
    assert own_clean > 0.6
    assert own_attacked > attacked + 0.1


def under_attack(trainer: Fit, config: RunConfig) -> tuple[float, float]:
    """Mean Dice of the test images, as they are and after APGD with restarts."""
    pool = open_pool(config.data, config.prompt)
    items = pool.split("test")
    infos, images, masks = pool.infos, [], []
    for item in items:
        info = infos[item.sample.dataset]
        pixels = unit_range(load_pixels(item.sample, info))
        images.append(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
        masks.append(torch.from_numpy(load_mask(item.sample, info, None).astype("float32")))
    attack = Attack(Budget("linf", config.adversarial_epsilon), search=Search("apgd", steps=20, restarts=3))
    done = run_attack(attack, trainer.model, images, [item.wordings[0] for item in items], masks)
    return float(done.clean_dice.mean()), float(done.dice.mean())
