"""The runner beside the graphs: its arithmetic against PyTorch's, and the program."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exporting import exported
from PIL import Image
from tiny_models import made

from vlseg.models import load_model
from vlseg.models.exported.pixels import read_image, resized
from vlseg.models.exported.run import Model
from vlseg.models.exported.write import exported_part, retell
from vlseg.models.images import (
    CLIP_MEAN,
    CLIP_STD,
    letterbox,
    resize_and_normalise,
    restore_bilinear,
    restore_letterboxed,
)
from vlseg.models.protocol import Rows
from vlseg.records import InputError

SIZES = [(1, 5), (5, 1), (31, 57), (96, 96), (480, 641), (1234, 777), (2, 3000)]
REPOSITORY = Path(__file__).resolve().parents[3]
BARE = "import sys, runpy; sys.modules.update(vlseg=None, torch=None, transformers=None, tokenizers=None); "
BARE += "sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0].rpartition('/')[0]); "
BARE += "runpy.run_path(sys.argv[0], run_name='__main__')"
"""run.py where neither vlseg nor what it needs is installed."""


def bare(folder: Path, *arguments: object, cwd: Path, lacking: str = "") -> subprocess.CompletedProcess[str]:
    block = f"import sys; sys.modules['{lacking}'] = None; " if lacking else ""
    command = [sys.executable, "-c", block + BARE, str(folder / "run.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)


def picture(path: Path, size: tuple[int, int] = (40, 57)) -> np.ndarray:
    levels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return levels


@pytest.fixture(scope="module")
def runner(folder: Path) -> Model:
    return Model(folder)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [*SIZES, pytest.param((3000, 2000), marks=pytest.mark.slow)])
def test_images_are_prepared_and_maps_restored_as_by_torch(folder: Path, size: tuple[int, int], fit: str) -> None:
    """Up and down, and at one to one; single precision allows some 1e-6 of what lies in [-2, 2]."""
    runner = Model(folder)
    runner.told["prepare"] |= {"fit": fit, "mean": CLIP_MEAN, "std": CLIP_STD}
    generator = torch.Generator().manual_seed(1)
    rgb = [torch.rand(3, *size, generator=generator), torch.rand(3, 17, 70, generator=generator)]
    for side in (96, 352):
        runner.told["prepare"]["size"] = [side, side]
        make, back = (
            (letterbox, restore_letterboxed) if fit == "letterbox" else (resize_and_normalise, restore_bilinear)
        )
        wanted = make(rgb, (side, side), CLIP_MEAN, CLIP_STD)
        found = runner.prepare([one.permute(1, 2, 0).numpy() for one in rgb])
        pixels = wanted.tensors["pixel_values"].numpy()
        np.testing.assert_allclose(found["pixel_values"], pixels, rtol=0, atol=5e-6)
        assert np.array_equal(found["original_size"], wanted.tensors["original_size"].numpy())
        logits = torch.randn(2, 2, side, side, generator=generator)
        restored = runner.restore(logits.numpy(), found)
        for ours, theirs in zip(restored, back(logits, Rows(wanted.tensors)), strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5)


def test_smoothing_matters() -> None:
    """So that the test above would see it missing."""
    image = np.random.default_rng(0).random((300, 200, 3), dtype=np.float32)
    assert np.abs(resized(image, (96, 96), antialias=True) - resized(image, (96, 96), antialias=False)).max() > 0.3


def test_probabilities_of_a_prompt_do_not_depend_on_the_others(runner: Model) -> None:
    image = np.random.default_rng(3).random((50, 33, 3), dtype=np.float32)
    alone = [runner.segment(image, [prompt])[0] for prompt in ("", "a polyp", "dark cyst " * 40)]
    together = runner.segment(image, ["", "a polyp", "dark cyst " * 40])
    for one, same in zip(alone, together, strict=True):
        assert one.shape == (50, 33)
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, same, rtol=0, atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    model = made("clipseg-tiny")
    with torch.no_grad():
        inputs = model.prepare([torch.from_numpy(image).permute(2, 0, 1)])
        logits = model.forward(inputs, model.tokenize(["a polyp"])).logits
        wanted = model.restore(logits, inputs)[0].sigmoid()
    np.testing.assert_allclose(alone[1], wanted[0].numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16)]
)
def test_another_form_of_image_is_refused(runner: Model, image: Any) -> None:
    with pytest.raises(ValueError, match=r"an image is \(H, W, 3\), uint8 or floating"):
        runner.segment(image, ["a polyp"])


def test_the_program_needs_neither_vlseg_nor_torch(folder: Path, runner: Model, tmp_path: Path) -> None:
    levels = picture(tmp_path / "image.png")
    done = bare(folder, "image.png", "a polyp", "", "--out", "masks/here", "--threshold", "0.1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = runner.segment(levels, ["a polyp", ""])
    for number, probability in enumerate(found, 1):
        with Image.open(tmp_path / "masks" / "here" / f"image-{number}.png") as mask:
            assert mask.text["Comment"] == "Research use, not a medical device."  # type: ignore[attr-defined]
            assert np.array_equal(np.asarray(mask), np.where(probability > 0.1, 255, 0))
    assert f'masks/here/image-1.png: {int((found[0] > 0.1).sum())} px for "a polyp"' in done.stdout
    assert sorted(path.name for path in (tmp_path / "masks" / "here").iterdir()) == ["image-1.png", "image-2.png"]
    nothing = bare(folder, "image.png", "a polyp", "--threshold", "1", cwd=tmp_path)
    without = bare(folder, "image.png", "a polyp", cwd=tmp_path, lacking="onnxruntime")
    assert (without.returncode, without.stderr) == (2, "onnxruntime is not installed; pip install onnxruntime\n")
    assert nothing.stdout == 'image-1.png: 0 px for "a polyp", not found by this model\n'


def test_wrong_input_is_one_line_and_exit_2(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "image.png")
    (tmp_path / "text.png").write_text("no image")
    whole = (tmp_path / "image.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(folder)
    cases = {
        ("none.png", "a polyp"): "none.png: no such file",
        ("text.png", "a polyp"): "text.png: cannot be read as an image",
        ("cut.png", "a polyp"): "cut.png: cannot be read as an image",
        ("deep.png", "a polyp"): "deep.png: has more than 8 bits; convert it to 8 bits",
        ("image.png", "a polyp", "--threshold", "7"): "--threshold: 7.0 is not from 0 to 1",
        ("image.png", "a polyp", "--out", "file"): "file",
    }
    program = compile((folder / "run.py").read_text(), str(folder / "run.py"), "exec")
    for arguments, message in cases.items():
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            exec(program, {"__name__": "__main__", "__file__": str(folder / "run.py")})
        told = capsys.readouterr()
        assert (stop.value.code, told.out, told.err.count("\n")) == (2, "", 1), arguments
        assert message in told.err
    assert not list(tmp_path.glob("*-1.png"))


def test_colours_of_16_bits_are_refused_and_palettes_read(tmp_path: Path) -> None:
    """Pillow writes no such file: it is made by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(b"\0" + bytes(6))
    deep = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    (tmp_path / "deep.png").write_bytes(deep + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    with pytest.raises(ValueError, match="has more than 8 bits"):
        read_image(tmp_path / "deep.png")
    levels = picture(tmp_path / "image.png")
    assert np.array_equal(read_image(tmp_path / "image.png"), levels)
    Image.fromarray(levels).quantize(16).save(tmp_path / "few.png", transparency=0)
    assert read_image(tmp_path / "few.png").shape == levels.shape


def test_changed_and_missing_graphs_are_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with (copy / "decoder.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match=r"decoder\.onnx: is not the file that was exported"):
        Model(copy)
    (copy / "decoder.onnx").unlink()
    with pytest.raises(ValueError, match=r"decoder\.onnx: is missing; export the model again"):
        Model(copy)
    (copy / "config.json").write_text(json.dumps({"vlseg": {"model": "unet"}}))
    with pytest.raises(ValueError, match="holds no model that vlseg exported"):
        Model(copy)


def edited(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    whole = json.loads(file.read_text())
    change(whole["vlseg"])
    file.write_text(json.dumps(whole))


@pytest.mark.parametrize(
    "change",
    [
        lambda part: part["exported"].update(threshold=0.2),
        lambda part: part["exported"]["prepare"].update(mean=[0, 0, 0]),
        lambda part: part["exported"]["words"].update(buckets=7),
        lambda part: part["targets"].reverse(),
        lambda part: part["exported"].update(beside={}),
    ],
)
def test_a_config_that_was_edited_is_named(
    change: Callable[[dict[str, Any]], object], folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    edited(tmp_path / "copy" / "config.json", lambda part: None)  # other blanks, the same content
    Model(tmp_path / "copy")
    edited(tmp_path / "copy" / "config.json", change)
    line = r"config\.json: was changed since the export; export the model again \(another threshold: --threshold\)$"
    with pytest.raises(ValueError, match=line):
        Model(tmp_path / "copy")
    with pytest.raises(InputError, match=line):
        load_model(str(tmp_path / "copy"))


def changed_beside(folder: Path, work: Path, names: Sequence[str]) -> None:
    """Each of the files changed and then taken away, in vlseg and in the program by itself."""
    picture(work / "image.png")
    for name in names:
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept + b"\n")
        line = f"{folder / name}: is not the file that was exported; export the model again"
        with pytest.raises(InputError, match=re.escape(line)):
            load_model(str(folder))
        done = bare(folder, "image.png", "a polyp", cwd=work)
        assert (done.returncode, done.stderr) == (2, line + "\n")
        (folder / name).unlink()
        if name.endswith(".py"):  # vlseg has its own
            load_model(str(folder))
        else:
            with pytest.raises(InputError, match=re.escape(f"{folder / name}: is missing; export the model again")):
                load_model(str(folder))
        (folder / name).write_bytes(kept)
    assert bare(folder, "image.png", "a polyp", cwd=work).returncode == 0


def test_what_splits_sentences_is_named_where_it_was_changed(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "tokenizer.json").write_text("{}")
    told = exported_part(tmp_path / "copy")
    retell(
        tmp_path / "copy", told | {"words": told["words"] | {"file": "tokenizer.json"}}
    )  # which hashing leaves alone
    changed_beside(tmp_path / "copy", tmp_path, ["tokenizer.json", "words.py"])


@pytest.mark.long
def test_two_tokenizers_have_digests_each(tmp_path: Path) -> None:
    folder = exported(made("vlsm-ensemble-c"), tmp_path / "graphs")
    names = sorted(path.name for path in folder.glob("*tokenizer.json"))
    assert len(names) == 2
    changed_beside(folder, tmp_path, names)


def test_folders_of_an_earlier_vlseg_are_read(folder: Path, tmp_path: Path) -> None:
    """Theirs have digests of the graphs alone."""
    shutil.copytree(folder, tmp_path / "copy")
    edited(tmp_path / "copy" / "config.json", lambda part: (part.pop("digest"), part["exported"].pop("beside")))
    assert load_model(str(tmp_path / "copy")).spec == load_model(str(folder)).spec


def test_the_program_reads_sentences_with_what_lies_beside_it(folder: Path, tmp_path: Path) -> None:
    """Also where a vlseg is installed, which may be another one."""
    shutil.copytree(folder, tmp_path / "copy")
    picture(tmp_path / "image.png")
    file = tmp_path / "copy" / "words.py"
    file.write_text(file.read_text() + "\nprint('these words')\n")
    edited(tmp_path / "copy" / "config.json", lambda part: (part.pop("digest"), part["exported"].pop("beside")))
    command = [sys.executable, str(tmp_path / "copy" / "run.py"), "image.png", "a polyp"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "these words"), done.stderr


def test_graphs_are_open_in_rows_sides_and_words(folder: Path) -> None:
    """As their inputs say: a number would be a size that is fixed."""
    sizes = {}
    for name in ("image_encoder", "prompt_encoder", "decoder"):
        for given in onnx.load(folder / f"{name}.onnx").graph.input:
            sizes[given.name] = [axis.dim_value or "open" for axis in given.type.tensor_type.shape.dim]
    assert sizes["pixel_values"] == ["open", 3, "open", "open"]
    assert sizes["buckets"] == ["open", "open", 2]
    assert sizes["image.coarse"] == ["open", 64, "open", "open"]
    assert sizes["prompt.sentence"] == ["open", 96]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_program_in_an_environment_of_three_packages(folder: Path, runner: Model, tmp_path: Path) -> None:
    """numpy, Pillow and ONNX Runtime alone, from uv's cache or wherever uv finds packages."""
    own = REPOSITORY / ".uv" / "bin" / "uv"
    uv = str(own) if own.exists() else shutil.which("uv")
    if uv is None:
        pytest.skip("the runner is untested in a bare environment: neither make env's uv nor another is here")
    environment = tmp_path / "bare"
    packages = [f"{name}=={version(name)}" for name in ("numpy", "pillow", "onnxruntime")]
    steps = [
        [uv, "venv", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--python", str(environment), *packages],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, timeout=500, check=False)
        if done.returncode:
            told = done.stderr.strip().splitlines()[-1]
            pytest.skip(f"the runner is untested in a bare environment: its packages are not to be had ({told})")
    picture(tmp_path / "image.png")
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        words = [str(python), *map(str, command)]
        return subprocess.run(words, cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=100, check=False)

    assert run("-c", "import torch").returncode == run("-c", "import vlseg").returncode == 1
    done = run(folder / "run.py", "image.png", "a polyp", "--threshold", "0.1")
    assert (done.returncode, done.stderr) == (0, "")
    wanted = runner.segment(read_image(tmp_path / "image.png"), ["a polyp"])[0] > 0.1
    with Image.open(tmp_path / "image-1.png") as mask:
        assert np.array_equal(np.asarray(mask), np.where(wanted, 255, 0))
    missing = run(folder / "run.py", "none.png", "a polyp")
    assert (missing.returncode, missing.stderr) == (2, "none.png: no such file\n")


DROPPED = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from vlseg.models import load_model
from vlseg.models.exported.run import Model
Model(Path(sys.argv[1]), engine="openvino").segment(np.zeros((40, 50, 3), np.uint8), ["a polyp"])
try:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
def test_ctrl_c_after_an_openvino_model_is_dropped(folder: Path) -> None:
    """Its library, once unloaded, leaves a handler behind that ends the process with a segmentation fault."""
    done = subprocess.run([sys.executable, "-c", DROPPED, str(folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
