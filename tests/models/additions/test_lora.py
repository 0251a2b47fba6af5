"""LoRA: exact at the start, in PEFT's layout both ways, dropout in training alone, refused where nothing can train."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from extended_models import extended
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from tiny_models import TARGETS, made
from torch import Tensor, nn
from transformers import CLIPSegForImageSegmentation

from vlseg.models import Segmenter, as_module, load_model
from vlseg.models.additions.base import Base
from vlseg.models.additions.extended import Extended
from vlseg.models.clipseg.model import ClipSeg
from vlseg.records import InputError
from vlseg.training.freezing import apply_regime, train_mode

# PEFT asks transformers by a name that transformers has a new one for.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
PROMPTS = [TARGETS[0], f"one small {TARGETS[1]} there"]
EVERY = ["clipseg", "clipseg-rd64", "biomedclipseg", "biomedclipseg-d", "cris", "guide", "clipseg-tiny", "unet"]
EVERY += ["unet-target", "smp-unet", "smp-unetplusplus", "smp-deeplabv3plus", "unet-d", "vlsm-ensemble-a", "lvit"]


def pictures(count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, 40, 50, generator=generator) for _ in range(count)]


@torch.no_grad()
def answers(model: Segmenter) -> Tensor:
    as_module(model).eval()
    words = TARGETS if model.spec.uses_target else PROMPTS
    return model.forward(model.prepare(pictures()), model.tokenize(words)).logits


def put_onto(model: Segmenter, arguments: Mapping[str, Any]) -> Extended:
    return Extended(model, "lora", arguments, Base(model.spec.name, None, None, {}))


@torch.no_grad()
def trained_by_chance(model: Extended, scale: float = 0.1) -> Extended:
    """What was added, B too, with values that change the answer."""
    generator = torch.Generator().manual_seed(5)
    for module in model.addition.modules.values():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model


@pytest.mark.parametrize("name", EVERY)
def test_it_starts_as_the_base_and_merged_it_is_the_same_to_rounding(name: str) -> None:
    torch.set_num_threads(1)
    wanted = answers(made(name))
    model = put_onto(made(name), {"train_decoder": False})
    if "clipseg" in name:
        assert torch.equal(answers(model), wanted)
    # A zero that is added may change the order of channels in memory, and so that of a sum.
    torch.testing.assert_close(answers(model), wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()))
    before = answers(trained_by_chance(model))
    assert (before - wanted).abs().max() > 0.01 * wanted.std()
    assert model.addition.merge is not None
    plain = model.addition.merge()
    after = answers(plain)
    assert (after - before).abs().max() < 1e-4 * before.abs().max()
    layout = [(key, tensor.shape) for key, tensor in as_module(made(name)).state_dict().items()]
    assert [(key, tensor.shape) for key, tensor in as_module(plain).state_dict().items()] == layout


def test_scale_and_counts_are_what_the_paper_says() -> None:
    model = put_onto(made("clipseg"), {"rank": 3, "alpha": 12, "encoders": ["text"], "targets": ["q_proj"]})
    layer = model.base.get_submodule("network.clip.text_model.encoder.layers.0.self_attn.q_proj")
    x = torch.randn(4, 32)
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        wanted = x @ layer.base_layer.weight.T + layer.base_layer.bias + 12 / 3 * (x @ a.T @ b.T)
        torch.testing.assert_close(layer(x), wanted)
    assert list(model.addition.modules) == ["text_additions"]
    assert model.leaves_images
    assert sum(tensor.numel() for tensor in model.stored().values()) == 2 * 3 * (32 + 32)


def test_by_default_queries_and_values_of_transformers_and_undivided_convolutions() -> None:
    def layers(name: str) -> set[str]:
        model = put_onto(made(name), {"train_decoder": False})
        return {key.partition(".lora_")[0].partition(".")[2] for key in model.stored()}

    heads = {f"self_attn.{one}_proj" for one in "qv"}
    vision, text = (f"clip.{one}_model.encoder.layers" for one in ("vision", "text"))
    wanted = {f"{vision}.{number}.{head}" for number in range(4) for head in heads}  # block 4 reaches no mask
    assert layers("clipseg") == wanted | {f"{text}.{number}.{head}" for number in range(2) for head in heads}
    assert {one.rpartition(".")[2] for one in layers("biomedclipseg")} == {"qkv", "query", "value"}
    assert {one.rpartition(".")[2] for one in layers("guide")} >= {"conv_pw", "conv_pwl"}
    assert not {one for one in layers("guide") if one.endswith(("conv_dw", "conv_stem"))}
    cris = {one.rpartition(".")[2] for one in layers("cris")}
    assert cris >= {"c_fc", "c_proj", "conv1", "conv3"}
    assert "out_proj" not in cris  # torch's attention reads its weight past its forward


def test_dropout_acts_in_training_alone_and_the_bases_never() -> None:
    model = trained_by_chance(put_onto(made("biomedclipseg"), {"dropout": 0.5, "train_decoder": False}))
    inputs, tokens = model.prepare(pictures()), model.tokenize(PROMPTS)
    train_mode(model, apply_regime(model, "lora"))
    dropouts = {name for name, one in model.named_modules() if isinstance(one, nn.Dropout) and one.training and one.p}
    assert dropouts
    assert all("lora_dropout" in name for name in dropouts)
    with torch.no_grad():
        assert not torch.equal(model.forward(inputs, tokens).logits, model.forward(inputs, tokens).logits)
        model.eval()
        assert torch.equal(model.forward(inputs, tokens).logits, model.forward(inputs, tokens).logits)


@torch.no_grad()
def theirs(network: Any, ours: Segmenter) -> Tensor:
    """Logits of transformers' CLIPSeg, inside PEFT's model or not, called as ours calls its own."""
    whole = network.base_model.model if isinstance(network, PeftModel) else network
    return answers(ClipSeg(whole, ours.tokenizer, ours.spec))  # type: ignore[attr-defined]


@pytest.mark.parametrize("decoder", [False, True])
def test_peft_loads_ours(tmp_path: Path, decoder: bool) -> None:
    model = extended(tmp_path / "base", "lora", "clipseg", {"rank": 4, "train_decoder": decoder, "rslora": decoder})
    trained_by_chance(model)
    with torch.no_grad():
        for parameter in model.model.parts()["mask_decoder"][0].parameters() if decoder else ():
            parameter.add_(0.01)
    wanted = answers(model)
    model.save(tmp_path / "saved")
    plain = CLIPSegForImageSegmentation.from_pretrained(tmp_path / "base")
    loaded = PeftModel.from_pretrained(plain, tmp_path / "saved")
    assert torch.equal(theirs(loaded, model.model), wanted)
    assert load_file(tmp_path / "saved" / "adapter_model.safetensors").keys() == peft_keys(loaded, tmp_path)
    merged = theirs(loaded.merge_and_unload(), model.model)
    assert (merged - wanted).abs().max() < 1e-4 * wanted.abs().max()


def peft_keys(model: PeftModel, folder: Path) -> Any:
    """The names that PEFT itself writes."""
    model.save_pretrained(folder / "by_peft")
    return load_file(folder / "by_peft" / "adapter_model.safetensors").keys()


def by_peft(folder: Path, **settings: Any) -> PeftModel:
    """An adapter that PEFT made and saved for a plain CLIPSeg, which is saved beside."""
    made("clipseg").save(folder / "base")
    network = CLIPSegForImageSegmentation.from_pretrained(folder / "base")
    model = get_peft_model(network, LoraConfig(**{"r": 2, "target_modules": ["q_proj", "v_proj"], **settings}))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in (one for one in model.parameters() if one.requires_grad):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    model.save_pretrained(folder / "theirs")
    return model


@pytest.mark.filterwarnings("ignore:.*no mask depends on:UserWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {},  # the decoder's queries and values, too, and those of a block behind the last tap
        {"use_rslora": True, "lora_alpha": 3, "target_modules": r"clip\..*\.(q_proj|fc1)"},
        {"modules_to_save": ["decoder"], "target_modules": ["fc2"], "exclude_modules": r"decoder.*"},
    ],
    ids=["everywhere", "rslora", "decoder-beside"],
)
def test_we_load_what_peft_saved(tmp_path: Path, settings: Mapping[str, Any]) -> None:
    wanted = theirs(by_peft(tmp_path, **settings), made("clipseg"))
    elsewhere = {"base": str(tmp_path / "moved")}
    found = load_model(str(tmp_path / "theirs"))  # PEFT notes where the model was
    assert torch.equal(answers(found), wanted)
    (tmp_path / "base").rename(tmp_path / "moved")
    found = load_model(str(tmp_path / "theirs"), name="clipseg", arguments=elsewhere)
    assert torch.equal(answers(found), wanted)
    found.save(tmp_path / "ours")
    assert torch.equal(answers(load_model(str(tmp_path / "ours"))), wanted)


@pytest.mark.filterwarnings("ignore:.*no mask depends on:UserWarning")
def test_adapters_that_are_something_else_are_refused(tmp_path: Path) -> None:
    by_peft(tmp_path)
    file = tmp_path / "theirs" / "adapter_config.json"
    config = json.loads(file.read_text())
    for changes, words in (
        ({"use_dora": True}, "use_dora is not read; merge"),
        ({"bias": "all"}, "bias all is not read"),
        ({"peft_type": "LOHA"}, "peft_type LOHA is not read"),
        ({"r": None}, "no rank"),
        ({"r": 3}, "do not fit"),
        ({"base_model_name_or_path": None}, "base: FOLDER"),
    ):
        file.write_text(json.dumps({**config, **changes}))
        with pytest.raises(InputError, match=words):
            load_model(str(tmp_path / "theirs"))
    file.write_text(json.dumps(config))
    made("cris").save(tmp_path / "other")
    with pytest.raises(InputError, match="adapter of another model than 'cris'"):
        load_model(str(tmp_path / "theirs"), arguments={"base": str(tmp_path / "other")})
    (tmp_path / "theirs" / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="incomplete"):
        load_model(str(tmp_path / "theirs"))


def test_what_cannot_be_is_said() -> None:
    for name, arguments, words in (
        ("clipseg", {"rank": 0}, "rank is 0; give a whole number"),
        ("clipseg", {"alpha": "x"}, "alpha is 'x'"),
        ("clipseg", {"dropout": 1}, "dropout is 1"),
        ("clipseg", {"encoders": "text"}, "give a list"),
        ("clipseg", {"encoders": ["txt"]}, "encoder of lora 'txt'"),
        ("clipseg", {"targets": ["k_proj", "q_prj"]}, "q_prj"),
        ("clipseg", {"width": 3}, "regime_arguments of 'lora'"),
        ("clipseg", {"alpha": float("inf")}, "alpha is inf"),
        ("clipseg", {"encoders": ["decoder"], "train_decoder": True}, "train_decoder: false"),
        ("unet", {"encoders": ["text"]}, "no text encoder"),
        ("ensemble", {}, "finds no layer"),
    ):
        with pytest.raises(InputError, match=words):
            put_onto(made(name), arguments)
    with pytest.raises(InputError, match=r"reaches the image encoder of 'clipseg'; take corrected$"):
        put_onto(made("clipseg", protocol="published"), {})


def test_under_published_biomedclipsegs_text_encoder_alone_takes_it() -> None:
    with pytest.raises(InputError, match=r"encoders: \[text\]"):
        put_onto(made("biomedclipseg", protocol="published"), {})
    model = put_onto(made("biomedclipseg", protocol="published"), {"encoders": ["text"]})
    assert model.leaves_images
