"""What the operating system refuses: one line that names the file, exit code 2, nothing half-written."""

import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data.prepare import prepare
from vlseg.records import InputError, replacing, replacing_folder

RAISED: dict[str, tuple[OSError, str]] = {
    "rights": (PermissionError(errno.EACCES, "Permission denied", "a.png"), r"a\.png: cannot be opened .*rights"),
    "full disk, copying": (
        OSError(errno.ENOSPC, "No space left", "a.png", None, "b.png"),
        r"b\.png: cannot be written",
    ),
    "full disk, no name": (OSError(errno.ENOSPC, "No space left on device"), "standard output: cannot be written"),
    "folder": (IsADirectoryError(errno.EISDIR, "Is a directory", "d"), "d: cannot be opened .*not a folder"),
    "file in a path": (NotADirectoryError(errno.ENOTDIR, "Not a directory", "f/x"), "f/x.*is a file"),
    "pyarrow": (OSError("Could not open Parquet file 'x'"), "Could not open Parquet file"),
    "bytes": (FileNotFoundError(errno.ENOENT, "No such file", b"\xe9.png"), r"\\udce9\.png: cannot be opened"),
}


@pytest.mark.parametrize("case", RAISED)
def test_any_command_says_it_in_one_line(vlseg: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    error, message = RAISED[case]

    def fail() -> None:
        raise error

    monkeypatch.setattr("vlseg.jobs.cards.list_cards", fail)
    done = vlseg("data", "list")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert re.search(message, done.err), done.err


def test_a_name_that_is_no_text_is_one_line(vlseg: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a file's name is written to JSON."""

    def fail() -> None:
        "scan_\udce9.png".encode()

    monkeypatch.setattr("vlseg.jobs.cards.list_cards", fail)
    done = vlseg("data", "list")
    assert done.code == 2
    assert "scan_" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["train", "--modl", "x"], ["frob"], ["train", "--model", "x", "--threads", "0"]])
def test_a_wrong_command_line_is_one_line(vlseg: Callable[..., Any], arguments: list[str]) -> None:
    done = vlseg(*arguments)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "--help" in done.err


def test_full_standard_output_and_closed_pipe() -> None:
    command = [sys.executable, "-c", "from vlseg.cli import main; main(['data', 'list'])"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: what writing on a full disk meets, in every library."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_prepare_after_a_full_disk_can_be_run_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(4):
        for kind in ("images", "masks"):
            (tmp_path / "in" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8)).save(tmp_path / f"in/images/{index}.png")
        disc = np.zeros((60, 60), np.uint8)
        disc[10:30, 10:30] = 255
        Image.fromarray(disc).save(tmp_path / f"in/masks/{index}.png")
    out = tmp_path / "place" / "out"
    with disk_of(4000), pytest.raises(InputError, match="out: cannot be written"):
        prepare(None, tmp_path / "in", out, target="polyp")
    assert not any((tmp_path / "place").iterdir())
    assert prepare(None, tmp_path / "in", out, target="polyp").images == 4


def test_what_is_read_in_the_block_keeps_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source"), replacing_folder(tmp_path / "out"):
        (tmp_path / "source").read_bytes()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_rights_of_written_files_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    """Whatever the writer does: safetensors gives its files 0600."""
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "below" / "a") as temporary:
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
        with replacing_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "below" / "a").stat().st_mode & 0o777 == mode
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask


def test_a_replaced_file_keeps_its_rights(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o600)
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
