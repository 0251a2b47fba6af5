"""Which model an addition was put onto: where it comes from, and its checksum."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from vlseg.models.tensors import add_to_digest

BESIDE = "base"
"""Sub-folder of a saved addition, with its base where nothing else brings it back."""


@dataclass(frozen=True)
class Base:
    """How to make the model again that was added to.

    Attributes:
        model: its name.
        weights: path or hub id; `BESIDE` = that folder of the saved addition itself; None = its arguments say all.
        revision: of a hub id.
        arguments: of its builder or loader.
    """

    model: str
    weights: str | None
    revision: str | None
    arguments: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def checksum(network: nn.Module, without: Sequence[nn.Module] = ()) -> str:
    """SHA-256 of a model's parameters and saved buffers with their names, but for those of some of its modules."""
    skipped = {id(tensor) for module in without for tensor in module.state_dict(keep_vars=True).values()}
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict(keep_vars=True).items()):
        if id(tensor) not in skipped:
            add_to_digest(digest, name, tensor)
    return digest.hexdigest()
