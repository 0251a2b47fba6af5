"""fp16 on the CPU: the gradients' scale, beside plain loops that have none."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import made
from torch import nn

import vlseg.training.loop as fit_module
from vlseg.jobs.datasets import open_pool
from vlseg.models import Segmenter, as_module
from vlseg.records import RunConfig
from vlseg.training.precision import SMALLEST_SCALE, Arithmetic

MakeDataset = Callable[..., Path]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _half_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too slow for users, who are refused; it has the same scaler as GPUs."""
    for module in ("vlseg.models.device", "vlseg.training.loop"):
        monkeypatch.setattr(f"{module}.check_precision", lambda *_: None)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_scaled_steps_are_those_of_a_loop_without_a_scale(kind: Any, clip_norm: float | None) -> None:
    """Gradients far above and far below the norm that they are clipped at, in single precision: only the scale acts."""
    torch.manual_seed(0)
    scaled = nn.Linear(5, 3)
    plain = copy.deepcopy(scaled)
    start = copy.deepcopy(plain.state_dict())
    arithmetic = Arithmetic("fp16", CPU)
    one = kind(scaled.parameters(), lr=0.1, weight_decay=0.01, fused=True)
    two = kind(plain.parameters(), lr=0.1, weight_decay=0.01, fused=False, foreach=False)
    for size in (1.0, 50.0, 0.01, 3.0):
        x = torch.randn(4, 5)
        for part in (x[:2], x[2:]):
            arithmetic.backward(size * scaled(part).square().sum())
            (size * plain(part).square().sum()).backward()
        assert arithmetic.step(one, clip_norm)
        if clip_norm is not None:
            norm = torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None]).norm()
            for p in plain.parameters():
                assert p.grad is not None
                p.grad *= min(1.0, clip_norm / float(norm))
        two.step()
        two.zero_grad()
        for mine, other in zip(scaled.parameters(), plain.parameters(), strict=True):
            assert mine.grad is None
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
    assert not torch.equal(start["weight"], scaled.weight)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_an_overflow_is_left_out_and_halves_the_scale(clip_norm: float | None) -> None:
    network = nn.Linear(2, 1)
    arithmetic = Arithmetic("fp16", CPU)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    scale = arithmetic.scaler.get_scale() if arithmetic.scaler else 0.0
    before = network.weight.detach().clone()
    arithmetic.backward(network(torch.full((1, 2), 3e38)).sum())  # times the scale: beyond single precision
    assert not arithmetic.step(optimizer, clip_norm)
    assert torch.equal(before, network.weight)
    assert arithmetic.state()["scale"] == scale / 2
    arithmetic.backward(network(torch.ones(1, 2)).sum())
    assert arithmetic.step(optimizer, clip_norm)
    assert torch.isfinite(network.weight).all()
    assert not torch.equal(before, network.weight)
    again = Arithmetic("fp16", CPU)
    again.restore(arithmetic.state())
    assert again.state() == arithmetic.state()


def test_what_overflows_at_every_scale_ends_the_run() -> None:
    network = nn.Linear(2, 1)
    arithmetic = Arithmetic("fp16", CPU)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)

    def steps() -> None:
        for _ in range(60):
            arithmetic.backward(network(torch.full((1, 2), torch.inf)).sum())
            arithmetic.step(optimizer, 1.0)

    with pytest.raises(FloatingPointError, match="at every scale"):
        steps()
    assert arithmetic.state()["scale"] < SMALLEST_SCALE


def test_without_a_scale_infinite_gradients_end_the_run_before_they_are_taken() -> None:
    network = nn.Linear(2, 1)
    before = network.weight.detach().clone()
    arithmetic = Arithmetic("fp32", CPU)
    arithmetic.backward(network(torch.full((1, 2), torch.inf)).sum())
    with pytest.raises(FloatingPointError, match="norm is inf"):
        arithmetic.step(torch.optim.AdamW(network.parameters()), 1.0)
    assert torch.equal(before, network.weight)


def trainer(data: Path, folder: Path, model: Segmenter, **changes: Any) -> fit_module.Fit:
    values: dict[str, Any] = {"model": "clipseg-tiny", "data": [str(data)], "prompt": "p1", "device": "cpu"}
    values |= {"precision": "fp16", "batch_size": 2, "epochs": 3, "warmup_steps": 0, "clip_norm": 0.1}
    config = RunConfig(**(values | changes))
    pool = open_pool(config.data, config.prompt)
    return fit_module.Fit(model, pool.split("train"), pool.infos, config, folder, resume=True)


def weights(model: Segmenter) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in as_module(model).state_dict().items()}


def test_a_run_in_half_precision_learns_what_one_in_single_does(make_dataset: MakeDataset, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data = make_dataset(counts=(4, 1, 1))
    losses: dict[str, list[float]] = {}
    for precision in ("fp32", "fp16"):
        run = trainer(data, tmp_path / precision, made("clipseg-tiny"), precision=precision, epochs=6)
        run.arithmetic.restore({**run.arithmetic.state(), "scale": 2.0**7})  # from which no step overflows here
        kept = losses.setdefault(precision, [])
        run.journal.step = lambda progress, loss, rate, parts, kept=kept: kept.append(loss)  # type: ignore[method-assign]
        assert run.run().skipped == 0
    assert losses["fp32"][0] > losses["fp32"][-1]
    assert losses["fp16"] == pytest.approx(losses["fp32"], rel=0.02)


class KilledError(Exception):
    pass


def test_a_killed_run_keeps_scale_and_left_out_steps(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first steps overflow because the scale starts too high; killed among them it ends with the same bits."""
    torch.set_num_threads(1)
    data = make_dataset(counts=(4, 1, 1))

    def started(folder: str, model: Segmenter) -> fit_module.Fit:
        run = trainer(data, tmp_path / folder, model)
        assert run.arithmetic.scaler is not None
        if run.progress.step == 0:
            run.arithmetic.restore({**run.arithmetic.state(), "scale": 2.0**18})
        return run

    straight = started("straight", made("clipseg-tiny"))
    result = straight.run()
    assert 0 < result.skipped < result.steps == 6
    monkeypatch.setattr(fit_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(fit_module, "SAVE_SHARE", 0.0)
    save = fit_module.Fit._save

    def save_then_die(self: fit_module.Fit) -> None:
        save(self)
        if self.progress.step == 2:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(fit_module.Fit, "_save", save_then_die)
        with pytest.raises(KilledError):
            started("killed", made("clipseg-tiny")).run()
    resumed = started("killed", made("clipseg-tiny"))
    again = resumed.run()
    assert (again.steps, again.skipped) == (result.steps, result.skipped)
    assert resumed.arithmetic.state() == straight.arithmetic.state()
    one, two = weights(straight.model), weights(resumed.model)
    assert all(torch.equal(one[name], two[name]) for name in one)
