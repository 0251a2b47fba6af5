"""In what numbers OpenVINO calculates: those that config.json tells, whatever the processor would choose."""

import shutil
from pathlib import Path
from typing import Any, Literal

import pytest

from vlseg.models.exported import engines
from vlseg.models.exported.engines import openvino_core
from vlseg.models.exported.lighter import to_openvino
from vlseg.models.exported.run import Model


class Watched:
    """OpenVINO, which keeps what it compiled."""

    def __init__(self) -> None:
        self.compiled: dict[str, Any] = {}

    def compile_model(self, path: str, device: str, settings: dict[str, Any]) -> Any:
        self.compiled[Path(path).stem] = openvino_core().compile_model(path, device, settings)
        return self.compiled[Path(path).stem]


def precisions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """By graph, the numbers of the operations that run."""
    watched = Watched()
    with monkeypatch.context() as patched:
        patched.setattr(engines, "openvino_core", lambda: watched)
        Model(folder, threads=1)
    return {
        name: {str(node.get_rt_info()["runtimePrecision"].value) for node in compiled.get_runtime_model().get_ops()}
        for name, compiled in watched.compiled.items()
    }


@pytest.mark.parametrize(("weights", "computes"), [("fp32", "f32"), ("fp16", "f32"), ("int8", "f32"), ("fp32", "bf16")])
def test_openvino_calculates_in_what_the_folder_tells(
    weights: str, computes: Literal["f32", "bf16"], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    to_openvino(own, weights=weights, computes=computes)
    has_bf16 = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    found = precisions(own, monkeypatch)
    assert found.keys() == {"image_encoder", "prompt_encoder", "decoder"}
    for name, told in Model(own).told["graphs"].items():
        assert ("bf16" in found[name]) == (told["computes"] == "bf16" and has_bf16), (name, found[name])
