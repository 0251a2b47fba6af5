"""Linear layers by oneDNN: the same answers to rounding, and nothing else changed."""

import numpy as np
import pytest
import torch
from tiny_models import NAMES, made
from torch import nn

from vlseg.evaluation.predict import encode_images, predict_image
from vlseg.models import products
from vlseg.models.device import autocast
from vlseg.models.products import fast_products

CPU = torch.device("cpu")
IMAGE = np.random.default_rng(0).random((50, 70, 3), np.float32)


@pytest.fixture(autouse=True)
def slow_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the processors that this is for, whatever this one is."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(products, "mkl_is_slow", lambda: True)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_the_same_to_rounding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(name)
    prompts = ["a cyst", "nodule"] if model.spec.uses_text else list(model.spec.targets)
    fast = [one.probability for one in predict_image(model, IMAGE, prompts, device=CPU)]
    monkeypatch.setattr(products, "mkl_is_slow", lambda: False)
    plain = [one.probability for one in predict_image(model, IMAGE, prompts, device=CPU)]
    assert all(np.abs(one - other).max() < 1e-5 for one, other in zip(fast, plain, strict=True))


@pytest.mark.parametrize("shape", [(40, 24), (2, 20, 24), (1, 24), (24,), (0, 24), (3, 0, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_every_shape(shape: tuple[int, ...], bias: bool) -> None:
    layer, x = nn.Linear(24, 7, bias=bias), torch.randn(shape)
    with torch.inference_mode(), fast_products(CPU, "fp32"):
        fast = layer(x)
        turned = layer(x.transpose(0, 1).contiguous().transpose(0, 1)) if x.ndim == 3 else fast
    assert fast.shape == layer(x).shape
    assert torch.allclose(fast, layer(x), atol=1e-5)
    assert torch.allclose(turned, fast, atol=1e-5)


def test_gradients_and_other_precisions_are_torchs_own() -> None:
    layer, x = nn.Linear(24, 7), torch.randn(40, 24, requires_grad=True)
    with fast_products(CPU, "fp32"):
        layer(x).sum().backward()
        assert layer.double()(x.double()).dtype == torch.float64
    assert x.grad is not None
    with torch.inference_mode(), autocast("bf16", CPU), fast_products(CPU, "bf16"):
        assert nn.Linear(24, 7)(torch.randn(40, 24)).dtype == torch.bfloat16


def test_it_is_used_where_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of torch that called the layers otherwise would go unseen: answers stay the same."""
    count = [0]
    plain = products._plain

    def counted(*given: torch.Tensor) -> bool:
        count[0] += plain(*given)
        return plain(*given)

    monkeypatch.setattr(products, "_plain", counted)
    encode_images(made("clipseg"), [IMAGE], device=CPU)
    assert count[0] >= 4 * 6  # the tapped blocks' products
