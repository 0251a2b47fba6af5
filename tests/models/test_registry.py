"""Names, entry points, and places where weights come from."""

import json
from pathlib import Path
from typing import Any

import pytest

import vlseg.models.registry
from vlseg.models import MODELS, architecture_of, as_module, build_model, load_model
from vlseg.models.manifest import default_weights, published_at, whence
from vlseg.models.unet.build import build_unet
from vlseg.records import InputError


class Outside:
    """Stands for an entry point of another package."""

    name = "their-model"

    def load(self) -> Any:
        return lambda **arguments: build_unet(**{**arguments, "image_size": 48})


def test_outside_models_come_by_entry_point_and_ours_win(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def entry_points(group: str) -> list[Outside]:
        asked.append(group)
        return [Outside()]

    monkeypatch.setattr(vlseg.models.registry, "entry_points", entry_points)
    assert build_model("unet", arguments={"image_size": 32}).spec.image_size == (32, 32)
    assert asked == []  # read only for a name that is not ours
    assert build_model("their-model").spec.image_size == (48, 48)
    assert asked == ["vlseg.models"]
    with pytest.raises(InputError, match="their-model"):
        build_model("nobody's")


def test_hub_id_is_fetched_at_its_pinned_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_model("unet", arguments={"image_size": 32}, targets=("polyp",)).save(tmp_path / "snapshot")
    calls: list[tuple[str, str | None]] = []

    def snapshot_download(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert "model.safetensors" in allow_patterns
        calls.append((repo, revision))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    model = load_model("someone/some-unet", revision="abc123")
    assert calls == [("someone/some-unet", "abc123")]
    assert model.spec.targets == ("polyp",)


@pytest.mark.parametrize("place", ["no/such/folder", "/nowhere", "nothing"])
def test_neither_folder_nor_hub_id(place: str) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        load_model(place)


@pytest.mark.parametrize(("library", "name"), [("Unet", "smp-unet"), ("DeepLabV3Plus", "smp-deeplabv3plus")])
def test_the_librarys_own_folder_says_which_network_and_encoder_it_is(library: str, name: str, tmp_path: Path) -> None:
    import segmentation_models_pytorch as smp
    import torch

    network = getattr(smp, library)("mobilenet_v2", encoder_weights=None, classes=2)
    network.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), arguments={"image_size": 64})
    assert (model.spec.name, model.spec.targets) == (name, ("output 0", "output 1"))
    ours = as_module(model).get_submodule("network").state_dict()
    assert all(torch.equal(ours[key], tensor) for key, tensor in network.state_dict().items())
    option = {"Unet": {"decoder_interpolation": "bilinear"}, "DeepLabV3Plus": {"decoder_atrous_rates": [6, 12, 18]}}
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **option[library]}))
    with pytest.raises(InputError, match=r"config\.json: its decoder_\w+ is .*built with"):
        load_model(str(tmp_path))  # the same shapes, other numbers


def test_published_weights_are_found_by_place_mirror_and_model() -> None:
    assert default_weights("clipseg") == "CIDAS/clipseg-rd64-refined"
    assert default_weights("clipseg-rd64") == "CIDAS/clipseg-rd64"
    assert [name for name in MODELS if default_weights(name)] == ["clipseg", "clipseg-rd64"]
    assert default_weights("somewhere/else") is None
    for name in MODELS:
        for one in architecture_of(name).published:
            for place in (one.place, *one.mirrors):
                found = published_at(place)
                assert found is not None
                assert found.place == one.place
    assert "authors never published weights" in whence("cris")
    assert "the decoder is trained by you" in whence("biomedclipseg-d")
    assert whence("guide").endswith("; published are parts of it alone: vlseg train --model guide makes a run")
