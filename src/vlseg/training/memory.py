"""Training in less memory: blocks whose activations are computed again, and batches cut to what fits."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlseg.models import Segmenter, as_module
from vlseg.models.additions.extended import Extended
from vlseg.records import InputError

MEMORY_SHARE = 0.8
"""Of the free memory that a step may take; the rest is for buffers of kernels, decoded images and other programs."""
OVERHEAD = 1.5
"""A step's activations and gradients of activations, as a multiple of what is kept for the backward pass."""


def checkpoint_blocks(model: Segmenter) -> int:
    """Keep only the inputs of repeated blocks for the backward pass, which then computes them again.

    Blocks are the members of module lists and sequences that share a class (transformer blocks). Those with a batch
    norm are left as they are: a second pass would move its running statistics twice. The gradients stay the same,
    bit by bit. Through a frozen model that a regime added weights to gradients pass to what was added: its blocks count
    though nothing of them trains.

    Args:
        model: changed in place, where its parameters are set to train (see `apply_regime`); its state dict is not.

    Returns:
        The number of blocks.

    Raises:
        InputError: a model without such blocks.
    """
    passed = isinstance(model, Extended)
    blocks = _blocks(as_module(model.model if isinstance(model, Extended) else model), frozen=passed)
    for block in blocks:
        if not getattr(block.forward, "recomputes", False):  # a second call must not wrap them again
            block.forward = _recomputed(block, frozen=passed)
    if not blocks:
        raise InputError(
            f"checkpoint_activations: '{model.spec.name}' has no repeated blocks without batch norm under this regime; "
            "take accumulate=auto"
        )
    return len(blocks)


def _blocks(network: nn.Module, *, frozen: bool) -> list[nn.Module]:
    found: dict[int, nn.Module] = {}
    inside: set[int] = set()
    for outer in network.modules():
        if not isinstance(outer, nn.ModuleList | nn.Sequential):
            continue
        classes = Counter(type(child) for child in outer)
        for child in outer:
            repeated = classes[type(child)] > 1 and any(True for _ in child.children())
            trains = frozen or any(parameter.requires_grad for parameter in child.parameters())
            if repeated and trains and id(child) not in inside and not _has_batch_norm(child):
                found[id(child)] = child
                inside |= {id(module) for module in child.modules()}
    return list(found.values())


def _has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(inner, nn.modules.batchnorm._BatchNorm) for inner in module.modules())


def _recomputed(block: nn.Module, *, frozen: bool) -> Callable[..., Any]:
    forward = block.forward

    def call(*values: Any, **named: Any) -> Any:
        if not ((frozen or block.training) and torch.is_grad_enabled()):
            return forward(*values, **named)
        return checkpoint(forward, *values, use_reentrant=False, **named)

    call.recomputes = True  # type: ignore[attr-defined]
    return call


def kept_bytes(forward: Callable[[], Tensor], without: Iterable[Tensor] = ()) -> int:
    """Bytes that a forward pass keeps for its backward pass, each storage once; weights and `without` do not count."""
    skipped = {tensor.untyped_storage().data_ptr() for tensor in without}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in skipped:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    alive = []  # else a storage that is freed could be counted as the next one in its place
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        alive.append(forward())
    return sum(kept.values())


def images_that_fit(model: Segmenter, step: Callable[[], Tensor], device: torch.device, *, sharing: int = 1) -> int:
    """How many images a training step may take in the memory that is free now, at least 1.

    From what one image keeps for the backward pass, beside gradients and Adam's two moments of what trains.

    Args:
        model: on `device`, set to train what is to be trained.
        step: the loss of one image, with gradients.
        device: where.
        sharing: processes that use this memory at once.
    """
    weights = list(as_module(model).parameters())
    one = kept_bytes(step, weights) * OVERHEAD
    fixed = 3 * sum(weight.nbytes for weight in weights if weight.requires_grad)
    return max(1, int((MEMORY_SHARE * free_memory(device) / sharing - fixed) // max(one, 1.0)))


def free_memory(device: torch.device) -> int:
    """Bytes that the device can still give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return int(psutil.virtual_memory().available)


def pieces_for(batch: int, fitting: int) -> tuple[int, int]:
    """A step of `batch` images as (images a piece, pieces): the largest equal pieces of at most `fitting` images."""
    size = max(divisor for divisor in range(1, batch + 1) if batch % divisor == 0 and divisor <= max(1, fitting))
    return size, batch // size
