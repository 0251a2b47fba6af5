"""The image that is attacked is the one the network sees; no change is no change, to the last bit, in every model."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from attacked_models import Toy
from tiny_models import NAMES, TARGETS, TINY, made
from torch import Tensor
from torch.nn import functional as F

from vlseg.attacks import Attack, Budget, Search, canvas_of, run_attack
from vlseg.attacks.canvas import inputs_of
from vlseg.models import Inputs, architecture_of, build_model
from vlseg.models.ensemble.model import Ensemble
from vlseg.records import InputError

PROTOCOLS = [
    (name, protocol)
    for name in NAMES
    for protocol in (architecture_of(name).protocols or ("corrected",))
    if name != "ensemble" and (name, protocol) != ("lvit", "published")  # ten words of a text encoder to fetch
]
PLACES = ("input", "native")


def picture(seed: int = 0, size: tuple[int, int] = (40, 52)) -> Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed))


@cache
def model_of(name: str, protocol: str) -> Any:
    torch.manual_seed(0)
    if name == "ensemble":
        return made(name)
    return build_model(name, arguments=TINY[name], targets=TARGETS, protocol=protocol).eval()


EVERY = [*PROTOCOLS, ("ensemble", "corrected")]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("name", "protocol"), EVERY)
def test_no_change_gives_the_models_own_inputs_bit_for_bit(name: str, protocol: str, place: Any) -> None:
    model, rgb = model_of(name, protocol), picture()
    canvas = canvas_of(model, rgb, place)
    inputs, own = inputs_of(model, [canvas], canvas.image[None]), model.prepare([rgb])
    assert inputs.tensors.keys() == own.tensors.keys()
    for key, tensor in own.tensors.items():
        assert torch.equal(inputs.tensors[key], tensor), key


@pytest.mark.parametrize(("name", "protocol"), EVERY)
def test_the_image_at_the_input_is_what_prepare_makes_the_input_of(name: str, protocol: str) -> None:
    model, rgb = model_of(name, protocol), picture(1)
    canvas = canvas_of(model, rgb, "input")
    own, again = model.prepare([rgb]).tensors, model.prepare([canvas.image]).tensors
    assert bool(((canvas.image >= 0) & (canvas.image <= 1)).all())
    for key, tensor in own.items():
        if tensor.shape[-2:] == model.spec.image_size:  # smaller members see it resized twice
            assert torch.allclose(tensor, again[key], atol=2e-5), key


@pytest.mark.parametrize(("name", "protocol"), EVERY)
def test_a_gradient_reaches_the_pixels(name: str, protocol: str) -> None:
    """Through `prepare`, every model and protocol; of about the size that finite differences have."""
    model, rgb = model_of(name, protocol), picture(2)
    canvas = canvas_of(model, rgb, "native")
    image = canvas.image.clone().requires_grad_()
    told = model.tokenize([TARGETS[0]])

    def value(pixels: Tensor) -> Tensor:
        logits: Tensor = model.forward(inputs_of(model, [canvas], pixels[None]), told).logits
        return logits.double().square().mean()

    (gradient,) = torch.autograd.grad(value(image), image)
    assert bool(gradient.abs().max() > 0)
    direction = gradient.sign()
    with torch.no_grad():
        moved = float(value(image + 1e-4 * direction) - value(image - 1e-4 * direction)) / 2e-4
    assert moved == pytest.approx(float((gradient * direction).sum()), rel=0.3)  # in single precision


def test_the_image_is_known_where_it_can_be_computed_otherwise() -> None:
    """Red stays red in LViT's published order, and the image is the shared resizing."""
    rgb = picture(3)
    for name, protocol, antialias in (("lvit-tw", "published", False), ("clipseg", "corrected", True)):
        model = model_of(name, protocol)
        size = model.spec.image_size
        expected = F.interpolate(rgb[None], size=size, mode="bilinear", antialias=antialias, align_corners=False)[0]
        assert torch.allclose(canvas_of(model, rgb, "input").image, expected, atol=1e-6)


@pytest.mark.parametrize("size", [(40, 52), (52, 40), (30, 90), (64, 64), (7, 64)])
def test_padding_is_not_attacked(size: tuple[int, int]) -> None:
    model = model_of("cris", "original")
    attack = Attack(Budget(epsilon=0.2), search=Search("pgd", steps=2))
    mask = torch.zeros(size)
    done = run_attack(attack, model, [picture(4, size)], ["dark cyst"], [mask])
    assert max(done.images[0].shape[-2:]) == 64
    own = model.prepare([picture(4, size)]).tensors["pixel_values"]
    changed = (done.inputs.tensors["pixel_values"] != own).any(1)[0]
    padding = (own == 0).all(1)[0]
    assert not bool((changed & padding).any())
    assert int(changed.sum()) > 0.9 * int((~padding).sum())
    given = done.inputs.tensors["pixel_values"]
    assert torch.allclose(model.prepare(done.clipped).tensors["pixel_values"], given, atol=1e-5)


def test_members_get_the_change_in_the_same_place() -> None:
    """A change at one corner of the largest member's image is at that corner of the other's, in its own units."""
    model = made("ensemble")
    canvas = canvas_of(model, picture(5), "input")
    changed = canvas.image.clone()
    changed[:, :8, :8] = 1 - changed[:, :8, :8]
    inputs, own = inputs_of(model, [canvas], changed[None]).tensors, canvas.inputs.tensors
    for key, corner in (("0.pixel_values", 8), ("1.pixel_values", 4)):
        moved = (inputs[key] - own[key]).abs().amax((0, 1)) > 1e-6
        assert bool(moved[:corner, :corner].all())
        assert not bool(moved[corner + 1 :].any())
        assert not bool(moved[:, corner + 1 :].any())


def test_members_that_lay_the_image_out_differently_are_refused() -> None:
    torch.manual_seed(0)
    letterboxing = build_model("cris", arguments=TINY["cris"], targets=TARGETS, protocol="original")
    stretching = build_model("clipseg", arguments={**TINY["clipseg"], "image_size": 96}, targets=TARGETS)
    both = [stretching, letterboxing]
    mixed = Ensemble(
        both, replace(stretching.spec, name="ensemble"), "mean"
    )  # what is built by name refuses them itself
    with pytest.raises(InputError, match="take 'native'"):
        canvas_of(mixed, picture(), "input")
    canvas_of(mixed, picture(), "native")
    canvas_of(mixed, picture(size=(50, 50)), "input")  # nothing is padded


def test_a_prepare_that_is_no_plain_resizing_is_refused() -> None:
    class Curved(Toy):
        def prepare(self, rgb: Any) -> Inputs:
            inputs = super().prepare(rgb)
            return Inputs({**inputs.tensors, "pixel_values": inputs.tensors["pixel_values"] ** 2})

    with pytest.raises(InputError, match="take 'native'"):
        canvas_of(Curved((8, 8), lambda pixels: pixels[:, :1]), picture(), "input")


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (torch.rand(3, 8, 8) * 255, "divide"),
        (torch.full((3, 8, 8), float("nan")), "divide"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "floats"),
        (torch.rand(8, 8, 3), "RGB"),
    ],
)
def test_what_is_no_image_is_refused(image: Tensor, named: str) -> None:
    with pytest.raises(InputError, match=named):
        canvas_of(Toy((8, 8), lambda pixels: pixels[:, :1]), image, "native")


def test_double_precision_images_are_taken() -> None:
    model, rgb = model_of("clipseg-tiny", "corrected"), picture()
    one, two = (canvas_of(model, image, "input") for image in (rgb, rgb.double()))
    assert torch.equal(one.image, two.image)
    assert one.key == two.key
