"""Prompts that somebody sent."""

import unicodedata
from collections.abc import Sequence

from vlseg.serve.limits import Limits, Refused


def check_prompts(prompts: Sequence[str], limits: Limits) -> list[str]:
    """The prompts, each exactly as it was typed.

    Raises:
        Refused: with 422.
    """
    if not prompts:
        raise Refused(422, "no_prompt", "prompts: give at least one")
    if len(prompts) > limits.prompts:
        raise Refused(422, "too_many_prompts", f"prompts: give at most {limits.prompts}")
    for prompt in prompts:
        if len(prompt) > limits.prompt_chars:
            raise Refused(422, "prompt_too_long", f"prompts: one has over {limits.prompt_chars} characters; shorten it")
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in prompt):
            raise Refused(422, "control_characters", "prompts: one holds control characters; remove them")
    return list(prompts)
