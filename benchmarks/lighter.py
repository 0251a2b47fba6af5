"""What smaller weights and other numbers of exported graphs cost and save: CLIPSeg with random weights, one thread.

`python benchmarks/lighter.py FOLDER_OF_IMAGES [--images 12]` writes benchmarks/results/lighter.json, which
docs/export.md shows. Times are of the processor, not of the clock.
"""

import argparse
import json
import platform
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
from peers import model_and_processor
from PIL import Image

from vlseg.models.exported.lighter import lighten, to_openvino
from vlseg.models.exported.run import Model
from vlseg.models.exported.write import write_exported

RESULTS = Path(__file__).parent / "results" / "lighter.json"
PROMPTS = ["breast tumor", "one medium round tumor at the center of the breast ultrasound"]
KINDS = {
    "onnx fp32": ("onnx", "fp32", "f32"),
    "onnx fp16": ("onnx", "fp16", "f32"),
    "onnx int8": ("onnx", "int8", "f32"),
    "openvino fp32": ("openvino", "fp32", "f32"),
    "openvino fp16": ("openvino", "fp16", "f32"),
    "openvino int8": ("openvino", "int8", "f32"),
    "openvino fp32, computes bf16": ("openvino", "fp32", "bf16"),
}


def measured(folder: Path, images: list[np.ndarray]) -> tuple[list[np.ndarray], float, float]:
    """Logits of all images and prompts, milliseconds of the image encoder (median), MiB of the graphs."""
    model = Model(folder, threads=1)
    prompts = model.encode_prompts(model.tokenize(PROMPTS))
    found, spent = [], []
    for image in images:
        inputs = model.prepare([image])
        begin = time.process_time()
        features = model.encode_image(inputs)
        spent.append(time.process_time() - begin)
        found.append(model.decode({name: one[[0] * len(PROMPTS)] for name, one in features.items()}, prompts)["logits"])
    size = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".onnx", ".xml", ".bin"))
    return found, 1000 * float(np.median(spent)), size / 2**20


def mask_dice(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Mean over answers of the masks' Dice at the network's size."""
    pairs = [
        (a > 0, b > 0) for first, second in zip(one, other, strict=True) for a, b in zip(first, second, strict=True)
    ]
    return float(np.mean([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in pairs]))


def main() -> None:
    """Measure every kind on the same images."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=12)
    asked = parser.parse_args()
    paths = sorted(asked.folder.iterdir())
    chosen = [paths[int(place)] for place in np.linspace(0, len(paths) - 1, asked.images)]
    images = [np.asarray(Image.open(path).convert("RGB")).astype(np.float32) / 255 for path in chosen]
    rows, reference = {}, None
    with tempfile.TemporaryDirectory() as root:
        plain = Path(root) / "plain"
        plain.mkdir()
        write_exported(model_and_processor()[0], plain)
        for name, (engine, weights, computes) in KINDS.items():
            folder = Path(root) / "kind"
            shutil.copytree(plain, folder)
            if engine == "onnx":
                lighten(folder, weights)
            else:
                to_openvino(folder, weights=weights, computes="bf16" if computes == "bf16" else "f32")
            found, milliseconds, size = measured(folder, images)
            reference = reference or found
            rows[name] = {"milliseconds": milliseconds, "mib": size, "mask_dice": mask_dice(reference, found)}
            print(name, rows[name], flush=True)
            shutil.rmtree(folder)
    cpu = next((line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")), "unknown")
    versions = {"onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__}
    told = {"machine": f"{platform.machine()}, {cpu}", "threads": 1, "images": len(images), "packages": versions}
    RESULTS.write_text(json.dumps({**told, "rows": rows}, indent=1) + "\n")


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
