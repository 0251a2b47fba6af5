"""What vlseg saves: each work against a named peer, on the same machine, in one run, with the equality of the results.

    python benchmarks/bench.py [--images FOLDER] [--only NAME ...] [--quick]

CLIPSeg ViT-B/16, 352 px, random weights. Peers: transformers as its users call it, and the plain loop of the published
code (transformers' forward, images decoded in every step, fp32). Writes results/latest.json.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlseg.data import read_image
from vlseg.evaluation import Predictor
from vlseg.losses import dice_bce_loss
from vlseg.models.clipseg import ClipSeg, build_clipseg
from vlseg.records import IntensityPolicy, RunConfig, read_record
from vlseg.studies.train import train_run

RESULTS = Path(__file__).parent / "results"
PROMPTS = [f"one small round lesion number {number} at the top" for number in range(20)]


def timed(action: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median seconds after one call that does not count, and the last result."""
    result = action()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = action()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), result


def ratio(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Both in turn, so that a slow moment of the machine hits both."""
    pairs = []
    ours(), theirs()
    for _ in range(repeats):
        begin = time.perf_counter()
        ours()
        middle = time.perf_counter()
        theirs()
        pairs.append((middle - begin, time.perf_counter() - middle))
    ratios = sorted(b / a for a, b in pairs)
    return {
        "ratio": statistics.median(ratios),
        "spread": [ratios[0], ratios[-1]],
        "seconds": [statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)],
    }


def model_and_processor() -> tuple[ClipSeg, Any]:
    """Ours, and transformers' processor around the same tokenizer; both share the network."""
    from transformers import CLIPSegProcessor, ViTImageProcessor

    torch.manual_seed(0)
    model = build_clipseg().eval()
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    images = ViTImageProcessor(size={"height": 352, "width": 352}, image_mean=mean, image_std=std, resample=2)
    return model, CLIPSegProcessor(images, model.tokenizer)


def theirs(model: ClipSeg, processor: Any, picture: Image.Image, prompts: list[str]) -> torch.Tensor:
    """transformers: one call with as many copies of the image as prompts, maps brought to the image's size."""
    inputs = processor(text=prompts, images=[picture] * len(prompts), padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model.network(**inputs).logits.reshape(len(prompts), 1, 352, 352)
        return torch.nn.functional.interpolate(logits, size=picture.size[::-1], mode="bilinear")[:, 0].sigmoid()


def agreement(ours: torch.Tensor, reference: torch.Tensor) -> dict[str, float]:
    """Dice of the masks at thresholds of 5, 20 and 50 % foreground, and the rank correlation of the values."""
    from scipy.stats import spearmanr

    a, b = ours.flatten().double().numpy(), reference.flatten().double().numpy()
    dice = []
    for share in (0.05, 0.2, 0.5):
        first, second = a > np.quantile(a, 1 - share), b > np.quantile(b, 1 - share)
        dice.append(2 * float((first & second).sum()) / float(first.sum() + second.sum()))
    step = max(1, len(a) // 200_000)
    return {"dice": min(dice), "rank": float(spearmanr(a[::step], b[::step]).statistic)}


def many_prompts(pictures: list[Path], repeats: int) -> list[dict[str, Any]]:
    """20 prompts on one image; a new prompt on a known image; one prompt over a folder."""
    model, processor = model_and_processor()
    picture = Image.open(pictures[0]).convert("RGB")
    pixels = read_image(pictures[0], IntensityPolicy())
    fresh = lambda precision="fp32": Predictor(model, device="cpu", precision=precision)  # noqa: E731
    rows = []
    reference = theirs(model, processor, picture, PROMPTS)
    own = torch.stack([torch.from_numpy(one.probability) for one in fresh().segment(pixels, PROMPTS)])
    row = ratio(lambda: fresh().segment(pixels, PROMPTS), lambda: theirs(model, processor, picture, PROMPTS), repeats)
    rows.append(
        {"work": "20 prompts on one image", "against": "transformers, one call with 20 copies", "target": 8.0}
        | row
        | {"equality": agreement(own, reference)}
    )
    known = fresh()
    known.segment(pixels, ["first"])
    count = iter(range(10**6))
    row = ratio(
        lambda: known.segment(pixels, [f"lesion {next(count)} at the left"]),
        lambda: theirs(model, processor, picture, ["lesion at the left"]),
        2 * repeats,
    )
    rows.append({"work": "new prompt on a known image", "against": "transformers", "target": 15.0} | row)
    some = pictures[: 4 * repeats]
    for precision in ("fp32", "bf16"):
        predictor = fresh(precision)

        def folder() -> None:
            for path in some:
                predictor.segment(path, ["breast tumor"])  # noqa: B023

        def plain() -> None:
            for path in some:
                theirs(model, processor, Image.open(path).convert("RGB"), ["breast tumor"])

        row = ratio(folder, plain, 2)
        a = torch.from_numpy(fresh(precision).segment(some[0], ["breast tumor"])[0].probability)
        b = theirs(model, processor, Image.open(some[0]).convert("RGB"), ["breast tumor"])[0]
        rows.append(
            {"work": f"zero-shot over a folder, one prompt, {precision}", "against": "transformers fp32", "target": 2.0}
            | row
            | {"equality": agreement(a, b)}
        )
    return rows


def plain_epoch_seconds(model: ClipSeg, processor: Any, pairs: list[tuple[Path, Path]], steps: int) -> float:
    """Seconds an image of the plain loop: decode, process, transformers' forward, backward through the decoder."""
    decoder = list(model.network.decoder.parameters())
    optimizer = torch.optim.AdamW(decoder, lr=1e-4)
    network = model.network.train()

    def step(batch: list[tuple[Path, Path]]) -> None:
        pictures = [Image.open(image).convert("RGB") for image, _ in batch]
        inputs = processor(text=["breast tumor"] * len(batch), images=pictures, padding=True, return_tensors="pt")
        masks = [Image.open(mask).convert("L").resize((352, 352), Image.Resampling.NEAREST) for _, mask in batch]
        truth = torch.stack([torch.from_numpy(np.asarray(mask) > 127).float()[None] for mask in masks])
        logits = network(**inputs).logits.reshape(len(batch), 1, 352, 352)
        dice_bce_loss(logits, truth).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    step(pairs[:4])
    begin = time.perf_counter()
    for number in range(steps):
        start = 4 * number % max(1, len(pairs) - 4)
        step(pairs[start : start + 4])
    return (time.perf_counter() - begin) / (4 * steps)


def frozen_training(pictures: list[Path], masks: Path, repeats: int) -> list[dict[str, Any]]:
    """A cold and a warm epoch of `vlseg train --cache` against the plain loop, and the grid of 10 prompts x 3 seeds."""
    model, processor = model_and_processor()
    pairs = [(path, masks / path.name) for path in pictures]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        data = _dataset(root / "data", pairs)
        model.save(root / "clipseg")

        def run(name: str, precision: str, epochs: int, seed: int = 0) -> float:
            config = RunConfig(
                model="clipseg",
                weights=str(root / "clipseg"),
                data=[str(data)],
                prompt="p1",
                regime="decoder",
                device="cpu",
                batch_size=4,
                epochs=epochs,
                augment=False,
                patience=None,
                precision=precision,  # type: ignore[arg-type]
                feature_cache=str(root / f"cache-{precision}"),
                seed=seed,
            )
            out = root / name
            train_run(config, out)
            last = [float(row.split(",")[-1]) for row in (out / "history.csv").read_text().splitlines()[1:]]
            assert read_record(out / "run.json").status == "done"
            return last[-1]

        for precision in ("fp32", "bf16"):
            cold = run(f"cold-{precision}", precision, 1)
            one = run(f"one-{precision}", precision, 1)
            three = run(f"three-{precision}", precision, 3)
            warm = (three - one) / 2
            plain = plain_epoch_seconds(model, processor, pairs, 3 * repeats) * len(pairs)
            rows.append(
                {
                    "work": f"warm epoch, frozen encoders, {len(pairs)} real images, {precision} decoder",
                    "against": "plain loop, per image times images",
                    "target": 12.0,
                    "ratio": plain / warm,
                    "spread": None,
                    "seconds": [warm, plain],
                    "cold_ratio": plain / cold,
                }
            )
            job, other = cold + 299 * warm, 300 * plain
            rows.append(
                {
                    "work": f"10 prompts x 3 seeds, 10 epochs, with the first encoding, {precision}",
                    "against": "plain loop; both computed from the epochs above",
                    "target": 12.0,
                    "ratio": other / job,
                    "spread": None,
                    "seconds": [job, other],
                }
            )
    return rows


def _dataset(root: Path, pairs: list[tuple[Path, Path]]) -> Path:
    for name in ("images", "masks", "anns"):
        (root / name).mkdir(parents=True)
    entries = []
    for image, mask in pairs:
        (root / "images" / image.name).write_bytes(image.read_bytes())
        (root / "masks" / image.name).write_bytes(mask.read_bytes())
        entries.append({"img_name": image.name, "mask_name": image.name, "prompts": {"p1": "breast tumor"}})
    for split, found in (("train", entries), ("val", []), ("test", [])):
        (root / "anns" / f"{split}.json").write_text(json.dumps(found))
    (root / "dataset.json").write_text(json.dumps({"name": "bench", "prompt_sources": {"p1": ["class"]}}))
    return root


def full_step(kind: str, steps: int) -> tuple[float, float]:
    """Median seconds of a full fine-tuning step of batch 4, and the process's peak memory in GiB."""
    model, _ = model_and_processor()
    tokens = model.tokenize(["breast tumor"] * 4)
    images = torch.rand(4, 3, 352, 352, generator=torch.Generator().manual_seed(0))
    truth = torch.zeros(4, 1, 352, 352)
    truth[:, :, 100:200, 100:200] = 1
    trained = [p for modules in model.parts().values() for m in modules for p in m.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=kind != "plain")
    network = model.network.train()

    def plain() -> None:
        vision = network.clip.vision_model(images, output_hidden_states=True, interpolate_pos_encoding=True)
        text = network.clip.get_text_features(**tokens.tensors).pooler_output
        taps = [vision.hidden_states[index + 1] for index in (3, 6, 9)]
        logits = network.decoder(taps, text).logits[:, None]
        dice_bce_loss(logits, truth).backward()  # type: ignore[no-untyped-call]

    def ours() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
            image = model.encode_image(type(tokens)({"pixel_values": images}))
            prompts = model.encode_prompts(tokens[[0]])[[0, 0, 0, 0]]
            logits = model.decode(image, prompts).logits
        dice_bce_loss(logits, truth).backward()  # type: ignore[no-untyped-call]

    def step() -> None:
        (plain if kind == "plain" else ours)()
        optimizer.step()
        optimizer.zero_grad()

    seconds, _ = timed(step, steps)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def full_training(repeats: int) -> list[dict[str, Any]]:
    """Each kind in a process of its own: peak memory belongs to a process."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(max(1, repeats // 2)):
        for kind in ("plain", "fp32", "bf16"):
            call = [sys.executable, __file__, "--step", kind]
            done = subprocess.run(call, capture_output=True, text=True, check=True)
            found.setdefault(kind, []).append(tuple(json.loads(done.stdout.splitlines()[-1])))
    rows = []
    for kind in ("fp32", "bf16"):
        ratios = sorted(a[0] / b[0] for a, b in zip(found["plain"], found[kind], strict=True))
        rows.append(
            {
                "work": f"full fine-tuning step, both encoders trained, batch 4, {kind}",
                "against": "plain PyTorch loop over the same towers, fp32",
                "target": 1.5,
                "ratio": statistics.median(ratios),
                "spread": [ratios[0], ratios[-1]],
                "seconds": [found[kind][0][0], found["plain"][0][0]],
                "memory_ratio": statistics.median(
                    o[1] / p[1] for o, p in zip(found[kind], found["plain"], strict=True)
                ),
                "memory_gib": [found[kind][0][1], found["plain"][0][1]],
            }
        )
    return rows


def floors() -> dict[str, float]:
    """Seconds of the parts on their own: what no caching of features can go below."""
    model, _ = model_and_processor()
    inputs = model.prepare([torch.rand(3, 352, 352)])
    with torch.inference_mode():
        image_seconds, image = timed(lambda: model.encode_image(inputs), 3)
        text_seconds, text = timed(lambda: model.encode_prompts(model.tokenize(PROMPTS[:1])), 3)
        decode_seconds, _ = timed(lambda: model.decode(image, text), 5)
    features, prompts = image[[0] * 4], text[[0] * 4]
    features = type(image)({k: t.clone() for k, t in features.tensors.items()})
    prompts = type(text)({k: t.clone() for k, t in prompts.tensors.items()})
    truth = torch.zeros(4, 1, 352, 352)

    def step() -> None:
        dice_bce_loss(model.decode(features, prompts).logits, truth).backward()  # type: ignore[no-untyped-call]

    step_seconds, _ = timed(step, 5)
    return {
        "encode_image": image_seconds,
        "encode_prompt": text_seconds,
        "decode": decode_seconds,
        "decoder_step_per_image": step_seconds / 4,
    }


def main() -> None:
    """Run what is asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder with images/ and masks/ of equal names")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(full_step(options.step, 3)))
        return
    with tempfile.TemporaryDirectory() as place:
        root = options.images or _made_up(Path(place))
        pictures = sorted((root / "images").iterdir())
        rows = many_prompts(pictures, options.repeats)
        rows += frozen_training(pictures, root / "masks", options.repeats)
        rows += full_training(options.repeats)
        for row in rows:
            row["spread"] = row.get("spread")
        told = {
            "date": time.strftime("%Y-%m-%d"),
            "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
            "torch": torch.__version__,
            "images": "made up" if options.images is None else f"{len(pictures)} real ones",
            "floor": floors(),
            "results": rows,
        }
    for row in rows:
        print(f"{row['work']:<75} {row['ratio']:7.1f} x  (target {row['target']:g} x) against {row['against']}")
    print(json.dumps(told["floor"]))
    (RESULTS / "latest.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _made_up(root: Path) -> Path:
    """Forty images of 500 x 560 with a disc."""
    for name in ("images", "masks"):
        (root / name).mkdir()
    yy, xx = np.mgrid[:500, :560]
    for number in range(40):
        rng = np.random.default_rng(number)
        mask = np.hypot(yy - rng.uniform(150, 350), xx - rng.uniform(150, 400)) < rng.uniform(30, 120)
        pixels = np.clip(rng.normal(100, 25, (500, 560)) + 70 * mask, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).convert("RGB").save(root / "images" / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / f"{number}.png")
    return root


if __name__ == "__main__":
    main()
