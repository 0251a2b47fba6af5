"""What is asked of an export, and what it gave."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlseg.jobs.export_checks import Cost, Parity, shown_cost
from vlseg.models.exported.lighter import WEIGHTS
from vlseg.records import InputError, unknown_name

FORMATS = ("hf", "onnx", "openvino")


@dataclass(frozen=True)
class ExportOptions:
    """What to write, and what to hold it against; None = what the run says.

    `weights` are the file's numbers ("fp32", "fp16" or "int8"), `computes` what OpenVINO calculates in; `accept`: also
    what costs too much, or was not measured. `place` and `revision` say where the model's weights are.
    """

    format: str
    weights: str = "fp32"
    computes: str = "f32"
    data: Sequence[str] = ()
    prompt: str | None = None
    target: str | None = None
    split: str = "val"
    accept: bool = False
    place: str | None = None
    revision: str | None = None
    threads: int | None = None
    protocol: str | None = None
    arguments: Mapping[str, Any] | None = None

    @property
    def lossy(self) -> bool:
        """Whether the numbers are others than PyTorch's."""
        return self.weights != "fp32" or self.computes != "f32"

    @property
    def numbers(self) -> str:
        """Of the files, and those that are computed with where they are others."""
        return _numbers(self.weights, self.computes)

    @property
    def asked(self) -> str:
        """The option that asks for other numbers than PyTorch's."""
        return f"--weights-as {self.weights}" if self.weights != "fp32" else f"--computes {self.computes}"


def _numbers(weights: str, computes: str) -> str:
    return weights if computes == "f32" else f"{weights} computed in {computes}"


@dataclass(frozen=True)
class Exported:
    """What was written; `problem` says why it was not left there."""

    folder: Path
    format: str
    weights: str
    model: str
    threshold: float
    parity: Parity
    cost: Cost | None
    opens: str | None
    bytes: int
    notes: tuple[str, ...]
    problem: str | None = None
    computes: str = "f32"

    def lines(self) -> list[str]:
        """In words."""
        found, what = self.parity, "images of noise" if self.parity.made_up else "images"
        told = [
            f"logits differ from PyTorch's by at most {found.largest:.2g} of their deviation, masks agree with Dice "
            f"{found.mask_dice:.4f} ({found.images} {what})"
        ]
        told += [shown_cost(self.cost)] if self.cost else []
        told += self.notes
        if self.problem is None:
            numbers = _numbers(self.weights, self.computes)
            told.append(f"{self.folder}: '{self.model}' as {self.format}, {numbers}, {self.bytes / 2**20:.1f} MiB")
        return told

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {**asdict(self), "folder": str(self.folder), "status": "failed" if self.problem else "done"}
        if self.cost is not None:
            compared = self.cost.compared
            values["cost"] = {
                "on": self.cost.on,
                "torch": self.cost.torch,
                "exported": self.cost.exported,
                "difference": compared.difference,
                "ci95": compared.ci95,
                "n": compared.n,
                "n_groups": compared.n_groups,
                "reason": compared.reason,
            }
        return values


def check_options(options: ExportOptions) -> None:
    """Raises: InputError: an unknown name, or options that do not go together."""
    if options.format not in FORMATS:
        raise unknown_name("--format", options.format, FORMATS)
    if options.weights not in WEIGHTS:
        raise unknown_name("--weights-as", options.weights, WEIGHTS)
    if options.computes not in ("f32", "bf16"):
        raise unknown_name("--computes", options.computes, ("f32", "bf16"))
    if options.format == "hf" and options.weights != "fp32":
        raise InputError("--weights-as: is for graphs; give --format onnx or openvino, or leave it out")
    if options.format != "openvino" and options.computes != "f32":
        raise InputError("--computes: is OpenVINO's; give --format openvino, or leave it out")
