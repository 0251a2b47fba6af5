"""A model's three steps as ONNX graphs: image encoder, prompt encoder, decoder, each for itself."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlseg.models.portable import Portable
from vlseg.models.protocol import Output, Rows, Segmenter
from vlseg.records import InputError

EXAMPLE = ("a small round lesion at the left", "a polyp")
"""Two prompts: of one row alone, torch would take the number of rows for fixed."""


class _Step(nn.Module):
    """One step over named tensors, which the graph's inputs and outputs are called after."""

    def __init__(self, segmenter: Segmenter, names: list[str]) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.names = names

    def rows(self, given: tuple[Tensor, ...], prefix: str = "") -> Rows:
        named = dict(zip(self.names, given, strict=True))
        return Rows({name.removeprefix(prefix): one for name, one in named.items() if name.startswith(prefix)})


class _ImageEncoder(_Step):
    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.segmenter.encode_image(self.rows(given)).tensors.values())


class _PromptEncoder(_Step):
    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        encoded = self.segmenter.encode_prompts(self.rows(given))
        assert encoded is not None
        return tuple(encoded.tensors.values())


class _Decoder(_Step):
    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        prompts = self.rows(given, "prompt.")
        output = self.segmenter.decode(self.rows(given, "image."), prompts if prompts.tensors else None)
        return tuple(_outputs(output).values())


def write_graphs(model: Segmenter, portable: Portable, folder: Path) -> dict[str, dict[str, Any]]:
    """Write image_encoder.onnx, prompt_encoder.onnx (where prompts are read) and decoder.onnx.

    Args:
        model: on the processor, in eval mode.
        portable: what it says of itself.
        folder: exists.

    Returns:
        Of each graph its file and the names of its inputs and outputs, in order.

    Raises:
        InputError: an operation that ONNX has not.
    """
    size = model.spec.image_size
    with torch.no_grad():
        inputs = {"pixel_values": torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))}
        told = list(model.spec.targets) if model.spec.uses_target else list(EXAMPLE)
        tokens = model.tokenize((told * 2)[:2])
        image = model.encode_image(Rows(inputs))
        prompts = None if tokens is None else model.encode_prompts(tokens)
        output = model.decode(image, prompts)
    given = {f"image.{name}": one for name, one in image.tensors.items()}
    given |= {f"prompt.{name}": one for name, one in (prompts.tensors if prompts else {}).items()}
    steps: dict[str, tuple[type[_Step], Mapping[str, Tensor], list[str]]] = {
        "image_encoder": (_ImageEncoder, inputs, list(image.tensors)),
        "decoder": (_Decoder, given, list(_outputs(output))),
    }
    if tokens is not None and prompts is not None:
        steps["prompt_encoder"] = (_PromptEncoder, tokens.tensors, list(prompts.tensors))
    found = {}
    for name, (kind, tensors, outputs) in steps.items():
        path = folder / f"{name}.onnx"
        sides = {"image_encoder": portable.any_size, "decoder": portable.any_size}.get(name, False)
        length = name == "prompt_encoder" and bool((portable.words or {}).get("trimmed"))
        _write(kind(model, list(tensors)), tensors, outputs, path, sides=sides, length=length)
        found[name] = {"files": [path.name], "inputs": list(tensors), "outputs": outputs}
    return found


def _outputs(output: Output) -> dict[str, Tensor]:
    named = {"logits": output.logits, "presence": output.presence, "samples": output.samples}
    return {name: one for name, one in named.items() if one is not None}


def _write(
    step: _Step, tensors: Mapping[str, Tensor], outputs: list[str], path: Path, *, sides: bool, length: bool
) -> None:
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    axes |= {1: torch.export.Dim.AUTO} if length else {}
    axes |= {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO} if sides else {}
    shapes = tuple({axis: one for axis, one in axes.items() if axis < tensor.ndim} for tensor in tensors.values())
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                step.eval(),
                tuple(tensors.values()),
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=list(tensors),
                output_names=[f"output.{name}" for name in outputs],  # a node may bear the bare name
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch's exporter raises anything
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path.stem} of '{step.segmenter.spec.name}': cannot be exported ({reason})") from error
    assert program is not None
    fixed = [str(one.name) for one in program.model.graph.inputs if one.shape is None or isinstance(one.shape[0], int)]
    if fixed:  # torch fixes a size that some operation needs to know, and says nothing
        raise InputError(
            f"{path.stem} of '{step.segmenter.spec.name}': the number of rows of {', '.join(fixed)} is fixed"
        )
    program.save(str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own remarks."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
