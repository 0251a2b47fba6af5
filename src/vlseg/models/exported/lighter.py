"""Exported graphs with smaller weights, and as OpenVINO's own files.

What was chosen was measured on CLIPSeg (ViT-B/16, 352 px, one thread of a server processor with VNNI), milliseconds of
the image encoder: ONNX Runtime 379 in single precision, 160 with int8; OpenVINO 361, 214 in bfloat16, 204 with int8
weights, 137 where examples fix the inputs' ranges, which saves ONNX Runtime nothing (161). The decoder stays as it is:
int8 there costs more of the masks than in both encoders and saves 7 ms.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vlseg.models.exported.engines import Arrays, openvino_core
from vlseg.models.exported.run import Model
from vlseg.models.exported.smaller import CONVOLUTIONS, convolutional, in_bytes, in_halves, large, package, quiet
from vlseg.models.exported.write import exported_part, retell
from vlseg.records import InputError

Example = tuple[np.ndarray, str]
"""An image (H, W, 3) float32 in [0, 1], and a prompt or a target's name."""
WEIGHTS = ("fp32", "fp16", "int8")
DECODER_STAYS = 0.1
"""A decoder with less than this share of all bytes stays in single precision."""
PRODUCTS = {"MatMul": 1, "Gemm": 1}
"""Operations with weights, and the axis of these that the results have."""
BETWEEN = ["Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Relu", "Clip", "MaxPool", "GlobalAveragePool"]
"""Operations that convolutional graphs do in int8; onnxruntime's quantizer fails on others where they read weights."""


def lighten(folder: Path, weights: str, examples: Sequence[Example] = ()) -> bool:
    """Rewrite the ONNX graphs of a folder with smaller weights.

    fp16: halves, which the engine turns into single precision as it opens the graph: half the size, the same speed.
    int8: matrix products in int8, their inputs' scale found at each call. Convolutional graphs: with examples all in
    int8, with the ranges that these reach; without, their weights alone, computed in single precision. The rest in
    halves.

    Args:
        folder: that `write_exported` wrote, in single precision.
        weights: "fp32" (nothing is done), "fp16" or "int8".
        examples: images as the model will see, best of its training, and what is asked of each.

    Returns:
        Whether a graph has the examples' ranges.

    Raises:
        InputError: graphs that are not ONNX in single precision; a package that is not installed.
    """
    told = _single(folder)
    if weights == "fp32":
        return False
    stays, ranged = _staying(folder, told), False
    fed = _fed(folder, examples) if weights == "int8" else {}
    for name, graph in told["graphs"].items():
        path = folder / graph["files"][0]
        if weights == "int8" and name not in stays:
            if convolutional(path) and fed.get(name):
                _all_in_int8(path, fed[name])
                ranged = True
            else:
                in_bytes(path, CONVOLUTIONS)
                _products_in_int8(path)
        in_halves(path)
        if _ranges_of_calls(path):
            graph["alone"] = True
    retell(folder, {**told, "weights": weights})
    return ranged


def to_openvino(
    folder: Path,
    *,
    weights: str = "fp32",
    computes: Literal["f32", "bf16"] = "f32",
    examples: Sequence[Example] = (),
) -> bool:
    """Turn the ONNX graphs of a folder into OpenVINO's files (.xml and .bin), which take their place.

    Args:
        folder: that `write_exported` wrote, in single precision.
        weights: of the files; with "int8", weights of matrix products and convolutions alone.
        computes: in what the engine calculates, where the processor can.
        examples: images as the model will see and what is asked of each: with int8 the inputs' ranges are fixed by
            them, and the engine finds none at each call.

    Returns:
        As `lighten`.

    Raises:
        InputError: as `lighten`.
    """
    told = _single(folder)
    openvino = package("openvino", "openvino")
    stays, ranged = _staying(folder, told), False
    fed = _fed(folder, examples) if weights == "int8" else {}
    graphs = {}
    for name, graph in told["graphs"].items():
        path = folder / graph["files"][0]
        if weights == "int8" and name not in stays:
            if not fed.get(name):
                in_bytes(path, PRODUCTS | CONVOLUTIONS)
            else:
                (_all_in_int8 if convolutional(path) else _products_in_fixed_ranges)(path, fed[name])
                ranged = True
        if weights != "fp32":
            in_halves(path)
        files = [f"{name}.xml", f"{name}.bin"]
        network = openvino_core().read_model(str(path))
        openvino.save_model(network, str(folder / files[0]), compress_to_fp16=False)
        del network  # it holds the file
        path.unlink()
        graphs[name] = {**graph, "files": files, "computes": computes}
    retell(folder, {**told, "engine": "openvino", "weights": weights, "graphs": graphs})
    return ranged


def _single(folder: Path) -> dict[str, Any]:
    told = exported_part(folder)
    if told["engine"] != "onnx" or told["weights"] != "fp32":
        raise InputError(f"{folder}: holds {told['engine']} graphs of {told['weights']}; export it again as fp32 first")
    return {
        **told,
        "graphs": {name: {**graph, "files": list(graph["files"])} for name, graph in told["graphs"].items()},
    }


def _staying(folder: Path, told: Mapping[str, Any]) -> set[str]:
    sizes = {name: (folder / graph["files"][0]).stat().st_size for name, graph in told["graphs"].items()}
    return {"decoder"} if sizes["decoder"] < DECODER_STAYS * sum(sizes.values()) else set()


def _products_in_int8(path: Path) -> None:
    """Matrix products with fixed weights, int8 by rows of the result; inputs by their range at each call."""
    quantization = package("onnxruntime.quantization", "export")
    with quiet():
        quantization.quantize_dynamic(
            str(path),
            str(path),
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )


def _ranges_of_calls(path: Path) -> bool:
    """Whether scales are found at each call, over all rows that are asked together."""
    nodes = package("onnx", "export").load(str(path)).graph.node
    return any(node.op_type == "DynamicQuantizeLinear" for node in nodes)


def _fed(folder: Path, examples: Sequence[Example]) -> dict[str, list[Arrays]]:
    """What the image encoder and the decoder are given for the examples, in single precision."""
    fed: dict[str, list[Arrays]] = {"image_encoder": [], "decoder": []}
    model = Model(folder) if examples else None
    for image, prompt in examples:
        assert model is not None
        inputs = model.prepare([image])
        features, prompts = model.encode_image(inputs), model.encode_prompts(model.tokenize([prompt]))
        fed["image_encoder"].append(inputs)
        named = {f"image.{name}": one for name, one in features.items()}
        fed["decoder"].append(named | {f"prompt.{name}": one for name, one in (prompts or {}).items()})
    return fed


def _all_in_int8(path: Path, fed: Sequence[Arrays]) -> None:
    """What convolutional graphs consist of, with the ranges of its inputs over what the graph is fed."""
    _in_fixed_ranges(path, fed, op_types_to_quantize=BETWEEN)


def _products_in_fixed_ranges(path: Path, fed: Sequence[Arrays]) -> None:
    """Products with fixed weights alone; what lies between them stays in single precision."""
    graph = package("onnx", "export").load(str(path)).graph
    fixed = {tensor.name for tensor in graph.initializer if large(tensor)}
    chosen = [node.name for node in graph.node if node.op_type in PRODUCTS and node.input[1] in fixed]
    _in_fixed_ranges(
        path, fed, nodes_to_quantize=chosen, extra_options={"OpTypesToExcludeOutputQuantization": list(PRODUCTS)}
    )


def _in_fixed_ranges(path: Path, fed: Sequence[Arrays], **chosen: Any) -> None:
    """Operations that are `chosen`, as the quantizer takes them, with the ranges of what they get for these inputs."""
    quantization = package("onnxruntime.quantization", "export")
    needed = {one.name for one in package("onnx", "export").load(str(path)).graph.input}

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.left = iter(fed)

        def get_next(self) -> Arrays | None:
            arrays = next(self.left, None)
            return None if arrays is None else {name: one for name, one in arrays.items() if name in needed}

    with quiet():
        quantization.quantize_static(
            str(path),
            str(path),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
            **chosen,
        )
