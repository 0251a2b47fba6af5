"""`vlseg robustness`: measures what is missing, leaves what is there, and prints what the rows say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlseg.jobs import robustness as robustness_job
from vlseg.jobs.attack import attack_on
from vlseg.jobs.attack_plan import AttackOptions
from vlseg.jobs.evaluate import EvaluateOptions, evaluate_on
from vlseg.jobs.robustness import robustness_of, summary
from vlseg.jobs.train import train_run
from vlseg.records import InputError, RunConfig, SampleScore, read_scores

Vlseg = Callable[..., Any]
OPTIONS = EvaluateOptions(device="cpu", threads=1, pictures=False)


IMAGE, SENTENCE = "attacks on the image", "attacks on the sentence"


@pytest.fixture(autouse=True)
def one_way_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three take their time."""
    monkeypatch.setattr(robustness_job, "WORDS", ("typos",))


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """data/ and run/ without evaluations, to write into."""
    shutil.copytree(trained, tmp_path / "own", ignore=shutil.ignore_patterns("evaluations", "checkpoints"))
    return tmp_path / "own"


def measured(root: Path, **asked: Any) -> tuple[dict[str, Any], list[str]]:
    """The values, and what was said."""
    said: list[str] = []
    options = asked.pop("options", OPTIONS)
    found = robustness_of(str(root / "run"), [str(root / "data")], options, say=said.append, **asked)
    return summary(found), said


def rows_in(root: Path) -> dict[str, list[SampleScore]]:
    """By evaluation."""
    folders = sorted((root / "run" / "evaluations").iterdir())
    return {folder.name: read_scores(folder / "scores.parquet") for folder in folders}


def dices(rows: list[SampleScore], condition: str, **told: Any) -> dict[str, float]:
    """By sample, the mean over rows of a condition whose arguments have these values."""
    found: dict[str, list[float]] = {}
    for row in rows:
        given = json.loads(row.condition_arguments)
        flat = {**given, **given.get("search", {}), **given.get("budget", {})}
        if row.condition == condition and all(flat.get(name) == value for name, value in told.items()):
            assert row.dice is not None
            found.setdefault(row.sample_id, []).append(row.dice)
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_the_command_measures_all_and_prints_what_the_rows_say(root: Path, vlseg: Vlseg) -> None:
    command = (
        "robustness", root / "run", "--data", root / "data", "--limit", 4, "--epsilon", "4/255", "--device", "cpu",
        "--threads", 1,
    )  # fmt: skip
    said = vlseg(*command, "--json")
    assert said.code == 0, said.err
    assert said.json["command"] == "robustness"
    found = rows_in(root)
    (clean, attacked, reworded, corrupted) = found.values()
    ends = ["", "-attack-pgd-limit-4", "-attack-words-typos-limit-4", "-corrupted-limit-4"]
    assert list(found) == [f"data-test-p1{end}" for end in ends]
    rows = said.json["rows"]
    kinds_of = ["clean", "same", *["natural"] * 5, "noise", "attack", *["drawn", "words"] * 2]
    assert [row["kind"] for row in rows] == kinds_of
    assert [row["n"] for row in rows] == [6, *[4] * 12]
    assert rows[0]["dice"] == pytest.approx(np.mean(list(dices(clean, "clean").values())))
    own = dices(attacked, "clean")
    assert own == dices(corrupted, "clean"), "the same samples, spread alike"
    assert own == dices(reworded, "clean")
    typos = [(row, reworded, {"size": row["attack"]["budget"]["size"]}) for row in rows[9:]]
    assert [one["size"] for _, _, one in typos] == [1, 1, 2, 2]
    assert all(row["keeps_meaning"] for row in rows[9:])
    for row, where, about in ((rows[7], attacked, {}), (rows[8], attacked, {}), *typos):
        after = dices(where, "attack", method=row["attack"]["search"]["method"], **about)
        assert row["dice"] == pytest.approx(np.mean(list(after.values())))
        assert row["epsilon"] == (None if about else 4 / 255)
        assert row["change"]["difference"] == pytest.approx(np.mean([after[name] - own[name] for name in own]))
    kinds = {row.condition for row in corrupted} - {"clean"}
    assert len(kinds) == 6, "the dataset tells no modality"
    for row in rows[2:7]:
        each = {name: dices(corrupted, name, severity=row["severity"]) for name in kinds}
        means = [np.mean([each[name][sample] for name in kinds]) for sample in own]
        assert row["dice"] == pytest.approx(np.mean(means))
        changes = {name: np.mean([one[sample] - own[sample] for sample in own]) for name, one in each.items()}
        assert row["worst"]["change"] == pytest.approx(min(changes.values()))
        assert changes[row["worst"]["corruption"]] == pytest.approx(min(changes.values()))
    shown = vlseg(*command)
    assert shown.code == 0
    assert "worse images: is there" in shown.err
    for row in rows:
        assert f"{row['dice']:.3f}" in shown.out
    assert "pgd 4/255" in shown.out
    assert "corrupted, severity 5" in shown.out


@pytest.mark.slow
def test_what_is_there_is_not_measured_again_and_what_is_missing_is(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the attack was cut off."""

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(robustness_job, "attack_on", cut_off)
        with pytest.raises(KeyboardInterrupt):
            measured(root, epsilons=("4/255",), limit=2)
    first = {file: file.stat().st_mtime_ns for file in (root / "run" / "evaluations").rglob("scores.parquet")}
    assert len(first) == 2
    there = ["as it is: is there", "worse images: is there"]
    values, said = measured(root, epsilons=("4/255",), limit=2)
    assert said == [*there, f"{IMAGE}: measuring", f"{SENTENCE}: measuring"]
    again, said = measured(root, epsilons=("4/255",), limit=2)
    assert said == [*there, f"{IMAGE}: is there", f"{SENTENCE}: is there"]
    assert again == values
    assert all(file.stat().st_mtime_ns == when for file, when in first.items())
    more, said = measured(root, epsilons=("4/255", "8/255"), limit=2)
    assert said[2:] == [f"{IMAGE}: measuring", f"{SENTENCE}: is there"]
    assert [row["epsilon"] for row in more["rows"] if row["kind"] == "attack"] == [4 / 255, 8 / 255]


@pytest.mark.slow
def test_the_evaluations_of_other_commands_are_those_that_are_looked_for(root: Path) -> None:
    """Whole ones serve any limit; another seed's, threshold's or model's attack serves none."""
    source, data = str(root / "run"), [str(root / "data")]
    evaluate_on(source, data, OPTIONS)
    evaluate_on(source, data, EvaluateOptions(device="cpu", threads=1, pictures=False, condition="corrupted"))
    attack_on([source], data, OPTIONS, AttackOptions(epsilons=("2/255", "4/255", "8/255")))
    attack_on([source], data, OPTIONS, AttackOptions(words=("order", "typos")))
    values, said = measured(root, limit=3)
    assert all(line.endswith("is there") for line in said)
    assert {row["n"] for row in values["rows"]} == {6}
    assert [row["epsilon"] for row in values["rows"] if row["kind"] == "attack"] == [2 / 255, 4 / 255, 8 / 255]
    for changes in ({"seed": 1}, {"threshold": 0.4}):
        options = EvaluateOptions(device="cpu", threads=1, pictures=False, **changes)  # type: ignore[arg-type]
        _, said = measured(root, epsilons=("4/255",), limit=2, options=options)
        assert said[2:] == [f"{IMAGE}: measuring", f"{SENTENCE}: measuring"]


@pytest.mark.slow
def test_another_threshold_has_a_table_of_its_own(root: Path) -> None:
    values, _ = measured(root, epsilons=("4/255",), limit=4)
    strict = EvaluateOptions(device="cpu", threads=1, pictures=False, threshold=0.99)
    attack_on([str(root / "run")], [str(root / "data")], strict, AttackOptions(epsilons=("4/255", "64/255"), limit=4))
    again, _ = measured(root, epsilons=("4/255",), limit=4)
    assert again == values
    assert all(row["epsilon"] != 64 / 255 for row in again["rows"])


def test_a_model_that_reads_no_text_says_that_no_words_are_changed(root: Path, vlseg: Vlseg) -> None:
    config = RunConfig(model="unet", model_arguments={"image_size": 32}, data=[str(root / "data")], prompt="p1",
                       threads=1, device="cpu", batch_size=6, max_steps=2)  # fmt: skip
    train_run(config, root / "unet")
    said = vlseg("robustness", root / "unet", "--data", root / "data", "--limit", 2, "--epsilon", "4/255",
                 "--device", "cpu", "--threads", 1)  # fmt: skip
    assert said.code == 0, said.err
    assert "No words are changed: the model reads none." in said.out
    assert "attacks on the sentence" not in said.out


def test_what_is_refused_is_told_and_the_rest_is_measured(
    root: Path, vlseg: Vlseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise InputError("attack: this model turns images")

    monkeypatch.setattr(robustness_job, "attack_on", refuse)
    said = vlseg("robustness", root / "run", "--data", root / "data", "--limit", 2, "--device", "cpu", "--threads", 1)
    assert said.code == 0
    assert "warning: no attacks on the image: attack: this model turns images" in said.err
    assert "corrupted, severity 5" in said.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--epsilon", "two"), "--epsilon: 'two' is no number of at least 0; give one such as 2/255 or 0.01"),
        (("--epsilon", "8"), "for grey levels of 8 bits write 8/255"),
        (("--split", "none"), "has no samples in 'none'"),
        (("--threshold", "0.5", "--prompt", "p9"), "p9"),
    ],
)
def test_wrong_input_is_one_line_before_anything_is_done(
    root: Path, vlseg: Vlseg, arguments: tuple[str, ...], line: str
) -> None:
    said = vlseg("robustness", root / "run", "--data", root / "data", "--device", "cpu", *arguments)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert line in said.err
    assert not (root / "run" / "evaluations").exists()


def test_without_masks_there_is_nothing_to_hold_answers_against(root: Path, vlseg: Vlseg) -> None:
    file = root / "data" / "anns" / "test.json"
    entries = [{**entry, "mask_name": None} for entry in json.loads(file.read_text())]
    file.write_text(json.dumps(entries))
    said = vlseg("robustness", root / "run", "--data", root / "data", "--device", "cpu")
    assert (said.code, said.err) == (2, "vlseg: --split: no sample of data in 'test' has a mask to be held against\n")
