"""The pictures of an evaluation: a few rows of image | truth | prediction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vlseg.evaluation.overlays import panel_row
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.query import Query
from vlseg.metrics import dice_score
from vlseg.records import replacing, write_text

COMPRESSION = 3
"""Of PNG: a third of the time of the usual 6 on photographs, for files 7 % larger."""


@dataclass
class Gallery:
    """A few rows of image | truth | prediction, spread evenly over the samples."""

    folder: Path
    wanted: frozenset[str]
    entries: list[dict[str, object]] = field(default_factory=list)

    def offer(self, query: Query, image: np.ndarray, truth: np.ndarray | None, prediction: Prediction) -> None:
        """Keep the picture when its sample is wanted and has none yet."""
        sample = query.truths[-1].sample
        key = query.prompted.sample.id
        if key not in self.wanted or any(entry["sample_id"] == key for entry in self.entries):
            return
        name = f"{len(self.entries):03d}.png"
        with replacing(self.folder / name) as temporary:
            panel_row(image, truth, prediction.mask).save(temporary, format="PNG", compress_level=COMPRESSION)
        dice = None if truth is None else dice_score(prediction.mask, truth)
        self.entries.append(
            {
                "file": name,
                "sample_id": key,
                "image_id": sample.image_id,
                "prompt": query.wording,
                "target": query.named.target,
                "dice": dice,
                "condition": query.condition,
            }
        )

    def close(self) -> None:
        """Write index.json."""
        write_text(self.folder / "index.json", json.dumps(self.entries, indent=1) + "\n")


def gallery_for(folder: Path, queries: Sequence[Query], count: int = 12) -> Gallery:
    """A gallery of `count` samples spread evenly over the queries."""
    ids = list(dict.fromkeys(query.prompted.sample.id for query in queries))
    step = max(1, len(ids) // count)
    return Gallery(folder, frozenset(ids[::step][:count]))
