"""A model that was exported by vlseg, with numpy, Pillow and ONNX Runtime (or OpenVINO) alone.

    python run.py image.png "a polyp" ["another prompt" ...] [--out FOLDER] [--threshold 0.5]

Beside this file lie what it imports, config.json, the graphs and, where there is one, the tokenizer. As a module:

    model = Model(Path(folder)); probabilities = model.segment(image, ["a polyp"])

Research use, not a medical device.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

if __package__:
    from vlseg.models.exported.checked import LARGEST_SIDE, read_told
    from vlseg.models.exported.engines import Arrays, Compile, Graph, check_file, opened, openvino_core
    from vlseg.models.exported.pixels import placed, read_image, resized, write_mask
    from vlseg.models.exported.words import target_number, tokenize, trimmed, widened
else:  # beside the graphs, and what lies there goes with them whatever vlseg is installed
    from checked import LARGEST_SIDE, read_told  # type: ignore[import-not-found, no-redef]
    from engines import Arrays, Compile, Graph, check_file, opened, openvino_core  # type: ignore[import-not-found, no-redef]
    from pixels import placed, read_image, resized, write_mask  # type: ignore[import-not-found, no-redef]
    from words import target_number, tokenize, trimmed, widened  # type: ignore[import-not-found, no-redef]

PROGRAM = ("run.py", "words.py", "checked.py", "pixels.py", "engines.py")
"""This file and what it cannot do without."""


class Model:
    """The steps of an exported model: prepare, tokenize, encode, decode, restore."""

    def __init__(
        self,
        folder: Path,
        *,
        threads: int | None = None,
        engine: str | None = None,
        size: int | None = None,
        compiled: Compile | None = None,
    ) -> None:
        """Open the graphs.

        Args:
            folder: holds config.json and the graphs.
            threads: of the processor; None = as many as the engine takes.
            engine: "onnx" or "openvino", which reads both kinds; None = what it was exported for.
            size: side of the square input, where the graphs serve several; None = as exported.
            compiled: how OpenVINO's graphs are compiled; None = anew, and nothing is kept.

        Raises:
            ValueError: a folder of another kind, a file that was changed, a graph that the engine cannot read, or a
                size that it does not serve.
        """
        self.folder = folder
        self.told = read_told(folder)
        _unchanged(folder, self.told)
        self.told["prepare"]["size"] = _size(self.told["prepare"], size)
        self.engine = engine or self.told["engine"]
        if self.engine == "openvino":
            openvino_core()  # before the threads, which would make several
        graphs = self.told["graphs"]
        with ThreadPoolExecutor(len(graphs)) as pool:  # checking and opening are done outside of Python
            found = pool.map(lambda told: opened(folder, told, self.engine, threads, compiled), graphs.values())
            self._graphs: dict[str, Graph] = dict(zip(graphs, found, strict=True))

    def prepare(self, images: Sequence[np.ndarray]) -> Arrays:
        """Images (H, W, 3) float32 in [0, 1] of any size to `pixel_values` (B, 3, h, w) and `original_size` (B, 2)."""
        told = self.told["prepare"]
        mean, std = (np.array(told[name], np.float32)[:, None, None] for name in ("mean", "std"))
        size = tuple(told["size"])
        pixels = np.zeros((len(images), 3, *size), np.float32)
        for row, image in enumerate(images):
            top, left, rows, columns = placed(image.shape[:2], size, told["fit"])
            fitted = (resized(image, (rows, columns), antialias=True).transpose(2, 0, 1) - mean) / std
            pixels[row, :, top : top + rows, left : left + columns] = fitted
        return {"pixel_values": pixels, "original_size": np.array([image.shape[:2] for image in images], np.int64)}

    def tokenize(self, prompts: Sequence[str]) -> Arrays | None:
        """Prompts to tokens; None where none are read."""
        words = self.told["words"]
        return None if words is None else tokenize(words, self.folder, prompts)

    def encode_image(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Features of images, one row each."""
        return self._answer("image_encoder", inputs)

    def encode_prompts(self, tokens: Mapping[str, np.ndarray] | None) -> Arrays | None:
        """Features of prompts, one row each; None where none are read."""
        if tokens is None:
            return None
        words = self.told["words"]

        def read(rows: Mapping[str, np.ndarray]) -> Arrays:
            encoded = self._graphs["prompt_encoder"](trimmed(words, rows))
            return widened(words, encoded, max(map(_columns, rows.values())))

        return self._answer("prompt_encoder", tokens, read)

    def decode(self, image: Mapping[str, np.ndarray], prompts: Mapping[str, np.ndarray] | None) -> Arrays:
        """`logits` (B, C, h, w), and `presence` (B,) where the model has it; row i of both belong together."""
        given = {f"image.{name}": one for name, one in image.items()}
        return self._answer("decoder", given | {f"prompt.{name}": one for name, one in (prompts or {}).items()})

    def _answer(self, name: str, given: Mapping[str, np.ndarray], step: Graph | None = None) -> Arrays:
        """Of a graph; row by row where rows asked together would change each other's numbers."""
        step, rows = step or self._graphs[name], len(next(iter(given.values())))
        if rows == 1 or not self.told["graphs"][name].get("alone"):
            return step(given)
        found = [step({key: one[row : row + 1] for key, one in given.items()}) for row in range(rows)]
        return {key: np.concatenate([one[key] for one in found], axis=int(key == "samples")) for key in found[0]}

    def restore(self, logits: np.ndarray, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Logits (B, C, h, w) to a list of (C, H, W) at the images' own sizes."""
        restored = []
        for row, original in zip(logits, inputs["original_size"].tolist(), strict=True):
            top, left, rows, columns = placed(original, row.shape[-2:], self.told["prepare"]["fit"])
            inside = row[:, top : top + rows, left : left + columns].transpose(1, 2, 0)
            restored.append(resized(inside, tuple(original), antialias=False).transpose(2, 0, 1))
        return restored

    def segment(self, image: np.ndarray, prompts: Sequence[str]) -> list[np.ndarray]:
        """Probabilities (H, W) for each prompt on an image, which is encoded once.

        Args:
            image: (H, W, 3), uint8 or floating in [0, 1].
            prompts: sentences, or names of targets where the model knows those alone.

        Raises:
            ValueError: an image of another form, or a target that the model does not know.
        """
        if image.ndim != 3 or image.shape[2] != 3 or not (image.dtype == np.uint8 or image.dtype.kind == "f"):
            raise ValueError(f"an image is (H, W, 3), uint8 or floating in [0, 1]; not {image.shape}, {image.dtype}")
        rgb = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image.astype(np.float32)
        inputs = self.prepare([rgb])
        features, encoded = self.encode_image(inputs), self.encode_prompts(self.tokenize(prompts))
        if encoded is None:
            maps = self.restore(self.decode(features, None)["logits"], inputs)[0]
            return [_sigmoid(maps[target_number(self.told["targets"], prompt)]) for prompt in prompts]
        rows = [0] * len(prompts)
        logits = self.decode({name: one[rows] for name, one in features.items()}, encoded)["logits"]
        return [_sigmoid(one[0]) for one in self.restore(logits, {"original_size": inputs["original_size"][rows]})]


def _size(told: Mapping[str, Any], side: int | None) -> list[int]:
    own, step = list(told["size"]), told.get("any_size", 0)
    if side is None or [side, side] == own:
        return own
    if not step:
        raise ValueError(f"image_size: the graphs are of {own[0]} px alone, not {side}; export the model at that size")
    if isinstance(side, bool) or not isinstance(side, int) or side < step or side % step:
        raise ValueError(f"image_size: {side} is not a multiple of {step}; take {own[0]}")
    if side > LARGEST_SIDE:
        raise ValueError(f"image_size: {side} is more than {LARGEST_SIDE}; take {own[0]}")
    return [side, side]


def _columns(tokens: np.ndarray) -> int:
    return tokens.shape[1] if tokens.ndim > 1 else 1


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        probabilities: np.ndarray = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return probabilities


def config_digest(part: Mapping[str, Any]) -> str:
    """Of what config.json says under "vlseg", but for this digest."""
    told = {name: one for name, one in part.items() if name != "digest"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _unchanged(folder: Path, told: Mapping[str, Any]) -> None:
    """Raises: ValueError: config.json, or what lies beside the graphs and answers with them, is not as exported.

    Folders of an earlier vlseg have digests of the graphs alone.
    """
    part = json.loads((folder / "config.json").read_text("utf-8"))["vlseg"]
    if "digest" in part and config_digest(part) != part["digest"]:
        raise ValueError(
            f"{folder / 'config.json'}: was changed since the export; export the model again (another threshold: "
            "--threshold)"
        )
    for name, digest in told.get("beside", {}).items():
        if name not in PROGRAM or (folder / name).exists():  # vlseg does without its own program
            check_file(folder / name, digest)


def main() -> int:
    """One image, its prompts, a mask file for each."""
    parser = argparse.ArgumentParser(description="Masks of an image. Research use, not a medical device.")
    parser.add_argument("image", type=Path)
    parser.add_argument("prompts", nargs="+", help="sentences, or names of targets where the model knows those alone")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the masks (default: here)")
    parser.add_argument("--threshold", type=float, help="on probabilities, 0 to 1 (default: the model's)")
    asked = parser.parse_args()
    try:
        if asked.threshold is not None and not 0 <= asked.threshold <= 1:
            raise ValueError(f"--threshold: {asked.threshold} is not from 0 to 1")
        image = read_image(asked.image)
        model = Model(Path(__file__).resolve().parent)
        found = model.segment(image, asked.prompts)
        asked.out.mkdir(parents=True, exist_ok=True)
        threshold = model.told["threshold"] if asked.threshold is None else asked.threshold
        for number, (prompt, probability) in enumerate(zip(asked.prompts, found, strict=True), 1):
            mask, path = probability > threshold, asked.out / f"{asked.image.stem}-{number}.png"
            write_mask(path, mask)
            print(f'{path}: {int(mask.sum())} px for "{prompt}"' + ("" if mask.any() else ", not found by this model"))
    except ImportError as error:
        print(f"{error.name} is not installed; pip install {error.name}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
