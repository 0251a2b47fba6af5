"""What `vlseg prompts show` tells."""

from pathlib import Path
from typing import Any

from vlseg.data import read_dataset
from vlseg.prompts import annotate, describe


def show_prompts(path: Path, target: str | None = None) -> list[dict[str, Any]]:
    """One plain dict per prompt name of the dataset."""
    return [row.to_json() for row in describe(annotate(read_dataset(path, target=target)))]
