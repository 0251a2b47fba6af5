"""LoRA from the command line: merged, its images' features kept, joined, started from packages, from PEFT's folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import straight_and_resumed
from tiny_models import TINY, made
from transformers import CLIPSegForImageSegmentation
from weights_here import installed

from vlseg.models import as_module, load_model
from vlseg.models.additions.extended import Extended
from vlseg.models.additions.lora import Lora
from vlseg.models.feature_keys import feature_contexts
from vlseg.records import RunConfig, read_config, read_scores

MakeDataset = Callable[..., Path]
CPU = torch.device("cpu")


@pytest.fixture
def train(vlseg: Callable[..., Any], make_dataset: MakeDataset, tmp_path: Path) -> Callable[..., Any]:
    """Trains into `tmp_path / name`, from a base in `tmp_path / "base"` unless told otherwise."""
    data = make_dataset(counts=(4, 2, 2))

    def run(name: str, *flags: object, model: str = "clipseg", regime: str = "lora", weights: str = "base") -> Any:
        if weights == "base" and not (tmp_path / "base").exists():
            made(model).save(tmp_path / "base")
        given = ["--weights", tmp_path / weights] if weights else []
        own = ["--model", model, *given, "--regime", regime, "--data", data, "--prompt", "p1", "--device", "cpu"]
        own += ["--set", "max_steps=2", "--set", "batch_size=2", "--set", "learning_rate=0.01"]
        return vlseg("train", *own, "--out", tmp_path / name, *flags)

    return run


def dice_of(vlseg: Callable[..., Any], place: Path, data: Path, *flags: object) -> list[float]:
    done = vlseg("evaluate", place, "--data", data, "--prompt", "p1", "--device", "cpu", "--json", *flags)
    assert done.code == 0, done.err
    return [float(row.dice or 0) for row in read_scores(Path(done.json["scores"]))]


def test_merged_it_is_a_plain_model_of_its_own_layout(
    train: Callable[..., Any], vlseg: Callable[..., Any], tmp_path: Path
) -> None:
    flags = ("--set", "regime_arguments={train_decoder: true}", "--set", "threshold=0.3")
    assert train("run", *flags).code == 0
    done = vlseg("merge", tmp_path / "run", "--out", tmp_path / "plain", "--json")
    assert done.code == 0, done.err
    assert done.json["threshold"] == 0.3
    assert done.json["largest_logit"] > 0
    assert done.json["largest_difference"] < 1e-4 * done.json["largest_logit"]
    assert not list(tmp_path.glob(".plain*"))
    found, base = (CLIPSegForImageSegmentation.from_pretrained(tmp_path / one) for one in ("plain", "base"))
    layer = "clip.text_model.encoder.layers.0.self_attn.v_proj.weight"
    assert not torch.equal(found.state_dict()[layer], base.state_dict()[layer])
    one, other = (
        dice_of(vlseg, tmp_path / name, tmp_path / "discs", "--out", tmp_path / f"by-{name}")
        for name in ("run", "plain")
    )
    assert one == pytest.approx(other, abs=1e-3)
    assert train("on", regime="full", weights="plain").code == 0
    assert read_config(tmp_path / "on" / "config.yaml").regime == "full"


def test_what_cannot_be_merged_is_said_and_nothing_written(
    train: Callable[..., Any], vlseg: Callable[..., Any], tmp_path: Path
) -> None:
    assert train("dense", regime="dense_v").code == 0
    (tmp_path / "full" / "file").mkdir(parents=True)
    for source, out, words in (
        ("dense", "new", "what 'dense_v' added computes what no weights of a 'clipseg' can"),
        ("base", "new", "nothing was added"),
        ("dense", "full", "is not empty"),
        ("nowhere", "new", "nowhere"),
    ):
        done = vlseg("merge", tmp_path / source, "--out", tmp_path / out)
        assert done.code == 2
        assert words in done.err
        assert not (tmp_path / "new").exists()


def test_the_way_out_of_lora_is_told_and_works(train: Callable[..., Any], tmp_path: Path) -> None:
    assert train("run").code == 0
    done = train("no", regime="decoder", weights="run")
    assert done.code == 2
    assert "what vlseg merge RUN --out FOLDER makes of it" in done.err
    assert train("yes", weights="run").code == 0


def test_outputs_of_new_targets_train_and_a_run_has_its_own_targets_alone(
    train: Callable[..., Any], vlseg: Callable[..., Any], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    """Of the base's targets the data have none: their outputs are random, and would stay so."""
    assert train("run", model="unet").code == 0
    model = load_model(str(tmp_path / "run"))
    assert isinstance(model, Extended)
    assert model.trains_decoder
    assert model.spec.targets == ("bright disc", "dark disc")
    other = make_dataset("other", counts=(2, 0, 0))
    for path in (other / "anns").iterdir():
        path.write_text(path.read_text().replace("bright disc", "grey disc"))
    done = train("no", "--data", other, model="unet", weights="run")
    assert done.code == 2
    assert "bright disc, dark disc, and the data have bright disc, dark disc, grey disc" in done.err
    assert "vlseg merge RUN" in done.err
    assert not (tmp_path / "no").exists()
    assert vlseg("merge", tmp_path / "run", "--out", tmp_path / "plain").code == 0
    assert train("yes", "--data", other, model="unet", weights="plain").code == 0


@pytest.mark.slow
def test_words_alone_keep_the_images_features_of_the_plain_model(
    train: Callable[..., Any], vlseg: Callable[..., Any], tmp_path: Path
) -> None:
    cache = ("--cache", tmp_path / "features")
    assert train("plain", *cache, regime="decoder").code == 0
    known = sorted((tmp_path / "features").rglob("*.safetensors"))
    assert known
    done = train("words", *cache, "--set", "regime_arguments={encoders: [text]}")
    assert done.code == 0, done.err
    contexts = vlseg("cache", "info", tmp_path / "features", "--json").json["contexts"]
    images = [feature_contexts(load_model(str(tmp_path / one)), CPU, "fp32").images for one in ("base", "words")]
    assert images[0] == images[1]
    assert any(len(one["shared_by"]) >= 1 for one in contexts)
    dice = dice_of(vlseg, tmp_path / "words", tmp_path / "discs", "--out", tmp_path / "without")
    for _ in range(2):  # written, then read
        kept = dice_of(vlseg, tmp_path / "words", tmp_path / "discs", *cache, "--out", tmp_path / f"with{_}")
        assert kept == pytest.approx(dice, abs=2e-2)
    done = train("both", *cache)
    assert done.code == 2
    assert "inside the image encoder" in done.err


@pytest.mark.slow
def test_features_of_lora_in_the_images_are_its_own() -> None:
    from vlseg.models.additions.base import Base

    model = Extended(made("clipseg"), "lora", {}, Base("clipseg", None, None, {}))
    one = feature_contexts(model, CPU, "fp32")
    with torch.no_grad():
        next(model.addition.modules["image_additions"].parameters()).add_(1)
    other = feature_contexts(model, CPU, "fp32")
    assert one.images != other.images
    assert one.images != feature_contexts(made("clipseg"), CPU, "fp32").images


@pytest.mark.slow
def test_killed_in_half_precision_with_dropout_it_goes_on(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made("clipseg").save(tmp_path / "base")
    wanted = RunConfig(
        model="clipseg",
        weights=str(tmp_path / "base"),
        regime="lora",
        regime_arguments={"dropout": 0.1},
        data=[str(make_dataset(counts=(4, 0, 1)))],
        prompt="p1",
        device="cpu",
        threads=1,
        precision="bf16",
        batch_size=2,
        max_steps=4,
        learning_rate=0.01,
    )
    one, two = straight_and_resumed(wanted, tmp_path, monkeypatch)
    added = [key for key in one if "lora_B" in key]
    assert added
    assert all(one[key].any() for key in added)
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.slow
def test_two_runs_in_half_precision_answer_together(
    train: Callable[..., Any], vlseg: Callable[..., Any], tmp_path: Path
) -> None:
    for seed in (0, 1):
        done = train(f"run{seed}", "--seed", seed, "--precision", "bf16", "--set", "regime_arguments={dropout: 0.1}")
        assert done.code == 0, done.err
    members = f"{{members: [{tmp_path / 'run0'}, {tmp_path / 'run1'}], combine: stack}}"
    done = train("both", "--set", f"model_arguments={members}", model="ensemble", regime="decoder", weights="")
    assert done.code == 0, done.err
    assert len(dice_of(vlseg, tmp_path / "both", tmp_path / "discs")) == 4
    done = vlseg("probe", tmp_path / "run0", "--data", tmp_path / "discs", "--device", "cpu")
    assert done.code == 0, done.err
    image = next((tmp_path / "discs" / "images").iterdir())
    done = vlseg("predict", tmp_path / "run0", "--image", image, "--prompt", "disc", "--out", tmp_path / "masks")
    assert done.code == 0, done.err


@pytest.mark.parametrize("packaged", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_guide_whose_encoders_come_again_writes_no_base(
    train: Callable[..., Any], vlseg: Callable[..., Any], tmp_path: Path, packaged: bool
) -> None:
    if packaged:
        installed("lite0")
        installed("minilm")
        arguments = "{encoder_weights: lite0, text: minilm, image_size: 64}"
    else:
        arguments = json.dumps(dict(TINY["guide"]))
    done = train("run", "--set", f"model_arguments={arguments}", model="guide", weights="")
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "model" / "base").exists() is not packaged
    model = load_model(str(tmp_path / "run"))
    assert isinstance(model, Extended)
    assert model.trains_decoder
    done = vlseg("merge", tmp_path / "run", "--out", tmp_path / "plain")
    assert done.code == 0, done.err
    layers = [name for name, module in as_module(load_model(str(tmp_path / "plain"))).named_modules()]
    assert not [name for name in layers if "lora" in name]
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert len(dice_of(vlseg, tmp_path / "elsewhere", tmp_path / "discs")) == 4


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*no mask depends on:UserWarning")
def test_a_folder_of_pefts_is_gone_on_with(
    train: Callable[..., Any], vlseg: Callable[..., Any], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    made("clipseg").save(tmp_path / "base")
    network = CLIPSegForImageSegmentation.from_pretrained(tmp_path / "base")
    get_peft_model(network, LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "theirs")
    (tmp_path / "base").rename(tmp_path / "moved")
    place = f"model_arguments={{base: {tmp_path / 'moved'}}}"
    done = train("run", "--set", place, weights="theirs")
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "model" / "adapter_config.json").exists()
    (tmp_path / "theirs").rename(tmp_path / "gone")  # the run holds all of the adapter
    assert len(dice_of(vlseg, tmp_path / "run", tmp_path / "discs")) == 4
    assert len(dice_of(vlseg, tmp_path / "gone", tmp_path / "discs", "--set", place, "--out", tmp_path / "e")) == 4


def test_the_layers_are_back_after_they_were_apart() -> None:
    from vlseg.models.additions.base import Base

    model = Extended(made("clipseg"), "lora", {"encoders": ["text"]}, Base("clipseg", None, None, {}))
    names = [name for name, _ in model.named_modules()]
    plain = [name for name, _ in as_module(made("clipseg")).named_modules()]
    with model.addition.apart():
        assert [name for name, _ in as_module(model.model).named_modules()] == plain
    assert [name for name, _ in model.named_modules()] == names
    assert isinstance(getattr(model.addition.write, "__self__", None), Lora)
