"""CLIPSeg against transformers' own forward, against stored outputs, and what trains in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizer

from vlseg.models import Rows, load_model
from vlseg.models.clipseg.build import TOWERS, build_clipseg, refined_config
from vlseg.models.clipseg.model import ClipSeg
from vlseg.models.clipseg.tokenizer import clip_tokenizer, load_tokenizer
from vlseg.models.folder import load_strictly
from vlseg.models.tensors import network_in
from vlseg.records import InputError

TEXTS = ["polyp", "one small pink round polyp, located in top left of the image", ""]


def small_config() -> CLIPSegConfig:
    """The refined shape with two-hundred-fold fewer weights."""
    values = refined_config().to_dict()
    small = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
    values["vision_config"] |= {**small, "num_hidden_layers": 5}
    values["text_config"] |= {**small, "num_hidden_layers": 2}
    values |= {"projection_dim": 24, "extract_layers": [0, 1, 3], "reduce_dim": 16, "decoder_intermediate_size": 32}
    return CLIPSegConfig.from_dict(values)


@pytest.fixture
def small() -> ClipSeg:
    torch.manual_seed(0)
    return build_clipseg(image_size=64, config=small_config()).eval()


@pytest.fixture(scope="module")
def full() -> ClipSeg:
    torch.manual_seed(0)
    return build_clipseg().eval()


@pytest.mark.parametrize(
    ("size", "batch"),
    [
        (352, 1),
        (224, 3),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((224, 1), (352, 3), (416, 1), (416, 3))),
    ],
)
def test_steps_equal_transformers_forward(full: ClipSeg, size: int, batch: int) -> None:
    pixels = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(size))
    tokens = full.tokenize(TEXTS[:batch])
    with torch.inference_mode():
        reference = full.network(pixel_values=pixels, **tokens.tensors).logits.reshape(batch, 1, size, size)
        ours = full(Rows({"pixel_values": pixels}), tokens).logits
    assert (ours - reference).abs().max() <= 1e-5 * reference.std()


def test_stored_output_of_the_published_network(full: ClipSeg, golden_network: Callable[[str], Any]) -> None:
    stored = golden_network("clipseg_352")
    network = CLIPSegForImageSegmentation(refined_config())
    found = network_in(stored.weights(), (TOWERS,), "golden")
    assert found is not None
    load_strictly(network, found.tensors, "golden")
    model = ClipSeg(network, full.tokenizer, full.spec).eval()
    with torch.inference_mode():
        image = model.encode_image(Rows({"pixel_values": stored.image(2, 352)}))
        prompts = model.encode_prompts(stored.tokens())
        logits = model.decode(image, prompts).logits[:, 0]
    stored.assert_maps(logits, "published", 5e-5)
    stored.assert_middle(prompts.tensors["embedding"], "text_embedding", 5e-5)
    for position, tap in enumerate(("tap3", "tap6", "tap9")):
        stored.assert_middle(image.tensors["taps"][:, position], tap, 5e-5)


def test_padding_is_trimmed_without_effect(small: ClipSeg) -> None:
    alone = small.encode_prompts(small.tokenize(["polyp"])).tensors["embedding"]
    beside_longer = small.encode_prompts(small.tokenize(["polyp", " ".join(["word"] * 90)])).tensors["embedding"]
    torch.testing.assert_close(alone[0], beside_longer[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "ids"),
    [("a photo of a cat", [49406, 320, 1125, 539, 320, 2368, 49407]), ("", [49406, 49407])],
)
def test_tokenizer_gives_clips_ids(text: str, ids: list[int]) -> None:
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49408
    assert tokenizer(text)["input_ids"] == ids


def test_blocks_behind_the_last_tap_do_not_run(small: ClipSeg) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a block that no mask depends on ran")

    small.network.clip.vision_model.encoder.layers[4].register_forward_pre_hook(fail)
    small.encode_image(small.prepare([torch.rand(3, 20, 30)]))


def test_saved_folder_loads_in_transformers_and_here(small: ClipSeg, tmp_path: Path) -> None:
    small.save(tmp_path)
    theirs = CLIPSegForImageSegmentation.from_pretrained(tmp_path).eval()
    ours = load_model(str(tmp_path))
    assert ours.spec == small.spec
    images = [torch.rand(3, 50, 70)]
    with torch.inference_mode():
        inputs, tokens = small.prepare(images), small.tokenize(["polyp"])
        expected = small(inputs, tokens).logits
        assert torch.equal(ours.eval()(ours.prepare(images), ours.tokenize(["polyp"])).logits, expected)
        reference = theirs(pixel_values=inputs.tensors["pixel_values"], **tokens.tensors).logits.reshape(1, 1, 64, 64)
    # An untrained small network gives logits of large scale; the full-size parity test is the strict one.
    torch.testing.assert_close(expected, reference, atol=1e-5 * float(reference.std()), rtol=1e-3)


def test_published_folder_without_our_part_loads(small: ClipSeg, tmp_path: Path) -> None:
    """The hub's layout: config, weights (with an old position table), tokenizer files."""
    small.network.save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    assert "vlseg" not in json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "model.safetensors").unlink()
    old = {"clip.text_model.embeddings.position_ids": torch.arange(77)[None]}
    torch.save({**small.network.state_dict(), **old}, tmp_path / "pytorch_model.bin")
    loaded = load_model(str(tmp_path))
    assert loaded.spec.image_size == (352, 352)
    for key, value in small.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], value)


def test_renamed_key_is_named(small: ClipSeg, tmp_path: Path) -> None:
    small.network.save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    weights = dict(small.network.state_dict())
    weights["decoder.film_mull.weight"] = weights.pop("decoder.film_mul.weight")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"missing \(decoder\.film_mul\.weight\).*left over \(decoder\.film_mull"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("asked", [False, True])
def test_a_saved_tokenizer_is_read_as_the_library_reads_it(asked: bool, tmp_path: Path) -> None:
    """Files that are exactly our own are not parsed but built anew: what comes of a text must be the same."""
    texts = ["", "one small white polyp, located in top left of the image", "naïve  ÉCHO 3×4", "word " * 100]
    how: dict[str, Any] = {"padding": "max_length", "truncation": True, "max_length": 77}
    saved = clip_tokenizer()
    if asked:
        saved(texts, **how)
    saved.save_pretrained(tmp_path)
    theirs = CLIPTokenizer.from_pretrained(tmp_path)
    quick = load_tokenizer(tmp_path)
    assert quick.name_or_path == ""  # not from the files
    assert quick(texts, **how).data == theirs(texts, **how).data
    assert (quick.model_max_length, quick.padding_side, quick.truncation_side) == (77, "right", "right")
    path = tmp_path / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"model_max_length": 77', '"model_max_length": 70'))
    changed = load_tokenizer(tmp_path)
    assert (changed.model_max_length, changed.name_or_path) == (70, str(tmp_path))


def test_no_two_models_share_a_tokenizer(tmp_path: Path) -> None:
    """The library changes a tokenizer while it is asked; another thread may be asking its own."""
    one, two = clip_tokenizer(), clip_tokenizer()
    one(["a"], padding="max_length", truncation=True, max_length=17)
    assert two.backend_tokenizer.padding is None
    one.add_tokens(["polypoid"])
    assert len(clip_tokenizer()) == len(two) == 49408


def test_two_word_tokenizer_is_refused(small: ClipSeg, tmp_path: Path) -> None:
    small.save(tmp_path)
    for name in ("tokenizer.json", "merges.txt"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "vocab.json").write_text('{"<|startoftext|>": 0, "<|endoftext|>": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(InputError, match="49408"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"image_size": 350}, "multiple of the patch"), ({"protocol": "improved"}, "known: corrected, published")],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_clipseg(config=small_config(), **arguments)


def test_a_config_of_wrong_types_is_wrong_input() -> None:
    with pytest.raises(InputError, match=r"config of clipseg: .*layer_norm_eps"):
        build_clipseg(config={"vision_config": {"layer_norm_eps": "small"}})


def test_unreachable_hub_id_says_what_to_fetch() -> None:
    with pytest.raises(InputError, match=r"model\.safetensors.*give that folder"):
        load_model("nobody/no-such-model")


def original_layout(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The decoder's keys in the original repository: fused projections, blocks, trans_conv.

    `reduce` belongs to its base class: transformers' converter finds it left over in every published file.
    """
    result = {"reduce.weight": torch.zeros(16, 32), "reduce.bias": torch.zeros(16)}
    for key, value in weights.items():
        name = key.replace("layers.", "blocks.").replace("transposed_convolution.", "trans_conv.")
        name = name.replace(".mlp.fc1.", ".linear1.").replace(".mlp.fc2.", ".linear2.").replace(".layer_norm", ".norm")
        if any(f".{part}_proj." in name for part in "qkv"):
            continue
        result[name] = value
    for index in range(3):
        for kind in ("weight", "bias"):
            parts = [weights[f"layers.{index}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            result[f"blocks.{index}.self_attn.in_proj_{kind}"] = torch.cat(parts)
    return result


@pytest.mark.parametrize("name", ["clipseg", "clipseg-rd64"])
def test_original_repositorys_decoder_loads_beside_clip(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    from vlseg.models.clipseg.build import CONFIGS, decoder_weights, plain_config

    monkeypatch.setattr("vlseg.models.clipseg.build.refined_config", small_config)
    monkeypatch.setitem(CONFIGS, "clipseg", small_config)
    torch.manual_seed(1)
    network = CLIPSegForImageSegmentation(small_config() if name == "clipseg" else plain_config())
    torch.save(original_layout(network.decoder.state_dict()), tmp_path / "rd64-uni.pth")
    with pytest.raises(InputError, match="decoder alone; give CLIP"):
        load_model(str(tmp_path / "rd64-uni.pth"), name="clipseg")
    clip = tmp_path / "clip"
    clip.mkdir()
    towers = {
        key.removeprefix("clip."): value for key, value in network.state_dict().items() if key.startswith("clip.")
    }
    torch.save(towers, clip / "pytorch_model.bin")
    model = load_model(str(tmp_path / "rd64-uni.pth"), name="clipseg", arguments={"clip": str(clip)})
    assert model.spec.name == name
    assert isinstance(model, ClipSeg)
    for key, value in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[key], value), key
    for key, value in decoder_weights(tmp_path / "rd64-uni.pth").items():
        assert torch.equal(network.decoder.state_dict()[key], value), key


def test_medvlsm_checkpoint_loads_by_the_models_name(small: ClipSeg, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("vlseg.models.clipseg.build.refined_config", small_config)
    network = small.network
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {f"net.clipseg.{key}": value for key, value in network.state_dict().items()}}, path)
    with pytest.raises(InputError, match="does not say which model"):
        load_model(str(path))
    assert load_model(str(path), name="clipseg").spec.protocol == "published"
    with pytest.warns(UserWarning, match="trained under protocol 'published', used under 'corrected'"):
        assert load_model(str(path), name="clipseg", protocol="corrected").spec.protocol == "corrected"


def test_the_hubs_weights_file_alone_trains_fully(small: ClipSeg, tmp_path: Path, monkeypatch: Any) -> None:
    """Only MedVLSM's checkpoints, which have a prefix, were trained under `published`."""
    monkeypatch.setattr("vlseg.models.clipseg.build.refined_config", small_config)
    torch.save(dict(small.network.state_dict()), tmp_path / "pytorch_model.bin")
    model = load_model(str(tmp_path / "pytorch_model.bin"), name="clipseg", arguments={"image_size": 64})
    assert (model.spec.protocol, model.spec.image_size) == ("corrected", (64, 64))
    assert "image_encoder" in model.parts()
