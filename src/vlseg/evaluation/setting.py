"""What is the same for every row of one evaluation."""

from dataclasses import dataclass

import torch

NSD_TOLERANCE = 2.0
"""Pixels, or mm where the spacing is known."""
"""Pixels, or mm where the spacing is known."""


@dataclass(frozen=True)
class Setting:
    """What is the same for every row of one evaluation."""

    model: str
    protocol: str
    run_id: str
    seed: int
    device: torch.device
    threshold: float
    precision: str = "fp32"
    nsd_tolerance: float = NSD_TOLERANCE
