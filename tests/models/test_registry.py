"""Names, entry points, and places where weights come from."""

from pathlib import Path
from typing import Any

import pytest
import torch

import vlseg.models
from vlseg.models import MODELS, as_module, build_model, load_model
from vlseg.models.unet import build_unet
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

    monkeypatch.setattr(vlseg.models, "entry_points", entry_points)
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
    with pytest.raises(InputError, match="no such folder"):
        load_model(place)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "clipseg"])
def test_saved_and_loaded_model_is_bit_equal(name: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = build_model(name, arguments={"image_size": 32}, targets=("a", "b"))
    model.save(tmp_path)
    loaded = load_model(str(tmp_path))
    assert loaded.spec == model.spec
    images, prompts = [torch.rand(3, 40, 25), torch.rand(3, 32, 32)], ["a", "b"]
    with torch.inference_mode():
        outputs = []
        for one in (model, loaded):
            as_module(one).eval()
            outputs.append(one.forward(one.prepare(images), one.tokenize(prompts)).logits)
    assert torch.equal(*outputs)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "clipseg"])
def test_bf16_on_the_cpu_is_close(name: str) -> None:
    torch.manual_seed(3)
    model = build_model(name, arguments={"image_size": 32}, targets=("a",))
    as_module(model).eval()
    inputs, tokens = model.prepare([torch.rand(3, 32, 32)]), model.tokenize(["a"])
    with torch.inference_mode():
        exact = model.forward(inputs, tokens).logits
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.forward(inputs, tokens).logits.float()
    assert (exact - rough).abs().max() < 0.1 * (exact.max() - exact.min()) + 0.05
