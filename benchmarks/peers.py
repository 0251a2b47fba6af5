"""What vlseg is timed against: transformers as its users call it, and the plain training loop of the published code.

The plain loop runs in a process of its own (`python benchmarks/peers.py ...`): vlseg's settings must not reach it.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPSegProcessor, ViTImageProcessor

from vlseg.losses import dice_bce_loss
from vlseg.models.clipseg.build import build_clipseg
from vlseg.models.clipseg.model import ClipSeg
from vlseg.models.device import set_threads
from vlseg.training.freezing import apply_regime
from vlseg.training.memory import checkpoint_blocks

SIDE = 352
WORDS = "breast tumor"
Pairs = list[tuple[Path, Path]]


def model_and_processor(device: str = "cpu") -> tuple[ClipSeg, Any]:
    """CLIPSeg ViT-B/16 in vlseg's steps with random weights, and transformers' processor; both share the network.

    The last layer is scaled to logits of about 2: as they come they are of several hundred, every answer is saturated
    and nothing could be compared.
    """
    torch.manual_seed(0)
    model = build_clipseg().eval()
    with torch.no_grad():
        image, words = model.prepare([torch.rand(3, SIDE, SIDE)]), model.tokenize([WORDS])
        last = model.network.decoder.transposed_convolution[-1]
        logits = model.forward(image, words).logits
        last.weight.mul_(2 / logits.std())
        last.bias.copy_(last.bias - 2 * logits.mean() / logits.std())
    model.to(device)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    images = ViTImageProcessor(size={"height": SIDE, "width": SIDE}, image_mean=mean, image_std=std, resample=2)
    return model, CLIPSegProcessor(images, model.tokenizer)


def transformers_answer(model: ClipSeg, processor: Any, picture: Image.Image, prompts: list[str]) -> Tensor:
    """(P, H, W) probabilities: one call with as many copies of the image as prompts, maps at the image's size."""
    device = next(model.parameters()).device
    inputs = processor(text=prompts, images=[picture] * len(prompts), padding=True, return_tensors="pt").to(device)
    with torch.no_grad():
        logits = model.network(**inputs).logits.reshape(len(prompts), 1, SIDE, SIDE)
        return F.interpolate(logits, size=picture.size[::-1], mode="bilinear")[:, 0].sigmoid().cpu()


def plain_epoch(pairs: Pairs, steps: int, device: str) -> float:
    """Seconds an image: decode, process, transformers' forward in fp32, backward through the decoder, AdamW."""
    model, processor = model_and_processor(device)
    network = model.network.train()
    optimizer = torch.optim.AdamW(network.decoder.parameters(), lr=1e-4)

    def step(batch: Pairs) -> None:
        pictures = [Image.open(image).convert("RGB") for image, _ in batch]
        words = [WORDS] * len(batch)
        inputs = processor(text=words, images=pictures, padding="max_length", max_length=77, return_tensors="pt")
        masks = [Image.open(mask).convert("L").resize((SIDE, SIDE), Image.Resampling.NEAREST) for _, mask in batch]
        truth = torch.stack([torch.from_numpy(np.asarray(mask) > 127).float()[None] for mask in masks]).to(device)
        logits = network(**inputs.to(device)).logits.reshape(len(batch), 1, SIDE, SIDE)
        dice_bce_loss(logits, truth).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    step(pairs[:4])
    synchronise(device)
    begin = time.perf_counter()
    for number in range(steps):
        start = 4 * number % max(1, len(pairs) - 3)
        step(pairs[start : start + 4])
    synchronise(device)
    return (time.perf_counter() - begin) / (4 * steps)


def full_step(kind: str, steps: int, device: str) -> tuple[float, float]:
    """Median seconds of a full fine-tuning step of batch 4, one prompt, and the peak memory in GiB.

    plain: a PyTorch loop over transformers' towers and decoder, fp32, AdamW as it comes. Others: vlseg's steps, named
    by what they add to fp32: "fp32", "bf16", "checkpointed".
    """
    if kind != "plain":
        set_threads(None)  # first of all: threads inherit how small numbers are handled
    model, _ = model_and_processor(device)
    tokens = model.tokenize([WORDS] * 4).to(device)
    images = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    truth = torch.zeros(4, 1, SIDE, SIDE, device=device)
    truth[:, :, 100:200, 100:200] = 1
    network = model.network.train()
    if kind != "plain":
        apply_regime(model, "full")
    used = [p for modules in model.parts().values() for m in modules for p in m.parameters()]
    if kind == "plain":
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6)
    else:
        optimizer = torch.optim.AdamW(used, lr=1e-6, fused=True)
    if kind == "checkpointed":
        checkpoint_blocks(model)

    def plain() -> Tensor:
        vision = network.clip.vision_model(images, output_hidden_states=True, interpolate_pos_encoding=True)
        text = network.clip.get_text_features(**tokens.tensors).pooler_output
        taps = [vision.hidden_states[index + 1] for index in (3, 6, 9)]
        logits: Tensor = network.decoder(taps, text).logits[:, None]
        return logits

    def ours() -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=kind == "bf16"):
            image = model.encode_image(type(tokens)({"pixel_values": images}))
            prompts = model.encode_prompts(tokens[[0]])[[0, 0, 0, 0]]
            return model.decode(image, prompts).logits

    seconds = []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        dice_bce_loss((plain if kind == "plain" else ours)(), truth).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        synchronise(device)
        seconds.append(time.perf_counter() - begin)
    peak = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return float(np.median(seconds[1:])), peak / 2**30


def synchronise(device: str) -> None:
    """Wait for a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """`epoch IMAGES MASKS STEPS DEVICE [flush]` or `step KIND STEPS DEVICE`: one JSON line."""
    what, *rest = sys.argv[1:]
    if what == "epoch":
        images, masks, steps, device, *flush = rest
        torch.set_flush_denormal(bool(flush))
        pairs = [(path, Path(masks) / path.name) for path in sorted(Path(images).iterdir())]
        print(json.dumps(plain_epoch(pairs, int(steps), device)))
    else:
        print(json.dumps(full_step(rest[0], int(rest[1]), rest[2])))


if __name__ == "__main__":
    main()
