"""clipseg-tiny and the two U-Nets: the segmenter's steps, their budget, saving, and that prompts steer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vlseg.models import Rows, Segmenter, Tokens
from vlseg.models.clipseg_tiny.build import build_clipseg_tiny
from vlseg.models.clipseg_tiny.tokenizer import BUCKETS, MAX_WORDS, PADDING, hash_prompts, hash_word
from vlseg.models.unet.build import build_unet, build_unet_target
from vlseg.records import InputError

TARGETS = ("dark cyst", "bright nodule")
BUILDERS: dict[str, Callable[..., Segmenter]] = {
    "clipseg-tiny": build_clipseg_tiny,
    "unet": build_unet,
    "unet-target": build_unet_target,
}
NAMES = list(BUILDERS)


def made(name: str, image_size: int = 32) -> Segmenter:
    torch.manual_seed(0)
    model = BUILDERS[name](image_size=image_size, targets=TARGETS)
    assert isinstance(model, nn.Module)
    model.eval()
    return model


def pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator) for size in sizes]


def parameters(model: Segmenter) -> int:
    assert isinstance(model, nn.Module)
    return sum(parameter.numel() for parameter in model.parameters())


def features_of(model: Segmenter, names: tuple[str, ...] = TARGETS) -> Rows | None:
    return model.encode_prompts(model.tokenize(names))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_other_network_sizes(name: str) -> None:
    model = made(name, image_size=48)
    assert model.forward(model.prepare(pictures((9, 9))), model.tokenize(TARGETS[:1])).logits.shape[-2:] == (48, 48)


@torch.no_grad()
def test_target_channel() -> None:
    model = made("unet")
    assert model.tokenize(["anything"]) is None
    assert model.encode_prompts(None) is None
    assert model.spec.targets == TARGETS
    assert build_unet().spec.targets == ("foreground",)


def test_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown target 'dark cists'; did you mean 'dark cyst'"):
        made("unet-target").tokenize(["dark cists"])


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_in_one_part_and_trains(name: str) -> None:
    model = made(name)
    assert isinstance(model, nn.Module)
    listed = [p for modules in model.parts().values() for module in modules for p in module.parameters()]
    assert len({id(p) for p in listed}) == len(listed) == len(list(model.parameters()))
    tokens = model.tokenize(["large dark cyst"] if name == "clipseg-tiny" else TARGETS[:1])
    output = model.forward(model.prepare(pictures((32, 32))), tokens)
    output.logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in listed)


def test_same_budget() -> None:
    tiny, unet, target = (parameters(made(name)) for name in NAMES)
    assert abs(unet - target) / target < 0.05
    assert abs(unet - tiny) / tiny < 0.1


def test_tokenizer_hashes_words_without_a_vocabulary() -> None:
    buckets = hash_prompts(["", "Large, dark CYST", "large dark cyst", "x " * 200]).tensors["buckets"]
    assert buckets.shape == (4, 1 + MAX_WORDS, 2)
    assert torch.equal(buckets[1], buckets[2])
    assert (buckets[0] != PADDING).sum() == 2
    assert (buckets[3] != PADDING).all()
    assert buckets.max() < BUCKETS
    words = [f"word{number}" for number in range(500)] + ["größe", "腫瘤"]
    assert len({hash_word(word) for word in words}) == len(words)


@torch.no_grad()
def test_padding_and_neighbours_change_nothing() -> None:
    model = made("clipseg-tiny")
    alone = features_of(model, ("",))
    among = features_of(model, ("", "a very long prompt with many more words than the first"))
    assert alone is not None
    assert among is not None
    assert torch.allclose(alone.tensors["sentence"], among[:1].tensors["sentence"], rtol=1e-4, atol=1e-5)
    joined = Tokens.join([hash_prompts(["a b"]), hash_prompts([""])])
    assert len(joined) == 2


@torch.no_grad()
def test_word_order_matters() -> None:
    model = made("clipseg-tiny")
    pair = features_of(model, ("dark cyst upper left", "left upper cyst dark"))
    assert pair is not None
    assert (pair.tensors["sentence"][0] - pair.tensors["sentence"][1]).abs().max() > 1e-3
