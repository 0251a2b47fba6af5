"""No evaluation takes the place of another one; the same one takes its own."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from vlseg.evaluation import Setting
from vlseg.jobs.evaluation_folder import BESIDE_SCORES, evaluation_folder, identity, replacing_evaluation
from vlseg.jobs.scoring import EvaluateOptions, describe, open_job
from vlseg.records import EvaluationSpec, InputError

SPEC = EvaluationSpec(
    id="discs-test-p1", model="m", run_id="r", dataset="discs", data_fingerprint="a", split="test", prompt="p1",
    prompt_sources=["class"], deployable=True, protocol="corrected", answers="w",
)  # fmt: skip
CHANGES: dict[str, Any] = {
    "format_version": 2, "model": "n", "answers": "v", "model_arguments": {"image_size": 64}, "run_id": "s",
    "dataset": "rings", "data_fingerprint": "b", "split": "val", "target": "disc", "prompt": "p2",
    "prompt_sources": ["mask"], "deployable": False, "protocol": "published", "condition": "swapped",
    "condition_arguments": {"limit": 3}, "threshold": 0.1, "precision": "bf16", "cached_features": True,
    "uncertainty": "flip", "seed": 1, "query_seed": 1, "nsd_tolerance": 1.0,
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "prompt": "p2", "split": "val", "target": "dark disc", "condition": "corrupted", "precision": "bf16",
    "threshold": 0.123, "uncertainty": "flip", "cache": Path("features"), "engine": "onnx",
}  # fmt: skip
ANOTHER_WAY = {
    "weights": "by the digest of what they hold",
    "revision": "by the digest of what it holds",
    "protocol": "that of the model, in the record",
    "arguments": "model_arguments of the record",
    "seed": "of models that are no runs, and of what is drawn: tested below",
    "device": "changes no score by more than rounding",
    "threads": "changes no score by more than rounding",
    "smoothing": "condition_arguments of the record, see tests/jobs/test_smoothed.py",
    "limit": "likewise",
    "pictures": "changes no score, see tests/jobs/test_pictures.py",
}


def stamped(**changes: Any) -> EvaluationSpec:
    spec = SPEC.model_copy(update=changes)
    return spec.model_copy(update={"identity": identity(spec)})


def place(spec: EvaluationSpec, base: Path, out: Path | None = None) -> Path:
    """Writes an evaluation that holds its own threshold, as a command does."""
    folder = evaluation_folder(spec, base, out)
    with replacing_evaluation(folder) as new:
        (new / "scores.parquet").write_text(repr(spec.threshold))
        (new / "spec.json").write_text(spec.model_dump_json())
    return folder


def test_every_field_of_the_record_is_known_to_change_scores_or_not() -> None:
    assert set(CHANGES) | BESIDE_SCORES == set(EvaluationSpec.model_fields)
    assert not set(CHANGES) & BESIDE_SCORES
    assert {field.name for field in fields(EvaluateOptions)} == set(OPTIONS) | set(ANOTHER_WAY)
    assert {field.name for field in fields(Setting)} - {"device"} <= set(EvaluationSpec.model_fields)


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_scores_changes_the_folder(name: str, tmp_path: Path) -> None:
    first, other = stamped(), stamped(**{name: CHANGES[name]})
    assert place(first, tmp_path) != place(other, tmp_path)
    assert place(first, tmp_path) == tmp_path / "evaluations" / "discs-test-p1"
    assert place(other, tmp_path) == place(other, tmp_path)
    assert len(list((tmp_path / "evaluations").iterdir())) == 2
    with pytest.raises(InputError, match=f"holds another evaluation .*{name}.*new folder"):
        place(other, tmp_path, out=tmp_path / "evaluations" / "discs-test-p1")


def test_options_that_change_scores_change_the_identity(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the opening of the run, so that an option which never reaches the record is found."""
    import vlseg.jobs.scoring as scoring

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLSEG_CACHE", str(tmp_path / "graphs"))
    monkeypatch.setattr(scoring, "with_flip_uncertainty", lambda answer, *_: answer)

    def spec_for(**changes: Any) -> EvaluationSpec:
        options = EvaluateOptions(**{"device": "cpu", "threads": 1, **changes})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scoring, "open_store", lambda *_: None)
            return describe(open_job(str(trained / "run"), [str(trained / "data")], options), options.condition)

    specs = {"": spec_for(), **{name: spec_for(**{name: value}) for name, value in OPTIONS.items()}}
    assert len({spec.identity for spec in specs.values()}) == len(specs)
    assert len({spec.id for spec in specs.values()}) == len(specs)  # a reader sees the difference, too
    assert spec_for().identity == specs[""].identity
    assert spec_for(threshold=specs[""].threshold).identity == specs[""].identity  # the run's own, said aloud
    assert spec_for(seed=7).identity == specs[""].identity  # nothing is drawn
    assert spec_for(seed=7, condition="corrupted").identity != specs["condition"].identity


def test_a_failure_leaves_the_old_evaluation(tmp_path: Path) -> None:
    spec = stamped()
    folder = place(spec, tmp_path)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ZeroDivisionError), replacing_evaluation(folder) as new:
        (new / "scores.parquet").write_text(str(1 / 0))
    assert (folder / "scores.parquet").read_text() == "0.5"
    assert [item.name for item in folder.parent.iterdir()] == [folder.name]
    assert place(spec, tmp_path) == folder
    assert (folder / "notes.txt").read_text() == "mine"


def test_what_a_kill_left_aside_comes_back(tmp_path: Path) -> None:
    folder = place(stamped(), tmp_path)
    aside = folder.with_name(f".{folder.name}.1234.partial") / "old"
    aside.parent.mkdir()
    folder.rename(aside)
    with pytest.raises(ZeroDivisionError), replacing_evaluation(folder) as new:
        (new / "scores.parquet").write_text(str(1 / 0))
    assert (folder / "scores.parquet").read_text() == "0.5"


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("kept")
    with pytest.raises(InputError, match="holds no evaluation; give a new folder"):
        evaluation_folder(stamped(), tmp_path, tmp_path)
    with pytest.raises(InputError, match="is a file"):
        evaluation_folder(stamped(), tmp_path, tmp_path / "thesis.txt")


def test_records_without_an_identity_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "evaluations" / "discs-test-p1"
    folder.mkdir(parents=True)
    old = SPEC.model_dump_json(exclude={"identity", "answers", "target", "query_seed", "cached_features"})
    (folder / "spec.json").write_text(old)
    assert place(stamped(), tmp_path) != folder
    assert (folder / "spec.json").read_text() == old
