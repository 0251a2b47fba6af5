"""What a model costs here: seconds of a prediction and of a training step, peak memory. Random weights."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from vlseg.evaluation import predict_image, ready
from vlseg.jobs.environment import peak_memory_bytes
from vlseg.losses import dice_bce_loss
from vlseg.models import as_module, build_model
from vlseg.models.device import resolve_device, set_threads
from vlseg.records import InputError
from vlseg.training.freezing import apply_regime, train_mode

SIDE = 512
TARGET = "target"
REPEATS = 3


@dataclass(frozen=True)
class Measured:
    """Medians of three, after one that does not count.

    Attributes:
        predict_seconds: one image of 512 x 512, one prompt, to a mask of its size.
        next_prompt_seconds: another prompt on that image, with the image's features at hand.
        step_seconds: forward, backward and AdamW of one image, everything training.
        predict_bytes: peak memory of the process up to the predictions.
        step_bytes: peak memory of the process with the training step.
    """

    name: str
    device: str
    threads: int
    predict_seconds: float
    next_prompt_seconds: float | None
    step_seconds: float
    predict_bytes: int
    step_bytes: int


def measure_models(names: Sequence[str], *, device: str = "auto", threads: int | None = None) -> list[Measured]:
    """Each model in a process of its own, so that peak memory is its own.

    Raises:
        InputError: a measurement failed; its last words are given.
    """
    results = []
    for name in names:
        call = f"from vlseg.jobs.measure import main; main({name!r}, {device!r}, {threads!r})"
        done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise InputError(f"models --measure: {name}: {(done.stderr.strip().splitlines() or ['it was killed'])[-1]}")
        results.append(Measured(**json.loads(done.stdout.splitlines()[-1])))
    return results


def main(name: str, device: str, threads: int | None) -> None:
    """Measure in this process and print one JSON object."""
    print(json.dumps(asdict(measure(name, device=device, threads=threads))))


def measure(
    name: str, *, device: str = "auto", threads: int | None = None, arguments: dict[str, Any] | None = None
) -> Measured:
    """Measure one model in this process."""
    torch.manual_seed(0)
    count, place = set_threads(threads), resolve_device(device)
    model = ready(build_model(name, arguments=arguments, targets=(TARGET,)), place)
    image = np.random.default_rng(0).random((SIDE, SIDE, 3), dtype=np.float32)
    prompt = TARGET
    predict = _median(lambda: list(predict_image(model, image, [prompt], device=place)))
    after = _median(_next_prompt(model, image, place)) if not _image_only(model) else None
    predict_bytes = peak_memory_bytes(place)
    step = _median(_training_step(model, image, place))
    return Measured(name, str(place), count, predict, after, step, predict_bytes, peak_memory_bytes(place))


def _image_only(model: Any) -> bool:
    return not model.spec.uses_text and not model.spec.uses_target


def _next_prompt(model: Any, image: np.ndarray, place: torch.device) -> Any:
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy()).to(place)
    with torch.inference_mode():
        inputs = model.prepare([pixels])
        features = model.encode_image(inputs)

    def ask() -> None:
        with torch.inference_mode():
            prompts = model.encode_prompts(model.tokenize([TARGET]).to(place))
            model.restore(model.decode(features, prompts).logits, inputs)

    return ask


def _training_step(model: Any, image: np.ndarray, place: torch.device) -> Any:
    train_mode(model, apply_regime(model, "full"))
    trained = [parameter for parameter in as_module(model).parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy()).to(place)
    mask = torch.zeros(SIDE, SIDE, device=place)
    mask[:100, :100] = 1

    def step() -> None:
        tokens = model.tokenize([TARGET])
        logits = model.forward(model.prepare([pixels]), tokens.to(place) if tokens is not None else None).logits
        dice_bce_loss(logits, model.prepare_masks([mask])).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def _median(action: Any) -> float:
    seconds = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[1:]))
