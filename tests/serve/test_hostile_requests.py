"""Hostile requests: what each is answered, and the largest memory on the way."""

import re
import tracemalloc
from pathlib import Path

import pytest
from asking import ask, cookie
from hostile_requests import cases, prompts_guard

from vlseg.serve.limits import Limits

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "what-is-stored.md").read_text(encoding="utf-8")
NAMES = list(cases("a=b"))


@pytest.mark.parametrize("case", NAMES)
def test_hostile_request(case: str) -> None:
    asked = prompts_guard()
    one = cases(cookie(asked))[case]
    tracemalloc.start()
    try:
        got = ask(asked, one.method, one.target, one.headers, one.pieces, host=one.host)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert (got.status, got.code if got.body else "") == (one.status, one.code)
    assert peak <= one.most, f"{peak:.1f} MB"


def test_the_page_names_each_case_as_it_is_answered() -> None:
    rows = re.findall(r"^\| (.+?) \| (\d{3}) \| `?(\w*)`? \|$", PAGE, re.M)
    told = {case: (int(status), code) for case, status, code in rows}
    assert told == {case: (one.status, one.code) for case, one in cases("a=b").items()}


def test_the_page_names_the_limits_as_they_are() -> None:
    limits = Limits()
    for words in (
        f"| a form with an image | {limits.bytes >> 20} MB | 413 |",
        f"| any other body | {limits.json_bytes >> 20} MB | 413 |",
        f"| from the first byte of a body to its last | {limits.seconds:g} s | 408 |",
        f"| bodies in memory at one time | {8 * limits.bytes >> 20} MB | 429, with Retry-After |",
        f"| an image | {limits.pixels:,} pixels, 32,767 a side, one picture in the file | 413, 422 |",
        f"| prompts in a request | {limits.prompts} | 422 |",
        f"| a prompt | {limits.prompt_chars} characters | 422 |",
        f"{limits.keep_seconds / 60:g} minutes after it was last asked for",
        f"for {limits.cookie_seconds / 3600:g} hours",
    ):
        assert words in PAGE, words
    assert limits.frames == 1
    assert limits.images_per_session == 8
