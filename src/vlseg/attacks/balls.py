"""Budgets as geometry: steepest steps, projections and random draws; images (B, 3, h, w)."""

import hashlib

import torch
from torch import Tensor

from vlseg.attacks.plan import Norm


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of length 1 in the norm along which the gradient rises most; 0 where there is none."""
    if norm == "linf":
        return gradient.sign()
    # Scaled first: squares of gradients of sure answers are below single precision.
    scaled = gradient / _each(gradient.abs().flatten(1).amax(1)).clamp_min(torch.finfo(gradient.dtype).tiny)
    length = _lengths(scaled)
    direction: Tensor = scaled / _each(torch.where(length > 0, length, torch.ones_like(length)))
    return direction


def projected(change: Tensor, norm: Norm, epsilon: float) -> Tensor:
    """The nearest change within the budget."""
    if norm == "linf":
        return change.clamp(-epsilon, epsilon)
    length = _lengths(change)
    return change * _each(torch.where(length > epsilon, epsilon / length.clamp_min(1e-30), torch.ones_like(length)))


def drawn_start(shape: torch.Size, norm: Norm, epsilon: float, rng: torch.Generator) -> Tensor:
    """A change (3, h, w), uniform in the ball."""
    if norm == "linf":
        return (2 * torch.rand(shape, generator=rng) - 1) * epsilon
    radius: float = float(torch.rand((), generator=rng, dtype=torch.float64)) ** (1 / shape.numel())
    return drawn_noise(shape, norm, epsilon, rng) * radius


def drawn_noise(shape: torch.Size, norm: Norm, epsilon: float, rng: torch.Generator) -> Tensor:
    """A change (3, h, w) that takes the whole budget: a corner of the box for linf, a point of the sphere for l2."""
    if norm == "linf":
        return (2.0 * torch.randint(0, 2, shape, generator=rng) - 1) * epsilon
    normal = torch.randn(shape, generator=rng)
    return normal * float(epsilon / torch.linalg.vector_norm(normal, dtype=torch.float64))


def generator(*parts: object) -> torch.Generator:
    """On the CPU, seeded by the parts alone."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _lengths(change: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(change.flatten(1), dim=1, dtype=torch.float64)
    return lengths.to(change.dtype)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]
