"""What is frozen neither moves nor draws: no dropout, no batch norm in training mode, for every model and regime."""

import pytest
import torch
from tiny_models import NAMES, TARGETS, made
from torch import nn

from vlseg.models import Segmenter, as_module
from vlseg.records import InputError
from vlseg.training.freezing import ENCODERS, REGIMES, apply_regime, train_mode


def features(model: Segmenter, seed: int) -> list[torch.Tensor]:
    """Of an image and some prompts; `seed` is of whatever is drawn."""
    torch.manual_seed(seed)
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    tokens = model.tokenize(TARGETS)
    with torch.no_grad():
        found = [model.encode_image(model.prepare([image] * 2)), model.encode_prompts(tokens)]
    return [tensor for rows in found if rows is not None for tensor in rows.tensors.values()]


@pytest.mark.parametrize("regime", ["freeze_encoders", "decoder"])
@pytest.mark.parametrize("name", NAMES)
def test_frozen_encoders_answer_as_in_prediction(name: str, regime: str) -> None:
    """Also those whose dropout is a function of the module's mode (PubMedBERT's attention), whatever is drawn."""
    model = made(name)
    as_module(model).eval()
    before = features(model, 0)
    try:
        training = apply_regime(model, regime)
    except InputError:
        pytest.skip("leaves nothing to train")
    train_mode(model, training)
    frozen = [part for part in model.parts() if part in ENCODERS and not REGIMES[regime](part)]
    inside = {id(inner) for root in training for inner in root.modules()}
    assert [key for key, m in as_module(model).named_modules() if m.training and id(m) not in inside] == []
    if frozen:
        for own, one, two in zip(before, features(model, 1), features(model, 2), strict=True):
            assert torch.equal(one, two)
            torch.testing.assert_close(own, one, rtol=0, atol=1e-5)  # attention without gradients adds in another order


def test_pubmedberts_dropout_acts_where_it_trains_alone() -> None:
    model = made("biomedclipseg")
    assert any(isinstance(m, nn.Dropout) and m.p > 0 for part in model.parts()["text_encoder"] for m in part.modules())
    train_mode(model, apply_regime(model, "full"))
    assert not torch.equal(features(model, 1)[-1], features(model, 2)[-1])
