"""VLSM-Adapter's regimes against a forward pass by hand: transformers' modules one by one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from extended_models import extended
from tiny_models import TINY, made
from torch import Tensor
from transformers.masking_utils import create_causal_mask

from vlseg.models import build_model, load_model
from vlseg.models.additions import ADDITIONS
from vlseg.models.additions.base import Base
from vlseg.models.additions.loading import extend
from vlseg.models.protocol import Rows
from vlseg.records import InputError

Weights = Mapping[str, Tensor]
PUBLISHED = {
    "dense_v": 1_784_448,
    "dense_vl": 2_974_464,
    "dense_vlc": 3_237_376,
    "shallow_v": 2_363_136,
    "shallow_vl": 3_939_072,
    "shallow_vlc": 4_201_984,
}
TELESCOPIC = 607_665
"""The paper's are 613 thousand; its widths are not ours."""


def bottleneck(weights: Weights, name: str, hidden: Tensor) -> Tensor:
    """An adapter as the paper's code has it, from the stored weights."""
    inner = (hidden @ weights[f"{name}.down.weight"].T + weights[f"{name}.down.bias"]).clamp(min=0)
    return hidden + (inner @ weights[f"{name}.up.weight"].T + weights[f"{name}.up.bias"]).clamp(min=0)


def by_hand(model: Any, tokens: Rows, pixels: Tensor, weights: Weights, *, dense: bool, text: bool) -> Tensor:
    """Logits of a CLIPSeg with adapters from `weights`, block by block."""
    network = model.network
    vision, clip = network.clip.vision_model, network.clip
    taps = list(network.config.extract_layers)
    blocks = max(taps)

    def through(layers: Any, hidden: Tensor, part: str | None, mask: Tensor | None) -> list[Tensor]:
        states = []
        for number, layer in enumerate(layers):
            adapted = part is not None and number < blocks
            given, _ = layer.self_attn(layer.layer_norm1(hidden), attention_mask=mask)
            hidden = hidden + (bottleneck(weights, f"{part}.attention.{number}", given) if adapted else given)
            given = layer.mlp(layer.layer_norm2(hidden))
            hidden = hidden + (bottleneck(weights, f"{part}.mlp.{number}", given) if adapted else given)
            states.append(hidden)
        return states

    start = vision.pre_layrnorm(vision.embeddings(pixels, interpolate_pos_encoding=True))
    states = through(vision.encoder.layers, start, "image_additions" if dense else None, None)
    tapped = [states[tap] for tap in taps]
    if not dense:
        tapped = [bottleneck(weights, f"decoder_additions.adapters.{n}", state) for n, state in enumerate(tapped)]
    ids, seen = tokens.tensors["input_ids"], tokens.tensors["attention_mask"]
    words = clip.text_model.embeddings(input_ids=ids)
    mask = create_causal_mask(
        config=network.config.text_config, inputs_embeds=words, attention_mask=seen, past_key_values=None
    )
    inside = "text_additions.blocks" if dense and text else None
    states = through(clip.text_model.encoder.layers, words, inside, mask)
    rows, end = torch.arange(len(ids)), ids.argmax(1)
    sentence = clip.text_projection(clip.text_model.final_layer_norm(states[-1])[rows, end])
    if "text_additions.sentence.down.weight" in weights:
        sentence = bottleneck(weights, "text_additions.sentence", sentence)
    if text and not dense:
        kept = [tap for tap in taps if tap < len(states)]
        told = [
            bottleneck(weights, f"text_additions.states.adapters.{n}", states[tap][rows, end])
            for n, tap in enumerate(kept)
        ]
        sentence = sentence + sum(told)
    logits: Tensor = network.decoder(tapped, sentence).logits[:, None]
    return logits


@pytest.mark.parametrize("regime", PUBLISHED)
@torch.no_grad()
def test_it_computes_what_the_paper_does(regime: str, tmp_path: Path) -> None:
    """CLIPSeg's text width is that of its sentences, here as published; five image blocks, four text blocks."""
    config = {**TINY["clipseg"]["config"], "projection_dim": 32, "extract_layers": [0, 2, 3]}
    config["text_config"] = {**config["text_config"], "num_hidden_layers": 4}
    torch.manual_seed(1)
    plain = made("clipseg", config=config)
    plain.save(tmp_path / "base")
    width = {"width": 6} | ({"sentence_width": 5} if regime.endswith("c") else {})
    model = extend(plain, regime, width, Base("clipseg", str(tmp_path / "base"), None, {}), lambda: plain)
    model.eval()
    inputs = model.prepare([torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(n)) for n in range(2)])
    tokens = model.tokenize(["dark cyst", "one small bright nodule at the left"])
    assert tokens is not None
    weights = {name: tensor.clone() for name, tensor in model.stored().items()}
    dense, text = regime.startswith("dense"), "l" in regime.split("_")[1]
    base = load_model(str(tmp_path / "base"))
    wanted = by_hand(base, tokens, inputs.tensors["pixel_values"], weights, dense=dense, text=text)
    unchanged = base.forward(inputs, tokens).logits
    found = model.forward(inputs, tokens).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.std()))
    assert (unchanged - wanted).abs().max() > 1e-2 * wanted.std()
    # Nothing is added in place: a second answer is the first one.
    assert torch.equal(model.forward(inputs, tokens).logits, found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clipseg", "clipseg-rd64"])
def test_as_many_weights_are_added_as_published(name: str) -> None:
    with torch.device("meta"):
        for regime, count in {**PUBLISHED, "telescopic_like": TELESCOPIC}.items():
            addition = ADDITIONS[regime].add(model=build_model(name))
            added = [parameter for module in addition.modules.values() for parameter in module.parameters()]
            assert sum(parameter.numel() for parameter in added) == count, regime
            if regime == "telescopic_like":
                downs = [one for one in added if one.dim() == 2]
                assert len(downs) == 2 * (18 + 6 + 1)
                assert sum(one.dim() == 0 for one in added) == 18 + 6 + 1


def test_telescopic_ones_grow_with_depth_and_start_from_the_model_as_it_was(tmp_path: Path) -> None:
    model = extended(tmp_path / "base", "telescopic_like", "clipseg", {})
    plain = load_model(str(tmp_path / "base"))
    inputs, tokens = model.prepare([torch.rand(3, 32, 32)]), model.tokenize(["dark cyst"])
    assert torch.equal(model.forward(inputs, tokens).logits, plain.forward(inputs, tokens).logits)
    widths = [len(one) for name, one in model.stored().items() if "image" in name and name.endswith("down.bias")]
    assert widths == sorted(widths)
    assert len(set(widths)) == 3


@pytest.mark.parametrize(
    ("regime", "arguments", "words"),
    [
        ("dense_v", {"width": 0}, "width is 0; give a whole number"),
        ("shallow_v", {"width": 2.5}, "width is 2.5"),
        ("dense_vlc", {"sentence_width": True}, "sentence_width is True"),
        ("dense_v", {"text": True}, "unknown regime_arguments of 'dense_v' 'text'.*known: train_decoder, width"),
        ("dense_v", {"sentence": True}, "unknown regime_arguments of 'dense_v' 'sentence'"),
        ("shallow_vl", {"sentence_width": 8}, "unknown regime_arguments of 'shallow_vl' 'sentence_width'"),
        ("telescopic_like", {"width": 8}, "unknown regime_arguments of 'telescopic_like' 'width'"),
    ],
)
def test_wrong_arguments_are_one_clear_line(
    regime: str, arguments: Mapping[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        extended(tmp_path / "base", regime, "clipseg", arguments)


@pytest.mark.parametrize(
    ("regime", "model"), [("dense_v", "cris"), ("shallow_v", "guide"), ("telescopic_like", "cris")]
)
def test_other_encoders_are_refused(regime: str, model: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"'{regime}' is not for '{model}'"):
        extended(tmp_path / "base", regime, model, {})


@torch.no_grad()
def test_states_as_wide_as_no_sentence_go_through_the_models_projection(tmp_path: Path) -> None:
    """BiomedCLIPSeg's text states are wider than its sentences' vectors; its first token stands for the sentence."""
    torch.manual_seed(0)
    model = extended(tmp_path / "base", "shallow_vl", "biomedclipseg", {"width": 8})
    plain: Any = load_model(str(tmp_path / "base"))
    plain.eval()
    tokens = model.tokenize(["dark cyst", "one small bright nodule at the left"])
    assert tokens is not None
    text, weights = plain.network.biomedclip.text, model.stored()
    ids, seen = tokens.tensors["input_ids"], tokens.tensors["attention_mask"]
    states = text.transformer(input_ids=ids, attention_mask=seen, output_hidden_states=True).hidden_states
    added = bottleneck(weights, "text_additions.states.adapters.0", states[-1][:, 0])  # taps behind its end are its end
    wanted = text.proj(states[-1][:, 0]) + text.proj(added)
    found = model.encode_prompts(tokens)
    assert found is not None
    torch.testing.assert_close(found.tensors["embedding"], wanted, rtol=1e-4, atol=1e-5)


def test_under_published_biomedclipsegs_image_encoder_takes_none() -> None:
    model = made("biomedclipseg", protocol="published")
    with pytest.raises(InputError, match=r"under protocol 'published'.*take --set protocol=corrected, coop, cocoop"):
        ADDITIONS["dense_v"].add(model=model)
