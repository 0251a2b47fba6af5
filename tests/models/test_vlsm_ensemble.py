"""UNet-D and VLSM-Ensemble's networks against stored outputs, and the files they come in."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tiny_models import TARGETS, TINY, made
from torch import Tensor, nn
from transformers import CLIPSegForImageSegmentation

from vlseg.jobs.settings import config_from_options
from vlseg.models import Rows, Segmenter, as_module, build_model, load_model, retargeted
from vlseg.models.biomedclipseg.build import build_biomedclipseg
from vlseg.models.biomedclipseg.tokenizer import spelling_tokenizer
from vlseg.models.folder import load_strictly
from vlseg.models.vlsm_ensemble.build import build_unet_d, build_vlsm_ensemble
from vlseg.models.vlsm_ensemble.networks import CLIP, BiomedBranch, ClipBranch, on_grid
from vlseg.records import InputError

TOLERANCES = {"unet_d_352": 5e-4, "vlsm_ensemble_a_224": 1e-4, "vlsm_ensemble_b_352": 2e-4}
LETTERS = ("vlsm-ensemble-a", "vlsm-ensemble-b", "vlsm-ensemble-c")
ALL = ("unet-d", *LETTERS)


def test_unet_ds_stored_output(golden_network: Callable[[str], Any]) -> None:
    stored = golden_network("unet_d_352")
    model = build_unet_d().eval()
    weights = stored.weights()
    assert model.network.state_dict().keys() == weights.keys()
    load_strictly(model.network, weights, "golden")
    with torch.inference_mode():
        logits = model(Rows({"pixel_values": stored.image(2, 352)})).logits[:, 0]
    stored.assert_maps(logits, "published", TOLERANCES["unet_d_352"])


def watched(module: nn.Module) -> list[Tensor]:
    """What it gives, once it has been asked."""
    given: list[Tensor] = []
    module.register_forward_hook(lambda *asked: given.append(asked[-1]))
    return given


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["published", "corrected"])
def test_as_stored_output(protocol: str, golden_network: Callable[[str], Any]) -> None:
    stored = golden_network("vlsm_ensemble_a_224")
    model = build_vlsm_ensemble(name="vlsm-ensemble-a", protocol=protocol).eval()
    network = model.network
    assert isinstance(network, BiomedBranch)
    weights = {key: tensor for key, tensor in stored.weights().items() if not key.endswith("position_ids")}
    assert network.state_dict().keys() == weights.keys()
    load_strictly(network, weights, "golden")
    unet, enlarged = watched(network.decoder2), watched(network.trans_conv1)
    tokens = Rows({f"biomedclip.{name}": tensor for name, tensor in stored.tokens().tensors.items()})
    with torch.inference_mode():
        image, prompts = model.encode_image(Rows({"pixel_values": stored.image(2, 224)})), model.encode_prompts(tokens)
        logits = model.decode(image, prompts).logits[:, 0]
        told = network.told(image.tensors["biomedclip.taps"], prompts.tensors["biomedclip.embedding"])
    stored.assert_maps(logits, protocol, TOLERANCES["vlsm_ensemble_a_224"])
    if protocol == "published":
        stored.assert_middle(told, "adapter", 1e-4)
        stored.assert_middle(enlarged[0], "adapter_map", 1e-4)
        stored.assert_middle(unet[0], "unet_logits", 1e-4)


def as_published(network: ClipBranch, last: Tensor, embedding: Tensor) -> Tensor:
    """The published map: the last block's output of the first three images, and attention from image to image."""
    tokens = network.filmed(network.reduces[0](last[0])[None], embedding)
    for number, block in enumerate(network.blocks):
        if number:
            tokens = network.reduces[number](last[number]) + tokens
        tokens = block(tokens.transpose(0, 1)).transpose(0, 1)
    return on_grid(tokens, network.reduce2)


@pytest.mark.slow
def test_bs_stored_output_depends_on_the_batch(golden_network: Callable[[str], Any]) -> None:
    """The published network, a batch of four in its order and rotated; not offered, because an image has no result."""
    stored = golden_network("vlsm_ensemble_b_352")
    model = build_vlsm_ensemble(name="vlsm-ensemble-b").eval()
    network = model.network
    assert isinstance(network, ClipBranch)
    weights = stored.weights()
    assert network.state_dict().keys() == {key for key in weights if not key.endswith("position_ids")}
    load_strictly(network, weights, "golden")
    unet = watched(network.decoder2)
    pixels, tokens = stored.image(4, 352), stored.tokens()
    vision, tolerance = network.clipseg.clip.vision_model, TOLERANCES["vlsm_ensemble_b_352"]
    with torch.inference_mode():
        image = model.encode_image(Rows({"pixel_values": pixels}))
        told = model.encode_prompts(Rows({f"{CLIP}.{name}": one for name, one in tokens.tensors.items()}))
        taps, embedding = image.tensors[f"{CLIP}.taps"], told.tensors[f"{CLIP}.embedding"]
        last = taps[:, -1]
        for block in vision.encoder.layers[max(network.clipseg.extract_layers) + 1 :]:
            last = block(last, attention_mask=None)
        coarse = network.clipseg.decoder(list(taps.unbind(1)), embedding).logits[:, None]
        for mode, order in (("published", [0, 1, 2, 3]), ("rotated", [1, 2, 3, 0])):
            fused = as_published(network, last[order], embedding[order])
            logits = network.merged(pixels[order], coarse[order], fused)[:, 0]
            if mode == "published":
                stored.assert_maps(logits, mode, tolerance)
                stored.assert_middle(fused, "adapter", tolerance)
                stored.assert_middle(coarse, "clipseg_logits", tolerance)
                stored.assert_middle(unet[0], "unet_logits", tolerance)
            else:
                stored.assert_grid(logits, mode, tolerance)


def test_the_page_gives_the_tolerances_that_are_tested(golden: Path) -> None:
    page = " ".join((Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text().split())
    for (name, tolerance), words in zip(TOLERANCES.items(), ("UNet-D", "A, in", "B as"), strict=True):
        stored = np.load(golden / f"{name}.npz")
        spread = np.concatenate(
            [stored[key][:, 1] for key in stored.files if not key.startswith("mid") and "stats" in key]
        )
        said = re.search(rf"(\S+) of (?:logits with a standard deviation of )?(\S+) \({words}", page)
        assert said is not None
        assert float(said[1]) == tolerance
        assert abs(float(said[2]) - spread.mean()) < 0.05


def network_at_full_size(name: str) -> nn.Module:
    return as_module(build_model(name)).get_submodule("network")


def network_of(name: str, **more: Any) -> Any:
    return as_module(made(name, **more)).get_submodule("network")


def test_sizes_are_the_published_ones() -> None:
    """In millions: UNet-D 11.83 alone and 12.15 in C, B 165.6, of which 14.84 are new; and what the page gives."""

    def millions(module: nn.Module) -> float:
        return sum(parameter.numel() for parameter in module.parameters()) / 1e6

    with torch.device("meta"):
        alone, a, b, c = (as_module(build_model(name)).get_submodule("network") for name in ("unet-d", *LETTERS))
    assert (round(millions(a), 1), round(millions(c), 1)) == (210.4, 401.6)
    assert isinstance(c, BiomedBranch)
    named = {key: p for key, p in c.named_parameters() if not re.search(r"\bbiomedclip\.|\bclip\.", key)}
    read = {id(parameter) for module in c.read() for parameter in module.parameters()}
    assert round(sum(p.numel() for p in named.values() if id(p) not in read) / 1e6, 1) == 26.7
    assert round(millions(alone), 2) == 11.83
    assert round(millions(b), 1) == 165.6
    assert round(millions(b) - millions(b.get_submodule("clipseg")), 2) == 14.84
    for place in ("decoder2", "clip_seg.decoder2"):
        assert round(millions(c.get_submodule(place)), 2) == 12.15


def test_sizes_to_the_number() -> None:
    """Of MedVLSM's two segmenters and of UNet-D, what is new is their difference."""
    with torch.device("meta"):
        counts = {
            name: sum(parameter.numel() for parameter in network_at_full_size(name).parameters())
            for name in ("clipseg", "biomedclipseg", "unet-d", *LETTERS)
        }
    assert (counts["unet-d"], counts["vlsm-ensemble-b"]) == (11_833_596, 165_592_188)
    assert counts["vlsm-ensemble-b"] - counts["clipseg"] == 14_844_442
    assert counts["vlsm-ensemble-a"] - counts["biomedclipseg"] == 13_377_914
    assert counts["vlsm-ensemble-c"] - counts["biomedclipseg"] - counts["clipseg"] == 53_791_275
    page = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
    for name, new in (("vlsm-ensemble-a", "13.38"), ("vlsm-ensemble-b", "14.84"), ("vlsm-ensemble-c", "53.79")):
        assert re.search(rf"`{name}` .* {counts[name] / 1e6:.1f} million, of which {new} are new", page)


@pytest.mark.parametrize(("name", "protocol"), [("vlsm-ensemble-a", "published"), *((one, "corrected") for one in ALL)])
@torch.no_grad()
def test_an_images_mask_does_not_depend_on_its_batch_mates(name: str, protocol: str) -> None:
    """Alone, in a batch, in another order, and beside other images and other sentences."""
    model = made(name, protocol=protocol)
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(3, 40, 56, generator=generator) for _ in range(5)]
    sentences = ["dark cyst", "a large bright nodule in the upper left", "", "bright nodule", "dark"]

    def logits(rows: list[int]) -> Tensor:
        inputs = model.prepare([pictures[row] for row in rows])
        return model.forward(inputs, model.tokenize([sentences[row] for row in rows])).logits

    together, turned, others = logits([0, 1, 2, 3]), logits([2, 3, 0, 1]), logits([4, 1, 4, 4])
    close = {"rtol": 1e-5, "atol": 1e-5 * float(together.std())}
    for row in range(4):
        torch.testing.assert_close(together[row], logits([row])[0], **close)
        torch.testing.assert_close(together[row], turned[(row + 2) % 4], **close)
    torch.testing.assert_close(together[1], others[1], **close)
    assert (together[0] - together[1]).abs().max() > 1e3 * close["atol"]


@torch.no_grad()
def test_b_reads_each_tap_of_the_image_itself() -> None:
    network = network_of("vlsm-ensemble-b")
    generator = torch.Generator().manual_seed(0)
    taps, embedding = torch.randn(4, 3, 17, 32, generator=generator), torch.randn(4, 24, generator=generator)
    before = network.told(taps, embedding)
    for tap in range(3):
        moved = taps.clone()
        moved[1, tap] += 1
        after = network.told(moved, embedding)
        changed = [float((one - two).abs().max()) for one, two in zip(before, after, strict=True)]
        assert changed[1] > 1e-2
        assert max(changed[0], *changed[2:]) < 1e-5
    order = [3, 0, 2, 1]
    torch.testing.assert_close(network.told(taps[order], embedding[order]), before[order])


@torch.no_grad()
def test_c_asks_each_text_encoder_in_its_own_words_and_joins_twice_by_one_layer() -> None:
    model = made("vlsm-ensemble-c")
    tokens = model.tokenize(["dark cyst"])
    assert tokens is not None
    for branch, alone in (("biomedclip", made("biomedclipseg")), (CLIP, made("clipseg"))):
        own = alone.tokenize(["dark cyst"])
        assert own is not None
        for name, ids in own.tensors.items():
            assert torch.equal(tokens.tensors[f"{branch}.{name}"], ids)
    network = as_module(model).get_submodule("network")
    joined: list[tuple[Tensor, Tensor]] = []
    network.convlast.register_forward_hook(lambda _, given, result: joined.append((given[0], result)))
    first, second = watched(network.decoder2), watched(network.clip_seg)
    logits = model.forward(model.prepare([torch.rand(3, 40, 40)]), tokens).logits
    (inside, merged), (beside, result) = joined
    assert torch.equal(inside[:, 1:], first[0])
    assert torch.equal(beside, torch.cat([merged, second[0]], dim=1))
    assert torch.equal(logits, result)
    image = model.encode_image(model.prepare([torch.rand(3, 40, 40)]))
    prompts = model.encode_prompts(tokens)
    assert prompts is not None
    base = model.decode(image, prompts).logits
    for branch in ("biomedclip", CLIP):
        other = {**prompts.tensors, f"{branch}.embedding": prompts.tensors[f"{branch}.embedding"] + 1}
        assert (model.decode(image, Rows(other)).logits - base).abs().max() > 1e-4 * base.std()


@pytest.mark.parametrize("name", ALL)
def test_checkpoints_fit_both_ways(name: str, tmp_path: Path) -> None:
    """As MedVLSM's trainer writes them; the names in our files are the published ones behind `network.`"""
    made(name, **({} if name != "unet-d" else {"targets": ("lesion",)})).save(tmp_path / "ours")
    saved = safetensors.torch.load_file(tmp_path / "ours" / "model.safetensors")
    published = {key.removeprefix("network."): tensor for key, tensor in saved.items()}
    assert published.keys() == network_of(name).state_dict().keys()
    file = tmp_path / "best.ckpt"
    torch.save({"state_dict": {f"net.{key}": tensor for key, tensor in published.items()}, "epoch": 3}, file)
    spelling_tokenizer().save_pretrained(tmp_path)
    arguments = {key: value for key, value in TINY[name].items() if key in ("size", "config")}
    if name in LETTERS[1:]:
        with pytest.warns(UserWarning, match="trained under protocol 'published', used under 'corrected'"):
            again = load_model(str(file), name=name, arguments=arguments)
    else:
        again = load_model(str(file), name=name, arguments=arguments)
    assert again.spec.protocol == ("published" if name == "vlsm-ensemble-a" else "corrected")
    for key, tensor in as_module(again).get_submodule("network").state_dict().items():
        assert torch.equal(tensor, published[key]), key
    for key in ("decoder2.outconv.weight", "outconv.weight"):
        if key in published:
            published[key + "s"] = published.pop(key)
            torch.save({f"net.{key}": tensor for key, tensor in published.items()}, file)
            with pytest.raises(InputError, match=r"missing|holds no UNet-D"):
                load_model(str(file), name=name, arguments={**arguments, "protocol": "corrected"})


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    torch.save(network_of("vlsm-ensemble-b").state_dict(), tmp_path / "b.pt")
    arguments = {key: TINY["vlsm-ensemble-b"][key] for key in ("size", "config")}
    with pytest.raises(InputError, match=r"image_size: the weights in .* are of 64 px, not 96; leave it out"):
        load_model(str(tmp_path / "b.pt"), name="vlsm-ensemble-b", arguments={**arguments, "image_size": 96})


def test_cs_default_decoder_is_refused(tmp_path: Path) -> None:
    """The published code builds it from the library's default settings: one transposed convolution, patches of 32."""
    weights = dict(network_of("vlsm-ensemble-c").state_dict())
    for key in [key for key in weights if key.startswith("decoder.transposed_convolution.")]:
        del weights[key]
    torch.save({**weights, "decoder.transposed_convolution.weight": torch.zeros(64, 1, 32, 32)}, tmp_path / "c.pt")
    with pytest.raises(InputError, match="patches of 32"):
        load_model(str(tmp_path / "c.pt"), name="vlsm-ensemble-c", arguments=dict(TINY["vlsm-ensemble-c"]))


def encoders(root: Path) -> tuple[Path, Path]:
    """Hub folders of BiomedCLIP and of CLIPSeg."""
    biomed, clip = root / "biomed", root / "clip"
    biomed.mkdir()
    torch.save(build_biomedclipseg(size="tiny").network.biomedclip.state_dict(), biomed / "open_clip_pytorch_model.bin")
    (biomed / "open_clip_config.json").write_text("{}")
    spelling_tokenizer().save_pretrained(biomed)
    network = network_of("clipseg")
    assert isinstance(network, CLIPSegForImageSegmentation)
    network.save_pretrained(clip)
    return biomed, clip


def test_recipes_are_what_the_page_says() -> None:
    """MedVLSM's with frozen encoders, and UNet-D's own."""
    for name in LETTERS:
        config = config_from_options({"model": name, "data": ["d"]}, [], recipe="published")
        assert config is not None
        assert (config.regime, config.batch_size, config.learning_rate) == ("decoder", 128, 2e-3)
        assert config.protocol == ("published" if name == LETTERS[0] else "corrected")
    config = config_from_options({"model": "unet-d", "data": ["d"]}, [], recipe="published")
    assert config is not None
    assert (config.optimizer, config.learning_rate, config.weight_decay, config.batch_size) == ("adamw", 1e-5, 1e-3, 10)
    assert (config.loss, config.bce_weight, config.schedule, config.patience) == ("dice_bce", 1.0, "constant", 20)
    assert (config.clip_norm, config.precision, config.augment) == (1.0, "fp32", False)


def test_unet_d_from_a_file_keeps_all_but_new_outputs(tmp_path: Path) -> None:
    network = network_of("unet-d", targets=("lesion",))
    torch.save(network.state_dict(), tmp_path / "checkpoint.pt")
    arguments = {"size": "tiny", "image_size": 48}
    model = load_model(str(tmp_path), name="unet-d", arguments=arguments)  # a folder that holds it
    assert model.spec.image_size == (48, 48)
    wider = as_module(retargeted(model, TARGETS, str(tmp_path), arguments=arguments)).get_submodule("network")
    for key, tensor in network.state_dict().items():
        if key.startswith("outconv"):
            assert len(wider.state_dict()[key]) == 2
        else:
            assert torch.equal(wider.state_dict()[key], tensor), key


@torch.no_grad()
def assert_branches_answer_as_alone(model: Segmenter, folders: Mapping[str, Path]) -> None:
    """Each tower's taps of an image and each text encoder's vector of a sentence are those of its own segmenter."""
    as_module(model).eval()
    picture, side = torch.rand(3, 40, 40), model.spec.image_size[0]
    inputs = model.prepare([picture])
    image, prompts = model.encode_image(inputs), model.encode_prompts(model.tokenize(["a dark cyst"]))
    assert prompts is not None
    branches = {name.partition(".")[0] for name in prompts.tensors}
    assert branches == {name.partition(".")[0] for name in image.tensors} - {"pixels"}
    for branch in branches:
        more = {"size": "tiny"} if branch == "biomedclip" else {}
        alone = load_model(str(folders[branch]), protocol="corrected", arguments={"image_size": side, **more})
        as_module(alone).eval()
        own = alone.encode_prompts(alone.tokenize(["a dark cyst"]))
        assert own is not None
        assert torch.equal(prompts.tensors[f"{branch}.embedding"], own.tensors["embedding"])
        assert torch.equal(image.tensors[f"{branch}.taps"], alone.encode_image(inputs).tensors["taps"])


@pytest.mark.slow
def test_on_published_encoders(tmp_path: Path) -> None:
    """The rest is random, which predicts nothing: `random_part` says so."""
    biomed, clip = encoders(tmp_path)
    of_clip = network_of("clipseg").state_dict()
    torch.manual_seed(7)
    for name, folder, arguments in (
        ("vlsm-ensemble-a", biomed, {"size": "tiny"}),
        ("vlsm-ensemble-b", clip, {"size": "tiny", "image_size": 64}),
        ("vlsm-ensemble-c", biomed, {"size": "tiny", "clipseg": str(clip)}),
    ):
        model = load_model(str(folder), name=name, arguments=arguments)
        assert (model.spec.name, model.spec.protocol) == (name, "corrected")
        assert getattr(model, "random_part", None)
        found = as_module(model).state_dict()
        if name != "vlsm-ensemble-b":
            for key, tensor in torch.load(biomed / "open_clip_pytorch_model.bin").items():
                assert torch.equal(found[f"network.biomedclip.{key}"], tensor)
        if name != "vlsm-ensemble-a":
            start = "network.clipseg." if name == "vlsm-ensemble-b" else "network.clip_seg.clipseg."
            assert all(torch.equal(found[f"{start}{key}"], tensor) for key, tensor in of_clip.items())
        assert_branches_answer_as_alone(model, {"biomedclip": biomed, CLIP: clip})
        model.save(tmp_path / name)
        assert load_model(str(tmp_path / name)).spec == model.spec
    assert load_model(str(biomed), arguments={"size": "tiny"}).spec.name == "biomedclipseg"  # whose folders they are
    assert load_model(str(clip), arguments={"image_size": 64}).spec.name == "clipseg"


def test_what_does_not_go_is_named(tmp_path: Path) -> None:
    biomed, clip = encoders(tmp_path)
    config = TINY["vlsm-ensemble-b"]["config"]
    patches = {**config, "vision_config": {**config["vision_config"], "patch_size": 32}}
    for place, name, arguments, words in (
        (biomed, "vlsm-ensemble-c", {"size": "tiny"}, r"clipseg: FOLDER.*clipseg-rd64-refined"),
        (biomed, "vlsm-ensemble-a", {"size": "tiny", "clipseg": str(clip)}, "has none; leave it out"),
        (clip, "vlsm-ensemble-b", {"size": "tiny", "config": {}}, "stands in CLIPSeg's own files"),
    ):
        with pytest.raises(InputError, match=words):
            load_model(str(place), name=name, arguments=arguments)
    with pytest.raises(InputError, match="unknown protocol of vlsm-ensemble-b 'published'"):
        load_model(str(clip), name="vlsm-ensemble-b", protocol="published", arguments={"size": "tiny"})
    for name, arguments, words in (
        ("vlsm-ensemble-b", {**TINY["vlsm-ensemble-b"], "config": patches}, "patches are of 32 px"),
        ("vlsm-ensemble-a", {"size": "tiny", "config": {}}, "which vlsm-ensemble-a has none of"),
        ("vlsm-ensemble-b", {"size": "small"}, "size of vlsm-ensemble-b"),
        ("unet-d", {"size": "small"}, "size of unet-d"),
    ):
        with pytest.raises(InputError, match=words):
            build_model(name, arguments=arguments)
    with pytest.raises(InputError, match="a name is given twice"):
        build_model("unet-d", targets=(TARGETS[0],) * 2)


def test_a_saved_network_keeps_its_size(tmp_path: Path) -> None:
    made("vlsm-ensemble-a").save(tmp_path)
    with pytest.raises(InputError, match="its image_size is 32, not 48"):
        load_model(str(tmp_path), arguments={"image_size": 48})
