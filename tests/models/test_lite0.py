"""ImageNet's EfficientNet-Lite0 out of its package: names, normalisation, and the same features in every library."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import yaml
from matplotlib import cbook
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from weights_here import installed

from vlseg.models import as_module, build_model, load_model, retargeted
from vlseg.models.folder import load_strictly
from vlseg.models.images import IMAGENET_MEAN, IMAGENET_STD, resize_and_normalise
from vlseg.models.lite0 import read_lite0, timm_names
from vlseg.models.smp.build import build_smp
from vlseg.models.smp.model import SmpModel
from vlseg.models.smp.normalisation import normalisation_of
from vlseg.records import InputError

ENCODER = "timm-tf_efficientnet_lite0"
MIDDLES = ((0.5,) * 3, (0.5,) * 3)


def pretrained(name: str = "smp-unet", encoder: str = ENCODER, **arguments: object) -> SmpModel:
    installed("lite0")
    given = {"encoder": encoder, "encoder_weights": "lite0", **arguments}
    model = build_model(name, arguments=given)
    assert isinstance(model, SmpModel)
    return model.eval()


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    network = timm.create_model("tf_efficientnet_lite0")
    load_strictly(network, read_lite0(installed("lite0")), "lite0")
    return network.eval()


@pytest.fixture(scope="module")
def photographs() -> dict[str, Tensor]:
    """Of other packages, RGB (3, H, W) in [0, 1]."""
    with cbook.get_sample_data("grace_hopper.jpg") as stream:
        pixels = {"officer": np.array(Image.open(stream).convert("RGB"))}
    pixels |= {name: np.array(load_sample_image(f"{name}.jpg")) for name in ("china", "flower")}
    return {name: torch.from_numpy(image.transpose(2, 0, 1)) / 255 for name, image in pixels.items()}


PALACE, BELL_COTE, DAISY, UNIFORM = 698, 442, 985, 652
"""Numbers of ImageNet's classes."""


def seen_rightly(classifier: nn.Module, photographs: dict[str, Tensor], prepare: Callable[[Tensor], Tensor]) -> bool:
    """Whether the palace, the flower and the officer in uniform are told, the last two by what a wrong input costs.

    With ImageNet's mean the flower is no daisy (0.14 to below 0.03); with red and blue exchanged, as OpenCV reads, the
    navy's blue uniform is less of one (0.39 to 0.26), with ImageNet's 0.30.
    """
    with torch.no_grad():
        found = {name: classifier(prepare(image))[0].softmax(0) for name, image in photographs.items()}
    return (
        {PALACE, BELL_COTE} <= set(found["china"].topk(5).indices.tolist())
        and int(found["flower"].argmax()) == DAISY
        and int(found["officer"].argmax()) == UNIFORM
        and float(found["officer"][UNIFORM]) > 0.35
    )


def test_photographs_are_classified_rightly_as_the_model_prepares_them_and_not_otherwise(
    classifier: nn.Module, photographs: dict[str, Tensor]
) -> None:
    model = pretrained(image_size=224)

    def otherwise(mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Tensor], Tensor]:
        return lambda rgb: resize_and_normalise([rgb], (224, 224), mean, std).tensors["pixel_values"]

    own = lambda rgb: model.prepare([rgb]).tensors["pixel_values"]  # noqa: E731
    assert seen_rightly(classifier, photographs, own)
    assert not seen_rightly(classifier, photographs, otherwise(IMAGENET_MEAN, IMAGENET_STD))
    assert not seen_rightly(classifier, photographs, otherwise((0.0,) * 3, (1.0,) * 3))
    assert not seen_rightly(classifier, photographs, lambda rgb: own(rgb.flip(0)))  # BGR
    assert not seen_rightly(classifier, photographs, lambda rgb: own(rgb * 255))


@torch.no_grad()
def test_the_librarys_encoder_gives_timms_features(classifier: nn.Module, photographs: dict[str, Tensor]) -> None:
    """All stages of a photograph of odd size against timm's pyramid of the same weights.

    As the library computes it, stages differ by several of their deviations: padding and batch norm's eps are others.
    """
    model = pretrained(image_size=96)
    pyramid = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    theirs = {key: tensor for key, tensor in classifier.state_dict().items() if key in pyramid.state_dict()}
    pyramid.load_state_dict(theirs)
    image = photographs["flower"]
    ours = model.encode_image(model.prepare([image])).tensors
    wanted = pyramid(resize_and_normalise([image], (96, 96), *MIDDLES).tensors["pixel_values"])
    for number, stage in enumerate(wanted[1:], start=2):
        torch.testing.assert_close(ours[f"stage{number}"], stage, rtol=1e-4, atol=1e-4 * float(stage.std()))
    theirs_own = pretrained(image_size=96, tensorflow=False)
    coarsest = theirs_own.encode_image(theirs_own.prepare([image])).tensors["stage5"]
    assert float((coarsest - wanted[-1]).abs().max()) > float(wanted[-1].std())
    by_timm = pretrained(encoder="tu-tf_efficientnet_lite0", image_size=96)
    for number, stage in enumerate(wanted, start=1):
        found = by_timm.encode_image(by_timm.prepare([image])).tensors[f"stage{number}"]
        torch.testing.assert_close(found, stage, rtol=1e-4, atol=1e-4 * float(stage.std()))


def test_files_as_timm_saves_them_start_its_encoders(tmp_path: Path) -> None:
    network = timm.create_model("resnet10t")
    torch.save(network.state_dict(), tmp_path / "resnet10t.pth")
    model = build_smp(encoder="tu-resnet10t", image_size=32, encoder_weights=str(tmp_path / "resnet10t.pth"))
    encoder = model.network.encoder.model.state_dict()
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in encoder.items())
    torch.save(timm.create_model("resnet14t").state_dict(), tmp_path / "resnet14t.pth")
    with pytest.raises(InputError, match="left over"):
        build_smp(encoder="tu-resnet10t", image_size=32, encoder_weights=str(tmp_path / "resnet14t.pth"))


def test_names_are_changed_by_rule_and_nothing_is_passed_over(classifier: nn.Module, tmp_path: Path) -> None:
    tensors = read_lite0(installed("lite0"))
    assert set(tensors) == set(classifier.state_dict())
    raw = torch.load(installed("lite0"), weights_only=True)
    backwards = timm_names(dict(reversed(raw.items())), "file")  # where a tensor stands says nothing
    assert all(torch.equal(backwards[key], tensor) for key, tensor in tensors.items())
    for odd in ("_blocks.16._bn1.weight", "_blocks.0._expand_conv.weight", "_blocks.3._se_reduce.weight", "extra"):
        with pytest.raises(InputError, match=rf"1 unknown tensors \({odd}\)"):
            timm_names({**raw, odd: torch.zeros(1)}, "file")
    lacking = {key: tensor for key, tensor in raw.items() if key != "_blocks.7._bn2.bias"}
    torch.save(lacking, tmp_path / "lacking.pth")
    with pytest.raises(InputError, match=r"1 missing \(blocks\.3\.2\.bn3\.bias\)"):
        pretrained(encoder_weights=str(tmp_path / "lacking.pth"))
    plain = {key: tensor for key, tensor in raw.items() if not key.endswith("num_batches_tracked")}
    assert len(plain) == 247
    torch.save(plain, tmp_path / "plain.pth")
    first = pretrained().state_dict()
    again = pretrained(encoder_weights=str(tmp_path / "plain.pth")).state_dict()
    encoder = [key for key in first if ".encoder." in key and not key.endswith("num_batches_tracked")]
    assert len(encoder) == 245
    assert all(torch.equal(first[key], again[key]) for key in encoder)


@pytest.mark.parametrize(("encoder", "weights"), [("resnet18", "lite0"), (ENCODER, "minilm")])
def test_weights_of_another_network_are_refused(encoder: str, weights: str) -> None:
    with pytest.raises(InputError, match=rf"'{weights}': are not of encoder '{encoder}'; lite0 are of {ENCODER}"):
        build_smp(encoder=encoder, encoder_weights=weights)


def test_each_encoder_has_the_normalisation_of_timms_network_of_that_name() -> None:
    twins = {"inceptionv4": "inception_v4", "inceptionresnetv2": "inception_resnet_v2", "xception": "legacy_xception"}
    twins |= {"dpn68b": "dpn68b.mx_in1k", "timm-efficientnet-b8": "tf_efficientnet_b8.ra_in1k"}  # timm's first differs
    compared = 0
    for name in smp.encoders.encoders:
        plain = name.removeprefix("timm-").replace("-", "_")
        network = twins.get(name, f"tf_{plain}" if plain.startswith("efficientnet") else plain)
        known = timm.get_pretrained_cfg(network) if timm.is_model(network) else None
        if known is None:
            continue
        found = normalisation_of(name)
        np.testing.assert_allclose(found["mean"], known.mean, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(found["std"], known.std, atol=1e-6, err_msg=name)
        compared += 1
    assert compared > 60
    assert normalisation_of("tu-vit_base_patch16_224.augreg_in21k")["mean"] == [0.5] * 3
    assert normalisation_of("timm-efficientnet-b0", "advprop") == normalisation_of("xception")
    assert normalisation_of("timm-efficientnet-b0", "imagenet") == normalisation_of("resnet50")


def mid_grey(model: object) -> list[float]:
    assert isinstance(model, SmpModel)
    return model.prepare([torch.full((3, 8, 8), 0.5)]).tensors["pixel_values"][0, :, 0, 0].tolist()


@pytest.mark.slow
def test_the_documented_study_runs(
    vlseg: Callable[..., Any], make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line of docs/models.md's commands, on small data and for one step; both starts differ in weights alone."""
    installed("lite0")
    monkeypatch.chdir(tmp_path)
    make_dataset("DATA")
    page = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
    commands = page.split("### From scratch against pretrained")[1].split("```")[1].removeprefix("sh\n")
    for line in commands.strip().splitlines():
        words = shlex.split(line)[1:]
        short = ["--set", "max_steps=1", "--set", "batch_size=2"] if words[0] == "train" else []
        done = vlseg(*(word.replace("image_size: 128", "image_size: 32") for word in words), *short)
        assert done.code == 0, f"{line}\n{done.err}"
    told = {
        name: yaml.safe_load((tmp_path / "runs" / name / "seed-2" / "config.yaml").read_text())
        for name in ("pretrained", "scratch")
    }
    assert told["pretrained"]["model_arguments"].pop("encoder_weights") == "lite0"
    assert told["pretrained"] == told["scratch"]
    assert "minus" in done.out


def epsilons(model: object) -> set[float]:
    assert isinstance(model, SmpModel)
    return {module.eps for module in model.network.encoder.modules() if isinstance(module, nn.BatchNorm2d)}


def test_a_saved_model_keeps_its_normalisation_and_older_folders_theirs(tmp_path: Path) -> None:
    imagenets = [(0.5 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    small = {"encoder": ENCODER, "image_size": 64}
    build_model("smp-unet", arguments=small).save(tmp_path / "new")
    assert mid_grey(load_model(str(tmp_path / "new"))) == [0, 0, 0]
    path = tmp_path / "new" / "config.json"
    config = json.loads(path.read_text())
    assert config["vlseg"]["arguments"].pop("normalisation") == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert config["vlseg"]["arguments"].pop("tensorflow") is True
    path.write_text(json.dumps(config))  # as it was written before
    older = load_model(str(tmp_path / "new"))
    assert mid_grey(older) == pytest.approx(imagenets)
    assert epsilons(older) == epsilons(build_model("smp-unet", arguments=small, protocol="published")) == {1e-5}
    weights = str(tmp_path / "new" / "model.safetensors")  # the file alone, which vlseg wrote
    assert epsilons(load_model(weights, name="smp-unet", arguments=small)) == {1e-3}
    network = as_module(older).get_submodule("network")
    torch.save(network.state_dict(), tmp_path / "library.pth")  # and one of the library's
    library = load_model(str(tmp_path / "library.pth"), name="smp-unet", arguments=small)
    assert epsilons(library) == {1e-5}
    assert mid_grey(library) == [0, 0, 0]
    again = retargeted(library, ("one", "two"), str(tmp_path / "library.pth"), arguments=small)
    assert epsilons(again) == {1e-5}
    given = build_model("smp-unet", arguments={**small, "normalisation": {"mean": [0.5, 0.4, 0.5], "std": [1, 0.1, 2]}})
    assert mid_grey(given) == pytest.approx([0, 1, 0])
    published = build_model("smp-unet", arguments=small, protocol="published")
    assert mid_grey(published) == pytest.approx(imagenets)
    installed("lite0")
    named = build_model("smp-unet", arguments={**small, "encoder_weights": "lite0"}, protocol="published")
    assert (mid_grey(named), epsilons(named)) == ([0, 0, 0], {1e-3})
    assert mid_grey(build_model("smp-unet", arguments={"encoder": "resnet18"})) == pytest.approx(imagenets)


@pytest.mark.parametrize(
    "wrong", [{"mean": [0.5] * 3}, {"mean": 0.5, "std": 0.5}, {"mean": [0] * 3, "std": [0] * 3}, 7]
)
def test_no_normalisation(wrong: object) -> None:
    with pytest.raises(InputError, match=r"normalisation: is .*, and must be"):
        build_model("smp-unet", arguments={"encoder": "resnet18", "normalisation": wrong})
