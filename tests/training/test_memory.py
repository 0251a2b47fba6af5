"""Less memory for the same gradients."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from extended_models import extended
from tiny_models import TINY, made

from vlseg.jobs.datasets import open_pool
from vlseg.jobs.train import train_run
from vlseg.losses import dice_bce_loss
from vlseg.models import Segmenter, as_module, build_model, load_model
from vlseg.records import InputError, RunConfig, read_config, read_record
from vlseg.training import with_fitting_pieces
from vlseg.training.freezing import apply_regime, train_mode
from vlseg.training.memory import checkpoint_blocks, images_that_fit, kept_bytes, pieces_for

MakeDataset = Callable[..., Path]
CPU = torch.device("cpu")


def loss_of(model: Segmenter, images: int = 2) -> torch.Tensor:
    torch.manual_seed(1)  # dropout
    pixels = [torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(n)) for n in range(images)]
    logits = model.forward(model.prepare(pixels), model.tokenize(["dark cyst"] * images)).logits
    return dice_bce_loss(logits, (logits.detach() > 0).float())


BLOCKS = {"clipseg": 4 + 2 + 3, "biomedclipseg": 10 + 2 + 3, "cris": 2}
"""Image blocks up to the last tap, text blocks, decoder layers; CRIS's image blocks have batch norm, and its one
decoder layer here is not repeated."""


@pytest.mark.parametrize("name", list(BLOCKS))
def test_checkpointing_keeps_less_and_gives_the_same_gradients(name: str) -> None:
    found = []
    for saving in (False, True):
        model = made(name)
        training = apply_regime(model, "full")
        keys = as_module(model).state_dict().keys()
        if saving:
            assert checkpoint_blocks(model) == BLOCKS[name]
        assert as_module(model).state_dict().keys() == keys
        train_mode(model, training)
        kept = kept_bytes(lambda m=model: loss_of(m), as_module(model).parameters())
        loss_of(model).backward()
        found.append((kept, {n: p.grad for n, p in as_module(model).named_parameters() if p.grad is not None}))
    (plain, gradients), (saved, again) = found
    assert saved < plain
    assert gradients.keys() == again.keys()
    assert all(torch.equal(gradients[key], again[key]) for key in gradients)


@pytest.mark.parametrize("regime", ["dense_vl", "shallow_vl"])
def test_what_is_added_to_a_frozen_model_takes_less_too(regime: str, tmp_path: Path) -> None:
    found = []
    made("clipseg").save(tmp_path / "base")
    for saving in (False, True):
        torch.manual_seed(2)
        model = extended(tmp_path / "base", regime, "clipseg", {"width": 8})
        training = apply_regime(model, regime)
        if saving:
            assert checkpoint_blocks(model) > BLOCKS["clipseg"]  # the last image block, which no mask depends on, too
        train_mode(model, training)
        kept = kept_bytes(lambda m=model: loss_of(m), as_module(model).parameters())
        loss_of(model).backward()
        found.append((kept, {n: p.grad for n, p in as_module(model).named_parameters() if p.grad is not None}))
    (plain, gradients), (saved, again) = found
    assert saved < plain
    assert gradients
    assert gradients.keys() == again.keys()
    assert all(torch.equal(gradients[key], again[key]) for key in gradients)


def test_frozen_blocks_are_left_alone() -> None:
    model = made("clipseg")
    apply_regime(model, "decoder")
    assert checkpoint_blocks(model) == 3  # the decoder's layers


def test_a_network_with_batch_norm_alone_is_refused() -> None:
    model = made("smp-unet")
    with pytest.raises(InputError, match="no repeated blocks without batch norm"):
        checkpoint_blocks(model)


def test_kept_bytes_of_a_product() -> None:
    """A product of two vectors keeps both; one storage seen twice counts once; weights do not count."""
    a, b = torch.ones(100, requires_grad=True), torch.ones(100, requires_grad=True)
    assert kept_bytes(lambda: a * b) == 800
    assert kept_bytes(lambda: a * a) == 400
    assert kept_bytes(lambda: a * b, [a]) == 400


@pytest.mark.parametrize(
    ("batch", "fitting", "pieces"), [(8, 8, (8, 1)), (8, 100, (8, 1)), (8, 7, (4, 2)), (6, 4, (3, 2)), (7, 5, (1, 7))]
)
def test_pieces(batch: int, fitting: int, pieces: tuple[int, int]) -> None:
    assert pieces_for(batch, fitting) == pieces


def test_more_memory_fits_more_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("clipseg")
    train_mode(model, apply_regime(model, "full"))
    one = kept_bytes(lambda: loss_of(model, 1), as_module(model).parameters())
    counts = []
    for free in (0, 100 * one, 1000 * one):
        monkeypatch.setattr("vlseg.training.memory.free_memory", lambda _, f=free: f)
        counts.append(images_that_fit(model, lambda: loss_of(model, 1), CPU))
    assert counts[0] == 1
    assert counts[1] < 100 < counts[2] < 1000


def config(data: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": "clipseg",
        "model_arguments": dict(TINY["clipseg"]),
        "data": [str(data)],
        "prompt": "p1",
        "device": "cpu",
        "threads": 1,
        "batch_size": 4,
        "max_steps": 2,
    }
    return RunConfig(**(values | changes))


def test_a_step_is_cut_into_pieces_that_fit(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset(counts=(4, 1, 1))
    monkeypatch.setattr("vlseg.training.pieces.images_that_fit", lambda *_, **__: 3)
    train_run(config(data, accumulate="auto"), tmp_path / "auto")
    resolved = read_config(tmp_path / "auto" / "config.yaml")
    assert (resolved.batch_size, resolved.accumulate) == (2, 2)
    assert read_record(tmp_path / "auto" / "run.json").config["accumulate"] == 2
    train_run(config(data, batch_size=2, accumulate=2), tmp_path / "told")
    one, two = (as_module(load_model(str(tmp_path / name))).state_dict() for name in ("auto", "told"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert train_run(config(data, accumulate="auto"), tmp_path / "auto", resume=True).status == "done"
    with pytest.raises(InputError, match="another batch_size"):
        train_run(config(data, batch_size=8, accumulate="auto"), tmp_path / "auto", resume=True)


def test_a_step_of_several_processes_is_cut_by_the_one_that_fits_least(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three images fit here, one in another process: pieces of two, an image each."""
    monkeypatch.setattr("vlseg.training.pieces.images_that_fit", lambda *_, **__: 3)
    monkeypatch.setattr("vlseg.training.pieces.least", lambda fitting: min(fitting, 1))
    monkeypatch.setattr("vlseg.training.pieces.world", lambda: 2)
    train_run(config(make_dataset(counts=(4, 1, 1)), accumulate="auto", max_steps=1), tmp_path / "run")
    resolved = read_config(tmp_path / "run" / "config.yaml")
    assert (resolved.batch_size, resolved.accumulate) == (2, 2)


@pytest.mark.parametrize("name", ["smp-unet", "cris"])
def test_looking_for_what_fits_leaves_the_model_as_it_was(name: str, make_dataset: MakeDataset) -> None:
    """Batch norm's running statistics and counts, too."""
    pool = open_pool([str(make_dataset(counts=(2, 1, 1)))], "p1")
    model = build_model(name, arguments=dict(TINY[name]), targets=pool.targets)
    before = {key: tensor.clone() for key, tensor in as_module(model).state_dict().items()}
    assert any(key.endswith("num_batches_tracked") for key in before)
    wanted = config(Path("unused"), model=name, accumulate="auto")
    found = with_fitting_pieces(wanted, model, pool.split("train"), pool.infos)
    assert isinstance(found.accumulate, int)
    after = as_module(model).state_dict()
    assert [key for key in before if not torch.equal(before[key], after[key])] == []


def test_a_second_call_does_not_wrap_blocks_again() -> None:
    model = made("clipseg")
    train_mode(model, apply_regime(model, "full"))
    count = checkpoint_blocks(model)
    once = [module.forward for module in as_module(model).modules()]
    assert checkpoint_blocks(model) == count
    assert [module.forward for module in as_module(model).modules()] == once


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # the compiler's own
def test_a_compiled_run_ends_where_a_plain_one_does(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(4, 1, 1))
    plain = train_run(config(data), tmp_path / "plain")
    compiled = train_run(config(data, compile=True), tmp_path / "compiled")
    assert compiled.summary["best_val_dice"] == pytest.approx(plain.summary["best_val_dice"], abs=1e-3)
    losses = []
    for name in ("plain", "compiled"):
        with (tmp_path / name / "history.csv").open() as file:
            losses.append([float(row["loss"]) for row in csv.DictReader(file) if row["loss"]])
    assert len(losses[0]) == 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
