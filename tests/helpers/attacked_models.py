"""Segmenters to attack: small functions of a few pixels, and clipseg-tiny trained on discs in a few seconds."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.attacks import Attack, Attacked, run_attack
from vlseg.losses import dice_bce_loss
from vlseg.metrics import dice_score
from vlseg.models import Inputs, Output, Rows, Segmenter, Spec, build_model
from vlseg.models.images import resize_and_normalise, resize_masks, restore_bilinear

SIDE = 32
BRIGHT, DARK, SQUARE = "bright disc", "dark disc", "black square"


class Toy(nn.Module):
    """Image-only, of one target; `answer` maps pixels (B, 3, h, w), shifted and scaled, to logits (B, 1, h, w)."""

    def __init__(self, size: tuple[int, int], answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.spec = Spec("toy", uses_text=False, image_size=size, targets=("thing",))
        self.answer = answer
        self.weight = nn.Parameter(torch.ones(1))

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        return resize_and_normalise(rgb, self.spec.image_size, (0.5, 0.4, 0.3), (0.25, 0.5, 0.2))

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        return resize_masks(masks, self.spec.image_size)

    def tokenize(self, prompts: Sequence[str]) -> None:
        return

    def encode_image(self, inputs: Inputs) -> Rows:
        return Rows({"pixels": inputs.tensors["pixel_values"]})

    def encode_prompts(self, tokens: object) -> None:
        return

    def decode(self, image: Rows, prompts: object = None) -> Output:
        return Output(self.answer(image.tensors["pixels"]) * self.weight)

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: object = None) -> Output:
        return self.decode(self.encode_image(inputs))

    def parts(self) -> dict[str, list[nn.Module]]:
        return {}

    def save(self, folder: object) -> None:
        raise NotImplementedError


def discs(count: int, seed: int, side: int = SIDE) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Images (3, side, side) with a bright disc at one side and a dark one at the other, and both masks."""
    rng = torch.Generator().manual_seed(seed)
    yy, xx = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    images, bright, dark = [], [], []
    for _ in range(count):
        rows, columns, radii = (torch.rand(2, generator=rng) for _ in range(3))
        swap = int(torch.randint(0, 2, (), generator=rng))
        masks = []
        for which in range(2):
            x = side * (0.25 + 0.5 * ((which + swap) % 2) + 0.1 * (float(columns[which]) - 0.5))
            y = side * (0.3 + 0.4 * float(rows[which]))
            masks.append((yy - y) ** 2 + (xx - x) ** 2 < (side * (0.12 + 0.08 * float(radii[which]))) ** 2)
        grey = 0.45 + 0.25 * masks[0].float() - 0.25 * masks[1].float()
        grey = grey + 0.04 * torch.randn(side, side, generator=rng)
        images.append(grey.clamp(0, 1).expand(3, -1, -1).contiguous())
        bright.append(masks[0])
        dark.append(masks[1])
    return images, bright, dark


def samples(count: int, seed: int) -> tuple[list[Tensor], list[str], list[Tensor], list[Tensor]]:
    """Two samples an image: images, prompts, masks, and the masks of the other disc."""
    images, bright, dark = discs(count, seed)
    both = [(image, (one, other)) for image, one, other in zip(images, bright, dark, strict=True)]
    return (
        [image for image, _ in both for _ in range(2)],
        [BRIGHT, DARK] * count,
        [mask for _, masks in both for mask in masks],
        [mask for _, masks in both for mask in reversed(masks)],
    )


@cache
def trained(seed: int = 0, steps: int = 120, name: str = "clipseg-tiny") -> Segmenter:
    """On both discs, and on a square that is never there."""
    torch.manual_seed(seed)
    model = build_model(name, arguments={"image_size": SIDE}, targets=(BRIGHT, DARK))
    module: nn.Module = model  # type: ignore[assignment]
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    images, bright, dark = discs(96, seed)
    nothing = torch.zeros(SIDE, SIDE)
    rng = torch.Generator().manual_seed(seed)
    module.train()
    for _ in range(steps):
        chosen = torch.randint(0, len(images), (12,), generator=rng).tolist()
        pixels = model.prepare([images[one] for one in chosen])
        truths = {BRIGHT: bright, DARK: dark, SQUARE: [nothing] * len(images)}
        words = [(BRIGHT, DARK, SQUARE)[row % 3] for row in range(12)]
        masks = model.prepare_masks([truths[word][one].float() for word, one in zip(words, chosen, strict=True)])
        loss = dice_bce_loss(model.forward(pixels, model.tokenize(words)).logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval()
    return model


def wave(pixels: Tensor) -> Tensor:
    """A small random network of the first channel of a few pixels, with several maxima."""
    first = pixels[:, 0].flatten(1)
    rng = torch.Generator().manual_seed(first.shape[1])
    hidden = torch.randn(first.shape[1], 12, generator=rng)
    outer = torch.randn(12, first.shape[1], generator=rng)
    logits = torch.cos(2.5 * first @ hidden + torch.randn(12, generator=rng)) @ outer
    return logits.reshape(len(pixels), 1, *pixels.shape[-2:])


def plain_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy, (B,), by the library."""
    return F.binary_cross_entropy_with_logits(logits, masks.float(), reduction="none").flatten(1).mean(1)


def attacked(attack: Attack, count: int = 4, model: Any = None) -> Attacked:
    """Two samples of each of `count` images, by the trained model or another."""
    images, prompts, masks, _ = samples(count, 77)
    return run_attack(attack, model or trained(), images, prompts, masks)


def dices(model: Any, done: Attacked, prompts: list[str], masks: list[Tensor]) -> list[float]:
    """By the model's own steps and the metrics' own Dice, from the inputs that come back."""
    with torch.no_grad():
        logits = model.forward(done.inputs, model.tokenize(prompts)).logits
        maps = model.restore(logits, done.inputs)
    pairs = zip(maps, masks, strict=True)
    return [dice_score((one[0].sigmoid() > model.spec.threshold).numpy(), mask.numpy() > 0.5) for one, mask in pairs]


def disc_runs(root: Path, disc_writer: Callable[..., Path], prompt: str) -> Path:
    """data/ with discs, and two runs on it that have learned something, "run" and "other"."""
    from vlseg.jobs.train import train_run
    from vlseg.records import RunConfig

    data = disc_writer(root / "data", (12, 2, 4), 32)
    for seed, name in enumerate(("run", "other")):
        config = RunConfig(
            model="clipseg-tiny",
            model_arguments={"image_size": 32},
            data=[str(data)],
            prompt=prompt,
            threads=1,
            device="cpu",
            batch_size=6,
            max_steps=60,
            seed=seed,
        )
        train_run(config, root / name)
    return root
