"""Hostile files: what each is answered, and how much memory reading it takes, in a process of its own."""

import gc
import json
import re
import resource
from pathlib import Path

import pytest
from forking import ended, fork
from hostile_files import CASES

from vlseg.serve import uploads
from vlseg.serve.limits import Limits, Refused
from vlseg.serve.uploads import read_upload

DOCS = Path(__file__).resolve().parents[2] / "docs" / "what-is-stored.md"


def _measured(data: bytes, said: Path) -> tuple[int, str, int]:
    """Status, code and the growth of the largest memory in MB, from a copy of this process."""

    def read() -> None:
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        status, code = 200, ""
        try:
            read_upload(data, "image", Limits())
        except Refused as refused:
            status, code = refused.status, refused.code
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) >> 10
        said.write_text(json.dumps([status, code, grown]))

    gc.collect()
    assert ended(fork(read)) == 0
    status, code, grown = json.loads(said.read_text())
    return status, code, grown


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if "16-bit" in case else ()) for case in CASES]
)
def test_hostile_file(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "empty runs" in case:
        monkeypatch.setattr(uploads, "DECODE_SECONDS", 0.5)
    build, status, code, most = CASES[case]
    got = _measured(build(), tmp_path / "said")
    assert got[:2] == (status, code)
    assert got[2] <= most, f"{got[2]} MB"


def test_the_page_names_each_case_as_it_is_answered() -> None:
    rows = re.findall(r"^\| (.+?) \| (\d{3}) \| `?(\w*)`? \| (\d+) \|$", DOCS.read_text(encoding="utf-8"), re.M)
    told = {case: (int(status), code, int(most)) for case, status, code, most in rows}
    assert told == {case: (status, code, most) for case, (_, status, code, most) in CASES.items()}
