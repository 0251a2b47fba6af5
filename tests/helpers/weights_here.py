"""Weights of installed packages, for tests that need them."""

from pathlib import Path

import pytest

from vlseg.models.packaged import packaged
from vlseg.records import InputError


def installed(name: str) -> Path:
    """The weights, or a skip where their package is absent; .ci/run lets none of these pass."""
    try:
        return packaged(name)
    except InputError as error:
        if "not installed" not in str(error):
            raise
        pytest.skip(f"packaged weights: {error}")
