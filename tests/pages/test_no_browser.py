"""Without a browser the tests of pages say that they skip."""

import shutil
import subprocess
from pathlib import Path

import pytest
from browsing import NoBrowserError, chromium


def test_a_missing_browser_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VLSEG_CHROMIUM", str(tmp_path / "none"))
    with pytest.raises(NoBrowserError, match="none does not start"), chromium():
        pass
    monkeypatch.delenv("VLSEG_CHROMIUM")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoBrowserError, match=r"there is no chromium \(\.ci/chromium installs"), chromium():
        pass


def test_what_is_installed_says_why_it_is_not(tmp_path: Path) -> None:
    """Nothing on the path but what the script itself needs: it ends well and says what stays untested."""
    for name in ("bash", "id"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    script = Path(__file__).parents[2] / ".ci" / "chromium"
    done = subprocess.run(["/bin/bash", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0
    assert "stay untested: " in done.stderr
    named = subprocess.run(
        ["/bin/bash", script], env={"PATH": str(tmp_path), "VLSEG_CHROMIUM": "x"}, capture_output=True
    )
    assert (named.returncode, named.stderr) == (0, b"")
