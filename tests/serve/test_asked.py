"""Prompts reach the model exactly as they were typed, or not at all; what is not seen does not pass."""

import sys
import unicodedata

import pytest

from vlseg.serve.asked import check_prompts
from vlseg.serve.limits import Limits, Refused

LIMITS = Limits()

TYPED = [
    "polyp",
    " polyp ",
    "Polyp, 5 mm; left",
    "naïve",  # composed
    "nai\u0308ve",  # decomposed: the tokenizer folds it or not, as in predict
    "опухоль слева",
    "息肉",
    "腫瘍 左",
    "می\u200cخواهم",  # Persian writes a joiner within the word
    "क्\u200dष",
    "ورم",
    "../../etc/passwd",
    "C:\\Windows\\con.png",
    "<script>alert(1)</script>",
    "'; DROP TABLE prompts; --",
    "{{7*7}} ${x} %s %n",
    "=cmd|' /C calc'!A0",
    "🫁",
    "x" * 500,
    "a\u00a0b",
]


@pytest.mark.parametrize("prompt", TYPED)
def test_as_typed(prompt: str) -> None:
    assert check_prompts([prompt], LIMITS) == [prompt]


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("", "prompt_empty"),
        ("   \u00a0\u3000", "prompt_empty"),
        ("x" * 501, "prompt_too_long"),
        pytest.param("x" * 10_000_000, "prompt_too_long", id="10 MB"),
        ("a\0b", "prompt_unseen_character"),
        ("a\nb", "prompt_unseen_character"),
        ("a\tb", "prompt_unseen_character"),
        ("a\x1b[31mb", "prompt_unseen_character"),
        ("a\x85b", "prompt_unseen_character"),
        ("a\u2028b", "prompt_unseen_character"),
        ("no \u202epylop", "prompt_unseen_character"),
        ("\u2066polyp\u2069", "prompt_unseen_character"),
        ("\u200fpolyp", "prompt_unseen_character"),
        ("pol\u200byp", "prompt_unseen_character"),
        ("pol\u200dyp", "prompt_unseen_character"),
        ("\u200d", "prompt_unseen_character"),
        ("pol\u00adyp", "prompt_unseen_character"),
        ("pol\u2060yp", "prompt_unseen_character"),
        ("\ufeffpolyp", "prompt_unseen_character"),
        ("pol\u034fyp", "prompt_unseen_character"),
        ("\u3164", "prompt_unseen_character"),
        ("polyp\U000e0061", "prompt_unseen_character"),
        ("polyp\U000e0100", "prompt_unseen_character"),
        ("polyp\ufe0e", "prompt_unseen_character"),
        ("\ud800", "prompt_unseen_character"),
        ("\ue000", "prompt_unseen_character"),
        ("\uffff", "prompt_unseen_character"),
    ],
)
def test_refused(prompt: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        check_prompts(["polyp", prompt], LIMITS)
    assert (caught.value.status, caught.value.code) == (422, code)
    assert caught.value.message.startswith("prompt 2: ")
    assert caught.value.message.isascii()
    assert len(caught.value.message) < 200


def test_counts() -> None:
    assert len(check_prompts(["polyp"] * 16, LIMITS)) == 16
    for prompts, code in (([], "prompt_missing"), (["polyp"] * 17, "too_many_prompts")):
        with pytest.raises(Refused) as caught:
            check_prompts(prompts, LIMITS)
        assert caught.value.code == code


def test_what_passes_can_be_written_and_seen() -> None:
    """Over all of Unicode: no control, format, private, unassigned or lone surrogate, and UTF-8 takes it."""
    passed = []
    for code in (code for code in range(sys.maxunicode + 1) if code < 0x40000 or code >= 0xE0000):
        try:
            check_prompts([f"x{chr(code)}"], LIMITS)
        except Refused:
            continue
        passed.append(chr(code))
    assert len(passed) > 140_000
    "".join(passed).encode()
    assert not {unicodedata.category(one)[0] for one in passed} & {"C"}
    assert not set(passed) & set("\u2028\u2029\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u3164\ufe0f\U000e0101")
