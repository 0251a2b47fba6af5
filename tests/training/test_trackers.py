"""Trackers: what each holds is history.csv, also after a kill; what goes wrong with them stays with them."""

import csv
import errno
import json
import os
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from resuming import KilledError
from tracked import READERS, Curves

import vlseg.training.loop as fit_module
from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.records import InputError, RunConfig, read_record
from vlseg.records.run import TrackerName
from vlseg.training import tracker_libraries, trackers
from vlseg.training.tracker_libraries import LIBRARIES, Library, Point, Tracked

MakeDataset = Callable[..., Path]
REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, Any] = {
    "model": "clipseg-tiny",
    "model_arguments": {"image_size": 32},
    "prompt": "p1",
    "threads": 1,
    "device": "cpu",
    "batch_size": 2,
    "epochs": 6,
}


@pytest.fixture
def installed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracker, whose library is there and writes below tmp_path."""
    name: str = request.param
    if not LIBRARIES[name].installed():
        pytest.skip(f"the extra '{name}' is not installed")
    if name == "trackio":
        import trackio.sqlite_storage
        import trackio.utils

        for module in (trackio.sqlite_storage, trackio.utils):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    return name


every_tracker = pytest.mark.parametrize("installed", list(LIBRARIES), indirect=True)


def config(data: Path, *names: str, **changes: Any) -> RunConfig:
    return RunConfig(**{**SETTINGS, "data": [str(data)], "trackers": list(names), **changes})


def history(run: Path) -> Curves:
    """The curves that a tracker should hold."""
    curves: Curves = defaultdict(list)
    with (run / "history.csv").open() as file:
        for row in csv.DictReader(file):
            names = ["val_dice"] if row["val_dice"] else ["loss", "learning_rate", "epoch", "seconds"]
            for name in names:
                curves[name].append((int(row["step"]), float(row[name])))
    return dict(curves)


def assert_told(name: str, run: Path) -> None:
    """The tracker holds history.csv, the summary and the configuration, each once."""
    curves, settings = READERS[name](run)
    record = read_record(run / "run.json")
    expected: Curves = history(run)
    assert len(expected["val_dice"]) == 6
    for key, value in {**record.summary, "threshold": record.threshold}.items():
        expected[f"summary/{key}"] = [(18, value)]
    assert curves.keys() == expected.keys()
    for metric, points in expected.items():
        assert [step for step, _ in curves[metric]] == [step for step, _ in points], metric
        assert [value for _, value in curves[metric]] == pytest.approx([value for _, value in points], rel=1e-6), metric
    for key in ("model", "learning_rate", "seed", "data"):
        assert settings[key].removesuffix(".0") == str(record.config[key])  # TensorBoard has one sort of number
    assert settings["model_arguments.image_size"].removesuffix(".0") == "32"


@every_tracker
def test_a_run_is_told_whole(installed: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    assert train_run(config(data, installed), tmp_path / "run").status == "done"
    assert_told(installed, tmp_path / "run")
    train_run(None, tmp_path / "run", resume=True)  # is done, and not told again
    assert_told(installed, tmp_path / "run")


@every_tracker
def test_killed_after_a_checkpoint_and_after_the_last_row(
    installed: str, make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are trained again are not told again, and none is missing."""
    data, run = make_dataset(), tmp_path / "run"
    monkeypatch.setattr(fit_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(fit_module, "SAVE_SHARE", 0.0)
    save, finish = fit_module.Fit._save, fit_module.Fit._finish

    def save_then_die(self: Any) -> None:
        save(self)
        if self.progress.step == 13:
            raise KilledError

    def finish_then_die(self: Any) -> None:
        finish(self)
        raise KilledError

    for name, dying in (("_save", save_then_die), ("_finish", finish_then_die)):
        with monkeypatch.context() as patch:
            patch.setattr(fit_module.Fit, name, dying)
            with pytest.raises(KilledError):
                train_run(config(data, installed) if name == "_save" else None, run, resume=name == "_finish")
    train_run(None, run, resume=True)
    assert_told(installed, run)


def test_what_a_kill_undoes_is_never_told(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained again, on other processors it may come out otherwise: rows wait for their checkpoint."""
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")

    def once_then_die(self: Any) -> None:
        if self.progress.step == 7:
            self._save()
        if self.progress.step == 15 and self.progress.validated_step == 15:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(fit_module.Fit, "_save_if_due", once_then_die)
        with pytest.raises(KilledError):
            train_run(config(make_dataset(), "tensorboard"), tmp_path / "run")
    curves, _ = READERS["tensorboard"](tmp_path / "run")
    assert {step for points in curves.values() for step, _ in points} == {3, 6}
    assert len(history(tmp_path / "run")["val_dice"]) == 5
    train_run(None, tmp_path / "run", resume=True)
    assert_told("tensorboard", tmp_path / "run")


KILLED_FOR_REAL = """
import os, signal, sys
import vlseg.training.loop as loop
from vlseg.cli import main
loop.SAVE_SECONDS = loop.SAVE_SHARE = 0.0
save = loop.Fit._save
def save_then_die(self):
    save(self)
    if self.progress.step == int(sys.argv[1]):
        import time
        time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGKILL)
loop.Fit._save = save_then_die
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@every_tracker
def test_a_real_kill(installed: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, run = make_dataset(), tmp_path / "run"
    settings = {**SETTINGS, "trackers": [installed], "model_arguments": "{image_size: 32}"}
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = ["train", "--data", str(data), "--out", str(run)]
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio")}
    for step, arguments in (("7", [*command, *given]), ("12", ["train", "--resume", "--out", str(run)])):
        killed = subprocess.run([sys.executable, "-c", KILLED_FOR_REAL, step, *arguments], env=environment, check=False)
        assert killed.returncode == -9
    subprocess.run([sys.executable, "-m", "vlseg", "train", "--resume", "--out", str(run)], env=environment, check=True)
    assert_told(installed, run)


ON_THIS_MACHINE = """
import socket, sys
asked = []
def guarded(real):
    def call(self, address, *rest):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            asked.append(address)
            raise OSError("no network")
        return real(self, address, *rest)
    return call
resolve = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host not in ("127.0.0.1", "::1", "localhost", None):
        asked.append(host)
        raise OSError("no network")
    return resolve(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
socket.socket.connect, socket.socket.connect_ex = guarded(socket.socket.connect), guarded(socket.socket.connect_ex)
from vlseg.cli import main
try:
    main(sys.argv[1:])
finally:
    import time
    time.sleep(2)  # for threads that report from behind
    print("ASKED", asked)
"""


@pytest.mark.slow
@every_tracker
def test_nothing_leaves_the_machine(installed: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Python's own sockets, with a hub token stored and nothing that says test or CI; W&B's core is another program."""
    given = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    command = ["train", "--data", str(make_dataset()), "--out", str(tmp_path / "run"), *given, "--set", "epochs=1"]
    environment = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    environment |= {"HOME": str(tmp_path), "HF_TOKEN": "hf_made_up", "TRACKIO_DIR": str(tmp_path / "trackio")}
    done = subprocess.run(
        [sys.executable, "-c", ON_THIS_MACHINE, *command, "--set", f"trackers=[{installed}]"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "ASKED []" in done.stdout
    assert "tracker" not in done.stderr


def test_only_result_lines_on_stdout(make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    names = [name for name in ("tensorboard", "mlflow") if LIBRARIES[name].installed()]
    given = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    run = tmp_path / "run"
    done = vlseg("train", "--data", make_dataset(), "--out", run, *given, "--set", f"trackers={names}", "--json")
    assert (done.code, len(done.out.splitlines())) == (0, 1)
    assert json.loads(done.out)["status"] == "done"
    assert "racker" not in done.err


def test_training_is_the_same_with_trackers(make_dataset: MakeDataset, tmp_path: Path) -> None:
    names = [name for name in ("tensorboard", "mlflow") if LIBRARIES[name].installed()]
    if not names:
        pytest.skip("no tracker is installed")
    data = make_dataset()
    for run, told in (("plain", ()), ("told", names)):
        train_run(config(data, *told), tmp_path / run)
    plain, told_weights = (as_module(load_model(str(tmp_path / run))).state_dict() for run in ("plain", "told"))
    assert all(torch.equal(plain[name], told_weights[name]) for name in plain)
    assert not (tmp_path / "plain" / "trackers").exists()


class Failing:
    """A tracker whose disk is full after some points."""

    def __init__(self, run: Tracked, after: int) -> None:
        self.left = after
        self.calls: list[str] = []

    def seen(self) -> Mapping[str, int]:
        return {}

    def log(self, points: Sequence[Point]) -> None:
        self.calls.append("log")
        self.left -= len(points)
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def close(self, status: str | None) -> None:
        self.calls.append("close")


@pytest.mark.parametrize("after", [0, 3])
def test_a_tracker_that_fails_is_left_out(
    after: int,
    make_dataset: MakeDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fit_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(fit_module, "SAVE_SHARE", 0.0)
    opened: list[Failing] = []

    def opening(run: Tracked) -> Failing:
        opened.append(Failing(run, after))
        return opened[-1]

    monkeypatch.setitem(tracker_libraries.LIBRARIES, "wandb", Library(opening, ()))
    data = make_dataset()
    train_run(config(data), tmp_path / "plain")
    capfd.readouterr()
    assert train_run(config(data, "wandb"), tmp_path / "run").status == "done"
    told = capfd.readouterr().err
    assert told.count("tracker wandb") == 1
    assert "No space left on device" in told
    assert opened[0].calls[-1] == "log"
    plain, run = (as_module(load_model(str(tmp_path / name))).state_dict() for name in ("plain", "run"))
    assert all(torch.equal(plain[name], run[name]) for name in plain)
    assert history(tmp_path / "plain")["loss"] == history(tmp_path / "run")["loss"]


def test_a_server_that_is_gone(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow", reason="the extra 'mlflow' is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert train_run(config(make_dataset(), "mlflow"), tmp_path / "run").status == "done"
    assert capfd.readouterr().err.count("tracker mlflow: failed and is left out") == 1
    assert not (tmp_path / "run" / "trackers" / "mlflow.db").exists()


def test_what_is_not_installed_is_said_before_anything_is_written(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vlseg: Callable[..., Any]
) -> None:
    absent = Library(LIBRARIES["mlflow"].open, ("vlseg_no_such_module",))
    monkeypatch.setitem(tracker_libraries.LIBRARIES, "mlflow", absent)
    run = tmp_path / "run"
    done = vlseg("train", "--data", make_dataset(), "--out", run, "--set", "trackers=[mlflow]")
    assert done.code == 2
    assert "trackers: mlflow is not installed here; pip install 'vlseg[mlflow]'" in done.err
    assert not run.exists()
    with pytest.raises(InputError, match="trackers"):
        train_run(config(make_dataset("other"), "mlflow"), run)
    unknown = vlseg("train", "--data", tmp_path / "discs", "--out", run, "--set", "trackers=[aim]")
    assert unknown.code == 2
    assert "tensorboard" in unknown.err


@every_tracker
def test_an_evaluation_is_told_beside_its_run(
    installed: str, make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    data, run = make_dataset(), tmp_path / "run"
    train_run(config(data, installed), run)
    curves, _ = READERS[installed](run)
    scored = vlseg("evaluate", run, "--data", data, "--json").json
    for _ in range(2):  # the second time changes nothing
        after, _ = READERS[installed](run)
        new = {key: after[key] for key in after.keys() - curves.keys()}
        assert new["discs-test-p1/dice"] == [(18, pytest.approx(scored["dice"]["mean"]))]
        assert new["discs-test-p1/n"] == [(18, scored["n"])]
        assert {key: after[key] for key in curves} == curves
        vlseg("evaluate", run, "--data", data)


def test_a_failed_run_is_told_as_one(make_dataset: MakeDataset, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra 'mlflow' is not installed")
    diverging = {"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": None}
    with pytest.raises(FloatingPointError):
        train_run(config(make_dataset(), "mlflow", **diverging), tmp_path / "run")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'run' / 'trackers' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("vlseg").experiment_id])
    assert run.info.status == "FAILED"


def test_names_are_those_of_the_extras() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(LIBRARIES) == set(get_args(TrackerName))
    assert set(LIBRARIES) <= set(extras)


UNASKED = """
import sys
from vlseg.cli import main
try:
    main(sys.argv[1:])
finally:
    print([name for name in ("tensorboard", "mlflow", "trackio", "wandb", "optuna") if name in sys.modules])
"""


@pytest.mark.slow
def test_no_library_is_imported_unasked(make_dataset: MakeDataset, tmp_path: Path) -> None:
    given = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    command = ["train", "--data", str(make_dataset()), "--out", str(tmp_path / "run"), *given, "--set", "max_steps=1"]
    done = subprocess.run([sys.executable, "-c", UNASKED, *command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_any_characters_in_names() -> None:
    assert trackers._metric("a+b-test: p1/dice") == "a_b-test_ p1/dice"
    assert trackers.flat({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}
    assert trackers.numbers({"a": 1, "b": None, "c": "x"}) == {"a": 1.0}
