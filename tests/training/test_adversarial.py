"""Adversarial training: what is learned from, what it leaves behind, and that what it teaches is no masked gradient."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import TINY
from torch import Tensor

from vlseg.jobs.datasets import open_pool
from vlseg.jobs.subsets import choose
from vlseg.models import build_model
from vlseg.records import RunConfig
from vlseg.training import Fit
from vlseg.training.step import TrainingStep, training_loss

MakeDataset = Callable[..., Path]
EPSILON = 8 / 255


def config_for(data: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": "clipseg-tiny",
        "data": [str(data)],
        "prompt": "p2",
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "epochs": 4,
        "warmup_steps": 2,
        "patience": None,
    }
    values |= changes
    return RunConfig(**{"model_arguments": dict(TINY[values["model"]]), **values})


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


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def apart(one: dict[str, Tensor], two: dict[str, Tensor], before: dict[str, Tensor]) -> float:
    """How far two trainings are apart, as a share of how far they went: Adam's steps enlarge what is rounded."""
    floating = [name for name, tensor in before.items() if tensor.is_floating_point()]
    between = sum(float((one[name] - two[name]).abs().sum()) for name in floating)
    return between / sum(float((one[name] - before[name]).abs().sum()) for name in floating)


PLAIN: list[dict[str, Any]] = [
    {},
    {"accumulate": 2, "class_prompt_share": 0.5},
    {"model": "unet"},
    {"model": "smp-unet"},
    {"model": "clipseg", "regime": "freeze_encoders"},
    {"model": "clipseg", "checkpoint_activations": True},
    {"model": "guide", "regime": "decoder", "precision": "bf16"},
    {"label_share": 0.5, "pseudo_labels": "epi"},
]


@pytest.mark.parametrize("settings", PLAIN, ids=str)
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
@pytest.mark.parametrize("name", ["clipseg-tiny", "smp-unet"])
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
    assert apart(weights_of(theirs), weights_of(ours), before) < 0.01
    assert apart(weights_of(plain), weights_of(ours), before) > 0.1


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
    assert apart(weights_of(theirs), weights_of(ours), before) < 0.01
    assert apart(plain, weights_of(ours), before) > 0.1
