"""Networks that are built without drawing weights: all are loaded."""

from pathlib import Path

import pytest
import torch
from tiny_models import NAMES, made
from torch import nn

from vlseg.evaluation import load
from vlseg.models import as_module, load_model
from vlseg.models.tensors import model_digest
from vlseg.models.undrawn import Undrawn


@pytest.mark.parametrize("name", NAMES)
def test_every_saved_model_comes_back_whole(name: str, tmp_path: Path) -> None:
    """A weight or buffer that loading leaves out would be NaN, or differ."""
    if name.startswith("vlsm-ensemble"):
        pytest.skip("is put together of parts when it is trained; its tests load it")
    model = made(name)
    model.save(tmp_path / "model")
    predictor = load(str(tmp_path / "model"), device="cpu")
    assert predictor.digest == model_digest(model)
    plain = as_module(load_model(str(tmp_path / "model")))
    own = dict(as_module(predictor.model).named_buffers())
    assert all(torch.equal(one, own[key]) for key, one in plain.named_buffers())  # those that no file holds, too


def test_what_is_not_loaded_is_seen() -> None:
    with Undrawn():
        layer, norm = nn.Linear(4, 4), nn.LayerNorm(4)
    assert layer.weight.isnan().all()
    assert layer.bias.isnan().all()
    assert norm.weight.equal(torch.ones(4))
    noise = torch.empty(4)
    with Undrawn():
        noise.normal_()  # no parameter: a model's own draw
    assert not noise.isnan().any()
    assert not nn.Linear(4, 4).weight.isnan().any()
