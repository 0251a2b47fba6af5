"""Subgroups, anybody's masks under the same rules, and runs compared on the same samples."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.jobs.compare import compare_runs, comparison_for_report
from vlseg.jobs.evaluate import EvaluateOptions, evaluate_masks, evaluate_on, summary
from vlseg.metrics import subgroups
from vlseg.records import InputError, read_scores

MakeDataset = Callable[..., Path]


def noisy(root: Path, out: Path, seed: int, noise: float, shift: int = 0) -> Path:
    """The test masks with pixels flipped, as somebody's predictions."""
    out.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for path in sorted((root / "masks").glob("test*.png")):
        mask = np.roll(np.asarray(Image.open(path)) > 127, shift, axis=1)
        mask = mask ^ (rng.random(mask.shape) < noise * rng.random())
        Image.fromarray(mask.astype(np.uint8) * 255).save(out / path.name)
    return out


def scored(root: Path, masks: Path, out: Path) -> Path:
    evaluate_masks(masks, [str(root)], EvaluateOptions(prompt="p1"), out)
    return out


def grouped(root: Path) -> Path:
    for split in ("train", "val", "test"):
        path = root / "anns" / f"{split}.json"
        entries = json.loads(path.read_text())
        for index, entry in enumerate(entries):
            entry["group"] = f"{split} {index // 2}"
            entry["site"] = "Ghent" if index % 4 < 2 else "Oslo"
            entry["attributes"] = [{"name": "sex", "value": "female" if index % 8 < 4 else "male"}]
        path.write_text(json.dumps(entries))
    return root


def test_masks_that_predict_wrote_score_as_the_run_does(
    trained: Path, vlseg: Callable[..., Any], tmp_path: Path
) -> None:
    """To the last digit, presence included."""
    data, run = trained / "data", trained / "run"
    direct = evaluate_on(str(run), [str(data)], EvaluateOptions(prompt="p1", device="cpu", threads=1), tmp_path / "a")
    images = tmp_path / "images"
    images.mkdir()
    for path in (data / "images").glob("test*.png"):
        (images / path.name).write_bytes(path.read_bytes())
    prompts = ["--prompt", "bright disc", "--prompt", "dark disc"]
    assert vlseg("predict", run, "--image", images, *prompts, "--out", tmp_path / "m", "--device", "cpu").code == 0
    done = vlseg(
        "evaluate", "--masks", tmp_path / "m", "--data", data, "--prompt", "p1", "--out", tmp_path / "b", "--json"
    )
    assert done.code == 0, done.err
    one, two = direct.scores, read_scores(tmp_path / "b" / "scores.parquet")
    columns = (
        "sample_id",
        "dice",
        "iou",
        "hd95",
        "hd",
        "nsd",
        "assd",
        "area",
        "area_error",
        "lesions_found",
        "pixel_recall",
    )
    assert [[getattr(row, c) for c in columns] for row in one] == [[getattr(row, c) for c in columns] for row in two]
    for first, second in zip(one, two, strict=True):
        assert second.presence_score == first.presence_score
        assert second.brier is None  # a mask is no probability
    assert done.json["presence"] == summary(direct)["presence"]
    assert done.json["calibration"]["expected_calibration_error"] is None
    assert done.json["calibration"]["reason"] == "mask files hold no probabilities"
    assert done.json["detectable"]["value"] is None
    assert "single run" in done.json["detectable"]["reason"]
    values = summary(direct)
    assert done.json["dice"] == values["dice"]
    assert done.json["hd95"] == values["hd95"]


def test_masks_by_name(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    perfect = evaluate_masks(
        noisy(root, tmp_path / "m", 0, 0), [str(root)], EvaluateOptions(prompt="p1"), tmp_path / "o"
    )
    assert summary(perfect)["dice"]["mean"] == 1.0
    by_target = tmp_path / "t"
    for path in (tmp_path / "m").glob("*.png"):
        image, word = path.stem.split("_")
        (by_target / f"{word} disc").mkdir(parents=True, exist_ok=True)
        (by_target / f"{word} disc" / f"{image}.png").write_bytes(path.read_bytes())
    again = evaluate_masks(by_target, [str(root)], EvaluateOptions(prompt="p1"), tmp_path / "p")
    assert summary(again)["dice"]["mean"] == 1.0
    (tmp_path / "m" / "test0_dark.png").unlink()
    with pytest.raises(InputError, match=r"no mask for 1 of 6 prompts, e.g. test0.png with"):
        evaluate_masks(tmp_path / "m", [str(root)], EvaluateOptions(prompt="p1"), tmp_path / "q")
    assert not (tmp_path / "q").exists()


def test_masks_of_another_value_score_as_themselves_and_odd_ones_are_refused(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    root = make_dataset()
    masks = noisy(root, tmp_path / "m", 0, 0)
    options = EvaluateOptions(prompt="p1")
    for path in masks.glob("*.png"):
        Image.open(path).point(lambda value: value // 2).save(path)
    assert summary(evaluate_masks(masks, [str(root)], options, tmp_path / "o"))["dice"]["mean"] == 1.0
    one = next(masks.glob("*.png"))
    Image.open(one).point(lambda value: 2 * value).save(one)
    with pytest.raises(InputError, match="holds several labels"):
        evaluate_masks(masks, [str(root)], options, tmp_path / "p")


def test_label_maps_of_a_set_with_labels_are_read_by_their_labels(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Bright discs are 1 and dark ones 2 in one file of each image, in the truth as in the answers."""
    root = make_dataset()
    for split in ("train", "val", "test"):
        path = root / "anns" / f"{split}.json"
        entries = json.loads(path.read_text())
        for entry in entries:
            word = entry["target"].split()[0]
            image = entry["img_name"].removesuffix(".png")
            parts = [np.asarray(Image.open(root / "masks" / f"{image}_{w}.png")) > 0 for w in ("bright", "dark")]
            Image.fromarray((parts[0] + 2 * parts[1]).astype(np.uint8)).save(root / "masks" / f"{image}.png")
            entry.update(mask_name=f"{image}.png", mask_value=1 + (word == "dark"))
        path.write_text(json.dumps(entries))
    answers = tmp_path / "m"
    for word in ("bright", "dark"):
        (answers / f"{word} disc").mkdir(parents=True)
        for path in (root / "masks").glob("test?.png"):
            (answers / f"{word} disc" / path.name).write_bytes(path.read_bytes())
    options = EvaluateOptions(prompt="p1")
    assert summary(evaluate_masks(answers, [str(root)], options, tmp_path / "o"))["dice"]["mean"] == 1.0
    for path in answers.rglob("*.png"):  # one structure each, as 0/255
        wanted = 1 + path.parent.name.startswith("dark")
        Image.open(path).point(lambda value, wanted=wanted: 255 * (value == wanted)).save(path)
    assert summary(evaluate_masks(answers, [str(root)], options, tmp_path / "p"))["dice"]["mean"] == 1.0


def test_subgroups(make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    root = grouped(make_dataset(counts=(4, 1, 24)))
    masks = noisy(root, tmp_path / "m", 0, 0.3)
    done = evaluate_masks(masks, [str(root)], EvaluateOptions(prompt="p1"), tmp_path / "o")
    rows = done.scores
    for column, values in (
        ("site", {"Ghent", "Oslo"}),
        ("sex", {"female", "male"}),
        ("target", {"bright disc", "dark disc"}),
    ):
        found = subgroups(rows, column, groups_known=True)
        assert found.keys() == values
        assert sum(one.n for one in found.values()) == len(rows)
    oslo = [row.dice for row in rows if row.site == "Oslo"]
    assert subgroups(rows, "site", groups_known=True)["Oslo"].dice.mean == pytest.approx(np.mean(oslo))
    assert subgroups(rows, "site", groups_known=True)["Oslo"].dice.ci95 is not None
    assert sum(one.n for one in subgroups(rows, "size-bin", groups_known=True).values()) == len(rows)
    shown = vlseg(
        "evaluate", "--masks", masks, "--data", root, "--prompt", "p1", "--by", "sex", "--out", tmp_path / "x"
    )
    assert re.search(r"^  female +24 ", shown.out, flags=re.MULTILINE)
    with pytest.raises(InputError, match="sex, site, size-bin"):
        subgroups(rows, "colour", groups_known=True)


def test_compare_finds_what_was_planted(make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    root = grouped(make_dataset(counts=(4, 1, 24)))
    good = scored(root, noisy(root, tmp_path / "g", 0, 0.05), tmp_path / "good")
    same = scored(root, noisy(root, tmp_path / "s", 1, 0.05), tmp_path / "same")
    bad = scored(root, noisy(root, tmp_path / "b", 2, 0.05, shift=3), tmp_path / "bad")
    values = compare_runs([good, same, bad])
    pairs = {(pair["first"], pair["second"]): pair for pair in values["pairs"]}
    worse = pairs[("good", "bad")]
    assert worse["difference"] < -0.1
    assert worse["p_holm"] < 0.001
    assert worse["n"] == 48
    assert worse["n_groups"] == 24
    alike = pairs[("good", "same")]
    assert alike["ci95"][0] < 0 < alike["ci95"][1]
    assert alike["p_holm"] >= alike["p"] > 0.05
    assert alike["detectable"] > 0
    assert values["over_datasets"][0]["reason"] == "1 datasets, fewer than 3"
    itself = compare_runs([good, good])["pairs"][0]
    assert (itself["p"], itself["reason"]) == (1.0, "all differences are zero")
    shown = vlseg("compare", good, bad, "--json").json
    assert shown["command"] == "compare"
    assert shown["pairs"][0]["difference"] == worse["difference"]
    assert vlseg("compare", good, bad).code == 0


@pytest.mark.parametrize("metric", ["iou", "nsd", "hd95"])
def test_other_metrics(make_dataset: MakeDataset, tmp_path: Path, metric: str) -> None:
    root = make_dataset(counts=(4, 1, 12))
    good = scored(root, noisy(root, tmp_path / "g", 0, 0.02), tmp_path / "good")
    bad = scored(root, noisy(root, tmp_path / "b", 2, 0.02, shift=4), tmp_path / "bad")
    difference = compare_runs([good, bad], metric=metric)["pairs"][0]["difference"]
    assert (difference > 0) == (metric == "hd95")


@pytest.mark.slow
def test_methods_over_seeds(make_dataset: MakeDataset, tmp_path: Path) -> None:
    from vlseg.jobs.train import train_run
    from vlseg.records import RunConfig

    root = make_dataset(counts=(4, 1, 12))
    runs = []
    for rate in (1e-3, 4e-3):
        for seed in range(5):
            config = RunConfig(
                model="clipseg-tiny",
                learning_rate=rate,
                model_arguments={"image_size": 32},
                data=[str(root)],
                prompt="p1",
                seed=seed,
                max_steps=5,
                threads=1,
                device="cpu",
            )
            out = tmp_path / f"{rate}-{seed}"
            train_run(config, out)
            evaluate_on(str(out), [str(root)], EvaluateOptions(device="cpu", threads=1))
            runs.append(out)
    values = compare_runs(runs)
    methods = values["methods"]
    assert [len(one["seeds"]) for one in methods] == [5, 5, 5]
    assert all(one["ci95"] is not None for one in methods)
    assert "minus" in methods[2]["method"]
    assert methods[2]["mean"] == pytest.approx(methods[1]["mean"] - methods[0]["mean"])
    three = compare_runs(runs[:3])["methods"][0]
    assert (three["ci95"], three["reason"]) == (None, "3 seeds, fewer than 5")
    assert len(values["pairs"]) == 45


def test_what_cannot_be_compared_is_one_line(make_dataset: MakeDataset, tmp_path: Path) -> None:
    one, two = make_dataset("one"), make_dataset("two")
    first = scored(one, noisy(one, tmp_path / "a", 0, 0.1), tmp_path / "first")
    second = scored(two, noisy(two, tmp_path / "b", 0, 0.1), tmp_path / "second")
    with pytest.raises(InputError, match="no test sample in common"):
        compare_runs([first, second])
    assert "no test sample in common" in str(comparison_for_report([first, second]))
    assert comparison_for_report([first]) is None
    assert "more than 12" in str(comparison_for_report([first] * 13))
    with pytest.raises(InputError, match="two or more"):
        compare_runs([first])
    with pytest.raises(InputError, match="holds no val scores"):
        compare_runs([first, second], split="val")
    with pytest.raises(InputError, match="unknown metric"):
        compare_runs([first, second], metric="accuracy")


def test_flip_uncertainty_and_calibration(trained: Path, vlseg: Callable[..., Any], tmp_path: Path) -> None:
    data, run = trained / "data", trained / "run"
    refused = vlseg(
        "evaluate", run, "--data", data, "--uncertainty", "flip", "--device", "cpu", "--out", tmp_path / "a"
    )
    assert refused.code == 2
    assert "symmetries" in refused.err
    values = json.loads((data / "dataset.json").read_text())
    copy = tmp_path / "data"
    import shutil

    shutil.copytree(data, copy)
    (copy / "dataset.json").write_text(json.dumps(values | {"symmetries": ["horizontal"]}))
    done = vlseg(
        "evaluate", run, "--data", copy, "--uncertainty", "flip", "--device", "cpu", "--out", tmp_path / "b", "--json"
    )
    assert done.code == 0, done.err
    rows = read_scores(tmp_path / "b" / "scores.parquet")
    assert all(row.uncertainty is not None and 0 <= row.uncertainty <= 1 for row in rows)
    assert done.json["risk_coverage"]["n"] == 6
    assert len(done.json["risk_coverage"]["curve"]) == 6
    saved = json.loads((tmp_path / "b" / "calibration.json").read_text())
    assert saved == done.json["calibration"]
    assert saved["pixels"] == sum(point[2] for point in saved["curve"])
    assert all(row.brier is None or 0 <= row.brier <= 1 for row in rows)


def test_a_missed_object_counts_in_the_penalised_distance(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset(counts=(4, 1, 12))
    good = scored(root, noisy(root, tmp_path / "g", 0, 0.02), tmp_path / "good")
    missing = noisy(root, tmp_path / "m", 0, 0.02)
    for path in sorted(missing.glob("*dark.png")):
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(path)
    missed = scored(root, missing, tmp_path / "missed")
    plain = compare_runs([good, missed], metric="hd95")["pairs"][0]
    penalised = compare_runs([good, missed], metric="hd95_penalised")["pairs"][0]
    assert (plain["n"], plain["difference"]) == (12, 0.0)
    assert penalised["n"] == 24
    assert penalised["difference"] > 10


def test_corruptions_do_not_mix_with_the_scores_of_images_as_they_are(
    trained: Path, vlseg: Callable[..., Any], tmp_path: Path
) -> None:
    common = ("evaluate", trained / "run", "--data", trained / "data", "--device", "cpu", "--by", "target", "--json")
    clean = vlseg(*common, "--out", tmp_path / "a").json
    corrupted = vlseg(*common, "--condition", "corrupted", "--out", tmp_path / "b").json
    assert corrupted["dice"] == clean["dice"]
    assert corrupted["by"] == clean["by"]
    assert corrupted["calibration"] == clean["calibration"]
