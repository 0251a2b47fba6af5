"""One small model that reads, as graphs."""

from pathlib import Path

import pytest
from exporting import exported
from tiny_models import made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clipseg-tiny's graphs, for reading only."""
    return exported(made("clipseg-tiny"), tmp_path_factory.mktemp("exported") / "clipseg-tiny")
