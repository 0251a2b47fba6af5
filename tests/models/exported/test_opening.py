"""Graphs that are opened early, and OpenVINO's compiled ones that are kept."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.exporting import exported

from vlseg.models import build_model, load_model
from vlseg.models.exported import opening
from vlseg.models.exported.opening import open_early, open_graphs, torch_threads
from vlseg.models.exported.run import Model
from vlseg.models.features import clear_store, store_infos

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
PROMPTS = ["a polyp", "background"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return exported(build_model("clipseg-tiny"), tmp_path_factory.mktemp("opening") / "graphs")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("VLSEG_CACHE", str(tmp_path / "kept"))
    opening._said.clear()
    opening._early.clear()
    yield tmp_path / "kept"
    opening._early.clear()


def opened(folder: Path, engine: str | None, threads: int = 1) -> Model:
    ours = json.loads((folder / "config.json").read_text())["vlseg"]
    return open_graphs(folder, ours, threads=threads, engine=engine, size=None)


def answer(model: Model) -> bytes:
    return np.stack(model.segment(IMAGE, PROMPTS)).tobytes()


def blobs(cache: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in cache.glob("*/graphs/*")}


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_what_was_opened_early_is_what_answers(folder: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    open_early(str(folder), threads=threads, engine=engine)
    (early,) = opening._early.values()
    model = early.result()
    with monkeypatch.context() as patch:
        patch.setattr(opening, "Model", None)  # nothing is opened again
        found = load_model(str(folder), arguments={"engine": engine})
    assert found.runner is model  # type: ignore[attr-defined]
    assert answer(model) == answer(Model(folder, threads=threads, engine=engine))


def test_another_number_of_threads_or_engine_is_opened_anew(folder: Path) -> None:
    open_early(str(folder), threads=1, engine=None)
    (early,) = opening._early.values()
    assert opened(folder, None, threads=2) is not early.result()
    assert opened(folder, "onnx") is not early.result()
    assert opened(folder, None) is early.result()


def test_a_changed_graph_is_refused_when_it_was_opened_early(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "changed")
    with (copy / "decoder.onnx").open("ab") as file:
        file.write(b"\0")
    open_early(str(copy), threads=1, engine=None)
    with pytest.raises(ValueError, match=r"decoder\.onnx: is not the file that was exported"):
        opened(copy, None)


def test_anything_but_an_exported_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"vlseg": []}')
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    for source in ("clipseg", "owner/name", str(tmp_path), str(tmp_path / "odd"), str(broken), ""):
        open_early(source, threads=1, engine=None)
    open_early(str(folder), threads=1, engine="torch")
    assert not opening._early


@pytest.mark.parametrize("named", [{}, {"OMP_NUM_THREADS": "1"}])
def test_torchs_threads_are_known_before_torch_is(named: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    told = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.get_num_threads())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert torch_threads(None) == int(told.stdout)
    assert torch_threads(3) == 3


def test_compiled_graphs_are_kept_with_the_same_bits(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = answer(Model(folder, threads=1, engine="openvino"))
    assert not cache.exists()  # the runner alone keeps nothing
    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert answer(opened(folder, "openvino")) == fresh
    assert capsys.readouterr().err.count("\n") == 1
    kept = blobs(cache)
    assert {file.name for file in kept} == {"image_encoder.blob", "prompt_encoder.blob", "decoder.blob"}
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    with monkeypatch.context() as patch:
        patch.setattr(type(opening.openvino_core()), "compile_model", None)  # nothing is compiled
        assert answer(opened(folder, "openvino")) == fresh
    assert not capsys.readouterr().err
    opened(folder, "openvino", threads=2)
    assert len(list(cache.iterdir())) == 2
    infos = store_infos(cache)
    assert {info.context["holds"] for info in infos} == {opening.COMPILED}
    assert sum(info.bytes for info in infos) == sum(len(one) for one in blobs(cache).values())
    clear_store(cache)
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_file_is_made_anew(folder: Path, cache: Path, damage: str) -> None:
    fresh = answer(opened(folder, "openvino"))
    kept = blobs(cache)
    for file, data in kept.items():
        file.unlink()
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 64]) + data[middle + 1 :]
        file.write_bytes({"cut": data[:middle], "flipped": flipped, "empty": b"", "other": b"x" * 100}[damage])
    assert answer(opened(folder, "openvino")) == fresh
    for file in blobs(cache):
        assert opening._whole(file) is not None, file


def test_two_processes_at_once_both_answer(folder: Path, cache: Path) -> None:
    program = (
        "import sys, json, hashlib\nfrom pathlib import Path\nimport numpy as np\n"
        "from vlseg.models.exported.opening import open_graphs\n"
        "folder = Path(sys.argv[1]); ours = json.loads((folder / 'config.json').read_text())['vlseg']\n"
        "model = open_graphs(folder, ours, threads=1, engine='openvino', size=None)\n"
        "image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)\n"
        f"print(hashlib.sha256(np.stack(model.segment(image, {PROMPTS!r})).tobytes()).hexdigest())"
    )
    call = [sys.executable, "-c", program, str(folder)]
    both = [subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [one.communicate()[0] for one in both]
    assert told[0] == told[1] != ""
    assert all(opening._whole(file) is not None for file in blobs(cache))
    assert {file.suffix for file in cache.glob("*/graphs/*")} == {".blob"}  # nothing half-written is left


def test_a_cache_that_cannot_be_written_is_no_hindrance(
    folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.write_text("a file where the folder would be")
    fresh = answer(Model(folder, threads=1, engine="openvino"))
    assert answer(opened(folder, "openvino")) == fresh
    assert "VLSEG_CACHE" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="rights as POSIX has them")
def test_a_cache_that_is_only_read_is_read(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = answer(opened(folder, "openvino"))
    places = [cache, *cache.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        monkeypatch.setattr(opening, "write_text", None)  # as root may write all the same
        monkeypatch.setattr(opening, "replacing", None)
        assert answer(opened(folder, "openvino")) == fresh
    finally:
        for place in places:
            place.chmod(0o755 if place.is_dir() else 0o644)
