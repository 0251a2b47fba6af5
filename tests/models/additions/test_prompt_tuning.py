"""Prompt tuning against sentences with real words in front, and against the networks' own modules called by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from extended_models import extended
from tiny_models import TARGETS, made
from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models import Segmenter, as_module, build_model, load_model
from vlseg.models.additions import ADDITIONS
from vlseg.models.additions.addition import IMAGE_PART, TEXT_PART
from vlseg.models.additions.base import Base
from vlseg.models.additions.extended import Extended
from vlseg.records import InputError
from vlseg.training.freezing import apply_regime
from vlseg.training.references import text_vectors

END = 49407
PROMPTS = ["", TARGETS[0], "x marks a small x", "word " * 71, "word " * 72, "word " * 400]
IN_BOTH = {
    "maple": {"width": 8},
    "shared_separate": {"width": 8},
    "shared_attention": {"heads": 4, "feedforward": 24},
}


def pictures() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator) * light for size, light in (((32, 40), 1), ((50, 21), 0.2))]


def pair(folder: Path, regime: str, name: str, **arguments: Any) -> tuple[Extended, Any]:
    """A model with the regime's vectors, drawn wide, and what it was put onto."""
    model = extended(folder / "base", regime, name, arguments)
    plain = as_module(load_model(str(folder / "base"))).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in model.stored().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
    for one in (model, plain):
        one.requires_grad_(False)
    return model, plain


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("clipseg", "corrected"),
        ("clipseg-rd64", "corrected"),
        ("biomedclipseg", "corrected"),
        *(("cris", one) for one in ("corrected", "original", "medvlsm", "attention_mask")),
    ],
)
@pytest.mark.parametrize("words", ["a photo of a", "two rather dark round"])
@torch.no_grad()
def test_learned_words_that_are_real_words_are_read_as_such(name: str, protocol: str, words: str) -> None:
    plain, base = made(name, protocol=protocol), made(name, protocol=protocol)
    tokens = base.tokenize([words])
    assert tokens is not None
    length = int(tokens.tensors["attention_mask"].sum()) - 2  # first and last one; the tiny BERT spells words out
    told = {"words": words, "length": length}
    model = Extended(base, "coop", told, Base(name, None, None, {}))
    for one in (as_module(plain), model):
        one.eval().requires_grad_(False)
    usual = Extended(made(name, protocol=protocol), "coop", {"length": length}, Base(name, None, None, {}))
    start, other = (one.stored()["text_additions.vectors"] for one in (model, usual))
    assert torch.equal(start, other) == (words == "a photo of a")
    for prompt in PROMPTS:
        images = model.prepare(pictures())
        mine, real = model.tokenize([prompt] * 2), plain.tokenize([f"{words} {prompt}"] * 2)
        assert torch.equal(model.forward(images, mine).logits, plain.forward(images, real).logits)


@pytest.mark.parametrize("name", ["clipseg", "cris"])
def test_places_are_those_of_as_many_words_and_the_end_is_kept(name: str) -> None:
    plain = made(name)
    model = Extended(made(name), "coop", {}, Base(name, None, None, {}))
    mine, wanted = model.tokenize(PROMPTS), plain.tokenize([f"x x x x {prompt}" for prompt in PROMPTS])
    assert mine is not None
    assert wanted is not None
    for key in ("input_ids", "attention_mask"):
        assert torch.equal(mine.tensors[key], wanted.tensors[key])
    ids, mask = mine.tensors["input_ids"], mine.tensors["attention_mask"]
    assert (ids[torch.arange(len(ids)), mask.sum(dim=1) - 1] == END).all()
    assert ids.shape[1] == 77


def vectors_by_hand(regime: str, stored: Mapping[str, Tensor], index: int) -> tuple[Tensor | None, Tensor | None]:
    """Words and image tokens at the input of a block, from the stored tensors."""
    if regime == "coop":
        return stored[f"{TEXT_PART}.vectors"][index], None
    tensors = {name.removeprefix(f"{IMAGE_PART}."): tensor for name, tensor in stored.items()}
    own = tensors["vectors"][index]
    if regime == "vpt":
        return None, own
    if regime == "maple":
        first, second, last, norm, shift = (
            tensors[f"projections.{index}.{name}"] for name in ("0.weight", "0.bias", "2.weight", "3.weight", "3.bias")
        )
        made_of = (own @ first.T + second).relu() @ last.T
        centred = made_of - made_of.mean(dim=1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
        return own, scaled * norm + shift
    if regime == "shared_separate":
        text, image = (
            own @ tensors[f"{to}.{index}.weight"].T + tensors[f"{to}.{index}.bias"] for to in ("to_text", "to_image")
        )
        return text, image
    layer = nn.TransformerEncoderLayer(64, 4, 24, 0.25, norm_first=True).train()  # sequence first
    layer.load_state_dict({k.split(".", 2)[2]: t for k, t in tensors.items() if k.startswith(f"layers.{index}.")})
    for dropout in (layer.dropout, layer.dropout1, layer.dropout2):
        dropout.p = 0.0
    layer.self_attn.dropout = 0.0
    mixed = layer(own[:, None])[:, 0]
    return mixed[:, :32], mixed[:, 32:]


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("regime", ["coop", "vpt", *IN_BOTH])
@torch.no_grad()
def test_transformers_modules_by_hand_give_the_same(regime: str, depth: int, tmp_path: Path) -> None:
    model, plain = pair(tmp_path, regime, "clipseg", depth=depth, length=3, **IN_BOTH.get(regime, {}))
    vectors = [vectors_by_hand(regime, model.stored(), index) for index in range(depth)]
    words = [one for one, _ in vectors if one is not None]
    tokens = [one for _, one in vectors if one is not None]
    inputs = plain.prepare(pictures())
    image = model.encode_image(inputs)
    taps = image_by_hand(plain, inputs.tensors["pixel_values"], tokens)
    torch.testing.assert_close(image.tensors["taps"], torch.stack(taps, dim=1), rtol=1e-4, atol=1e-5)
    assert image.tensors["taps"].shape[2] == 1 + (64 // 16) ** 2
    for prompt in (TARGETS[0], ""):
        said = model.encode_prompts(model.tokenize([prompt]))
        assert said is not None
        wanted = text_by_hand(plain, prompt, words)
        torch.testing.assert_close(said.tensors["embedding"], wanted, rtol=1e-4, atol=1e-5)
        logits = plain.network.decoder(taps, wanted.expand(2, -1)).logits
        found = model.decode(image, said[[0, 0]]).logits[:, 0]
        torch.testing.assert_close(found, logits, rtol=1e-3, atol=1e-4 * float(logits.std()))


def image_by_hand(plain: Any, pixels: Tensor, tokens: list[Tensor]) -> list[Tensor]:
    vision = plain.network.clip.vision_model
    hidden = vision.embeddings(pixels, interpolate_pos_encoding=True)
    places = hidden.shape[1]
    if tokens:
        hidden = torch.cat([hidden, torch.stack([tokens[0]] * len(hidden))], dim=1)
    hidden, taps = vision.pre_layrnorm(hidden), []
    for index in range(4):
        if 0 < index < len(tokens):
            hidden[:, places:] = tokens[index]
        hidden = vision.encoder.layers[index](hidden, None)
        if index in (0, 1, 3):
            taps.append(hidden[:, :places])
    return taps


def text_by_hand(plain: Any, prompt: str, words: list[Tensor]) -> Tensor:
    text = plain.network.clip.text_model
    ids = torch.tensor(plain.tokenizer(prompt)["input_ids"])
    first, *rest = text.embeddings.token_embedding(ids)
    hidden = torch.stack([first, *(words[0] if words else ()), *rest])[None]
    length = hidden.shape[1]
    hidden = hidden + text.embeddings.position_embedding.weight[:length]
    mask = torch.full((1, 1, length, length), -torch.inf).triu(1)
    for index, block in enumerate(text.encoder.layers):
        if 0 < index < len(words):
            hidden[:, 1 : 1 + len(words[index])] = words[index]
        hidden = block(hidden, mask)
    result: Tensor = plain.network.clip.text_projection(text.final_layer_norm(hidden)[:, -1])
    return result


@pytest.mark.parametrize("depth", [1, 2])
@torch.no_grad()
def test_depth_means_the_same_in_cris(depth: int, tmp_path: Path) -> None:
    model, plain = pair(tmp_path, "coop", "cris", depth=depth, length=3)
    vectors = model.stored()[f"{TEXT_PART}.vectors"]
    assert vectors.shape == (depth, 3, plain.network.backbone.token_embedding.weight.shape[1])
    backbone = plain.network.backbone
    first, *rest = backbone.token_embedding(torch.tensor(plain.tokenizer(TARGETS[0])["input_ids"]))
    hidden = torch.stack([first, *vectors[0], *rest])[None]
    length = hidden.shape[1]
    hidden = hidden + backbone.positional_embedding[:length]
    for index, block in enumerate(backbone.transformer.resblocks):
        if 0 < index < depth:
            hidden[:, 1:4] = vectors[index]
        hidden = block(hidden, torch.full((length, length), -torch.inf).triu(1))
    words = backbone.ln_final(hidden)
    said = model.encode_prompts(model.tokenize(TARGETS[:1]))
    assert said is not None
    torch.testing.assert_close(said.tensors["words"][:, :length], words, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(said.tensors["state"], words[:, -1] @ backbone.text_projection, rtol=1e-4, atol=1e-5)
    assert int((~said.tensors["padding"]).sum()) == length


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", ["clipseg", "cris"])
@torch.no_grad()
def test_cocoop_is_coop_with_the_bias_of_each_rows_image(name: str, depth: int, tmp_path: Path) -> None:
    model, plain = pair(tmp_path / "one", "cocoop", name, depth=depth, width=8)
    other, _ = pair(tmp_path / "other", "coop", name, depth=depth)
    inputs, prompts = model.prepare(pictures()), [TARGETS[1], f"one small {TARGETS[0]}"]
    stored = {key.removeprefix(f"{TEXT_PART}."): tensor for key, tensor in model.stored().items()}
    vectors = other.stored()[f"{TEXT_PART}.vectors"]
    stored["up.weight"] *= 10  # a small random network sees hardly any difference between images
    image = model.encode_image(inputs)
    rows, said = torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1])
    encoded = model.encode_prompts(model.tokenize(prompts))
    assert encoded is not None
    found = model.decode(image[rows], encoded[said]).logits
    features = plain.encode_image(inputs).tensors
    seen = features["taps"][:, -1, 0] if name == "clipseg" else features["c5"].flatten(2).mean(dim=2)
    seen = (seen - seen.mean(dim=1, keepdim=True)) / (seen.var(dim=1, correction=0, keepdim=True) + 1e-5).sqrt()
    bias = F.relu(seen @ stored["down.weight"].T + stored["down.bias"]) @ stored["up.weight"].T + stored["up.bias"]
    assert float((bias[0] - bias[1]).abs().max()) > 0.1  # what follows would miss one row's bias for another's
    for row, (which, prompt) in enumerate(zip(rows.tolist(), said.tolist(), strict=True)):
        vectors.copy_(stored["vectors"] + bias[which])
        wanted = other.forward(inputs[[which]], other.tokenize([prompts[prompt]])).logits
        scale = float(wanted.std())
        torch.testing.assert_close(found[row : row + 1], wanted, rtol=1e-3, atol=1e-3 * scale)
    stored["up.weight"].zero_()
    stored["up.bias"].zero_()
    vectors.copy_(stored["vectors"])
    tokens = model.tokenize(prompts)
    assert torch.equal(model.forward(inputs, tokens).logits, other.forward(inputs, tokens).logits)


def test_cocoop_starts_as_coop(tmp_path: Path) -> None:
    model, other = (extended(tmp_path / "base", regime, "clipseg", {}) for regime in ("cocoop", "coop"))
    inputs, tokens = model.prepare(pictures()), model.tokenize(TARGETS)
    assert torch.equal(model.forward(inputs, tokens).logits, other.forward(inputs, tokens).logits)
    texts = ["a dark cyst", "", "bright"]
    vectors = [text_vectors(one, texts, torch.device("cpu"), "fp32") for one in (model, other)]  # of the LV loss
    assert torch.equal(*vectors)
    assert vectors[0].shape == (3, 24)


@pytest.mark.parametrize("regime", ["coop", "cocoop", "vpt", *IN_BOTH])
def test_the_plain_decoder_gets_them_too(regime: str, tmp_path: Path) -> None:
    model, plain = pair(tmp_path, regime, "clipseg-rd64", depth=2, **IN_BOTH.get(regime, {}))
    apply_regime(model, regime)
    logits = model.forward(model.prepare(pictures()), model.tokenize(TARGETS)).logits
    assert logits.shape == plain.forward(plain.prepare(pictures()), plain.tokenize(TARGETS)).logits.shape
    logits.square().mean().backward()
    vectors: Any = next(iter(model.addition.modules.values()))
    assert (vectors.vectors.grad.abs().amax(dim=2) > 0).all()  # each of each block


@torch.no_grad()
def test_shared_vectors_see_each_other_only_with_attention(tmp_path: Path) -> None:
    for regime in ("shared_attention", "shared_separate"):
        model, _ = pair(tmp_path / regime, regime, "clipseg", **IN_BOTH[regime])
        learned: Any = model.addition.modules[IMAGE_PART]
        before = [learned.at(0), learned.image_at(0)]
        learned.vectors[0, 0] += torch.linspace(-1, 1, learned.vectors.shape[-1]).square()
        for one, other in zip(before, (learned.at(0), learned.image_at(0)), strict=True):
            assert not torch.equal(one[0], other[0])
            assert torch.allclose(one[1:], other[1:], atol=1e-4) == (regime == "shared_separate")


TEXT, IMAGE, BOTH = 512, 768, 1280
COUNTS = {
    ("coop", "clipseg"): lambda n: n * TEXT,
    ("coop", "cris"): lambda n: n * TEXT,
    ("cocoop", "clipseg"): lambda n: n * TEXT + IMAGE * 64 + 64 + 64 * TEXT + TEXT,
    ("cocoop", "cris"): lambda n: n * TEXT + 1024 * 64 + 64 + 64 * TEXT + TEXT,
    ("vpt", "clipseg"): lambda n: n * IMAGE,
    ("maple", "clipseg"): lambda n: n * TEXT + TEXT * 64 + 64 + 64 * IMAGE + 2 * IMAGE,
    ("shared_separate", "clipseg"): lambda n: n * 64 + 64 * TEXT + TEXT + 64 * IMAGE + IMAGE,
    ("shared_attention", "clipseg"): lambda n: (
        n * BOTH + 4 * (BOTH * BOTH + BOTH) + (BOTH * 1536 + 1536) + (1536 * BOTH + BOTH) + 4 * BOTH
    ),
}
"""Trained parameters of n vectors at the published sizes, for each block that has its own."""


@pytest.mark.parametrize(("regime", "name"), COUNTS)
def test_as_many_parameters_as_the_papers_sizes_give(regime: str, name: str) -> None:
    for depth in (1, 3):
        with torch.device("meta"):
            model: Segmenter = build_model(name)
        addition = ADDITIONS[regime].add(model=model, length=5, depth=depth)
        count = sum(parameter.numel() for module in addition.modules.values() for parameter in module.parameters())
        once = COUNTS[regime, name](0) if regime == "cocoop" else 0
        assert count == depth * (COUNTS[regime, name](5) - once) + once
    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{regime}` |"))
    assert f"{COUNTS[regime, name](4):,}" in row


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    for regime, name, arguments, words in (
        ("vpt", "clipseg", {"length": 0}, "length is 0"),
        ("vpt", "clipseg", {"depth": 5}, "1 to 4 blocks"),  # the fifth reaches no mask
        ("coop", "clipseg", {"depth": 3}, "1 to 2 blocks"),
        ("coop", "clipseg", {"length": 75}, "reads 77 tokens"),
        ("coop", "clipseg", {"length": True}, "whole number"),
        ("coop", "clipseg", {"std": 0}, "std is 0"),
        ("coop", "clipseg", {"std": float("inf")}, "std is inf"),
        ("coop", "clipseg", {"words": 5}, "words is 5; give them in quotes"),
        ("coop", "clipseg", {"words": "an image"}, "2 tokens, length is 4"),
        ("vpt", "clipseg", {"words": "a photo of a"}, "words"),
        ("maple", "clipseg", {"width": 0}, "width is 0"),
        ("shared_attention", "clipseg", {"heads": 7}, "does not divide 64"),
        ("shared_attention", "clipseg", {"dropout": 1}, "dropout is 1"),
        ("vpt", "cris", {}, "image encoder is no transformer"),
        ("maple", "cris", {}, "image encoder is no transformer"),
        ("coop", "unet", {}, "is not for 'unet'"),
    ):
        with pytest.raises(InputError, match=words):
            extended(tmp_path / name, regime, name, arguments)
