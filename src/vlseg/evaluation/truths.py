"""Truths of samples, read once."""

from collections.abc import Mapping, Sequence

import numpy as np

from vlseg.data import load_mask
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo, Sample


class MaskReader:
    """Truths by sample, each file read once and kept at one bit a pixel; threads may share it."""

    def __init__(self, infos: Mapping[str, DatasetInfo]) -> None:
        self._infos = infos
        self._packed: dict[tuple[str, str], tuple[np.ndarray, tuple[int, int]]] = {}

    def __call__(self, sample: Sample, size: tuple[int, ...]) -> np.ndarray | None:
        """(H, W) bool, or None where there is no truth."""
        if not sample.mask_paths:
            return None
        key = (sample.dataset, sample.id)
        if key not in self._packed:
            mask = load_mask(sample, self._infos[sample.dataset], (size[0], size[1]))
            self._packed[key] = np.packbits(mask), (mask.shape[0], mask.shape[1])
        bits, (height, width) = self._packed[key]
        return np.unpackbits(bits, count=height * width).view(np.bool_).reshape(height, width)


def read_truths(prompted: Sequence[Prompted], infos: Mapping[str, DatasetInfo]) -> dict[str, np.ndarray]:
    """Masks by sample id, for the samples that have one. Of one dataset: two may name their samples alike."""
    return {
        item.sample.id: load_mask(item.sample, infos[item.sample.dataset], None)
        for item in prompted
        if item.sample.mask_paths
    }
