"""Prompts that somebody sent."""

import unicodedata
from collections.abc import Sequence

from vlseg.serve.limits import Limits, Refused

_JOINERS = "\u200c\u200d"
"""Part of words of many scripts; of none between Latin letters, where they hide."""
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0") | {
    chr(code) for selectors in (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)) for code in selectors
}
_UNSEEN_KINDS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def check_prompts(prompts: Sequence[str], limits: Limits) -> list[str]:
    """The prompts, each exactly as it was typed: the model gets what it would get from `vlseg predict`.

    Nothing is trimmed, folded or normalised, as tokenizers do that in their own way and names of targets must fit to
    the letter. What a person does not see is refused, so that what is read on the screen is what the model reads:
    control and format characters, line breaks, lone surrogates, unassigned and private code points, blank letters and
    variation selectors. Joiners within words of scripts that have them pass.

    Raises:
        Refused: with 422, which names the prompt by its number from 1 and the character by its code point.
    """
    if not prompts:
        raise Refused(422, "prompt_missing", "prompts: give at least one")
    if len(prompts) > limits.prompts:
        line = f"prompts: {len(prompts)} are given, the limit is {limits.prompts}; ask in several requests"
        raise Refused(422, "too_many_prompts", line)
    for number, prompt in enumerate(prompts, start=1):
        if len(prompt) > limits.prompt_chars:
            line = f"prompt {number}: has {len(prompt)} characters, the limit is {limits.prompt_chars}; say it shorter"
            raise Refused(422, "prompt_too_long", line)
        if not prompt.strip():
            raise Refused(422, "prompt_empty", f"prompt {number}: is empty; type what to segment")
        for place, character in enumerate(prompt):
            if _unseen(character, prompt[:place]):
                line = f"prompt {number}: character {place + 1} (U+{ord(character):04X}) is not seen; type it anew"
                raise Refused(422, "prompt_unseen_character", f"{line} in one line")
    return list(prompts)


def _unseen(character: str, before: str) -> bool:
    if character in _JOINERS:
        return not (before and before[-1] > "\u024f" and unicodedata.category(before[-1])[0] in "LM")
    return character in _UNSEEN or unicodedata.category(character) in _UNSEEN_KINDS
