"""Building a network whose weights are about to be loaded, without drawing them first."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

DRAWS = frozenset(
    {
        "normal_",
        "uniform_",
        "trunc_normal_",
        "kaiming_normal_",
        "kaiming_uniform_",
        "xavier_normal_",
        "xavier_uniform_",
    }
)
"""What torch, and libraries with it, draw weights by; of 150 million that takes more than a second."""


class Undrawn(TorchFunctionMode):
    """A context in which parameters that would be drawn become NaN: one that nothing is loaded into is seen at once.

    Torch's generator is hardly used, so this is for answering alone: what training draws later depends on it.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """As torch calls it for each of its functions."""
        given = kwargs or {}
        if getattr(func, "__name__", "") in DRAWS:
            drawn = args[0] if args else given.get("tensor")
            if isinstance(drawn, nn.Parameter):
                with torch.no_grad():
                    return drawn.fill_(float("nan"))
        return func(*args, **given)
