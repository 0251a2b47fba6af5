"""What is made again, and what is not: a result is outdated when something it depends on has changed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.records import InputError
from vlseg.records.ledger import At, record_at, state_of
from vlseg.records.protocols import OF_KIND, PROTOCOLS
from vlseg.records.study import Planned, StudySpec, parse_study
from vlseg.studies import worker
from vlseg.studies.run import RunOptions, prepare, prune, run_alone

MakeDataset = Callable[..., Path]


class Studied:
    """A study whose runs are only noted; `values` are of its file."""

    def __init__(self, folder: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.values, self.made = folder, values, list[str]()
        self.failing: set[str] = set()
        monkeypatch.setattr(worker, "execute", self._execute)

    def _execute(self, study: Path, run: Planned, at: At) -> dict[str, dict[str, Any]]:
        if run.name in self.failing:
            raise InputError("as asked")
        at.work.mkdir(exist_ok=True)
        self.made.append(run.name)
        return {}

    @property
    def spec(self) -> StudySpec:
        return parse_study(self.values, "here")

    def run(self, **options: Any) -> list[str]:
        """Run it; kinds of what was made, in order, with the model of a training."""
        self.made.clear()
        plan = prepare(self.spec, self.folder, RunOptions(**options))
        run_alone(self.folder, plan)
        kinds = {run.name: run.kind for run in plan.runs}
        return [kinds[name] for name in self.made]


@pytest.fixture
def studied(make_dataset: MakeDataset, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studied:
    weights = tmp_path / "weights"
    shutil.copytree(trained / "run" / "model", weights)
    values = {
        "name": "s",
        "data": {"a": str(make_dataset("a", (2, 1, 2)))},
        "models": {"m": {"model": "clipseg-tiny", "weights": str(weights)}},
        "parts": [{"name": "p", "models": ["m"], "data": ["a"], "prompts": ["p1"], "probe": [{}]}],
    }
    return Studied(tmp_path / "study", values, monkeypatch)


ALL = ["train", "evaluate", "probe"]


def test_nothing_is_made_again_for_nothing(studied: Studied, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by another version of the code: it is noted, and makes nothing old."""
    assert studied.run() == ALL
    assert studied.run() == []
    monkeypatch.setattr(worker, "__version__", "99.0")
    monkeypatch.setattr(worker, "git_revision", lambda: "f" * 40)
    assert studied.run() == []
    assert studied.run(redo=("*probe*",)) == ["probe"]
    at = state_of(studied.folder, studied.made[0])
    assert at is not None
    record = record_at(at)
    assert record is not None
    assert (record.version, record.git_revision) == ("99.0", "f" * 40)


def test_another_configuration_is_another_run(studied: Studied) -> None:
    studied.run()
    before = set(studied.made)
    studied.values["set"] = {"max_steps": 7}
    assert studied.run() == ALL
    assert not before & set(studied.made)
    studied.values["set"] = {"threads": 2}  # changes no number
    assert studied.run() == []


def test_other_pixels(studied: Studied) -> None:
    """All that reads the data, and only that."""
    studied.values["data"]["b"] = str(Path(studied.values["data"]["a"]).with_name("b"))
    shutil.copytree(studied.values["data"]["a"], studied.values["data"]["b"])
    studied.values["parts"][0]["data"] = ["a", "b"]
    assert sorted(studied.run()) == sorted(ALL * 2)
    image = Path(studied.values["data"]["b"]) / "images" / "train0.png"
    pixels = np.asarray(Image.open(image)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(image)
    assert studied.run() == ALL
    assert all("_b_" in name for name in studied.made)


def test_other_weights_of_the_same_name(studied: Studied) -> None:
    studied.run()
    names = list(studied.made)
    file = Path(studied.values["models"]["m"]["weights"]) / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert studied.run() == ALL
    assert studied.made == names
    moved = file.parent.rename(file.parent.with_name("moved"))
    studied.values["models"]["m"]["weights"] = str(moved)
    assert studied.run() == []  # where they lie does not matter


@pytest.mark.parametrize("room", PROTOCOLS)
def test_another_protocol_of_a_room(room: str, studied: Studied, monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on the room, and what reads it."""
    studied.run()
    monkeypatch.setitem(PROTOCOLS, room, PROTOCOLS[room] + 1)  # type: ignore[arg-type]
    wanted = ALL if room in OF_KIND["train"] else [kind for kind in ALL if room in OF_KIND[kind]]
    assert studied.run() == wanted


def test_a_seed_or_dataset_added_runs_what_is_new(studied: Studied, make_dataset: MakeDataset) -> None:
    studied.run()
    studied.values["parts"][0]["seeds"] = [0, 1]
    assert studied.run() == ALL
    assert all("_s1-" in name for name in studied.made)
    studied.values["data"]["b"] = str(make_dataset("b", (2, 1, 3)))
    studied.values["parts"][0]["data"] = ["a", "b"]
    assert sorted(studied.run()) == sorted(ALL * 2)
    assert all("_b_" in name for name in studied.made)


def test_on_request_a_run_and_what_reads_it(studied: Studied) -> None:
    studied.run()
    name = studied.made[0]
    assert studied.run(redo=("*evaluate*",)) == ["evaluate"]
    assert studied.run(redo=(name,)) == ALL
    with pytest.raises(InputError, match=r"--redo: 'nothing\*' fits no run of the study"):
        studied.run(redo=("nothing*",))


def test_a_removed_part_leaves_its_results_until_they_are_pruned(studied: Studied) -> None:
    part = studied.values["parts"][0]
    studied.values["parts"].append({**part, "name": "q", "seeds": [5]})
    assert sorted(studied.run()) == sorted(ALL * 2)
    removed = {name for name in studied.made if "_s5-" in name}
    studied.values["parts"].pop()
    assert studied.run() == []
    assert all(state_of(studied.folder, name) for name in removed)
    studied.values["parts"].append({**part, "name": "q", "seeds": [5]})
    assert studied.run() == []  # wanted again, they are there
    studied.values["parts"].pop()
    studied.run()
    assert set(prune(studied.folder)) == removed
    assert not any(state_of(studied.folder, name) for name in removed)
    assert {path.name for path in (studied.folder / "runs").iterdir()}.isdisjoint(removed)
    assert prune(studied.folder) == []
    studied.values["parts"].append({**part, "name": "q", "seeds": [5]})
    assert studied.run() == ALL


def test_failed_runs_are_tried_again_on_request_alone(studied: Studied) -> None:
    """Nothing else is, and what waits for them then follows."""
    studied.values["parts"][0]["seeds"] = [0, 1]
    plan = prepare(studied.spec, studied.folder, RunOptions())
    train = next(run.name for run in plan.runs if run.kind == "train" and "_s1-" in run.name)
    studied.failing = {train}
    assert studied.run() == ALL
    studied.failing = set()
    assert studied.run() == []
    assert studied.run(retry=True) == ALL
    assert studied.made[0] == train
