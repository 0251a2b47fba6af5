"""Two processes on one run: the second is told who has it; a killed one is in nobody's way."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from vlseg.jobs import lock as lock_module
from vlseg.jobs.lock import LOCK_NAME, run_lock
from vlseg.records import InputError

HOLD = """
import sys, time
from pathlib import Path
from vlseg.jobs import lock
if sys.argv[2] == "none":
    lock.fcntl = None
with lock.run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holding(folder: Path, kind: str = "system") -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder, kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def told(folder: Path, **changes: object) -> None:
    """What a process that was killed, or runs elsewhere, left."""
    values = {"pid": os.getpid(), "host": socket.gethostname(), "started": psutil.Process().create_time()}
    folder.mkdir(exist_ok=True)
    (folder / LOCK_NAME).write_text(json.dumps(values | changes))


@pytest.mark.parametrize("kind", ["system", "none"])
def test_the_second_is_told_and_a_killed_first_is_forgotten(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "none":
        monkeypatch.setattr(lock_module, "fcntl", None)
    first = holding(tmp_path / "run", kind)
    with (
        pytest.raises(InputError, match=rf"run: is being trained by process {first.pid} on "),
        run_lock(tmp_path / "run"),
    ):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert first.stdout is not None
    first.stdout.close()
    assert (tmp_path / "run" / LOCK_NAME).exists()  # nobody tidied up
    with run_lock(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK_NAME).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run" / LOCK_NAME).exists()
    assert capsys.readouterr().err == ""


def test_a_later_process_of_the_same_number_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "fcntl", None)
    told(tmp_path, started=psutil.Process().create_time() - 1000)
    with run_lock(tmp_path):
        pass
    told(tmp_path)
    with pytest.raises(InputError, match="is being trained by process"), run_lock(tmp_path):
        pass


def test_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the system's lock is free its process has ended: go on, and say so. Without such locks: say how to mend."""
    told(tmp_path, host="node7", pid=12)
    with run_lock(tmp_path):
        pass
    assert "was being trained by process 12 on node7, which did not finish" in capsys.readouterr().err
    told(tmp_path, host="node7", pid=12)
    monkeypatch.setattr(lock_module, "fcntl", None)
    with pytest.raises(InputError, match="process 12 on node7") as caught, run_lock(tmp_path):
        pass
    mend = str(caught.value).split("delete ")[1].rstrip(")")
    Path(mend).unlink()
    with run_lock(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lock_file_cut_off_names_nobody(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LOCK_NAME).write_text(content)
    for module in (lock_module.fcntl, None):
        monkeypatch.setattr(lock_module, "fcntl", module)
        with run_lock(tmp_path):
            pass


def test_an_error_inside_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError), run_lock(tmp_path):
        raise KeyError
    with run_lock(tmp_path):
        pass


COUNT = """
import sys, time
from pathlib import Path
from vlseg.jobs.lock import run_lock
from vlseg.records import InputError
folder, mine = Path(sys.argv[1]), 0
while mine < 30:
    try:
        with run_lock(folder):
            number = int((folder / "n").read_text())
            time.sleep(0.001)
            (folder / "n").write_text(str(number + 1))
            mine += 1
    except InputError:
        time.sleep(0.0005)
"""


def test_nobody_shares_a_lock_that_is_being_removed(tmp_path: Path) -> None:
    """Three processes count together: a lost update would show that two were inside at once."""
    (tmp_path / "n").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, tmp_path]) for _ in range(3)]
    end = time.monotonic() + 60
    assert [process.wait(max(1.0, end - time.monotonic())) for process in processes] == [0, 0, 0]
    assert (tmp_path / "n").read_text() == "90"
