"""Exponential pseudo-label iteration (EPI): what a model has said of a sample so far, in place of a mask.

P_t = beta P_{t-1} + (1 - beta) p_t, with p_t the probabilities that the model of generation t gives on the image as it
is (Li et al., LViT, IEEE TMI 2024, arXiv 2206.14718: each entry of P is a probability of a pixel; nothing is said of a
threshold). The paper does not say how long a generation is, nor what P_0 is: here an epoch, and the p_0 of a model
trained on labelled images alone, as its authors advise (HUANGLIZI/LViT, issue 23).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlseg.prompts import Prompted
from vlseg.records import InputError, replacing

LEVELS = 65535
"""Probabilities are kept as 16-bit whole numbers, in steps of 0.000015. Half precision has steps of 0.0005 near 1: with
beta 0.99 a label would stop 0.02 away from what the model says."""

Levels = NDArray[np.uint16]


def next_label(before: Levels | None, predicted: NDArray[np.float32], beta: float) -> Levels:
    """The pseudo-label after another prediction, both (h, w); the first one is the prediction itself.

    Args:
        before: the last one, in `LEVELS`; None = there is none.
        predicted: probabilities.
        beta: in [0, 1), how much of the last one stays.
    """
    whole = predicted * np.float32(LEVELS)
    if before is not None:
        whole = np.float32(beta) * before.astype(np.float32) + np.float32(1 - beta) * whole
    found: Levels = np.rint(whole).astype(np.uint16)
    return found


class PseudoLabels:
    """The pseudo-labels of all samples without a mask, (n, h, w), in a file of each generation.

    A generation is written as a whole, under a name of its own, before a checkpoint names it; what neither the last
    checkpoint names nor is the present one goes at once, however many epochs pass between checkpoints. So a run that is
    killed at any moment finds what its last checkpoint knew, and a checkpoint itself is not larger than without. Maps
    are read from the file as they are needed.
    """

    def __init__(self, folder: Path, items: Sequence[Prompted], size: tuple[int, int], beta: float) -> None:
        """`folder` is where checkpoints lie, `size` (h, w) that of the network's grid."""
        self.folder, self.beta = folder, beta
        self.shape = (len(items), *size)
        self.epoch: int | None = None
        self._named: int | None = None
        """The generation that the last checkpoint names."""
        self._rows = {_key(item): row for row, item in enumerate(items)}
        self._kept: Levels | None = None

    def of(self, item: Prompted) -> NDArray[np.float32]:
        """A sample's pseudo-label, (h, w) in [0, 1], in the frame of the image as it is."""
        assert self._kept is not None  # they are made before the first batch that needs them
        found: NDArray[np.float32] = self._kept[self._rows[_key(item)]].astype(np.float32) / np.float32(LEVELS)
        return found

    def update(self, epoch: int, predictions: Iterable[NDArray[np.float32]]) -> None:
        """The generation of an epoch, from one prediction (h, w) of each sample in order.

        Raises:
            InputError: the file cannot be written.
        """
        with replacing(self._path(epoch)) as temporary, temporary.open("wb") as file:
            header = {"descr": "<u2", "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for row, predicted in enumerate(predictions):
                before = None if self._kept is None else self._kept[row]
                file.write(next_label(before, predicted, self.beta).astype("<u2").tobytes())
        self._open(epoch)
        self._delete_all_but(self._named, epoch)

    def restore(self, epoch: int | None) -> None:
        """Go on with the generation of an epoch, which a checkpoint names.

        Raises:
            InputError: it is not there, or of other samples.
        """
        self._named = epoch
        self._open(epoch)

    def forget_others(self) -> None:
        """Delete generations that are not the present one: a checkpoint names it now."""
        self._named = self.epoch
        self._delete_all_but(self.epoch)

    def _open(self, epoch: int | None) -> None:
        self.epoch, self._kept = epoch, None
        if epoch is None:
            return
        path = self._path(epoch)
        try:
            kept = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: pseudo-labels cannot be read; train into a new folder") from error
        if kept.shape != self.shape or kept.dtype != np.dtype("<u2"):
            raise InputError(f"{path}: holds pseudo-labels of other samples; train into a new folder")
        self._kept = kept

    def _delete_all_but(self, *epochs: int | None) -> None:
        kept = {self._path(epoch) for epoch in epochs if epoch is not None}
        for path in self.folder.glob("pseudo-labels-*.npy"):
            if path not in kept:
                path.unlink(missing_ok=True)
        for path in self.folder.glob(".pseudo-labels-*.part"):  # of a run that was killed as it wrote
            path.unlink(missing_ok=True)

    def _path(self, epoch: int) -> Path:
        return self.folder / f"pseudo-labels-{epoch}.npy"


def _key(item: Prompted) -> tuple[str, str]:
    return item.sample.dataset, item.sample.id
