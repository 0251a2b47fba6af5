"""Pooled features: one finite vector an image from every model, the picture itself not among them."""

import pytest
import torch
from tiny_models import NAMES, made

from vlseg.models import ImageFeatures
from vlseg.models.pooling import pooled_features

WIDTHS = {
    "clipseg": 3 * 32,
    "cris": 64 + 128 + 32,
    "biomedclipseg": 3 * 32,
    "smp-unet": 64 + 64 + 128 + 256 + 512,
    "vlsm-ensemble-a": 3 * 32,
    "vlsm-ensemble-c": 2 * 3 * 32,
    "unet": 24 + 56 + 112 + 208,
    "guide": 24 + 32 + 48 + 64,
    "clipseg-tiny": 16 + 64,
    "ensemble": 3 * 32 + 16 + 64,
}


@pytest.mark.parametrize("name", NAMES)
def test_every_model_has_a_vector_for_each_image(name: str) -> None:
    model = made(name)
    images = [torch.rand(3, 50, 60, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    with torch.no_grad():
        both = pooled_features(model.encode_image(model.prepare(images)), model.spec.image_size)
        alone = pooled_features(model.encode_image(model.prepare(images[1:])), model.spec.image_size)
    assert both is not None
    assert alone is not None
    assert both.dtype == torch.float32
    assert torch.isfinite(both).all()
    assert not torch.equal(both[0], both[1])
    torch.testing.assert_close(both[1:], alone, rtol=1e-3, atol=1e-4)
    assert both.shape == (2, WIDTHS.get(name, both.shape[1]))


def test_means_are_over_places() -> None:
    maps = torch.randn(2, 9, 5, 5)
    taps = torch.randn(2, 3, 17, 24)
    tokens, vector = torch.randn(2, 6, 4), torch.randn(2, 3)
    features = {"a": maps, "b": taps, "c": tokens, "d": vector, "e": torch.ones(2, 3, 8, 8), "f": torch.ones(2).long()}
    found = pooled_features(ImageFeatures(features), (64, 64))
    wanted = torch.cat([maps.flatten(2).mean(2), taps.mean(2).reshape(2, 72), tokens.mean(1), vector], dim=1)
    assert found is not None
    torch.testing.assert_close(found, wanted)


def test_a_picture_alone_gives_nothing() -> None:
    assert pooled_features(ImageFeatures({"pixels": torch.ones(1, 3, 32, 48)}), (32, 48)) is None
