"""PGD by `vlseg.attacks` against the plain loop over vlseg's own model: the same budget, starts, steps and loss.

    python benchmarks/attack_speed.py [--out FILE]      processor seconds, one thread; make bench takes wall time

The plain loop is what attack scripts do: one sample and one restart at a time, tokens and text encoder in every step
with autograd on, gradients to all weights, the network's own `forward`.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peers import model_and_processor
from torch import Tensor

from vlseg.attacks import Attack, Budget, Search, canvas_of, run_attack
from vlseg.attacks.balls import drawn_start, generator
from vlseg.losses import dice_bce_loss
from vlseg.models import Segmenter, as_module, build_model
from vlseg.models.device import set_threads

PROMPTS = ["breast tumor", "one small round lesion at the top"]


@dataclass(frozen=True)
class Work:
    """Both sides of one comparison, and the forward and backward passes that either takes."""

    name: str
    mine: Callable[[], Tensor]
    theirs: Callable[[], Tensor]
    steps: int


def works(device: str = "cpu") -> Iterator[Work]:
    """CLIPSeg ViT-B/16 at 352 px, clipseg-tiny and guide; two prompts and two restarts of each image."""
    yield _work("clipseg", model_and_processor(device)[0], images=1, steps=3, device=device)
    small: list[tuple[str, dict[str, Any], int]] = [("clipseg-tiny", {}, 8)]
    for name, arguments, images in [*small, ("guide", {"encoder_weights": None, "text": "hashed"}, 2)]:
        torch.manual_seed(0)
        model = build_model(name, arguments=arguments, targets=tuple(PROMPTS))
        as_module(model).to(device).eval()
        yield _work(name, model, images=images, steps=5, device=device)


def _work(name: str, model: Segmenter, *, images: int, steps: int, device: str) -> Work:
    rng = torch.Generator().manual_seed(0)
    pictures = [torch.rand(3, 352, 352, generator=rng).to(device) for _ in range(images)]
    mask = torch.zeros(352, 352, device=device)
    mask[100:200, 100:200] = 1
    samples = [(picture, prompt) for picture in pictures for prompt in PROMPTS]
    attack = Attack(Budget(epsilon=8 / 255), search=Search("pgd", steps=steps, restarts=2))
    every = [picture for picture, _ in samples], [prompt for _, prompt in samples], [mask] * len(samples)
    return Work(
        f"PGD on {name}, {images} image{'s' * (images > 1)} x 2 prompts x 2 restarts, {steps} steps",
        lambda: run_attack(attack, model, *every).losses,
        lambda: torch.stack([plain_loop(attack, model, picture, prompt, mask) for picture, prompt in samples]),
        len(samples) * 2 * (steps + 1),
    )


def plain_loop(attack: Attack, model: Segmenter, picture: Tensor, prompt: str, mask: Tensor) -> Tensor:
    """The losses (R, S + 1) of one sample."""
    budget, found = attack.budget, attack.search
    canvas = canvas_of(model, picture, "input")
    truth, losses = model.prepare_masks([mask]), []
    for restart in range(found.restarts):
        rng = generator("attack", found.seed, canvas.key, restart, "start")
        change = drawn_start(canvas.image.shape, budget.norm, budget.epsilon, rng).to(picture)
        image = (canvas.image + change).clamp(0, 1)
        for step in range(found.steps + 1):
            image = image.detach().requires_grad_()
            tokens = model.tokenize([prompt])
            output = model.forward(model.prepare([image]), tokens if tokens is None else tokens.to(picture.device))
            loss = dice_bce_loss(output.logits, truth)
            losses.append(loss.detach().cpu())
            if step == found.steps:
                break
            as_module(model).zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            moved = image.detach() + attack.step_size * image.grad.sign() - canvas.image
            image = (canvas.image + moved.clamp(-budget.epsilon, budget.epsilon)).clamp(0, 1)
    return torch.stack(losses).reshape(found.restarts, -1)


def equality(work: Work) -> dict[str, float]:
    """The largest difference of the losses, as a share: at the start, and after all steps."""
    mine, theirs = work.mine(), work.theirs()
    apart = (mine - theirs).abs() / theirs.abs()
    return {"start": float(apart[..., 0].max()), "end": float(apart[..., -1].max())}


def main() -> None:
    """Processor seconds of both sides in turn, on one thread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    set_threads(1)
    rows: list[dict[str, Any]] = []
    for work in works():
        same, pairs = equality(work), []
        for _ in range(options.repeats):
            begin = time.process_time()
            work.mine()
            middle = time.process_time()
            work.theirs()
            pairs.append((middle - begin, time.process_time() - middle))
        ratios = sorted(theirs / mine for mine, theirs in pairs)
        steps = [1000 * statistics.median(side) / work.steps for side in zip(*pairs, strict=True)]
        rows.append(
            {"work": work.name, "ratio": statistics.median(ratios), "spread": [ratios[0], ratios[-1]]}
            | {"milliseconds_a_step": steps, "equality": same, "target": 2.0}
        )
        print(
            f"{work.name:<70} {rows[-1]['ratio']:5.2f}  {steps[0]:7.1f} against {steps[1]:7.1f} ms a step", flush=True
        )
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
