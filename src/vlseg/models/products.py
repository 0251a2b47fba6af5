"""Matrix products of inference by the library that is the faster one on this processor."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

FEWEST = 16
"""Rows below which nothing is gained."""


def fast_products(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """A context for inference in single precision, in which linear layers compute as fast as this processor can.

    Torch's sums are MKL's, which on AMD's processors leaves AVX-512 unused; oneDNN, which torch brings along, does not.
    The answer is the same to rounding. Elsewhere nothing is changed.
    """
    return _OneDnn() if device.type == "cpu" and precision == "fp32" and mkl_is_slow() else nullcontext()


@cache
def mkl_is_slow() -> bool:
    """Whether MKL computes here at half the processor's width."""
    available = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    if not available or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "AuthenticAMD" in told and "avx512f" in told


class _OneDnn(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """As torch calls it for each of its functions."""
        if func is F.linear and not kwargs and _plain(args[0], args[1]):
            bias = args[2] if len(args) > 2 else None
            return torch.ops.mkldnn._linear_pointwise(args[0].contiguous(), args[1], bias, "none", [], "")
        return func(*args, **(kwargs or {}))


def _plain(x: Tensor, weight: Tensor) -> bool:
    """Whether it is a product that oneDNN can do, and nothing else is asked for: no gradient, no other precision."""
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.ndim > 1
        and x.numel() >= FEWEST * x.shape[-1]
        and weight.is_contiguous()
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled("cpu")
    )
