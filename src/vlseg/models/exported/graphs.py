"""A model's three steps as ONNX graphs: image encoder, prompt encoder, decoder, each for itself."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlseg.models.portable import Portable
from vlseg.models.protocol import Output, Rows, Segmenter
from vlseg.records import InputError

EXAMPLE = ("a small round lesion at the left", "a polyp")
"""Two prompts: of one row alone, torch would take the number of rows for fixed."""
ALIKE = 1e-3
"""Of the logits' deviation: rounding is far below, a size that was fixed far above."""


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


def write_graphs(model: Segmenter, portable: Portable, folder: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Write image_encoder.onnx, prompt_encoder.onnx (where prompts are read) and decoder.onnx.

    Args:
        model: on the processor, in eval mode.
        portable: what it says of itself.
        folder: exists.

    Returns:
        Of each graph its file and the names of its inputs and outputs, in order; and of what the sides of an input must
        be multiples, 0 where the graphs serve the model's own size alone.

    Raises:
        InputError: an operation that ONNX has not.
    """
    if portable.any_size:
        try:
            found = _graphs(model, portable, folder, portable.any_size)
            if _serves(model, folder, found):
                return found, portable.any_size
        except InputError:  # an encoder of somebody else's that must know its input's size
            pass
    return _graphs(model, portable, folder, 0), 0


@torch.no_grad()
def _serves(model: Segmenter, folder: Path, graphs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether graphs that were written at another size answer alike at the model's own: a size may be fixed inside."""
    inputs = Rows(
        {"pixel_values": torch.rand(1, 3, *model.spec.image_size, generator=torch.Generator().manual_seed(1))}
    )
    image = model.encode_image(inputs)
    told = list(model.spec.targets) if model.spec.uses_target else list(EXAMPLE)
    prompts = model.encode_prompts(model.tokenize(told[:1]))
    given = {f"prompt.{name}": one.numpy() for name, one in (prompts.tensors if prompts else {}).items()}
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        seen = _run(folder, graphs["image_encoder"], {"pixel_values": inputs.tensors["pixel_values"].numpy()})
        given |= {f"image.{name}": one for name, one in seen.items()}
        found = torch.from_numpy(_run(folder, graphs["decoder"], given)["logits"])
    except (errors.Fail, errors.InvalidArgument, errors.RuntimeException):  # shapes that do not fit
        return False
    wanted = model.decode(image, prompts).logits
    return found.shape == wanted.shape and bool((found - wanted).abs().max() < ALIKE * wanted.std())


def _run(folder: Path, graph: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(folder / graph["files"][0]), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: given[name] for name in graph["inputs"]})
    return dict(zip(graph["outputs"], found, strict=True))


def _graphs(model: Segmenter, portable: Portable, folder: Path, any_size: int) -> dict[str, dict[str, Any]]:
    # Sides that differ from each other and from one step, which torch would take for the same or for fixed.
    size = (3 * any_size, 4 * any_size) if any_size else model.spec.image_size
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
        length = name == "prompt_encoder" and bool((portable.words or {}).get("trimmed"))
        _write(kind(model, list(tensors)), tensors, outputs, path, sides=any_size, length=length)
        found[name] = {"files": [path.name], "inputs": list(tensors), "outputs": outputs}
    return found


def _outputs(output: Output) -> dict[str, Tensor]:
    named = {"logits": output.logits, "presence": output.presence, "samples": output.samples}
    return {name: one for name, one in named.items() if one is not None}


def _write(
    step: _Step, tensors: Mapping[str, Tensor], outputs: list[str], path: Path, *, sides: int, length: bool
) -> None:
    """One graph; `sides` as the result of `write_graphs`, `length`: any number of tokens is read."""
    batch, rows, columns = (torch.export.Dim(name) for name in ("batch", "rows", "columns"))
    shapes = []
    for tensor in tensors.values():
        axes: dict[int, Any] = {0: batch}
        if length and tensor.ndim > 1:
            axes[1] = torch.export.Dim.AUTO
        if sides and tensor.ndim == 4:  # a map, in the same proportion to the input for every input
            axes |= {2: tensor.shape[2] // 3 * rows, 3: tensor.shape[3] // 4 * columns}
        shapes.append(axes)
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                step.eval(),
                tuple(tensors.values()),
                dynamo=True,
                dynamic_shapes=(tuple(shapes),),
                input_names=list(tensors),
                output_names=[f"output.{name}" for name in outputs],  # a node may bear the bare name
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch's exporter raises anything
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path.stem} of '{step.segmenter.spec.name}': cannot be exported ({reason})") from error
    assert program is not None
    for given in program.model.graph.inputs:  # torch fixes a size that some operation needs to know, and says nothing
        wanted = (0, 2, 3) if sides and given.shape is not None and len(given.shape) == 4 else (0,)
        if given.shape is None or any(isinstance(given.shape[axis], int) for axis in wanted):
            raise InputError(f"{path.stem} of '{step.segmenter.spec.name}': the size of {given.name} is fixed")
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
