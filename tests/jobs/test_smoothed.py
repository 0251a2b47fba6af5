"""Condition smoothed: rows, what is said of them, and what is refused."""

import html
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlseg.jobs.evaluate import evaluate_on, summary
from vlseg.jobs.scoring import EvaluateOptions
from vlseg.metrics import Smoothing, certificates
from vlseg.records import EvaluationSpec, InputError, SampleScore, read_scores
from vlseg.reports import write_report
from vlseg.reports.chosen import condition_words
from vlseg.reports.words import about_certificates, about_guarantee
from vlseg.reports.words.numbers import decimal

Vlseg = Callable[..., Any]
OPTIONS = EvaluateOptions(device="cpu", threads=1, pictures=False, condition="smoothed")
FEW = Smoothing(draws=50)


def run_copy(trained: Path, place: Path) -> Path:
    shutil.copytree(trained / "run", place, ignore=shutil.ignore_patterns("evaluations", "checkpoints"))
    return place


def rows(scores: list[SampleScore], sigma: float | None = None) -> dict[str, SampleScore]:
    """Of the plain model, or of one sigma, by sample."""
    if sigma is None:
        return {row.sample_id: row for row in scores if row.condition == "clean"}
    smoothed = [row for row in scores if row.condition == "smoothed"]
    return {row.sample_id: row for row in smoothed if json.loads(row.condition_arguments)["sigma"] == sigma}


def test_rows_and_means_on_the_command_line(trained: Path, tmp_path: Path, vlseg: Vlseg) -> None:
    asked = ("evaluate", trained / "run", "--data", trained / "data", "--device", "cpu", "--no-images")
    sigmas = ("--sigma", 0.5, "--sigma", "0.05")
    done = vlseg(*asked, "--condition", "smoothed", *sigmas, "--out", tmp_path / "a", "--json")
    assert done.code == 0, done.err
    values = done.json
    clean = vlseg(*asked, "--out", tmp_path / "b", "--json").json
    assert values["dice"] == clean["dice"], "the evaluation as a whole is that of the plain model"
    scores = read_scores(tmp_path / "a" / "scores.parquet")
    assert len(scores) == 3 * 6
    for told in values["certificates"]:
        found = rows(scores, told["sigma"])
        assert found.keys() == rows(scores).keys()
        for row in found.values():
            assert row.certified_dice is not None
            assert row.dice is not None
            assert 0 <= row.certified_dice <= row.dice
            assert row.presence_score is None
        for name in ("dice", "abstained", "certified_dice", "certified_accuracy"):
            assert told[name]["mean"] == pytest.approx(np.mean([getattr(row, name) for row in found.values()]))
            assert told[name]["n"] == 6
        difference = np.mean([row.dice for row in found.values()]) - values["dice"]["mean"]
        assert told["change"]["difference"] == pytest.approx(difference)
        assert told["radius"] == pytest.approx(0.6744898 * told["sigma"])
    assert [one["name"] for one in values["certificates"]] == ["0.05", "0.5"]
    assert all(row.abstained is None and row.certified_dice is None for row in rows(scores).values())
    human = vlseg(*asked, "--condition", "smoothed", *sigmas, "--out", tmp_path / "a").out
    assert "of the model without noise nothing is" in " ".join(human.split())
    spec = EvaluationSpec.read(tmp_path / "a" / "spec.json")
    assert spec.condition_arguments["draws"] == 100


def test_means_are_over_rows_and_intervals_over_patients(trained: Path, tmp_path: Path) -> None:
    done = evaluate_on(str(trained / "run"), [str(trained / "data")], replace(OPTIONS, smoothing=FEW), tmp_path / "e")
    template = next(iter(rows(done.scores, 0.25).values()))
    plain = next(iter(rows(done.scores).values()))
    rng = np.random.default_rng(0)
    made: list[SampleScore] = []
    for index in range(60):
        dice, bound = sorted(rng.random(2))[::-1]
        same: dict[str, Any] = {"sample_id": str(index), "image_id": str(index), "group": str(index % 30)}
        made.append(replace(plain, dice=0.9, empty_target=index % 3 == 0, **same))
        smoothed = {"dice": dice, "certified_dice": bound, "empty_target": index % 3 == 0}
        made.append(replace(template, **smoothed, **same))
    (one,) = certificates(made, groups_known=True)
    ours = [row for row in made if row.condition == "smoothed"]
    assert one.certified_dice.mean == pytest.approx(np.mean([row.certified_dice for row in ours]))
    present = [row.certified_dice for row in ours if not row.empty_target]
    assert one.certified_dice_present.mean == pytest.approx(np.mean(present))
    assert one.certified_dice_present.n == 40
    assert one.change.difference == pytest.approx(np.mean([row.dice for row in ours]) - 0.9)
    low, high = one.certified_dice.ci95 or (1.0, 0.0)
    assert low < np.mean([row.certified_dice for row in ours]) < high
    by_image = certificates(made, groups_known=False)[0].certified_dice.ci95
    assert by_image != one.certified_dice.ci95
    assert [asdict(row)["sigma"] for row in certificates(made[::-1], groups_known=True)] == [0.25]


def test_too_few_draws_are_told_before_any_and_the_mend_works(trained: Path, tmp_path: Path, vlseg: Vlseg) -> None:
    asked = ("evaluate", trained / "run", "--data", trained / "data", "--condition", "smoothed", "--no-images")
    refused = vlseg(*asked, "--draws", 20, "--out", tmp_path / "a")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "(32 x 32)" in refused.err
    assert not (tmp_path / "a").exists()
    number = int(re.search(r"give --draws (\d+) or more", refused.err)[1])  # type: ignore[index]
    assert vlseg(*asked, "--draws", number - 1, "--out", tmp_path / "a").code == 2
    done = vlseg(*asked, "--draws", number, "--sigma", "1e-6", "--out", tmp_path / "a", "--json")
    assert done.code == 0, done.err
    assert done.json["certificates"][0]["abstained"]["mean"] < 1, "as many draws as that certify something"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--sigma", 0.1), "are for --condition smoothed"),
        (("--limit", 2), "are for --condition smoothed"),
        (("--condition", "corrupted", "--alpha", 0.1), "are for --condition smoothed"),
        (("--condition", "smoothed", "--sigma", 0), "--sigma: 0.0 is no deviation"),
        (("--condition", "smoothed", "--tau", 0.4), "--tau: 0.4 certifies nothing"),
        (("--condition", "smoothed", "--alpha", 1), "--alpha: 1 is no error probability"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    options: tuple[object, ...], told: str, trained: Path, tmp_path: Path, vlseg: Vlseg
) -> None:
    data = ("--data", trained / "data", "--out", tmp_path / "a")
    for source in ((trained / "run",), ("--masks", trained / "data" / "masks")):
        refused = vlseg("evaluate", *source, *data, *options)
        assert refused.code == 2
        assert told in refused.err or "is for models" in refused.err
        assert refused.err.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_masks_must_be_there(make_dataset: Callable[..., Path], trained: Path, tmp_path: Path) -> None:
    data = make_dataset()
    entries = json.loads((data / "anns" / "test.json").read_text())
    (data / "anns" / "test.json").write_text(json.dumps([{**one, "mask_name": None} for one in entries]))
    with pytest.raises(InputError, match=r"no test sample of .* has a mask"):
        evaluate_on(str(trained / "run"), [str(data)], OPTIONS, tmp_path / "e")


def test_rows_depend_neither_on_other_sigmas_nor_on_the_order_of_samples(
    make_dataset: Callable[..., Path], trained: Path, tmp_path: Path
) -> None:
    data, run = make_dataset(), str(trained / "run")

    def scores(smoothing: Smoothing, name: str, seed: int = 0) -> list[SampleScore]:
        options = replace(OPTIONS, smoothing=smoothing, seed=seed)
        return evaluate_on(run, [str(data)], options, tmp_path / name).scores

    both = scores(replace(FEW, sigmas=(0.05, 0.2)), "both")
    again = scores(replace(FEW, sigmas=(0.05, 0.2)), "both")
    alone = scores(replace(FEW, sigmas=(0.2,)), "alone")
    other = scores(replace(FEW, sigmas=(0.2,)), "other", seed=3)
    entries = json.loads((data / "anns" / "test.json").read_text())
    (data / "anns" / "test.json").write_text(json.dumps(entries[::-1]))
    turned = scores(replace(FEW, sigmas=(0.2,)), "turned")
    assert both == again
    assert rows(both, 0.2) == rows(alone, 0.2)
    assert rows(alone, 0.2) != rows(other, 0.2)
    assert [*rows(turned, 0.2)] != [*rows(alone, 0.2)]
    for key, row in rows(turned, 0.2).items():
        before = rows(alone, 0.2)[key]
        assert row.certified_dice == pytest.approx(before.certified_dice, abs=0.01)
        assert row.abstained == pytest.approx(before.abstained, abs=0.005)


def test_without_noise_rows_are_the_plain_ones(trained: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, smoothing=Smoothing(sigmas=(1e-9,)), limit=4)
    done = evaluate_on(str(trained / "run"), [str(trained / "data")], options, tmp_path / "e")
    plain, smoothed = rows(done.scores), rows(done.scores, 1e-9)
    assert plain.keys() == smoothed.keys()
    assert len(plain) == 4
    for key, row in smoothed.items():
        assert row.dice == pytest.approx(plain[key].dice, abs=0.01)
        assert row.certified_dice == pytest.approx(row.dice, abs=0.01)
        assert row.abstained == pytest.approx(0, abs=1e-3)


def test_each_way_of_smoothing_is_an_evaluation_of_its_own(trained: Path, tmp_path: Path) -> None:
    run = run_copy(trained, tmp_path / "run")
    ways = [Smoothing(), FEW, Smoothing(sigmas=(0.1, 0.5)), Smoothing(place="native"), Smoothing(alpha=0.01)]
    asked = [*(replace(OPTIONS, smoothing=one, limit=1) for one in ways), replace(OPTIONS, limit=2)]
    done = [evaluate_on(str(run), [str(trained / "data")], one) for one in asked]
    made = [one.folder.name for one in done]
    assert len(set(made)) == len(asked)
    assert len({one.spec.identity for one in done}) == len(asked)
    assert "sigma-0.1-0.5" in made[2]


def test_the_page_and_the_terminal_say_what_is_certified(trained: Path, tmp_path: Path) -> None:
    run = run_copy(trained, tmp_path / "run")
    options = replace(OPTIONS, smoothing=replace(FEW, sigmas=(0.05, 0.5), alpha=0.01), pictures=True)
    done = evaluate_on(str(run), [str(trained / "data")], options)
    found = certificates(done.scores, groups_known=False)
    sentence, guarantee = about_certificates(found, groups_known=False), about_guarantee(found[0])
    best = max(found, key=lambda one: one.certified_dice.mean or 0.0)
    for number in (best.certified_dice.mean, best.dice.mean, done.aggregate.dice.mean):
        assert decimal(number) in sentence
    assert f"sigma {best.sigma:g}" in sentence
    assert f"{best.radius:.3g}" in sentence
    assert "with probability 0.99 or more" in guarantee
    page = write_report([run], tmp_path / "r.html", title="t").read_text()
    text = " ".join(html.unescape(page).split())
    assert sentence in text
    assert guarantee in text
    assert "50 draws an image and sigma, tau 0.75, alpha 0.01" in text
    assert "smoothed with sigma 0.5" in text, "in the gallery"
    assert summary(done)["certificates"][1]["name"] == "0.5"
    row = next(iter(rows(done.scores, 0.05).values()))
    assert condition_words(row, {}) == "smoothed with sigma 0.05"
    assert about_certificates([], groups_known=False) == ""
