"""Training with images without a mask: what is learned from, what is never read, and what a kill does not change."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from semi_runs import fit_of, same, semi_config, weights
from tiny_models import READING, TINY
from torch import Tensor
from torch.nn import functional as F

import vlseg.training.loop as loop_module
from vlseg.data import load_image
from vlseg.evaluation.predict import predict_image
from vlseg.jobs.datasets import open_pool
from vlseg.jobs.subsets import choose
from vlseg.jobs.train import train_run
from vlseg.losses import dice_bce_loss
from vlseg.models import build_model
from vlseg.prompts import Prompted
from vlseg.records import InputError
from vlseg.training.augment import Variant
from vlseg.training.batches import Batch
from vlseg.training.loop import Fit
from vlseg.training.semi import SemiSupervised
from vlseg.training.step import configured_loss

MakeDataset = Callable[..., Path]


def unlabelled_of(run: Path) -> set[str]:
    return {line.partition(": ")[2] for line in json.loads((run / "samples.json").read_text())["unlabelled"]}


def overwrite_masks(data: Path, samples: set[str]) -> int:
    """The masks of these samples become noise."""
    count = 0
    for entry in json.loads((data / "anns" / "train.json").read_text()):
        path = data / "masks" / entry["mask_name"]
        if any(Path(entry["mask_name"]).stem in sample for sample in samples):
            noise = np.random.default_rng(count).random((32, 32)) > 0.5
            Image.fromarray(noise.astype(np.uint8) * 255).save(path)
            count += 1
    return count


@pytest.mark.parametrize("lv_weight", [0.0, 0.1])
def test_masks_outside_the_label_share_change_nothing(
    make_dataset: MakeDataset, tmp_path: Path, lv_weight: float
) -> None:
    """The strongest form of "never read": with other masks there, the weights are the same, bit by bit."""
    data = make_dataset(counts=(8, 2, 1))
    train_run(semi_config(data, lv_weight=lv_weight), tmp_path / "true")
    hidden = unlabelled_of(tmp_path / "true")
    assert len(hidden) == 8
    assert overwrite_masks(data, hidden) == 8
    train_run(semi_config(data, lv_weight=lv_weight), tmp_path / "noise")
    assert same(weights(tmp_path / "true"), weights(tmp_path / "noise"))
    train_run(
        semi_config(data, lv_weight=lv_weight, label_share=1.0), tmp_path / "all"
    )  # where they are used they matter
    assert not same(weights(tmp_path / "noise"), weights(tmp_path / "all"))


def test_masks_outside_the_label_share_may_be_unreadable(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go once the dataset has been looked through (its fingerprint is over all files)."""
    data = make_dataset(counts=(8, 2, 1))
    original = loop_module.Fit.run

    def without_files(self: Fit) -> Any:
        hidden = {item.sample.id for item in self.semi.items}  # type: ignore[union-attr]
        for path in (data / "masks").glob("train*.png"):
            if any(path.stem in sample for sample in hidden):
                path.unlink()
        assert len(list((data / "masks").glob("train*.png"))) == 8
        return original(self)

    monkeypatch.setattr(loop_module.Fit, "run", without_files)
    assert train_run(semi_config(data, lv_weight=0.1), tmp_path / "run").status == "done"


def test_left_out_labels_are_as_a_smaller_share_of_the_images(
    make_dataset: MakeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_dataset(counts=(8, 2, 1))
    train_run(semi_config(data, pseudo_labels="none"), tmp_path / "labels")
    assert "training on 8 samples of 4 images, 8 samples of 4 images without a mask left out" in capsys.readouterr().err
    train_run(semi_config(data, pseudo_labels="none", label_share=1.0, train_share=0.5), tmp_path / "images")
    assert same(weights(tmp_path / "labels"), weights(tmp_path / "images"))


def test_pseudo_labels_without_need_change_nothing(
    make_dataset: MakeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_dataset(counts=(4, 2, 1))
    train_run(semi_config(data, label_share=1.0), tmp_path / "epi")
    assert "every training sample has a mask, so that epi changes nothing" in capsys.readouterr().err
    train_run(semi_config(data, label_share=1.0, pseudo_labels="none"), tmp_path / "none")
    assert same(weights(tmp_path / "epi"), weights(tmp_path / "none"))


def test_images_that_never_had_a_mask_are_trained_on(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(6, 2, 1))
    path = data / "anns" / "train.json"
    entries = json.loads(path.read_text())
    for entry in entries[4:]:
        entry["mask_name"] = None
    path.write_text(json.dumps(entries))
    record = train_run(semi_config(data, label_share=1.0), tmp_path / "run")
    assert len(unlabelled_of(tmp_path / "run")) == 8
    assert record.summary["steps"] == 2 * 1 + 2 * 3


def test_labels_are_the_models_own_answers_iterated(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each generation the labels are those that prediction's own code and the recursion give."""
    data = make_dataset(counts=(6, 1, 1))
    fit = fit_of(data, tmp_path, semi_config(data, pseudo_beta=0.7, augment=True))
    expected: dict[str, Any] = {}
    generations = 0
    original = Fit._make_pseudo_labels

    def make_and_check(self: Fit) -> None:
        nonlocal generations
        before = self.semi.labels.epoch  # type: ignore[union-attr]
        original(self)
        if self.semi.labels.epoch == before:  # type: ignore[union-attr]
            return
        generations += 1
        for item in self.semi.items:  # type: ignore[union-attr]
            rgb = load_image(item.sample, self.infos[item.sample.dataset])
            (answer,) = predict_image(self.model, rgb, [item.wordings[0]], device=torch.device("cpu"))
            last = expected.get(item.sample.id, answer.probability)
            expected[item.sample.id] = 0.7 * last + 0.3 * answer.probability
            assert self.semi.labels.of(item) == pytest.approx(expected[item.sample.id], abs=5e-5)  # type: ignore

    monkeypatch.setattr(Fit, "_make_pseudo_labels", make_and_check)
    fit.run()
    assert generations == 2  # of four epochs the first two warm up
    assert fit.progress.step == 2 * 2 + 2 * 3


def cosine(one: Tensor, two: Tensor) -> float:
    return float(F.cosine_similarity(one.flatten()[None], two.flatten()[None]))


def test_the_loss_is_the_mean_over_rows_of_what_each_is_due(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Row by row by hand: configured loss, or Dice + cross-entropy on the pseudo-label + 0.1 (1 - cosine)."""
    data = make_dataset(counts=(8, 1, 1))
    settings = semi_config(data, lv_weight=0.1, presence_weight=0.3, augment=False, pseudo_warmup=0.0, batch_size=8)
    fit = fit_of(data, tmp_path, settings)
    batch = fit.first_batch()
    assert batch.pseudo is not None
    assert batch.references is not None
    assert 0 < int(batch.pseudo.sum()) < len(batch.pseudo)
    logits = torch.randn(batch.masks.shape, generator=torch.Generator().manual_seed(0))
    labelled = settings.model_copy(update={"pseudo_labels": "none"})
    rows, references = [], iter(batch.references)
    for row, (one, mask, pseudo) in enumerate(zip(logits, batch.masks, batch.pseudo, strict=True)):
        if not pseudo:
            rows.append(float(configured_loss(labelled, one[None], mask[None])))
            assert set(mask.unique().tolist()) == {0.0, 1.0}, row
            continue
        unlike = 1 - cosine(one.sigmoid(), next(references))
        rows.append(float(dice_bce_loss(one[None], mask[None])) + 0.1 * unlike)
    assert float(fit.loss(logits, batch.masks, batch)) == pytest.approx(sum(rows) / len(rows), rel=1e-5)


def test_the_history_tells_what_the_loss_is_made_of(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(8, 1, 1))
    settings = semi_config(data, lv_weight=0.1, epochs=20, batch_size=4, prompts_per_image=1)
    fit = fit_of(data, tmp_path, settings)
    fit.run()
    rows = [row for row in fit.journal.rows if row.loss is not None]
    early, later = rows[0], rows[-1]
    assert (early.step, early.labelled_loss, early.pseudo_loss, early.lv_loss) == (10, None, None, None)
    assert later.labelled_loss is not None
    assert later.pseudo_loss is not None
    assert later.lv_loss is not None
    # Half of the rows each, not of every batch: near the mean of both.
    assert later.loss == pytest.approx((later.labelled_loss + later.pseudo_loss + 0.1 * later.lv_loss) / 2, rel=0.2)
    with (tmp_path / "history.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert float(written[-1]["lv_loss"]) == later.lv_loss
    plain = fit_of(data, tmp_path / "plain", settings.model_copy(update={"pseudo_labels": "none", "lv_weight": 0.0}))
    plain.run()
    assert "pseudo_loss" not in (tmp_path / "plain" / "history.csv").read_text()


def test_references_are_training_masks_of_the_same_text(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(8, 4, 4))
    fit = fit_of(data, tmp_path, semi_config(data, lv_weight=0.1, prompt="p1"))
    assert fit.semi is not None
    for epoch in range(6):
        for item in fit.semi.items:
            like = fit.semi.reference(item, epoch)
            assert like is not None
            assert like.sample.split == "train"
            assert like.sample.mask_paths
            assert like.wordings == item.wordings


@pytest.mark.parametrize("size", [(32, 32), (40, 24)])
def test_labels_move_as_masks_do(make_dataset: MakeDataset, tmp_path: Path, size: tuple[int, int]) -> None:
    """An oracle whose answers are the masks: on every changed image its labels are the masks of that image.

    Mirrored and turned by quarters exactly on square images; else between pixels, and on images that are not square,
    which the network's grid stretches.
    """
    data = make_dataset(counts=(8, 1, 1), size=40)
    for folder in ("images", "masks"):
        for path in (data / folder).glob("*.png"):
            with Image.open(path) as opened:
                opened.resize(size[::-1], Image.Resampling.NEAREST).save(path)
    (data / "dataset.json").write_text(
        json.dumps({"name": "discs", "symmetries": ["horizontal", "vertical", "rotation"]})
    )
    square = size[0] == size[1]
    bends = {} if square else {"zoom": 0.3, "rotate": 30.0}
    settings = semi_config(data, pseudo_warmup=0.0, batch_size=16, **bends)
    fit = fit_of(data, tmp_path, settings)
    truth = {item.sample.id: item for item in open_pool(settings.data, "p2").split("train")}
    masks = {}
    for item in fit.semi.items:  # type: ignore[union-attr]
        mask = fit.cache.mask(truth[item.sample.id], None)
        masks[item.sample.id] = fit.model.prepare_masks([torch.from_numpy(np.ascontiguousarray(mask))])[0, 0].numpy()

    changed = 0
    for epoch in range(5):
        fit.progress.epoch = epoch
        fit.semi.labels.update(epoch, (masks[item.sample.id] for item in fit.semi.items))  # type: ignore[union-attr]
        batch = next(fit._epoch())[0]
        whole = Fit(fit.model, list(truth.values()), fit.infos, settings, tmp_path / "whole")
        whole.progress.epoch = epoch
        true = next(whole._epoch())[0]
        assert torch.equal(batch.image_of, true.image_of)
        differs = (batch.masks - true.masks).abs().flatten(1).mean(1)
        assert float(differs.max()) < (1e-4 if square else 0.02)
        still = torch.stack([torch.from_numpy(m) for m in masks.values()])
        changed += sum(
            float((row - still).abs().flatten(1).mean(1).min()) > 0.03 for row in batch.masks[batch.pseudo, 0]
        )
    assert changed > 10


@pytest.mark.parametrize(
    "variant",
    [
        Variant(axes=("horizontal",)),
        Variant(turns=1),
        Variant(turns=3, axes=("vertical",)),
        Variant(None, (), 0, 0.8, 20),
    ],
)
def test_labels_move_in_a_letterbox_too(make_dataset: MakeDataset, tmp_path: Path, variant: Variant) -> None:
    """CRIS's own protocol keeps the sides' ratio and fills the rest of the grid."""
    torch.manual_seed(0)
    model = build_model("cris", arguments=TINY["cris"], targets=(), protocol="original")
    data = make_dataset(counts=(4, 1, 1))
    settings = semi_config(data, "cris")
    train = choose(open_pool(settings.data, "p2").split("train"), [], settings).train
    semi = SemiSupervised(model, train, settings, tmp_path, torch.device("cpu"), None)
    assert not semi.stretched
    mask = np.zeros((60, 36), np.float32)
    mask[8:40, 4:16] = 1

    def on_grid(image: np.ndarray) -> Tensor:
        return model.prepare_masks([torch.from_numpy(np.ascontiguousarray(image))])

    still = on_grid(mask)
    semi.labels.update(0, [still[0, 0].numpy()] * len(semi.items))
    moved, expected = semi.label(semi.items[0], variant, (60, 36)), on_grid(variant.mask(mask))
    assert float((moved - expected).abs().mean()) < 0.01
    assert float((still - expected).abs().mean()) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in READING if name != "ensemble"])
def test_every_model_that_reads_learns_from_both(make_dataset: MakeDataset, tmp_path: Path, name: str) -> None:
    """Weights differ from those without pseudo-labels, and from those without the LV loss."""
    data = make_dataset(counts=(4, 1, 1), size=48)
    shared: dict[str, Any] = {"epochs": 2, "learning_rate": 1e-3, "schedule": "constant", "validate_every": 9}
    changes = [{"pseudo_labels": "none"}, {}, {"lv_weight": 0.5}]
    losses = []
    for number, change in enumerate(changes):
        record = train_run(semi_config(data, name, **shared, **change), tmp_path / str(number))
        losses.append(weights(tmp_path / str(number)))
        assert record.status == "done"
    assert not same(losses[0], losses[1])
    assert not same(losses[1], losses[2])


def test_patience_counts_anew_after_the_warm_up(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """A run does not stop before it has begun with what was asked for."""
    data = make_dataset(counts=(4, 1, 1))
    settings = semi_config(data, epochs=10, patience=2)
    fit = fit_of(data, tmp_path, settings)
    fit.validate = lambda: 0.5
    result = fit.run()
    assert (result.epochs, result.best_step) == (7, 1)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no pseudo-labels": ({"pseudo_labels": "none", "lv_weight": 0.1}, "lv_weight: 0.1 is for images without a mask"),
    "image-only": ({"name": "unet", "lv_weight": 0.1}, "'unet' reads none"),
    "a twin": (
        {"name": "guide", "model_arguments": {**TINY["guide"], "text": "none"}, "lv_weight": 0.1},
        "'guide' reads none",
    ),
    "several processes": ({"devices": 2}, "train in one process"),
    "ends before": ({"max_steps": 4}, "4 steps end before the first pseudo-labels, after 4"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_said_in_a_line_and_nothing_is_written(
    make_dataset: MakeDataset, tmp_path: Path, case: str
) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as error:
        train_run(semi_config(make_dataset(counts=(8, 1, 1)), **changes), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "run.json").exists()


def test_an_unlabelled_image_with_a_leaking_prompt_is_told_of(
    make_dataset: MakeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_dataset(counts=(4, 1, 1))
    (data / "dataset.json").write_text(json.dumps({"name": "discs", "prompt_sources": {"p1": ["mask"]}}))
    train_run(semi_config(data, prompt="p1"), tmp_path / "run")
    assert "prompt p1 is not deployable (mask)" in capsys.readouterr().err


def test_what_is_read_of_a_batch(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """A batch of labelled images alone has no trace of all this."""
    data = make_dataset(counts=(4, 1, 1))
    fit = fit_of(data, tmp_path, semi_config(data))
    batch: Batch = fit.first_batch()
    assert batch.pseudo is None
    assert batch.references is None


def test_the_items_without_masks_are_in_their_order(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(8, 1, 1))
    fit = fit_of(data, tmp_path, semi_config(data, prompts_per_image=1, batch_size=3))
    assert fit.semi is not None
    planned: list[Prompted] = [item for batch in fit.semi.plan for draw in batch for item, _ in draw.chosen]
    assert planned == fit.semi.items
    assert max(len(draw.chosen) for batch in fit.semi.plan for draw in batch) == 1
