"""What of a model's state training changes, and a checksum of the rest."""

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from vlseg.records import InputError


def changing_weights(network: nn.Module, training: Iterable[nn.Module]) -> dict[str, Tensor]:
    """Trained parameters and the buffers of the modules that train, by their names in the state dict."""
    trained = {id(p) for p in network.parameters() if p.requires_grad}
    changing = trained | {id(buffer) for module in training for buffer in module.buffers()}
    named = network.state_dict(keep_vars=True)
    return {name: tensor.detach() for name, tensor in named.items() if id(tensor) in changing}


def running_statistics(training: Sequence[nn.Module]) -> list[Tensor]:
    """What batch norms that train keep of the batches they saw: a mean and a variance each."""
    norms = {id(module): module for root in training for module in root.modules() if isinstance(module, _NormBase)}
    kept = [tensor for module in norms.values() for tensor in (module.running_mean, module.running_var)]
    return [tensor for tensor in kept if tensor is not None]


def put_back(network: nn.Module, weights: Mapping[str, Tensor], wanted: Collection[str], where: Path) -> None:
    """Load the weights, which must be those named in `wanted`; `where` they come from stands in the error.

    Raises:
        InputError: others, or of other shapes.
    """
    if weights.keys() != set(wanted):
        raise InputError(f"{where}: holds other weights than this model trains; train into a new folder")
    try:
        network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise InputError(f"{where}: holds weights of other shapes; train into a new folder") from error


def frozen_checksum(network: nn.Module, changing: Collection[str]) -> int:
    """CRC-32 of what training does not change: a resumed run must start from the same."""
    total = 0
    for name, tensor in sorted(network.state_dict().items()):
        if name not in changing:
            total = zlib.crc32(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy(), total)
    return total


@contextmanager
def unchanged_buffers(network: nn.Module) -> Iterator[None]:
    """Put back what forward passes in training mode move: batch norm's running statistics and counts."""
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(before[name])
