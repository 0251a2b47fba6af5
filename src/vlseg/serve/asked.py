"""Prompts that somebody sent."""

from collections.abc import Sequence

from vlseg.serve.limits import Limits


def check_prompts(prompts: Sequence[str], limits: Limits) -> list[str]:
    """The prompts, each exactly as it was typed.

    Raises:
        Refused: with 422.
    """
    raise NotImplementedError
