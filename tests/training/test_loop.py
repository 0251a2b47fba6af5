"""The loop: what trains, what stays frozen, exact resume, stopping, bad losses."""

import csv
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vlseg.training.loop as fit_module
from vlseg.jobs.datasets import open_pool
from vlseg.models import Segmenter, as_module, build_model
from vlseg.models.clipseg.build import build_clipseg, refined_config
from vlseg.records import InputError, RunConfig
from vlseg.training import fit
from vlseg.training.batches import group_by_image, plan_epoch
from vlseg.training.checkpoint import load_checkpoint
from vlseg.training.freezing import REGIMES
from vlseg.training.schedule import Progress, learning_rate

MakeDataset = Callable[..., Path]


def config_for(data: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": "clipseg-tiny",
        "data": [str(data)],
        "prompt": "p2",
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "epochs": 3,
        "warmup_steps": 2,
        "patience": None,
    }
    return RunConfig(**(values | changes))


def model_for(data: Path, name: str = "clipseg-tiny") -> Segmenter:
    torch.manual_seed(0)
    if name == "clipseg":
        values = refined_config().to_dict()
        small = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
        values["vision_config"] |= {**small, "num_hidden_layers": 5}
        values["text_config"] |= {**small, "num_hidden_layers": 2}
        values |= {"projection_dim": 24, "extract_layers": [0, 1, 3], "reduce_dim": 16}
        values |= {"decoder_intermediate_size": 32}
        return build_clipseg(image_size=32, config=type(refined_config()).from_dict(values))
    return build_model(name, arguments={"image_size": 32}, targets=open_pool([str(data)], "p2").targets)


def run_fit(model: Segmenter, config: RunConfig, folder: Path, **options: Any) -> Any:
    pool = open_pool(config.data, config.prompt)
    torch.set_num_threads(1)
    return fit(model, pool.split("train"), pool.infos, config, folder, **options)


def weights_of(model: Segmenter) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in as_module(model).state_dict().items()}


def changed(before: dict[str, torch.Tensor], model: Segmenter) -> set[str]:
    after = as_module(model).state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def intended(model: Segmenter, regime: str) -> set[str]:
    """Names of the parameters in the parts that the regime trains, found by identity."""
    wanted = {
        id(parameter)
        for part, modules in model.parts().items()
        if REGIMES[regime](part)
        for module in modules
        for parameter in module.parameters()
    }
    return {name for name, parameter in as_module(model).named_parameters() if id(parameter) in wanted}


@pytest.mark.parametrize("name", ["clipseg", "clipseg-tiny", "unet", "unet-target"])
@pytest.mark.parametrize("regime", ["full", "freeze_encoders", "decoder"])
def test_exactly_the_intended_parameters_change(
    make_dataset: MakeDataset, tmp_path: Path, name: str, regime: str
) -> None:
    data = make_dataset()
    model = model_for(data, name)
    before = weights_of(model)
    # Weight decay alone would move a parameter without a gradient; so none here.
    run_fit(model, config_for(data, model=name, regime=regime, weight_decay=0.0, augment=False), tmp_path)
    moved, wanted = changed(before, model), intended(model, regime)
    assert moved <= wanted
    # Positions that no token reaches and buckets that no word hashes to have a gradient of zero.
    assert moved == wanted
    if regime == "full" and name == "clipseg":
        assert {"image_encoder", "text_encoder", "mask_decoder"} == set(model.parts())
        assert any("vision_model.encoder.layers.3" in key for key in moved)
        assert not any("vision_model.encoder.layers.4" in key for key in moved)
        assert any("text_model.encoder.layers.1" in key for key in moved)


def test_published_protocol_trains_the_decoder_alone_even_in_full(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    model = model_for(data, "clipseg")
    published = type(model)(
        model.network, model.tokenizer, type(model.spec)(**{**vars(model.spec), "protocol": "published"})
    )  # type: ignore[attr-defined,call-arg]
    before = weights_of(published)
    run_fit(published, config_for(data, model="clipseg", regime="full"), tmp_path)
    assert changed(before, published) == {name for name in before if name.startswith("network.decoder.")}


def test_frozen_parts_are_in_eval_mode_and_keep_batch_norm(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    model = model_for(data)
    norm = torch.nn.BatchNorm2d(3)
    dropout = torch.nn.Dropout(0.5)
    encoder = model.image_encoder  # type: ignore[attr-defined]
    encoder.norm, encoder.dropout = norm, dropout
    seen: list[tuple[bool, bool]] = []
    original = encoder.forward

    def forward(pixels: torch.Tensor) -> Any:
        seen.append((norm.training, dropout.training))
        return original(norm(pixels))

    encoder.forward = forward
    run_fit(model, config_for(data, regime="freeze_encoders"), tmp_path)
    assert seen
    assert not any(flag for pair in seen for flag in pair)
    assert norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros(3))


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    "stop_at", [1, pytest.param(4, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow), 8]
)
def test_resume_equals_never_interrupted(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Killed right after a checkpoint at any step, with accumulation, validation and plateau in play."""
    data = make_dataset(counts=(7, 2, 2))
    config = config_for(data, epochs=4, accumulate=2, schedule="plateau", seed=3)
    scores = iter([0.1, 0.5, 0.2, 0.3])
    straight = model_for(data)
    run_fit(straight, config, tmp_path / "straight", validate=lambda: next(scores))

    monkeypatch.setattr(fit_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(fit_module, "SAVE_SHARE", 0.0)
    original = fit_module.Fit._save

    def save_then_die(self: Any) -> None:
        original(self)
        if self.progress.step == stop_at:
            raise KilledError

    by_step = {2: 0.1, 4: 0.5, 6: 0.2, 8: 0.3}
    with monkeypatch.context() as patch:
        patch.setattr(fit_module.Fit, "_save", save_then_die)
        killed = model_for(data)
        run = fit_module.Fit(killed, *_arguments(config), tmp_path / "killed", resume=True)
        run.validate = lambda: by_step[run.progress.step]
        with pytest.raises(KilledError):
            run.run()
    torch.manual_seed(99)
    np.random.seed(99)
    resumed = build_model("clipseg-tiny", arguments={"image_size": 32}, targets=killed.spec.targets)
    again = fit_module.Fit(resumed, *_arguments(config), tmp_path / "killed", resume=True)
    again.validate = lambda: by_step[again.progress.step]
    result = again.run()
    assert result.best_val_dice == 0.5
    assert not changed(weights_of(straight), resumed)
    rows = [
        list(csv.reader((tmp_path / which / "history.csv").read_text().splitlines()))
        for which in ("straight", "killed")
    ]
    assert [row[:5] for row in rows[0]] == [row[:5] for row in rows[1]]


def _arguments(config: RunConfig) -> tuple[Any, ...]:
    pool = open_pool(config.data, config.prompt)
    return pool.split("train"), pool.infos, config


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_so(make_dataset: MakeDataset, tmp_path: Path, number: signal.Signals) -> None:
    data = make_dataset()
    model = model_for(data)
    steps = 0
    original = model.prepare

    def prepare(rgb: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 2:
            signal.raise_signal(number)
        return original(rgb)

    model.prepare = prepare  # type: ignore[method-assign]
    before = signal.getsignal(number)  # a shell starts background jobs with SIGINT ignored
    result = run_fit(model, config_for(data, workers=0), tmp_path)  # signals are the main thread's
    assert result.status == "interrupted"
    assert result.steps == 2
    assert (tmp_path / "checkpoints" / "last.pt").exists()
    assert signal.getsignal(number) is before


def test_early_stop_and_best_weights(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    model = model_for(data)
    kept: list[dict[str, torch.Tensor]] = []

    def validate() -> float:
        kept.append(weights_of(model))
        return 0.9 if len(kept) == 2 else 0.5

    result = run_fit(model, config_for(data, epochs=50, patience=3), tmp_path, validate=validate)
    assert (result.epochs, result.best_val_dice) == (5, 0.9)
    assert not changed(kept[1], model)


def test_best_weights_that_are_the_last_are_not_read_back(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset()
    model = model_for(data)
    kept: list[dict[str, torch.Tensor]] = []

    def validate() -> float:
        kept.append(weights_of(model))
        return 0.1 * len(kept)

    monkeypatch.setattr(fit_module, "load_checkpoint", lambda path: pytest.fail(f"{path} is read"))
    result = run_fit(model, config_for(data, epochs=3), tmp_path, validate=validate)
    assert result.best_step == result.steps
    assert not changed(kept[-1], model)
    best = load_checkpoint(tmp_path / "checkpoints" / "best.pt")["model"]
    assert all(torch.equal(best[name], weights_of(model)[name]) for name in best)


def test_infinite_loss_stops_the_run(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    model = model_for(data)
    with torch.no_grad():
        next(as_module(model).parameters()).fill_(math.nan)
    with pytest.raises(FloatingPointError, match="at step 0"):
        run_fit(model, config_for(data), tmp_path)


def test_checkpoint_of_other_data_is_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, other = make_dataset(), make_dataset("other", counts=(4, 1, 1))
    model = model_for(data)
    run = fit_module.Fit(model, *_arguments(config_for(data)), tmp_path)
    run._save()
    with pytest.raises(InputError, match="other samples or prompts"):
        run_fit(model_for(other), config_for(other), tmp_path, resume=True)


def test_a_checkpoint_holds_what_trains_and_knows_the_rest(make_dataset: MakeDataset, tmp_path: Path) -> None:
    config = config_for(make_dataset(), regime="decoder")
    run = fit_module.Fit(model_for(Path(config.data[0])), *_arguments(config), tmp_path)
    run._save()
    kept = load_checkpoint(tmp_path / "checkpoints" / "last.pt")["model"]
    trained = {name for name, p in as_module(run.model).named_parameters() if p.requires_grad}
    assert trained <= kept.keys()
    assert len(kept) < len(as_module(run.model).state_dict())
    other = model_for(Path(config.data[0]))
    frozen = next(p for m in other.parts()["image_encoder"] for p in m.parameters())
    with torch.no_grad():
        frozen.view(-1)[0] += 1e-3
    with pytest.raises(InputError, match="the weights that the run started from have changed"):
        fit_module.Fit(other, *_arguments(config), tmp_path, resume=True)


def test_plan_is_a_function_of_seed_and_epoch(make_dataset: MakeDataset) -> None:
    pool = open_pool([str(make_dataset(counts=(9, 1, 1)))], "p2")
    groups = group_by_image(pool.split("train"))
    options = {"batch_size": 4, "prompts_per_image": 1}
    plans = [plan_epoch(groups, seed=1, epoch=epoch, **options) for epoch in (0, 0, 1)]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]
    assert [len(batch) for batch in plans[0]] == [4, 4, 1]
    assert sorted(d.group.image_id for batch in plans[2] for d in batch) == sorted(g.image_id for g in groups)
    both = plan_epoch(groups, seed=1, epoch=0, batch_size=4, prompts_per_image=4)
    assert all(len(draw.chosen) == 2 for batch in both for draw in batch)
    wordings = {text for plan in plans for batch in plan for draw in batch for _, text in draw.chosen}
    assert wordings == {"bright disc", "a bright round disc", "dark disc", "a dark round disc"}


def test_learning_rates() -> None:
    base = {"model": "m", "data": ["d"], "learning_rate": 1.0, "warmup_steps": 4}
    cosine = RunConfig(**base, schedule="cosine")
    rates = [learning_rate(cosine, Progress(step=step), 20) for step in range(20)]
    np.testing.assert_allclose(rates[:4], [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(rates[12], 0.5)
    assert rates[19] < 0.01
    progress = Progress(step=10)
    plateau = RunConfig(**base, schedule="plateau")
    progress.note_validation(0.5)
    for _ in range(6):
        progress.note_validation(0.5)
    np.testing.assert_allclose(learning_rate(plateau, progress, 99), 0.1)


def test_scaling_and_turning_reach_the_images(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()

    def trained(name: str, **changes: Any) -> dict[str, torch.Tensor]:
        model = model_for(data)
        run_fit(model, config_for(data, max_steps=2, **changes), tmp_path / name)
        return weights_of(model)

    plain = trained("plain")
    for name, changes in (("zoom", {"zoom": 0.5}), ("rotate", {"rotate": 30})):
        assert any(not torch.equal(plain[key], one) for key, one in trained(name, **changes).items()), name
    still = trained("still", augment=False)
    asked = trained("asked", augment=False, zoom=0.5, rotate=30)
    assert all(torch.equal(still[key], one) for key, one in asked.items())


def test_history_has_losses_and_validations(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    run_fit(model_for(data), config_for(data, epochs=10), tmp_path, validate=lambda: 0.25)
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [row["step"] for row in rows if row["loss"]] == ["10", "20", "30"]
    assert len([row for row in rows if row["val_dice"] == "0.25"]) == 10
