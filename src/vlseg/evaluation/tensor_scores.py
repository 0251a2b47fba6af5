"""The scores of `vlseg.metrics` for masks that are tensors, on the device where they are.

Same definitions, same values; `vlseg.metrics.surface` says what an edge and a contour are. Distances are taken between
all pairs of surface elements, a block at a time: work that suits a GPU, and no mask leaves it. On a CPU the search of
`vlseg.metrics.score_pair` is the way.
"""

from typing import get_args

import torch
from torch import Tensor

from vlseg.metrics import Surface
from vlseg.metrics.surface import Spacing, check_spacing, check_tolerance, contour_lengths
from vlseg.records import InputError, unknown_name

PAIRS_AT_ONCE = 1 << 24
"""Distances held at a time: 128 MiB."""


def score_tensors(
    pred: Tensor,
    target: Tensor,
    *,
    spacing: Spacing | None = None,
    nsd_tolerance: float = 2.0,
    surface: Surface = "edge",
) -> dict[str, Tensor]:
    """Dice, IoU, precision, recall and surface distances of a batch of masks.

    Args:
        pred: (B, H, W) bool.
        target: (B, H, W) bool on the same device.
        spacing: (y, x) in mm; None = pixels.
        nsd_tolerance: in mm, or pixels without spacing.
        surface: see `vlseg.metrics.surface`.

    Returns:
        (B,) float64 on the device (float32 where it has none): "dice", "iou", "nsd" by the rule for empty masks, and
        "pixel_precision", "pixel_recall", "hd95", "hd", "assd", NaN where `vlseg.metrics` has None.

    Raises:
        InputError: not two (B, H, W) bool tensors of one shape, a wrong spacing or tolerance, an unknown surface.
    """
    _check(pred, target)
    check_tolerance(nsd_tolerance)
    if surface not in get_args(Surface):
        raise unknown_name("surface", surface, get_args(Surface))
    step = check_spacing(spacing)
    kind = torch.float32 if pred.device.type == "mps" else torch.float64
    both, predicted, true = ((mask.sum(dim=(1, 2)).to(kind)) for mask in (pred & target, pred, target))
    rows = [_distances(one, other, step, nsd_tolerance, surface, kind) for one, other in zip(pred, target, strict=True)]
    surfaces = torch.stack(rows) if rows else torch.zeros(0, 4, dtype=kind, device=pred.device)
    empty = (predicted + true) == 0
    return {
        "dice": torch.where(empty, 1.0, 2 * both / (predicted + true)),
        "iou": torch.where(empty, 1.0, both / (predicted + true - both)),
        "pixel_precision": both / predicted,
        "pixel_recall": both / true,
        **dict(zip(("hd95", "hd", "nsd", "assd"), surfaces.unbind(1), strict=True)),
    }


def _check(pred: Tensor, target: Tensor) -> None:
    for name, mask in (("pred", pred), ("target", target)):
        if mask.ndim != 3 or mask.dtype != torch.bool:
            shape = tuple(mask.shape)
            raise InputError(
                f"{name}: masks must be bool (B, H, W), got {mask.dtype} of shape {shape}; threshold them first"
            )
    if pred.shape != target.shape:
        shapes = f"{tuple(pred.shape)} and {tuple(target.shape)}"
        raise InputError(f"masks of shapes {shapes} cannot be compared; bring them to the same size")


def _distances(
    pred: Tensor, target: Tensor, step: Spacing, tolerance: float, surface: Surface, kind: torch.dtype
) -> Tensor:
    """(4,) HD95, HD, NSD, ASSD of one pair (H, W)."""
    if not pred.any() or not target.any():
        nsd = float(not pred.any() and not target.any())
        return torch.tensor([torch.nan, torch.nan, nsd, torch.nan], dtype=kind, device=pred.device)
    scale = torch.tensor(step, dtype=kind, device=pred.device)
    elements = [_edges(mask, kind) if surface == "edge" else _contour(mask, step, kind) for mask in (pred, target)]
    (first, first_lengths), (second, second_lengths) = ((points * scale, lengths) for points, lengths in elements)
    one, two = _nearest(first, second), _nearest(second, first)
    sides = ((one, first_lengths), (two, second_lengths))
    distances, lengths = torch.cat([one, two]), torch.cat([first_lengths, second_lengths])
    percentile = _percentile if surface == "edge" else _percentile_by_length
    return torch.stack(
        [
            torch.stack([percentile(values, weights) for values, weights in sides]).max(),
            distances.max(),
            lengths[distances <= tolerance].sum() / lengths.sum(),
            (distances * lengths).sum() / lengths.sum(),
        ]
    )


def _edges(mask: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Edge pixels (n, 2) and their weights (n,), all alike."""
    padded = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    points = (mask & ~inside).nonzero().to(kind)
    return points, torch.ones(len(points), dtype=kind, device=mask.device)


def _contour(mask: Tensor, step: Spacing, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Line elements (n, 2), one per 2x2 neighbourhood, and their lengths (n,)."""
    bits = torch.nn.functional.pad(mask, (1, 1, 1, 1)).long()
    codes = 8 * bits[:-1, :-1] + 4 * bits[:-1, 1:] + 2 * bits[1:, :-1] + bits[1:, 1:]
    lengths = torch.from_numpy(contour_lengths(step)).to(mask.device, kind)[codes]
    points = lengths.nonzero()
    return points.to(kind), lengths[points[:, 0], points[:, 1]]


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    """(n,) distance of each point (n, 2) to the nearest other (m, 2)."""
    rows = max(1, PAIRS_AT_ONCE // len(others))
    parts = [
        (chunk[:, None] - others[None]).square().sum(dim=2).amin(dim=1).sqrt() for chunk in torch.split(points, rows)
    ]
    return torch.cat(parts)


def _percentile(distances: Tensor, lengths: Tensor) -> Tensor:
    return torch.quantile(distances, 0.95)


def _percentile_by_length(distances: Tensor, lengths: Tensor) -> Tensor:
    # Shorter elements first among equals, as in vlseg.metrics: the running sum rounds alike.
    order = lengths.argsort(stable=True)
    order = order[distances[order].argsort(stable=True)]
    reached = lengths[order].cumsum(0) / lengths[order].sum()
    return distances[order][(reached < 0.95).sum().clamp(max=len(order) - 1)]
