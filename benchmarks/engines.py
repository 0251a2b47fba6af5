"""Engines over one CLIPSeg: a folder, the first mask, the next prompt, memory, and the start from the shell.

What stands against all of them is transformers as its users call it, in PyTorch's single precision.
`python benchmarks/engines.py peak KIND FOLDER IMAGE` measures one kind's memory in a process of its own.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peers import WORDS, model_and_processor, transformers_answer
from PIL import Image

import vlseg
from vlseg.evaluation import Predictor
from vlseg.metrics import dice_score
from vlseg.models.exported.lighter import lighten, to_openvino
from vlseg.models.exported.write import write_exported

KINDS = ("torch fp32", "torch bf16", "onnx fp32", "onnx int8", "openvino fp32", "openvino bf16", "openvino int8")
"""What computes, and in what."""


@dataclass(frozen=True)
class Work:
    """One row: what is called on either side, and how its masks agree with single precision in PyTorch."""

    name: str
    kind: str
    mine: Callable[[], Any]
    theirs: Callable[[], Any]
    dice: Callable[[], dict[str, float]]
    target: float | None


def folders(root: Path, kinds: tuple[str, ...], pictures: list[Path]) -> dict[str, Path]:
    """A folder of each kind of the same network under `root`; PyTorch's share one. int8's ranges are the pictures'."""
    examples = [(np.asarray(Image.open(path).convert("RGB"), np.float32) / 255, WORDS) for path in pictures]
    model, _ = model_and_processor()
    root.mkdir()
    model.save(root / "torch")
    found = {kind: root / "torch" for kind in kinds if kind.startswith("torch")}
    (root / "graphs").mkdir()
    write_exported(model, root / "graphs")
    for kind in kinds:
        if kind in found:
            continue
        engine, numbers = kind.split()
        found[kind] = root / kind.replace(" ", "-")
        shutil.copytree(root / "graphs", found[kind])
        weights = "int8" if numbers == "int8" else "fp32"
        if engine == "openvino":
            to_openvino(
                found[kind], weights=weights, computes="bf16" if numbers == "bf16" else "f32", examples=examples
            )
        else:
            lighten(found[kind], weights, examples)
    return found


def predictor(kind: str, folder: Path) -> Predictor:
    """Ready for images."""
    return vlseg.load(folder, precision="bf16" if kind == "torch bf16" else "fp32")


def works(found: dict[str, Path], pictures: list[Path]) -> Iterator[Work]:
    """The rows of all kinds, each loaded in its turn; pictures are those of the folder."""
    model, processor = model_and_processor()
    reference = Predictor(model, device="cpu")
    truth = {path: reference.segment(path, [WORDS])[0].mask for path in pictures}
    image = Image.open(pictures[0]).convert("RGB")
    count = iter(range(10**6))
    for kind, folder in found.items():
        one = predictor(kind, folder)

        def dice(one: Predictor = one) -> dict[str, float]:
            values = [dice_score(one.segment(path, [WORDS])[0].mask, truth[path]) for path in pictures]
            return {"least": min(values), "mean": float(np.mean(values))}

        def over(one: Predictor = one) -> None:
            for path in pictures:
                one.segment(path, [WORDS])

        def first(one: Predictor = one) -> None:
            # Two images in turn: of one alone the features would be known.
            for path in pictures[:2]:
                one.segment(path, [f"lesion {next(count)} at the left"])

        def again(one: Predictor = one) -> None:
            one.segment(pictures[0], [f"lesion {next(count)} at the left"])

        def theirs_over() -> None:
            for path in pictures:
                transformers_answer(model, processor, Image.open(path).convert("RGB"), [WORDS])

        def theirs_first() -> None:
            for path in pictures[:2]:
                transformers_answer(model, processor, Image.open(path).convert("RGB"), [WORDS])

        def theirs_again() -> None:
            transformers_answer(model, processor, image, ["lesion at the left"])

        engine, numbers = kind.split()
        folder_target = None if engine == "torch" else 3.5 if numbers == "int8" else 2.0
        yield Work("zero-shot over a folder, one prompt", kind, over, theirs_over, dice, folder_target)
        yield Work("first mask of an image", kind, first, theirs_first, dice, None)
        yield Work("new prompt on a known image", kind, again, theirs_again, dice, 15.0)


def plain_script(folder: Path, image: Path, out: Path) -> str:
    """What a user of transformers writes for one mask."""
    return f"""
import torch
from PIL import Image
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor, CLIPTokenizer, ViTImageProcessor
model = CLIPSegForImageSegmentation.from_pretrained({str(folder)!r}).eval()
mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
images = ViTImageProcessor(size={{"height": 352, "width": 352}}, image_mean=mean, image_std=std, resample=2)
processor = CLIPSegProcessor(images, CLIPTokenizer.from_pretrained({str(folder)!r}))
image = Image.open({str(image)!r}).convert("RGB")
inputs = processor(text=[{WORDS!r}], images=[image], padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits.reshape(1, 1, 352, 352)
mask = torch.nn.functional.interpolate(logits, size=image.size[::-1], mode="bilinear")[0, 0].sigmoid() > 0.5
Image.fromarray(mask.numpy().astype("uint8") * 255).save({str(out)!r})
"""


def peak(kind: str, folder: Path, image: Path) -> float:
    """GiB that loading and one answer take in this process at most."""
    if kind == "transformers":
        exec(compile(plain_script(folder, image, folder.parent / "mask.png"), "plain", "exec"), {})
    else:
        predictor(kind, folder).segment(image, [WORDS])
    # Not getrusage: what it gives begins with the peak of the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


if __name__ == "__main__":
    _, kind, folder, image = sys.argv[1:]
    print(peak(kind, Path(folder), Path(image)))
