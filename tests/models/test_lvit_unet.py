"""LViT's U-Net alone, and a training of LViT that starts from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import TINY, made
from torch import Tensor
from torch.nn import functional as F

from vlseg.models import Segmenter, as_module, build_model, load_model
from vlseg.models.lvit.unet import UNet
from vlseg.models.tensors import read_tensors
from vlseg.records import InputError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
SMALL = TINY["lvit-unet"]


def trained(protocol: str, targets: tuple[str, ...] = ("nuclei",)) -> Segmenter:
    """Random weights and statistics, none of which is a value that things start with."""
    torch.manual_seed(2)
    model = build_model("lvit-unet", arguments=SMALL, targets=targets, protocol=protocol)
    generator = torch.Generator().manual_seed(3)
    for tensor in as_module(model).state_dict().values():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.add_(0.5 * torch.rand(tensor.shape, generator=generator))
    as_module(model).eval()
    return model


def picture() -> Tensor:
    return torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(1))


def logits(model: Segmenter, prompt: str = "nuclei") -> Tensor:
    as_module(model).eval()
    with torch.no_grad():
        return model.forward(model.prepare([picture()]), model.tokenize([prompt])).logits


def by_hand(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The authors' U-Net (nets/UNet.py), written down from its steps."""

    def step(x: Tensor, name: str) -> Tensor:
        x = F.conv2d(x, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], padding=1)
        mean, variance, scale, shift = (
            weights[f"{name}.norm.{one}"][:, None, None] for one in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)

    maps = [step(x, "inc")]
    for level in range(1, 5):
        x = F.max_pool2d(maps[-1], 2)
        maps.append(step(step(x, f"down{level}.nConvs.0"), f"down{level}.nConvs.1"))
    x = maps.pop()
    for level in range(4, 0, -1):
        larger = F.conv_transpose2d(x, weights[f"up{level}.up.weight"], weights[f"up{level}.up.bias"], stride=2)
        x = torch.cat([larger, maps.pop()], dim=1)
        x = step(step(x, f"up{level}.nConvs.0"), f"up{level}.nConvs.1")
    return F.conv2d(x, weights["outc.weight"], weights["outc.bias"])


def test_the_published_one_is_the_authors() -> None:
    model = trained("published")
    weights = {key.removeprefix("network."): one for key, one in as_module(model).state_dict().items()}
    inputs = model.prepare([picture()])
    expected = by_hand(weights, inputs.tensors["pixel_values"])
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("name", ["lvit", "lvit-tw"])
def test_lvit_whose_transformers_are_silent_answers_as_its_unet(name: str, tmp_path: Path) -> None:
    unet = trained("corrected")
    unet.save(tmp_path)
    arguments = {"text": "hashed"} if name == "lvit" else {}
    model = load_model(str(tmp_path), name=name, arguments={**arguments, "width": 8, "image_size": 32})
    assert (model.spec.name, model.spec.protocol, model.spec.image_size) == (name, "corrected", (32, 32))
    assert not torch.allclose(logits(model), logits(unet), atol=1e-3)
    with torch.no_grad():
        for number in range(1, 5):
            for tensor in as_module(model).get_submodule(f"network.reconstruct{number}.norm").parameters():
                tensor.zero_()
    torch.testing.assert_close(logits(model), logits(unet), rtol=1e-5, atol=1e-5)


def test_under_published_what_has_the_same_name_is_taken_as_the_authors_code_does(tmp_path: Path) -> None:
    """Also the halves of a convolution whose inputs LViT has the other way round."""
    unet = trained("published")
    unet.save(tmp_path)
    model = load_model(str(tmp_path), name="lvit", arguments={"text": "hashed"})
    assert model.spec.protocol == "published"
    theirs, ours = (as_module(one).state_dict() for one in (unet, model))
    shared = [key for key in theirs if key in ours]
    assert {key for key in theirs if key not in ours} == {
        f"network.up{n}.up.{one}" for n in range(1, 5) for one in ("weight", "bias")
    }
    assert all(torch.equal(theirs[key], ours[key]) for key in shared)
    assert as_module(model).random_part == "transformers, pixel attention and layers for words"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_of_the_authors_code(prefix: str, tmp_path: Path) -> None:
    """They train the U-Net by the script of LViT, which calls the file LViT's: its tensors say what it is."""
    unet = trained("published")
    weights = {f"{prefix}{key.removeprefix('network.')}": one for key, one in as_module(unet).state_dict().items()}
    file = tmp_path / "best_model-LViT.pth.tar"
    torch.save({"epoch": 3, "model": "LViT", "state_dict": weights}, file)
    alone = load_model(str(file), name="lvit-unet", arguments={"image_size": 32, "targets": ("nuclei",)})
    assert alone.spec.targets == ("nuclei",)
    assert torch.equal(logits(alone), logits(unet))
    for source in (file, tmp_path):
        model = load_model(str(source), name="lvit", arguments={"text": "hashed", "image_size": 32})
        assert model.spec.protocol == "published"
        assert torch.equal(as_module(model).state_dict()["network.outc.weight"], unet_output(unet))
    assert load_model(str(file), name="lvit-tw").spec.targets == ("foreground",)
    with pytest.raises(InputError, match="has 1 outputs, and targets names 2"):
        load_model(str(file), name="lvit-unet", arguments={"targets": ("a", "b")})
    with pytest.raises(InputError, match="is 'published', whose layers 'corrected' lacks; leave the protocol out"):
        load_model(str(file), name="lvit-unet", protocol="corrected")


def unet_output(model: Segmenter) -> Tensor:
    return as_module(model).state_dict()["network.outc.weight"]


def test_what_stays_random(tmp_path: Path) -> None:
    """The output, too, where the U-Net has several: none of them is that of whatever a sentence asks for."""
    for targets, words in (
        (("nuclei",), "transformers and layers for words"),
        (("nuclei", "glands"), "transformers, layers for words and output"),
    ):
        place = tmp_path / str(len(targets))
        trained("corrected", targets).save(place)
        model = load_model(str(place), name="lvit", arguments={"text": "hashed"})
        assert as_module(model).random_part == words
    model = load_model(str(place), name="lvit-tw")
    assert (as_module(model).random_part, model.spec.targets) == ("transformers", ("nuclei", "glands"))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    trained("corrected").save(tmp_path / "unet")
    for more, words in (
        ({"protocol": "published"}, "was trained under 'corrected', and 'published' prepares images otherwise"),
        ({"arguments": {"text": "hashed", "width": 16}}, "are of width 8, not 16; leave it out"),
        ({"arguments": {"text": "hashed", "image_size": 40}}, "image_size: 40 is not a multiple of 16"),
    ):
        arguments: dict[str, Any] = {"arguments": {"text": "hashed"}, **more}
        with pytest.raises(InputError, match=words):
            load_model(str(tmp_path / "unet"), name="lvit", **arguments)
    weights = read_tensors(tmp_path / "unet" / "model.safetensors")
    torch.save({key: one for key, one in weights.items() if "down" in key}, tmp_path / "part.pth")
    with pytest.raises(InputError, match="holds no U-Net of LViT's; give a run of lvit-unet"):
        load_model(str(tmp_path / "part.pth"), name="lvit-tw")
    made("lvit").save(tmp_path / "lvit")
    assert load_model(str(tmp_path / "lvit"), name="lvit-tw").spec.name == "lvit"  # which training refuses


def test_the_number_of_parameters() -> None:
    with torch.device("meta"):
        counts = {
            published: sum(p.numel() for p in UNet(64, 1, published=published).parameters())
            for published in (True, False)
        }
    for number in counts.values():
        assert f"{number:,}" in PAGE, number


def test_from_the_command_line(make_dataset: Callable[..., Path], tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    data, first, second = make_dataset(counts=(4, 2, 2)), tmp_path / "unet", tmp_path / "lvit"
    flags = ("--data", data, "--device", "cpu", "--set", "max_steps=2", "--set", "batch_size=2")
    small = ("--set", "model_arguments={image_size: 32, width: 8}")
    assert vlseg("train", "--model", "lvit-unet", "--out", first, *flags, *small).code == 0
    words = ("--prompt", "p1", "--set", "model_arguments={text: hashed}")
    done = vlseg("train", "--model", "lvit", "--weights", first, "--out", second, *flags, *words)
    assert done.code == 0, done.err
    said = f"--weights: {first} leaves the transformers, layers for words and output of 'lvit' random"
    assert said in done.err.splitlines()
    assert vlseg("evaluate", second, "--data", data, "--device", "cpu").code == 0
    done = vlseg("train", "--model", "lvit-tw", "--weights", first, "--out", tmp_path / "tw", *flags)
    assert done.code == 0, done.err
    done = vlseg("evaluate", "lvit-tw", "--weights", first, "--data", data, "--device", "cpu")
    assert done.code == 2
    assert "leaves the transformers of 'lvit-tw' random, which predicts nothing; train it first" in done.err
    done = vlseg("train", "--model", "unet", "--weights", first, "--out", tmp_path / "no", *flags)
    assert (done.code, "holds a 'lvit-unet', not a 'unet'" in done.err) == (2, True)
