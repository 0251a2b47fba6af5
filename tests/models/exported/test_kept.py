"""Graphs that are exported once for an engine: which are whose, and what is refused."""

import errno
import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from exporting import exported

from vlseg import load
from vlseg.evaluation import Predictor
from vlseg.models import Segmenter, as_module, build_model
from vlseg.models.exported.kept import check_engine, on_engine
from vlseg.models.exported.opening import cache_folder
from vlseg.models.exported.segmenter import Exported
from vlseg.models.features import clear_store, store_infos
from vlseg.records import InputError

IMAGE = np.random.default_rng(0).random((40, 56, 3), np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLSEG_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def tiny(seed: int = 0, name: str = "clipseg-tiny", size: int = 32) -> Segmenter:
    torch.manual_seed(seed)
    model = build_model(name, arguments={"image_size": size}, targets=("disc", "ring"))
    as_module(model).eval()
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graphs of `tiny()`."""
    return exported(tiny(), tmp_path_factory.mktemp("written") / "graphs")


@pytest.fixture
def quick(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exported is `written`: for tests of where it lies."""

    def write(_: object, folder: Path) -> None:
        shutil.copytree(written, folder, dirs_exist_ok=True)

    monkeypatch.setattr("vlseg.models.exported.write.write_exported", write)


def probability(model: Segmenter, prompt: str = "disc") -> np.ndarray:
    return Predictor(model, device="cpu").segment(IMAGE, [prompt])[0].probability


def test_answers_are_those_of_torch_and_graphs_are_written_once(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny()
    assert on_engine(model, "torch") is model
    assert on_engine(model, None) is model
    assert not cache.exists()
    first = on_engine(model, "onnx")
    assert str(cache) in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.onnx")}
    assert len(before) == 3
    second = on_engine(tiny(), "openvino")
    told = capsys.readouterr().err
    assert told.startswith("compiling 'clipseg-tiny' for OpenVINO, once")
    assert told.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.onnx")} == before
    for engine, asked in (("onnx", first), ("openvino", second)):
        assert isinstance(asked, Exported)
        assert (asked.spec.engine, asked.spec.name) == (engine, "clipseg-tiny")
        assert np.abs(probability(asked) - probability(model)).max() < 1e-5


@pytest.mark.slow
def test_other_weights_sizes_and_models_have_graphs_of_their_own(cache: Path) -> None:
    """Of a digest that left one of them out, another model's masks would be told."""
    models = [tiny(), tiny(seed=1), tiny(size=64), tiny(name="unet"), tiny(name="unet-target")]
    asked = [on_engine(model, "onnx") for model in models]
    assert len(list(cache.glob("*/graphs/config.json"))) == len(models)
    for own, other in zip(models, asked, strict=True):
        assert np.abs(probability(own) - probability(other)).max() < 1e-5


@pytest.mark.usefixtures("quick")
def test_another_way_of_preparing_is_another_entry(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_engine(tiny(), "onnx")
    monkeypatch.setattr("vlseg.models.clipseg_tiny.model.MEAN", (0.4, 0.5, 0.5))
    on_engine(tiny(), "onnx")
    assert len(list(cache.glob("*/graphs/config.json"))) == 2


@pytest.mark.usefixtures("quick")
def test_the_cache_is_listed_and_cleared(cache: Path) -> None:
    on_engine(tiny(), "onnx")
    (info,) = store_infos(cache)
    assert info.context["model"] == "clipseg-tiny"
    assert info.bytes == sum(path.stat().st_size for path in (info.folder / "graphs").iterdir())
    (cache / "mine.txt").write_text("stays")
    assert clear_store(cache) == info.bytes
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]


@pytest.mark.usefixtures("quick")
def test_two_at_once_both_answer(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both found nothing; the second one's renaming comes too late."""
    from vlseg.models.exported import write

    model, written, both, found = tiny(), write.write_exported, threading.Barrier(2, timeout=60), []

    def first(*given: object) -> None:
        written(*given)  # type: ignore[arg-type]
        both.wait()

    monkeypatch.setattr(write, "write_exported", first)
    threads = [threading.Thread(target=lambda: found.append(on_engine(model, "onnx"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [np.abs(probability(one) - probability(model)).max() < 1e-5 for one in found] == [True, True]
    assert len(list(cache.iterdir())) == 1


def test_a_failed_export_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("vlseg.models.exported.write.write_exported", fails)
    with pytest.raises(RuntimeError):
        on_engine(tiny(), "onnx")
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_line(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(InputError, match=r"cannot be written.*name a folder in VLSEG_CACHE"):
        on_engine(tiny(), "onnx")


def test_without_a_name_it_lies_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VLSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "vlseg" / "engines"


def test_what_cannot_be_exported_says_why(trained: Path) -> None:
    members = [str(trained / "run"), str(trained / "run")]
    model = build_model("ensemble", arguments={"members": members})
    with pytest.raises(InputError, match=r"engine: an ensemble is not exported as graphs.*leave --engine out"):
        on_engine(model, "onnx")


@pytest.mark.parametrize(
    ("engine", "device", "precision", "told"),
    [
        ("tensorrt", "auto", "fp32", "unknown engine 'tensorrt'"),
        ("onnx", "cuda", "fp32", "take auto or cpu"),
        ("openvino", "cpu", "bf16", "leave out bf16"),
    ],
)
def test_what_no_engine_does_is_refused_before_loading(engine: str, device: str, precision: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load("nowhere", engine=engine, device=device, precision=precision)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlseg.models.exported.kept.find_spec", lambda name: None if name == "openvino" else name)
    with pytest.raises(InputError, match=r"'openvino' needs openvino, not installed here; pip install"):
        check_engine("openvino", "auto", "fp32")
    check_engine("onnx", "auto", "fp32")


def damaged(place: Path, how: str) -> None:
    """What a broken disk, a hasty hand or a stopped copy leaves."""
    graphs = place / "graphs"
    if how == "changed":
        (graphs / "decoder.onnx").write_bytes(b"nothing")
    elif how == "a graph gone":
        (graphs / "decoder.onnx").unlink()
    elif how == "half a config":
        (graphs / "config.json").write_text((graphs / "config.json").read_text()[:80])
    elif how == "no config":
        (graphs / "config.json").unlink()
    elif how == "no part of ours":
        (graphs / "config.json").write_text("{}")
    else:
        shutil.rmtree(graphs)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "how",
    ["changed", "a graph gone", "half a config", "no config", "no part of ours", "no graphs"],
)
def test_what_is_damaged_is_exported_again(cache: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    on_engine(tiny(), "onnx")
    (place,) = cache.iterdir()
    damaged(place, how)
    capsys.readouterr()
    again = on_engine(tiny(), "onnx")
    told = capsys.readouterr().err
    assert ("is damaged" in told) == (how != "no graphs")
    assert "exporting 'clipseg-tiny'" in told
    assert np.abs(probability(again) - probability(tiny())).max() < 1e-5
    assert list(cache.iterdir()) == [place]
    on_engine(tiny(), "onnx")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("quick")
def test_what_is_damaged_and_cannot_be_removed_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that others filled, and that is for reading only."""
    on_engine(tiny(), "onnx")
    (place,) = cache.iterdir()
    damaged(place, "changed")

    def refused(self: Path, _: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(
        InputError, match=r"is damaged and cannot be removed \(Read-only.*another folder in VLSEG_CACHE"
    ):
        on_engine(tiny(), "onnx")


def test_a_full_disk_is_one_line_and_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, folder: Path) -> None:
        (folder / "image_encoder.onnx").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("vlseg.models.exported.write.write_exported", full)
    with pytest.raises(
        InputError, match=r"engine: .*kept: cannot be written \(No space left.*VLSEG_CACHE; leave --eng"
    ):
        on_engine(tiny(), "onnx")
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_what_a_killed_process_left_is_removed(cache: Path) -> None:
    """Of this machine's dead processes; what a living one or another machine writes stays."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    names = {
        "dead": f".{'a' * 20}.{done.pid}.{platform.node()}.1",
        "living": f".{'a' * 20}.{os.getpid()}.{platform.node()}.1",
        "theirs": f".{'a' * 20}.{done.pid}.elsewhere.1",
    }
    for name in names.values():
        (cache / name / "graphs").mkdir(parents=True)
    on_engine(tiny(), "onnx")
    assert {kind for kind, name in names.items() if (cache / name).exists()} == {"living", "theirs"}
