"""Models for the test of load, in folders that `vlseg serve` opens, and what is asked of them."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from peers import model_and_processor

from vlseg.models.clipseg.model import ClipSeg
from vlseg.phantoms import write_phantoms

PROMPTS = (
    "dark cyst",
    "bright nodule, upper left",
    "dark cyst, lower right",
    "bright nodule",
    "dark cyst, large, round",
    "bright nodule, small, lower left",
    "polyp",
    "a large round thing",
    "breast tumor",
    "the optic nerve",
)
EACH = 2
"""Questions about an image."""
SIDES = {"clipseg-tiny": 256, "clipseg": 512}
"""Of images, in pixels."""


def tiny_run(folder: Path) -> str:
    """A run of clipseg-tiny on phantoms, some minutes short of a good one: it judges images and knows words."""
    write_phantoms(folder / "phantoms", counts={"train": 24, "val": 12, "test": 2})
    call = ["train", "--model", "clipseg-tiny", "--data", folder / "phantoms", "--prompt", "class+attributes"]
    call += ["--set=max_steps=60", "--set=batch_size=8", "--set=learning_rate=0.002", "--threads=1", "--device=cpu"]
    command = [sys.executable, "-m", "vlseg", *map(str, call), "--out", str(folder / "run")]
    subprocess.run(command, check=True, capture_output=True)
    return str(folder / "run")


def full_model(folder: Path) -> str:
    """CLIPSeg ViT-B/16 with random weights, as `peers.py` has it, that hears what it is asked."""
    model, _ = model_and_processor()
    hearing(model, PROMPTS)
    model.save(folder / "clipseg")
    return str(folder / "clipseg")


def hearing(model: ClipSeg, prompts: Sequence[str]) -> None:
    """Makes random weights answer different prompts differently.

    As they come every sentence has nearly the same features, and the reduced taps are so large that the first one, to
    which the prompt is added, is lost beside the others: answers to two prompts differ by less than a hundredth.
    """
    decoder = model.network.decoder
    with torch.no_grad():
        for reduce in decoder.reduces:
            reduce.weight.div_(reduce.in_features**0.5)
        (told,) = model.encode_prompts(model.tokenize(list(prompts))).tensors.values()
        for film, usual in ((decoder.film_mul, 1.0), (decoder.film_add, 0.0)):
            film.weight.mul_(0.5 / (told - told.mean(0)).matmul(film.weight.T).std())
            film.bias.copy_(usual - film.weight @ told.mean(0))


MODELS: dict[str, Callable[[Path], str]] = {"clipseg-tiny": tiny_run, "clipseg": full_model}
