"""Every trainable parameter matters to a mask, and every channel belongs to its target; published protocols, too."""

from typing import Any

import pytest
import torch
from tiny_models import IMAGE_ONLY, NAMES, TARGETS, TINY, made
from torch import Tensor, nn

from vlseg.evaluation import predict_image
from vlseg.models import as_module, build_model
from vlseg.records import InputError
from vlseg.training.freezing import apply_regime, train_mode
from vlseg.training.step import TrainingStep

PUBLISHED = [
    ("clipseg", "published", {"mask_decoder"}),
    ("clipseg-rd64", "published", {"mask_decoder"}),
    ("biomedclipseg", "published", {"mask_decoder", "text_encoder"}),
    ("vlsm-ensemble-a", "published", {"mask_decoder", "text_encoder"}),
    ("cris", "original", {"mask_decoder", "text_encoder", "image_encoder"}),
    ("cris", "medvlsm", {"mask_decoder", "text_encoder", "image_encoder"}),
    ("cris", "attention_mask", {"mask_decoder", "text_encoder", "image_encoder"}),
]


def pictures(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(3, 48, 40, generator=generator) for _ in range(count)]


def unmoved(model: Any) -> list[str]:
    """Trainable parameters that two images with two prompts give no gradient."""
    training = apply_regime(model, "full")
    train_mode(model, training)
    torch.manual_seed(0)
    tokens = model.tokenize(["large dark cyst left" if model.spec.uses_text else TARGETS[0], TARGETS[1]])
    model.forward(model.prepare(pictures(2)), tokens).logits.square().mean().backward()
    parameters = dict(as_module(model).named_parameters())
    trained = {id(p) for module in training for p in module.parameters()}
    assert {id(p) for p in parameters.values() if p.grad is not None} <= trained
    return [key for key, p in parameters.items() if id(p) in trained and (p.grad is None or not p.grad.any())]


@pytest.mark.parametrize("name", NAMES)
def test_every_trainable_parameter_gets_a_gradient(name: str) -> None:
    assert unmoved(made(name)) == []


@pytest.mark.parametrize(("name", "protocol", "parts"), PUBLISHED)
def test_published_protocols_train_what_they_trained(name: str, protocol: str, parts: set[str]) -> None:
    """CLIPSeg in full: its decoder alone. BiomedCLIPSeg, also in VLSM-Ensemble A: not the image encoder."""
    torch.manual_seed(0)
    model = build_model(name, arguments=TINY[name], protocol=protocol)
    assert model.parts().keys() == parts
    assert unmoved(model) == []


@pytest.mark.parametrize("encoder", ["mit_b0", "mobilenet_v2", "tu-convnext_atto"])
def test_other_encoders(encoder: str) -> None:
    """A transformer, a mobile one, and one of timm's that skips a stage: the steps are the library's own forward."""
    model = made("smp-unet", encoder=encoder)
    inputs = model.prepare(pictures(1))
    with torch.no_grad():
        library = as_module(model).get_submodule("network")(inputs.tensors["pixel_values"])
        assert torch.equal(model.forward(inputs, None).logits, library)


@pytest.mark.parametrize(
    ("name", "encoder", "words"),
    [
        ("smp-unet", "resnet19", "did you mean 'resnet18'"),
        ("smp-unet", "tu-nonsense", "Unknown model"),
        ("smp-unet", "tu-swin_tiny_patch4_window7_224", "image_size: 64 does not suit"),
        ("smp-unetplusplus", "mit_b0", "not support"),
        ("smp-deeplabv3plus", "vgg11_bn", "dilated"),
    ],
)
def test_encoders_that_do_not_go(name: str, encoder: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        made(name, encoder=encoder)


@pytest.mark.parametrize("name", IMAGE_ONLY)
@pytest.mark.parametrize("channel", [0, 1])
def test_a_target_trains_and_answers_in_its_own_channel(name: str, channel: int) -> None:
    model = made(name)
    one = torch.zeros(1, dtype=torch.int64)
    inputs = model.prepare(pictures(1))
    logits = TrainingStep(model)(inputs.tensors, {}, one, one, one + channel, False, False)
    whole = model.forward(inputs, None).logits
    assert torch.equal(logits, whole[:, channel : channel + 1])
    logits.sum().backward()
    heads = [m for m in as_module(model).modules() if isinstance(m, nn.Conv2d) and m.out_channels == len(TARGETS)]
    gradient = heads[-1].weight.grad
    assert gradient is not None
    assert gradient[channel].any()
    assert not gradient[1 - channel].any()
    image = pictures(1)[0]
    (answer,) = predict_image(model, image.permute(1, 2, 0).numpy(), [TARGETS[channel]], device=torch.device("cpu"))
    with torch.no_grad():
        expected = model.restore(whole, inputs)[0][channel].sigmoid()
    torch.testing.assert_close(torch.from_numpy(answer.probability), expected, rtol=1e-5, atol=1e-6)
