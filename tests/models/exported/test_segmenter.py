"""A folder of graphs as a segmenter."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import opened
from PIL import Image
from tiny_models import TARGETS, made

from vlseg.models import Segmenter, load_model
from vlseg.models.folder import EXPORTED_FORMAT
from vlseg.records import InputError


def test_it_says_of_itself_what_the_model_does(folder: Path) -> None:
    model, graphs = made("clipseg-tiny"), opened(folder, "onnx")
    assert isinstance(graphs, Segmenter)
    told = ("name", "uses_text", "uses_target", "image_size", "targets", "threshold", "protocol")
    assert all(getattr(graphs.spec, name) == getattr(model.spec, name) for name in told)
    assert graphs.spec.precisions == ("fp32",)
    assert graphs.parts() == {}


def test_digests_tell_graphs_and_engines_apart(folder: Path) -> None:
    one, two = (opened(folder, engine).state_dict() for engine in ("onnx", "openvino"))
    assert one.keys() == two.keys()
    assert not all(torch.equal(one[name], two[name]) for name in one)


def test_training_and_attacks_are_refused(folder: Path) -> None:
    graphs = opened(folder, "onnx")
    with pytest.raises(InputError, match="is exported: it answers and cannot be trained or attacked; give the run"):
        graphs.prepare_masks([torch.ones(4, 4)])
    inputs = graphs.prepare([torch.rand(3, 20, 30)])
    inputs.tensors["pixel_values"].requires_grad_()
    with pytest.raises(InputError, match="is exported: it answers and cannot be trained or attacked"):
        graphs.encode_image(inputs)


def test_what_the_graphs_fixed_cannot_be_changed(folder: Path) -> None:
    with pytest.raises(InputError, match=r"model_arguments: width: .* is exported as it is; change the run and export"):
        load_model(str(folder), arguments={"width": 8})
    with pytest.raises(InputError, match="is exported under 'corrected'; export it under 'published' again"):
        load_model(str(folder), protocol="published")
    for wrong in (0, -32, "32", True):
        with pytest.raises(InputError, match=r"image_size: .* is not a multiple of 16; take 32"):
            load_model(str(folder), arguments={"image_size": wrong})


def test_masks_at_another_size_of_the_input_from_the_command_line(
    folder: Path, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    common = ("predict", folder, "--image", tmp_path / "a.png", "--prompt", "a polyp", "--out")
    done = vlseg(*common, tmp_path / "masks", "--set", "model_arguments={image_size: 64}")
    assert done.code == 0, done.err
    with Image.open(tmp_path / "masks" / "a__a-polyp.png") as mask:
        assert mask.size == (90, 70)
    wrong = vlseg(*common, tmp_path / "none", "--set", "model_arguments={image_size: 40}")
    assert (wrong.code, wrong.err) == (2, "vlseg: image_size: 40 is not a multiple of 16; take 32\n")
    assert not (tmp_path / "none").exists()


def test_the_folder_says_what_it_is(folder: Path) -> None:
    ours = json.loads((folder / "config.json").read_text())["vlseg"]
    assert (ours["format_version"], ours["model"], ours["targets"]) == (EXPORTED_FORMAT, "clipseg-tiny", list(TARGETS))
    told = ours["exported"]
    assert (told["engine"], told["weights"], told["threshold"]) == ("onnx", "fp32", 0.5)
    assert told["prepare"]["size"] == [32, 32]
    assert told["prepare"]["any_size"] == 16
    assert set(told["graphs"]) == {"image_encoder", "prompt_encoder", "decoder"}
