"""Options that several commands share, and the printing of results."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from vlseg.metrics import Estimate

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
Weights = Annotated[str | None, typer.Option(help="Weights: a folder, a file or a hub id.", metavar="ID|PATH")]
Revision = Annotated[str | None, typer.Option(help="Revision of a hub id, best a commit.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="fp32, bf16 or fp16.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; default: torch's choice.", min=1)]
Engine = Annotated[
    Literal["torch", "onnx", "openvino"] | None,
    typer.Option(
        help="What computes. Default: torch, or what the model was exported for. onnx, openvino: on the processor; a"
        " model that is not exported is, once.",
    ),
]
Data = Annotated[list[str], typer.Option(help="Dataset folder; give it again to pool several.")]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", help="Keep the images' features here, for other runs; patient data, like the images."),
]
Target = Annotated[
    str | None, typer.Option(help="The structure: names the masks of a plain images/ + masks/ pair, else selects.")
]

Images = Annotated[
    bool, typer.Option("--images/--no-images", help="Keep small copies of the images, and outlines, for reports.")
]


ModelSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="protocol=NAME or model_arguments={...}, as in vlseg train; for published weights.",
        metavar="KEY=VALUE",
    ),
]


def finish(command: str, values: Mapping[str, Any], lines: list[str], *, as_json: bool) -> None:
    """Print the human lines, or with --json the one object that names the command."""
    if as_json:
        typer.echo(json.dumps(_finite({"command": command, **values}), allow_nan=False))
    else:
        encoding = sys.stdout.encoding or "utf-8"
        for line in lines:  # what stdout cannot write, as a question mark
            typer.echo(line.encode(encoding, "replace").decode(encoding))


def _finite(value: Any) -> Any:
    """The value as JSON has it: what is not a finite number is null."""
    if isinstance(value, Mapping):
        return {key: _finite(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def estimate_of(values: Mapping[str, Any]) -> "Estimate":
    """An estimate from its plain values."""
    from vlseg.metrics import Estimate

    return Estimate(**{**values, "ci95": tuple(values["ci95"]) if values["ci95"] else None})


def say(line: str) -> None:
    """A line of progress on stderr."""
    typer.echo(line, err=True)
