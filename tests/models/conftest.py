"""Stored outputs of the published networks."""

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vlseg.models import Rows


def filled(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor that depends on its key only (../shared/golden/README.md)."""
    x = np.asarray(np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)).astype(np.float32)
    single = np.float32
    if key.endswith("running_var"):
        return 1 + single(0.1) * np.abs(x)
    if key.endswith("running_mean"):
        return single(0.1) * x
    if x.ndim == 1 and key.endswith(("weight", "bias")):
        return 1 + single(0.05) * x if key.endswith("weight") else single(0.05) * x
    if x.ndim != 4 and ("embed" in key or "cls_token" in key):
        return single(0.05) * x
    fan = math.prod(shape[1:]) if len(shape) > 1 else 1
    return x * single((1.25 if x.ndim == 4 else 1.0) / math.sqrt(fan))


class Golden:
    """One published network: weights by the filler rule, inputs, and comparison with what it gave."""

    def __init__(self, folder: Path, name: str) -> None:
        self.entries = json.loads((folder / f"{name}.keys.json").read_text())
        self.stored: dict[str, np.ndarray] = dict(np.load(folder / f"{name}.npz"))

    def weights(self) -> dict[str, Tensor]:
        """All tensors, each checked against its stored checksum."""
        weights = {}
        for entry in self.entries:
            if "value" in entry:
                weights[entry["key"]] = torch.full(tuple(entry["shape"]), entry["value"], dtype=torch.int64)
                continue
            tensor = filled(entry["key"], tuple(entry["shape"]))
            assert zlib.crc32(np.ascontiguousarray(tensor).tobytes()) == entry["crc32"], entry["key"]
            weights[entry["key"]] = torch.from_numpy(np.asarray(tensor))
        return weights

    def image(self, batch: int, side: int) -> Tensor:
        """The input, already normalised."""
        rng = np.random.default_rng(zlib.crc32(b"image"))
        pixels = torch.from_numpy(rng.standard_normal((batch, 3, side, side)).astype(np.float32))
        np.testing.assert_array_equal(pixels.flatten()[:8], self.stored["image_first8"])
        return pixels

    def tokens(self) -> Rows:
        """Ids and attention mask."""
        return Rows({name: torch.from_numpy(self.stored[name]).long() for name in ("input_ids", "attention_mask")})

    def assert_maps(self, logits: Tensor, mode: str, tolerance: float) -> None:
        """Logits (B, H, W) against the full first row, the grid of all rows, and their statistics."""
        np.testing.assert_allclose(logits[0].numpy(), self.stored[f"{mode}_row0"], atol=tolerance, rtol=0)
        self.assert_grid(logits, mode, tolerance)

    def assert_grid(self, logits: Tensor, mode: str, tolerance: float) -> None:
        """As `assert_maps`, where no full row is stored."""
        values = logits.numpy()
        index = np.arange(64) * values.shape[-1] // 64
        np.testing.assert_allclose(values[:, index][:, :, index], self.stored[f"{mode}_grid"], atol=tolerance, rtol=0)
        axes = (1, 2)
        found = np.stack([values.mean(axes), values.std(axes), values.min(axes), values.max(axes)], axis=1)
        np.testing.assert_allclose(found, self.stored[f"{mode}_stats"], atol=tolerance, rtol=0)

    def assert_middle(self, tensor: Tensor, name: str, tolerance: float) -> None:
        """An intermediate tensor against all of it, or against its stored probe."""
        flat = tensor.detach().flatten().numpy()
        if f"mid_{name}" in self.stored:
            np.testing.assert_allclose(flat, self.stored[f"mid_{name}"].flatten(), atol=tolerance, rtol=0)
            return
        probe = flat[np.arange(256) * len(flat) // 256]
        np.testing.assert_allclose(probe, self.stored[f"mid_{name}_probe"], atol=tolerance, rtol=0)


@pytest.fixture(scope="session")
def golden_network(golden: Path) -> Callable[[str], Golden]:
    """Stored weights, inputs and outputs by name."""
    return lambda name: Golden(golden, name)
