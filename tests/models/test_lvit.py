"""LViT against stored outputs of its authors' code, the files it comes in, and what its two protocols do."""

import json
import math
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import TARGETS, TINY, made
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BertTokenizer
from weights_here import installed

from vlseg.evaluation import load
from vlseg.jobs.feature_cache import feature_bytes
from vlseg.jobs.settings import config_from_options
from vlseg.models import Rows, as_module, build_model, load_model
from vlseg.models.biomedclipseg.tokenizer import spelling_tokenizer
from vlseg.models.folder import load_strictly
from vlseg.models.lvit import BERT
from vlseg.models.lvit.build import build_lvit, build_lvit_tw
from vlseg.models.lvit.load import load_lvit
from vlseg.models.lvit.model import Lvit
from vlseg.models.lvit.network import Network, Shape
from vlseg.models.protocol import PromptFeatures
from vlseg.models.tensors import read_tensors
from vlseg.records import InputError
from vlseg.training.freezing import apply_regime, train_mode

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text()
SENTENCE = "The nuclei density in the upper right is high."


def count(modules: list[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Text encoders as people have them on disk, with random weights and pooler, by width."""

    def made_once(width: int) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"bert{width}"
        if not folder.exists():
            words = "the nuclei density in upper right left is high eo xx . ##f ##x".split()
            tokenizer: BertTokenizer = spelling_tokenizer()
            vocabulary = {**tokenizer.get_vocab()}
            for word in words:
                vocabulary.setdefault(word, len(vocabulary))
            tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=64)
            torch.manual_seed(5)
            small = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
            config = BertConfig(hidden_size=width, vocab_size=len(vocabulary), max_position_embeddings=64, **small)
            BertModel(config).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return folder

    return made_once


def tiny(**more: Any) -> Lvit:
    torch.manual_seed(0)
    return build_lvit(**{**TINY["lvit"], **more}).eval()


def picture(height: int = 70, width: int = 50) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def checkpoint(weights: dict[str, Tensor], prefix: str = "") -> dict[str, Any]:
    """As the authors' code saves it."""
    return {
        "epoch": 12,
        "best_model": True,
        "model": "LViT",
        "state_dict": {f"{prefix}{key}": tensor for key, tensor in weights.items()},
        "val_loss": np.float64(0.25),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]},
    }


def test_stored_output_of_the_published_network(
    golden_network: Callable[[str], Any], bert: Callable[[int], Path]
) -> None:
    stored = golden_network("lvit_224")
    model = build_lvit(text=str(bert(768)), protocol="published").eval()
    load_strictly(model.network, stored.weights(), "golden")
    rng = np.random.default_rng(zlib.crc32(b"text"))
    text = torch.from_numpy(rng.standard_normal((2, 10, 768)).astype(np.float32))
    np.testing.assert_array_equal(text.flatten()[:8], stored.stored["text_first8"])
    seen: dict[str, Tensor] = {}
    for name in ("down4", "up4", "up1"):
        model.network.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    block = model.network.get_submodule("downVit.Encoder_blocks")
    block.register_forward_hook(lambda _, __, out: seen.update(downVit=out))
    every = torch.ones(2, 10, dtype=torch.bool)
    with torch.inference_mode():
        image = model.encode_image(Rows({"pixel_values": stored.image(2, 224)}))
        told = PromptFeatures({"vectors": model.network.words(text, every), "words": every})
        logits = model.decode(image, told).logits[:, 0]
    for name, tensor in seen.items():
        stored.assert_middle(tensor, name, 1e-4)
    stored.assert_maps(logits, "logits", 1e-4)
    stored.assert_maps(logits.sigmoid(), "probabilities", 1e-4)


def test_the_published_layout_is_saved_whole_and_what_is_never_read_never_trains(
    golden_network: Callable[[str], Any], tmp_path: Path
) -> None:
    """At an eighth of the width: names are the same, and so is which of them nothing reads."""
    entries = {entry["key"]: entry for entry in golden_network("lvit_224").entries}
    assert len(entries) == 541
    model = tiny(protocol="published", image_size=224)
    model.save(tmp_path)
    saved = read_tensors(tmp_path / "model.safetensors")
    assert [key.removeprefix("network.") for key in model.state_dict() if key.startswith("network.")] == list(entries)
    for key, entry in entries.items():
        ours = tuple(saved[f"network.{key}"].shape)
        assert len(ours) == len(entry["shape"]), key
        assert all(one in (other, other // 8, 96) for one, other in zip(ours, entry["shape"], strict=True)), key
    trained = {id(p) for modules in model.parts().values() for module in modules for p in module.parameters()}
    for key, parameter in model.network.named_parameters():
        assert (id(parameter) in trained) == ("forward" not in entries[key]), key


def test_the_number_of_parameters() -> None:
    with torch.device("meta"):
        published, ours, packaged, without = (
            Network(shape) for shape in (Shape(published=True), Shape(), Shape(text=384), Shape(text=None))
        )
    assert count([published]) == 39_933_345
    assert count([module for modules in published.parts().values() for module in modules]) == 29_908_033
    assert count([ours]) == 29_918_333
    assert count([packaged]) == count([ours]) - (768 - 384) * 512 * 3
    assert count([without]) == 28_204_861
    assert ours.reader is not None
    assert (count([published.downVit.CTBN3]), count([ours.reader])) == (6_468, 16_768)
    for number in (39_933_345, 29_908_033, 39_933_345 - 29_908_033, 29_918_333, 29_328_509, 28_204_861, 6_468, 16_768):
        assert f"{number:,}" in PAGE, number


@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_with_any_prefix_and_strictly(prefix: str, bert: Callable[[int], Path], tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = Network(Shape(width=8, text=32, published=True, side=2))
    file, text = tmp_path / "best_model-LViT.pth.tar", str(bert(32))
    torch.save(checkpoint(whole.state_dict(), prefix), file)
    model = load_model(str(tmp_path), arguments={"text": text})  # the folder says whose it is
    assert (model.spec.name, model.spec.protocol, model.spec.image_size) == ("lvit", "published", (32, 32))
    for key, tensor in whole.state_dict().items():
        assert torch.equal(as_module(model).state_dict()[f"network.{key}"], tensor)
    weights = whole.state_dict()
    weights["up3.heads.weight"] = weights.pop("upVit.head.weight")  # nothing reads it, and it must be there
    torch.save(checkpoint(weights, prefix), file)
    with pytest.raises(InputError, match=r"missing \(upVit\.head\.weight\); 1 left over \(up3\.heads\.weight\)"):
        load_lvit(file, text=text)


def test_files_that_are_no_lvit_or_do_not_fit(bert: Callable[[int], Path], tmp_path: Path) -> None:
    file = tmp_path / "one.pth"
    torch.save({"conv.weight": torch.zeros(3)}, file)
    with pytest.raises(InputError, match=r"holds no LViT \(no downVit"):
        load_lvit(file)
    weights = Network(Shape(width=8, text=32, published=True, side=2)).state_dict()
    torch.save(checkpoint(weights), file)
    with pytest.raises(InputError, match=r"reads vectors of 32 a word, and those of text .* have 64"):
        load_lvit(file, text=str(bert(64)))
    with pytest.raises(InputError, match=r"text: 'google-bert/bert-base-uncased' is no folder here.*text: FOLDER"):
        load_lvit(file)
    with pytest.raises(InputError, match="of another shape"):
        load_lvit(file, text=str(bert(32)), image_size=64)
    torch.save({key: one for key, one in weights.items() if key != "text_module4.weight"}, file)
    with pytest.raises(InputError, match=r"lacks text_module4\.weight"):
        load_lvit(file, text=str(bert(32)))


def test_published_weights_start_a_corrected_one(bert: Callable[[int], Path], tmp_path: Path) -> None:
    whole = Network(Shape(width=8, text=32, published=True, side=14))
    torch.save(checkpoint(whole.state_dict()), tmp_path / "one.pth")
    with pytest.warns(UserWarning, match="trained under protocol 'published', used under 'corrected'"):
        model = load_lvit(tmp_path / "one.pth", text=str(bert(32)), protocol="corrected", image_size=48)
    assert model.random_part == "reader of words"
    ours, theirs = model.network.state_dict(), whole.state_dict()
    assert {key.split(".")[0] for key in ours.keys() - theirs.keys()} == {"reader"}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours.keys() & theirs.keys())
    arguments, where = {"text": str(bert(32)), "image_size": 48}, str(tmp_path / "one.pth")
    with (
        pytest.warns(UserWarning, match="used under"),
        pytest.raises(InputError, match="leaves the reader of words of 'lvit' random, which predicts nothing"),
    ):
        load("lvit", weights=where, protocol="corrected", arguments=arguments)
    small = Network(Shape(width=8, text=32, published=True, side=2))
    torch.save(checkpoint(small.state_dict()), tmp_path / "one.pth")
    with pytest.warns(UserWarning, match="used under"), pytest.raises(InputError, match="is made for images of 32"):
        load_lvit(tmp_path / "one.pth", text=str(bert(32)), protocol="corrected")


@torch.no_grad()
def test_ten_words_by_hand(bert: Callable[[int], Path]) -> None:
    """Each sentence alone through BERT: [CLS] and [SEP] left out, pieces of a word averaged, ten of them."""
    model = tiny(text=str(bert(32)), protocol="published", image_size=32)
    tower, tokenizer = BertModel.from_pretrained(bert(32)).eval(), BertTokenizer.from_pretrained(bert(32))
    cases = {
        SENTENCE: SENTENCE,  # nine words, and the full stop
        "the density is high": f"the density is high{' EOF XXX' * 5}",
        "": " EOF XXX" * 9,
        "the nuclei density in the upper right is high": "the nuclei density in the upper right is high EOF XXX",
        "polyp " * 12: "polyp " * 12,  # five pieces a word: four words and three pieces are left
    }
    assert model.encoder is not None
    vectors, words = model.encoder(model.tokenize(list(cases)))  # type: ignore[arg-type]
    assert vectors.shape == (len(cases), 10, 32)
    assert words.all()
    for row, read in enumerate(cases.values()):
        ids = tokenizer(read, truncation=True, max_length=25, return_tensors="pt")["input_ids"]
        hidden = tower(input_ids=ids).last_hidden_state[0]
        groups: list[list[Tensor]] = []
        for piece, vector in list(zip(tokenizer.convert_ids_to_tokens(ids[0].tolist()), hidden, strict=True))[1:-1]:
            if piece.startswith("##"):
                groups[-1].append(vector)
            else:
                groups.append([vector])
        expected = torch.zeros(10, 32)
        for place, group in enumerate(groups[:10]):
            expected[place] = torch.stack(group).mean(0)
        torch.testing.assert_close(vectors[row], expected, rtol=1e-4, atol=1e-5)
        assert bool(expected[9].any()) == (len(groups) >= 10)


@torch.no_grad()
def test_corrected_reads_every_word_and_no_padding(bert: Callable[[int], Path]) -> None:
    model = tiny(text=str(bert(32)))
    image = model.encode_image(model.prepare([picture()]))
    long = f"{SENTENCE} the nuclei density in the upper left is high"
    texts = [SENTENCE, long, long.replace("left", "right")]
    told = model.encode_prompts(model.tokenize(texts))
    assert told is not None
    one, two, three = model.decode(image[[0, 0, 0]], told).logits
    for first, second in ((one, two), (two, three)):  # they differ behind the tenth word alone
        assert (first - second).abs().max() > 1e-4 * first.std()
    vectors, words = told.tensors["vectors"], told.tensors["words"]
    length = int(words[0].sum())
    assert length < int(words[1].sum())
    assert not vectors[0, length:].any()
    alone = model.decode(image, PromptFeatures({"vectors": vectors[:1, :length], "words": words[:1, :length]}))
    torch.testing.assert_close(alone.logits[0], one, rtol=1e-5, atol=1e-5)
    dirty = torch.where(words[..., None], vectors, torch.full_like(vectors, 1e3))
    hidden = model.decode(image[[0, 0, 0]], PromptFeatures({"vectors": dirty, "words": words})).logits
    torch.testing.assert_close(hidden[0], one, rtol=1e-5, atol=1e-5)


def test_the_published_layout_is_bound_to_its_size_and_the_corrected_is_not(tmp_path: Path) -> None:
    for protocol in ("corrected", "published"):
        tiny(protocol=protocol).save(tmp_path / protocol)
    model = load_model(str(tmp_path / "corrected"), arguments={"image_size": 80})
    inputs = model.prepare([picture()])
    assert as_module(model).eval()(inputs, model.tokenize(["cyst"])).logits.shape[-2:] == (80, 80)
    with pytest.raises(InputError, match="of another shape"):
        load_model(str(tmp_path / "published"), arguments={"image_size": 80})
    with pytest.raises(InputError, match="was trained under 'published', whose layers 'corrected' lacks; leave"):
        load_model(str(tmp_path / "published"), protocol="corrected")
    made("lvit-tw").save(tmp_path / "tw")
    with pytest.warns(UserWarning, match="trained under protocol 'corrected', used under 'published'"):
        load_model(str(tmp_path / "tw"), protocol="published")


def test_places_of_a_new_size_are_between_those_of_the_table() -> None:
    """A table that tells the row, seen at half and at twice its places."""
    embeddings = tiny().network.downVit.embeddings
    rows = torch.linspace(-1, 1, 14)[:, None].expand(14, 14).reshape(1, 196, 1)
    with torch.no_grad():
        embeddings.position_embeddings.copy_(rows.expand(1, 196, 8))
        for parameter in embeddings.patch_embeddings.parameters():
            parameter.zero_()
        for side in (7, 14, 28):
            seen = embeddings(torch.zeros(1, 8, 16 * side, 16 * side))[0, :, 0].reshape(side, side)
            torch.testing.assert_close(seen, seen[:, :1].expand(-1, side))
            expected = torch.from_numpy(
                np.interp((np.arange(side) + 0.5) * 14 / side - 0.5, np.arange(14), np.linspace(-1, 1, 14))
            ).float()
            torch.testing.assert_close(seen[1:-1, 0], expected[1:-1], rtol=1e-3, atol=1e-2)


def between_four(values: np.ndarray, side: int) -> np.ndarray:
    """(H, W) to (side, side) by hand: each pixel from the four nearest, as OpenCV's INTER_LINEAR."""
    height, width = values.shape
    result = np.zeros((side, side))
    for row in range(side):
        for column in range(side):
            y = min(max((row + 0.5) * height / side - 0.5, 0), height - 1)
            x = min(max((column + 0.5) * width / side - 0.5, 0), width - 1)
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            down, right = y - top, x - left
            square = values[top : top + 2, left : left + 2]
            result[row, column] = np.array([1 - down, down]) @ square @ np.array([1 - right, right])
    return result


def test_images_and_masks_of_both_protocols() -> None:
    published, corrected = tiny(protocol="published"), tiny()
    image = picture(50, 90)
    theirs = published.prepare([image]).tensors["pixel_values"][0]
    for channel, colour in enumerate((2, 1, 0)):  # blue, green, red
        torch.testing.assert_close(
            theirs[channel].double(), torch.from_numpy(between_four(image[colour].numpy(), 32)), rtol=0, atol=1e-5
        )
    small = picture(32, 32)
    assert torch.equal(corrected.prepare([small]).tensors["pixel_values"][0], small)
    assert torch.equal(published.prepare([small]).tensors["pixel_values"][0], small.flip(0))
    rng = np.random.default_rng(0)
    mask = np.zeros((50, 90))
    for _ in range(12):
        y, x = rng.integers(0, 44), rng.integers(0, 84)
        mask[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = 1
    grown = published.prepare_masks([torch.from_numpy(mask)])[0, 0].numpy()
    assert np.array_equal(grown, between_four(mask, 32) > 0)
    fair = corrected.prepare_masks([torch.from_numpy(mask)])[0, 0].numpy()
    assert grown.mean() > 1.2 * mask.mean()
    assert abs(fair.mean() / mask.mean() - 1) < 0.05


def test_the_images_features_need_no_text() -> None:
    """A sentence reaches the block of the first scale and the way up alone: the rest can be kept."""
    model = made("lvit")
    assert not model.spec.image_features_depend_on_text
    assert not model.spec.prompt_features_depend_on_image
    device = torch.device("cpu")
    size = (
        8 * feature_bytes(build_lvit(width=8), device, "fp32", torch.float16) / 2**20
    )  # all of it grows with the width
    assert f"{size:.1f} MiB an image at 224 px" in PAGE
    called = set[str]()
    network = as_module(model)
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _, __, ___, name=name: called.add(name))
    with torch.no_grad():
        image = model.encode_image(model.prepare([picture()]))
        assert not any(name.startswith(("network.text", "network.reader", "encoder")) for name in called)
        called.clear()
        model.decode(image, model.encode_prompts(model.tokenize(["cyst"])))
    again = {name.split(".")[1] for name in called if name.startswith("network.")}
    assert not again & {"inc", "down1", "down2", "down3", "down4", "downVit1", "downVit2", "downVit3"}


def test_a_text_encoder_stays_as_it_came(bert: Callable[[int], Path], tmp_path: Path) -> None:
    for protocol in ("corrected", "published"):
        model = tiny(text=str(bert(32)), protocol=protocol)
        train_mode(model, apply_regime(model, "full"))
        assert model.encoder is not None
        assert not any(module.training for module in model.encoder.modules())
        model(model.prepare([picture()]), model.tokenize([SENTENCE])).logits.square().mean().backward()
        assert all(parameter.grad is None for parameter in model.encoder.parameters())
        assert model.network.text_module4.weight.grad is not None
        model.eval().save(tmp_path / protocol)
        again = load_model(str(tmp_path / protocol))  # needs the folder that it was built from no longer
        assert again.spec == model.spec
        inputs, tokens = model.prepare([picture()]), model.tokenize([SENTENCE])
        as_module(again).eval()
        assert torch.equal(again.forward(inputs, again.tokenize([SENTENCE])).logits, model(inputs, tokens).logits)


def test_dropout_is_where_the_published_network_has_it() -> None:
    dropping = {
        name: one.p for name, one in tiny(protocol="published").network.named_modules() if type(one) is nn.Dropout
    }
    live = {name: p for name, p in dropping.items() if p}
    assert set(live.values()) == {0.1}
    assert {name.partition(".")[2] for name in live} == {"embeddings.dropout", "Encoder_blocks.0.mlp.dropout"}
    assert len(live) == 16


def test_packaged_words_are_half_as_wide() -> None:
    installed("minilm")
    model = build_lvit(text="minilm", width=8, image_size=32)
    assert model.network.text_module4.weight.shape == (64, 384, 3)
    logits = model.eval()(model.prepare([picture()] * 2), model.tokenize(["left lung", "right lung"])).logits
    assert not torch.equal(logits[0], logits[1])


def test_the_page_s_ratio_to_the_authors_code_is_the_one_that_was_measured() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "lvit_step.json").read_text())
    two, four = (f"{1 / row['ratio']:.2f}" for row in rows)
    said = " ".join(PAGE.split())
    assert f"takes {two} of the processor time of the authors' code for two images and {four} for four" in said
    for row in rows:
        assert row["repeats"] >= 15
        low, high = row["spread"]
        assert low <= row["ratio"] <= high
        seconds = row["cpu_seconds"]
        assert low <= seconds["theirs"] / seconds["ours"] <= high


def test_the_recipes_are_what_the_page_says() -> None:
    for name, recipe, text in (
        ("lvit", "published", BERT.place),
        ("lvit", None, "minilm"),
        ("lvit-tw", "published", None),
    ):
        config = config_from_options({"model": name, "data": ["d"]}, [], recipe=recipe)
        assert config is not None
        assert config.model_arguments.get("text") == text
        assert (config.optimizer, config.learning_rate, config.patience) == ("adam", 1e-3, 50)
        if recipe:
            assert (config.protocol, config.loss, config.schedule) == ("published", "lvit", "constant")
            assert (config.batch_size, config.epochs) == (2, 2000)


@torch.no_grad()
def test_bert_as_the_hub_has_it(bert: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old names of its norms, a prefix, and the heads that it was trained with."""
    hub = tmp_path / "hub"
    shutil.copytree(bert(32), hub)
    weights = read_tensors(hub / "model.safetensors")
    renamed = {
        "bert." + key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): one
        for key, one in weights.items()
    }
    assert any(key.endswith("gamma") for key in renamed)
    heads = {"cls.predictions.bias": torch.zeros(7), "cls.seq_relationship.weight": torch.zeros(2, 32)}
    save_file({**renamed, **heads}, hub / "model.safetensors", {"format": "pt"})
    asked: list[str] = []
    monkeypatch.setattr("vlseg.models.lvit.build.locate_part", lambda place: asked.append(place) or hub)
    plain = tiny(text="bert-base-uncased")
    assert asked == [BERT.place]
    monkeypatch.undo()
    told = plain.tokenize([SENTENCE])
    assert plain.encoder is not None
    vectors, _ = plain.encoder(told)  # type: ignore[arg-type]
    expected, _ = tiny(text=str(bert(32))).encoder(told)  # type: ignore[misc,arg-type]
    assert torch.equal(vectors, expected)


def test_wrong_arguments_are_named() -> None:
    for arguments, words in (
        ({"width": 12}, "width: 12 is not a multiple of 8; take 64"),
        ({"image_size": 40}, "image_size: 40 is not a multiple of 16; take 224"),
        ({"text": None}, "--model lvit-tw"),
        ({"text": "nowhere/at-all"}, "text: 'nowhere/at-all' is no folder here"),
    ):
        with pytest.raises(InputError, match=words):
            build_model("lvit", arguments=arguments)
    with pytest.raises(InputError, match="a name is given twice in cyst, cyst"):
        build_lvit_tw(targets=("cyst", "cyst"))
    assert build_lvit_tw(width=8).spec.targets == ("foreground",)
    assert math.prod(made("lvit-tw").spec.image_size) == 32 * 32
    assert made("lvit-tw").spec.targets == TARGETS
