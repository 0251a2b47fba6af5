"""Published files from the command line: zero-shot under any of their protocols, and what is said where they lack."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import TINY, made

from vlseg.models import as_module, build_model

MakeDataset = Callable[..., Path]
SIZE = "model_arguments={image_size: 64}"


@pytest.fixture
def cris(tmp_path: Path) -> Path:
    """A tiny network as the authors' code saves it."""
    torch.manual_seed(0)
    network = as_module(build_model("cris", arguments=TINY["cris"])).get_submodule("network")
    weights = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def test_zero_shot_under_the_files_protocol_or_another(
    cris: Path, make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    data = make_dataset(counts=(1, 0, 2))
    common = ("evaluate", "cris", "--weights", cris, "--data", data, "--prompt", "p1", "--device", "cpu", "--set", SIZE)
    assert vlseg(*common, "--out", tmp_path / "own").code == 0
    with pytest.warns(UserWarning, match="trained under protocol 'original', used under 'medvlsm'"):
        assert vlseg(*common, "--out", tmp_path / "other", "--set", "protocol=medvlsm").code == 0
    own, other = (json.loads((tmp_path / name / "spec.json").read_text()) for name in ("own", "other"))
    assert (own["protocol"], own["threshold"]) == ("original", 0.35)
    assert (other["protocol"], other["threshold"]) == ("medvlsm", 0.35)
    masks = ("--image", data / "images" / "test0.png", "--prompt", "disc", "--out", tmp_path / "masks")
    assert vlseg("predict", "cris", "--weights", cris, *masks, "--device", "cpu", "--set", SIZE).code == 0
    for setting, words in (
        ("epochs=3", "known: model_arguments, protocol"),
        ("protocol=new", "known: attention_mask"),
        ("model_arguments=3", "is no mapping"),
        ("model_arguments={colour: blue}", "colour"),
    ):
        done = vlseg(*common, "--out", tmp_path / "no", "--set", setting)
        assert done.code == 2
        assert words in done.err
        assert len(done.err.strip().splitlines()) == 1


def test_a_random_part_predicts_nothing(cris: Path, make_dataset: MakeDataset, vlseg: Callable[..., Any]) -> None:
    """CLIP's towers alone are a start for training, and no model."""
    weights = torch.load(cris, weights_only=True)["state_dict"]
    start = "module.backbone."
    clip = {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}
    torch.save({key: value for key, value in clip.items() if "connect" not in key}, cris)
    data = make_dataset(counts=(1, 0, 1))
    done = vlseg("evaluate", "cris", "--weights", cris, "--data", data, "--prompt", "p1")
    assert done.code == 2
    assert "leaves the decoder of 'cris' random" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "cris"), "authors never published weights"),
        (("evaluate", "biomedclipseg-d"), "the decoder is trained by you"),
        (("evaluate", "cris", "--weights", "RN50.pt"), "fetch https://openaipublic.azureedge.net"),
        (("evaluate", "cris", "--weights", "somewhere/cris_best.pth"), "authors never published weights"),
        (("evaluate", "clipseg"), "fetch its config.json, pytorch_model.bin, vocab.json, merges.txt"),
    ],
)
def test_one_line_says_what_to_fetch(
    arguments: tuple[str, ...], words: str, make_dataset: MakeDataset, vlseg: Callable[..., Any]
) -> None:
    done = vlseg(*arguments, "--data", make_dataset(counts=(1, 0, 1)), "--prompt", "p1")
    assert done.code == 2
    assert words in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_an_encoder_that_cannot_be_fetched_is_named(make_dataset: MakeDataset, vlseg: Callable[..., Any]) -> None:
    done = vlseg("train", "--model", "smp-unet", "--recipe", "published", "--precision", "fp32", "--prompt", "p1",
                 "--data", make_dataset(counts=(1, 0, 1)))  # fmt: skip
    assert done.code == 2
    assert "fetch model.safetensors of the hub's smp-hub/resnet50.imagenet" in done.err


def test_a_file_that_is_not_the_published_one_of_that_name_warns(tmp_path: Path) -> None:
    from vlseg.models.hub import locate

    (tmp_path / "RN50.pt").write_bytes(b"cut short")
    with pytest.warns(UserWarning, match="is not the published RN50.pt"):
        assert locate(str(tmp_path / "RN50.pt")) == tmp_path / "RN50.pt"


def test_original_clipseg_decoder_is_evaluated_beside_clip(
    make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import CLIPSegConfig

    monkeypatch.setattr(
        "vlseg.models.clipseg.build.refined_config", lambda: CLIPSegConfig.from_dict(dict(TINY["clipseg"]["config"]))
    )
    made("clipseg").save(tmp_path / "clip")
    network = as_module(made("clipseg")).get_submodule("network")
    decoder = {}
    for key, value in network.get_submodule("decoder").state_dict().items():
        name = key.replace("layers.", "blocks.").replace("transposed_convolution.", "trans_conv.")
        name = name.replace(".mlp.fc1.", ".linear1.").replace(".mlp.fc2.", ".linear2.").replace(".layer_norm", ".norm")
        decoder[name] = value
    for key in [key for key in decoder if "q_proj" in key]:
        parts = [decoder.pop(key.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        decoder[key.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    torch.save({**decoder, "reduce.weight": torch.ones(1), "reduce.bias": torch.ones(1)}, tmp_path / "rd64-uni.pth")
    arguments = f"model_arguments={{clip: {tmp_path / 'clip'}, image_size: 64}}"
    done = vlseg("evaluate", "clipseg", "--weights", tmp_path / "rd64-uni.pth", "--set", arguments, "--prompt", "p1",
                 "--data", make_dataset(counts=(1, 0, 1)), "--out", tmp_path / "scores", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["n"] == 2
