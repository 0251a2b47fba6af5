"""Weights out of files that hold more than weights, with nothing in them executed."""

import functools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vlseg.models.tensors import read_tensors
from vlseg.records import InputError


class DiceLoss(nn.Module):
    """As Lightning's save_hyperparameters keeps it: an object of a class that is not here when the file is read."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.CrossEntropyLoss()


class Calls:
    """A pickle that calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def test_lightnings_hyperparameters_are_left_out(tmp_path: Path) -> None:
    """MedVLSM's checkpoints keep partial optimisers, losses and paths beside the weights."""
    layer = nn.Linear(2, 3)
    layer(torch.ones(2)).sum().backward()
    optimizer = torch.optim.AdamW(layer.parameters())
    optimizer.step()
    kept = {
        "optimizer": functools.partial(torch.optim.AdamW, lr=1e-3),
        "scheduler": functools.partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=5),
        "loss_fn": DiceLoss(),
        "folder": Path("data"),
    }
    values = {"state_dict": layer.state_dict(), "hyper_parameters": kept, "optimizer_states": [optimizer.state_dict()]}
    torch.save(values, tmp_path / "best.ckpt")
    found = read_tensors(tmp_path / "best.ckpt")
    assert found.keys() == {"weight", "bias"}
    assert torch.equal(found["weight"], layer.weight)


@pytest.mark.parametrize("function", [eval, exec, os.mkdir])
def test_nothing_in_a_file_is_executed(function: Any, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    argument = str(mark) if function is os.mkdir else f"__import__('os').mkdir({str(mark)!r})"
    torch.save({"state_dict": {"a": torch.ones(1)}, "trap": Calls(function, argument)}, tmp_path / "a.ckpt")
    if function is os.mkdir:  # torch refuses the operating system by name
        with pytest.raises(InputError, match=r"cannot be read as weights.*save its state_dict alone"):
            read_tensors(tmp_path / "a.ckpt")
    else:
        assert read_tensors(tmp_path / "a.ckpt").keys() == {"a"}
    assert not mark.exists()
