"""`vlseg predict --jobs` as it is typed: killed, stopped and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Vlseg = Callable[..., Any]


def files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def jobs(path: Path, trained: Path, **more: Any) -> Path:
    images = sorted((trained / "data" / "images").glob("*.png"))
    entries = [{"image": str(image), "prompts": ["bright disc", "dark disc"], **more} for image in images]
    path.write_text(json.dumps(entries))
    return path


def predict(vlseg: Vlseg, trained: Path, *words: object) -> Any:
    return vlseg("predict", trained / "run", "--device", "cpu", "--threads", "1", *words)


def test_the_masks_of_a_folder_then_nothing_more(vlseg: Vlseg, trained: Path, tmp_path: Path) -> None:
    path = jobs(tmp_path / "jobs.json", trained)
    words = ("--image", trained / "data" / "images", "--prompt", "bright disc", "--prompt", "dark disc")
    folder = predict(vlseg, trained, *words, "--out", tmp_path / "folder", "--json")
    first = predict(vlseg, trained, "--jobs", path, "--out", tmp_path / "out", "--json")
    assert (folder.code, first.code) == (0, 0)
    assert first.json.keys() == folder.json.keys() == {"command", "masks", "failures"}
    one, other = files(tmp_path / "folder"), files(tmp_path / "out")
    assert one.keys() == other.keys()
    assert all(one[name] == other[name] for name in one if name != "predictions.json")
    again = predict(vlseg, trained, "--jobs", path, "--out", tmp_path / "out", "--json")
    assert again.json == first.json
    assert files(tmp_path / "out") == other
    told = predict(vlseg, trained, "--jobs", path, "--out", tmp_path / "out")
    count = len(first.json["masks"])
    assert told.out.splitlines()[-1].endswith(f"{tmp_path / 'out'}; {count} of them were there")
    assert f"{count} masks" in told.out


def test_what_jobs_wrote_can_be_evaluated(vlseg: Vlseg, trained: Path, tmp_path: Path) -> None:
    assert predict(vlseg, trained, "--jobs", jobs(tmp_path / "j.json", trained), "--out", tmp_path / "out").code == 0
    data = ("--data", trained / "data", "--split", "test", "--prompt", "p1", "--json")
    masks = vlseg("evaluate", "--masks", tmp_path / "out", *data, "--out", tmp_path / "e")
    model = vlseg("evaluate", trained / "run", *data, "--out", tmp_path / "f", "--device", "cpu")
    assert masks.json["dice"]["mean"] == model.json["dice"]["mean"]


WRONG: dict[str, tuple[list[str], str]] = {
    "jobs and an image": (["--jobs", "{jobs}", "--image", "{jobs}"], "--jobs: names images and prompts itself"),
    "jobs and a prompt": (["--jobs", "{jobs}", "--prompt", "x"], "leave out --image and --prompt"),
    "nothing": ([], "--image: is missing; give it with --prompt, or a file with --jobs"),
    "no prompt": (["--image", "{jobs}"], "--prompt: is missing"),
    "no such file": (["--jobs", "{jobs}x"], "does not exist"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_go_together(vlseg: Vlseg, trained: Path, tmp_path: Path, case: str) -> None:
    words, message = WRONG[case]
    path = jobs(tmp_path / "jobs.json", trained)
    done = predict(vlseg, trained, *(word.format(jobs=path) for word in words), "--out", tmp_path / "o")
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_all_that_is_wrong_is_told_before_the_model_is_loaded(vlseg: Vlseg, tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text('[{"image": "a.png", "prompts": ["x"]}, {"image": "b.png"}]')
    done = vlseg("predict", tmp_path / "no run", "--jobs", tmp_path / "jobs.json", "--out", tmp_path / "o")
    assert done.code == 2
    assert "2 of 2 entries are wrong: entry 1: no image at 'a.png'" in done.err
    assert "entry 2: no image at 'b.png' (from the file's folder), 'prompts' must be a list" in done.err


def test_one_broken_image_does_not_stop_the_others(vlseg: Vlseg, trained: Path, tmp_path: Path) -> None:
    Image.new("L", (20, 20), 9).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    entries = [{"image": name, "prompts": ["disc"]} for name in ("b.png", "a.png")]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, entries)))
    for _ in range(2):
        done = predict(vlseg, trained, "--jobs", tmp_path / "jobs.jsonl", "--out", tmp_path / "o", "--json")
        assert done.code == 1
        assert [mask["file"] for mask in done.json["masks"]] == ["a__disc.png"]
        assert len(done.json["failures"]) == 1
        assert "b.png" in done.err
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    done = predict(vlseg, trained, "--jobs", tmp_path / "jobs.jsonl", "--out", tmp_path / "o", "--json")
    assert done.code == 0
    assert [mask["file"] for mask in done.json["masks"]] == ["b__disc.png", "a__disc.png"]


def test_a_prompt_that_a_model_without_text_cannot_answer(
    vlseg: Vlseg, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_dataset()
    words = ["--model", "unet", "--data", data, "--set", "model_arguments={image_size: 32}", "--set", "max_steps=1"]
    assert vlseg("train", *words, "--out", tmp_path / "run", "--device", "cpu", "--set", "batch_size=2").code == 0
    image = str(data / "images" / "test0.png")
    entries = [{"image": image, "prompts": ["bright disc"]}, {"image": image, "prompts": ["bright disk"]}]
    (tmp_path / "jobs.json").write_text(json.dumps(entries))
    done = vlseg("predict", tmp_path / "run", "--jobs", tmp_path / "jobs.json", "--out", tmp_path / "o")
    assert done.code == 2
    assert "jobs.json: unknown target for 'unet', which reads no text: 'bright disk'" in done.err
    assert not (tmp_path / "o").exists()


def test_one_process_at_a_time(vlseg: Vlseg, trained: Path, tmp_path: Path) -> None:
    from vlseg.jobs.lock import run_lock

    path = jobs(tmp_path / "jobs.json", trained)
    with run_lock(tmp_path / "o", "written"):
        holder = subprocess.run(
            [sys.executable, "-m", "vlseg", "predict", trained / "run", "--jobs", path, "--out", tmp_path / "o",
             "--device", "cpu"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert holder.returncode == 2
    assert "is being written by process" in holder.stderr


def command(run: Path, path: Path, out: Path) -> list[str]:
    words = ["predict", run, "--jobs", path, "--out", out, "--device", "cpu", "--threads", "1"]
    return [sys.executable, "-m", "vlseg", *map(str, words)]


def many(folder: Path, count: int = 120) -> Path:
    rng = np.random.default_rng(3)
    folder.mkdir()
    entries = []
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (200, 260, 3), dtype=np.uint8)).save(folder / f"{number:03}.png")
        entries.append({"image": f"{number:03}.png", "prompts": ["bright disc", f"disc number {number}"]})
    path = folder / "jobs.jsonl"
    path.write_text("\n".join(map(json.dumps, entries)))
    return path


def some_are_there(out: Path, more_than: int) -> bool:
    return len(list(out.glob("*.png"))) > more_than


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=["kill", "ctrl-c", "term"])
def test_stopped_several_times(trained: Path, tmp_path: Path, sent: signal.Signals) -> None:
    """The files of a run never interrupted; no mask is written twice but those that were under way."""
    path, out = many(tmp_path / "images"), tmp_path / "out"
    subprocess.run(command(trained / "run", path, tmp_path / "whole"), check=True, capture_output=True)
    stopped = 0
    for _ in range(3):
        before = {file: file.stat().st_mtime_ns for file in out.glob("*.png")}
        process = subprocess.Popen(
            command(trained / "run", path, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while process.poll() is None and not some_are_there(out, len(before) + 15):
            time.sleep(0.005)
        if process.poll() is None:
            os.kill(process.pid, sent)
        _, said = process.communicate(timeout=60)
        stopped += process.returncode != 0
        if sent == signal.SIGINT and process.returncode:
            assert process.returncode == 130
            assert "stopped; the same command goes on where it was" in said
            assert len(json.loads((out / "predictions.json").read_text())) == len(list(out.glob("*.png")))
        again = sum(file.stat().st_mtime_ns != at for file, at in before.items())
        assert again <= 6
    assert stopped >= 2
    subprocess.run(command(trained / "run", path, out), check=True, capture_output=True)
    one, other = files(tmp_path / "whole"), files(out)
    left = [name for name in other.keys() - one.keys() if not Path(name).name.startswith(".")]
    assert left == []
    assert all(other[name] == one[name] for name in one if name != "predictions.json")
    rows = [json.loads(listing["predictions.json"]) for listing in (one, other)]
    told = [sorted((row["image"], row["prompt"], row["file"], row["area_px"]) for row in table) for table in rows]
    assert told[0] == told[1]
