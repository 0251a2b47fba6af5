"""What vlseg saves: each work against a named peer, on the same machine, in one run, with the equality of the results.

    make bench            or: python benchmarks/bench.py [--images FOLDER ...] [--only WORK ...] [--device cuda]

CLIPSeg ViT-B/16, 352 px, random weights. Peers: transformers as its users call it, the plain loop of the published code
(transformers' forward, images decoded in every step, fp32), MONAI. Both sides take turns, so that a slow moment of the
machine hits both. Prints a table and writes results/latest.json.
"""

import argparse
import csv
import json
import os
import shutil
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
from attack_speed import equality as attacked_alike
from attack_speed import works as attack_works
from engines import KINDS, plain_script
from engines import folders as engine_folders
from engines import works as engine_works
from machine import machine
from peers import WORDS, model_and_processor, synchronise, transformers_answer
from PIL import Image
from scipy.stats import spearmanr
from serving import works as served_works
from surface_metrics import monai, ours, pair
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vlseg.data import read_image
from vlseg.evaluation import Predictor
from vlseg.losses import dice_bce_loss
from vlseg.metrics import score_pair
from vlseg.models import Rows
from vlseg.models.device import set_threads, slow_precision
from vlseg.records import IntensityPolicy

HERE = Path(__file__).parent
WORKS = ["prompts", "frozen", "full", "surfaces", "attacks", "served", "engines"]
SHARED = HERE.parent.parent / "shared" / "data"
PROMPTS = [f"one small round lesion number {number} at the top" for number in range(20)]
Row = dict[str, Any]


def in_turn(mine: Callable[[], Any], theirs: Callable[[], Any], repeats: int, *, warm: bool = True) -> Row:
    """Median ratio of their seconds to ours, its spread, and both medians; `warm`: once before that does not count."""
    if warm:
        mine(), theirs()
    pairs = []
    for _ in range(repeats):
        begin = time.perf_counter()
        mine()
        middle = time.perf_counter()
        theirs()
        pairs.append((middle - begin, time.perf_counter() - middle))
    return told(pairs)


def told(pairs: list[tuple[float, float]]) -> Row:
    """A row's figures from (our seconds, their seconds)."""
    ratios = sorted(b / a for a, b in pairs)
    seconds = [statistics.median(side) for side in zip(*pairs, strict=True)]
    return {"ratio": statistics.median(ratios), "spread": [ratios[0], ratios[-1]], "seconds": seconds}


def agreement(ours: Tensor, reference: Tensor) -> dict[str, float]:
    """Dice of the masks at thresholds of 5, 20 and 50 % foreground (the least), and the rank correlation."""
    a, b = ours.flatten().double().numpy(), reference.flatten().double().numpy()
    dice = []
    for share in (0.05, 0.2, 0.5):
        first, second = a > np.quantile(a, 1 - share), b > np.quantile(b, 1 - share)
        dice.append(2 * float((first & second).sum()) / float(first.sum() + second.sum()))
    step = max(1, len(a) // 200_000)
    return {"dice": min(dice), "rank": float(spearmanr(a[::step], b[::step]).statistic)}


def many_prompts(pictures: list[Path], repeats: int, device: str) -> list[Row]:
    """20 prompts on one image; a new prompt on a known image; one prompt over a folder."""
    model, processor = model_and_processor(device)
    picture = Image.open(pictures[0]).convert("RGB")
    pixels = read_image(pictures[0], IntensityPolicy())
    reference = transformers_answer(model, processor, picture, PROMPTS)

    def fresh(precision: str = "fp32") -> Predictor:
        return Predictor(model, device=device, precision=precision)

    def asked(predictor: Predictor, image: Any, prompts: list[str]) -> Tensor:
        return torch.stack([torch.from_numpy(one.probability) for one in predictor.segment(image, prompts)])

    def equality(predictor: Predictor) -> dict[str, float]:
        """On one image: with the same pixels in both networks, and as they come (transformers resizes in 8 bit)."""
        tokens = processor(text=PROMPTS, padding=True, return_tensors="pt").to(device)
        same = model.prepare([torch.from_numpy(pixels.transpose(2, 0, 1).copy()).to(device)] * len(PROMPTS))
        with torch.no_grad():
            logits = model.network(pixel_values=same.tensors["pixel_values"], **tokens).logits[:, None]
        maps = torch.stack([one[0] for one in model.restore(logits, same)]).sigmoid().cpu()
        mine = asked(predictor, pixels, PROMPTS)
        return agreement(mine, maps) | {"dice_with_its_own_resizing": agreement(mine, reference)["dice"]}

    rows: list[Row] = [
        {"work": "20 prompts on one image", "against": "transformers, one call with 20 copies", "target": 8.0}
        | in_turn(
            lambda: asked(fresh(), pixels, PROMPTS),
            lambda: transformers_answer(model, processor, picture, PROMPTS),
            max(1, repeats // 2),
        )
        | {"equality": equality(fresh()), "floor": floor(model, 1, 20)}
    ]
    known = fresh()
    known.segment(pixels, ["first"])
    count = iter(range(10**6))
    rows.append(
        {"work": "new prompt on a known image", "against": "transformers", "target": 15.0}
        | in_turn(
            lambda: known.segment(pixels, [f"lesion {next(count)} at the left"]),
            lambda: transformers_answer(model, processor, picture, ["lesion at the left"]),
            2 * repeats,
        )
        | {"equality": equality(known), "floor": floor(model, 0, 1)}
    )
    some = pictures[: 4 * repeats]
    for precision in precisions(device):
        predictor = fresh(precision)
        rows.append(
            {"work": f"zero-shot over a folder, one prompt, {precision}", "against": "transformers", "target": 2.0}
            | in_turn(
                lambda p=predictor: [p.segment(path, [WORDS]) for path in some],
                lambda: [
                    transformers_answer(model, processor, Image.open(path).convert("RGB"), [WORDS]) for path in some
                ],
                3,
            )
            | {"equality": equality(fresh(precision)), "floor": floor(model, 1, 1)}
        )
    return rows


def precisions(device: str) -> list[str]:
    """fp32, and bf16 where the machine computes it."""
    return ["fp32"] if slow_precision("bf16", torch.device(device)) else ["fp32", "bf16"]


def floor(model: Any, images: int, prompts: int) -> Row:
    """FLOPs of so many encoded images and decoded prompts: nothing that gives these answers computes less."""
    device = next(model.parameters()).device
    one = model.prepare([torch.rand(3, 352, 352, device=device)])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = model.encode_image(one)
    encode = counter.get_total_flops()
    told_prompts = model.tokenize([WORDS]).to(device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.decode(features, model.encode_prompts(told_prompts))
    return {"gflop": round((images * encode + prompts * counter.get_total_flops()) / 1e9, 2)}


def decoder_step(device: str) -> Row:
    """Seconds an image of a training step on features in memory, its FLOPs, and the features' bytes."""
    model, _ = model_and_processor(device)
    with torch.no_grad():
        features = model.encode_image(model.prepare([torch.rand(3, 352, 352, device=device)] * 4))
        prompts = model.encode_prompts(model.tokenize([WORDS] * 4).to(device))
    truth = torch.zeros(4, 1, 352, 352, device=device)
    features, prompts = (Rows({k: t.clone() for k, t in rows.tensors.items()}) for rows in (features, prompts))

    def step() -> None:
        dice_bce_loss(model.decode(features, prompts).logits, truth).backward()  # type: ignore[no-untyped-call]
        synchronise(device)

    with FlopCounterMode(display=False) as counter:
        step()
    seconds = []
    for _ in range(7):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    size = sum(tensor.numel() * 2 for tensor in features.tensors.values()) / 4
    return {
        "seconds_per_image": statistics.median(seconds) / 4,
        "gflop_per_image": round(counter.get_total_flops() / 4e9, 2),
        "feature_mb_per_image": round(size / 1e6, 2),
    }


def child(script: str, *arguments: object) -> Any:
    """The JSON that a script prints last, run in a process of its own."""
    call = [sys.executable, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(HERE)})
    return json.loads(done.stdout.splitlines()[-1])


def frozen_training(root: Path, repeats: int, device: str) -> list[Row]:
    """A cold and a warm epoch of `vlseg train --cache` against the plain loop, and the grid of 10 prompts x 3 seeds."""
    model, _ = model_and_processor()
    model.save(root / "clipseg")
    images = len(list((root / "data" / "images").iterdir()))
    low = decoder_step(device)
    rows = []
    for precision in precisions(device):
        cache = root / f"cache-{precision}"
        options = ["--model", "clipseg", "--weights", root / "clipseg", "--data", root / "data", "--prompt", "p1"]
        options += ["--regime", "decoder", "--device", device, "--precision", precision, "--cache", cache]
        options += [f"--set={key}" for key in ("batch_size=4", "augment=false", "patience=null", "prompts_per_image=1")]

        def train(name: str, epochs: int, options: list[Any] = options) -> list[tuple[int, float]]:
            call = [sys.executable, "-m", "vlseg", "train", *options, f"--set=epochs={epochs}", "--out", root / name]
            subprocess.run([str(part) for part in call], check=True, capture_output=True)
            with (root / name / "history.csv").open() as file:
                return [(int(row["step"]), float(row["seconds"])) for row in csv.DictReader(file)]

        cold = train(f"cold-{precision}", 1)[-1][1]
        pairs = []
        for turn in range(max(3, repeats)):
            history = train(f"warm-{precision}-{turn}", 4)
            # The first epoch decodes masks and tokenizes; the later ones are the many.
            (first, begin), (last, end) = history[len(history) // 4], history[-1]
            warm = (end - begin) / (last - first) * last / 4
            plain = child("peers.py", "epoch", root / "data" / "images", root / "data" / "masks", 2 * repeats, device)
            pairs.append((warm, plain * images))
        flushed = child(
            "peers.py", "epoch", root / "data" / "images", root / "data" / "masks", 2 * repeats, device, "flush"
        )
        figures = told(pairs)
        warm, plain = figures["seconds"]
        rows.append(
            {"work": f"warm epoch, frozen encoders, {images} images from disk, {precision}", "against": "plain loop"}
            | {"target": 12.0, **figures, "floor": low}
            | {"cold_epoch_ratio": plain / cold, "ratio_with_denormals_flushed_in_both": flushed * images / warm}
        )
        rows.append(
            {"work": f"10 prompts x 3 seeds, 10 epochs, first encoding included, {precision}"}
            | {"against": "plain loop; both extrapolated from the epochs above", "target": 12.0}
            | {"ratio": 300 * plain / (cold + 299 * warm), "spread": None}
            | {"seconds": [cold + 299 * warm, 300 * plain], "floor": low}
        )
        rows.append(paper_grid(cold / images, warm / images, plain / images, precision))
    return rows


PAPER_PAIRS = {"kvasir": (800, 10), "clinicdb": (490, 10), "bkai": (800, 10), "isic": (810, 10), "dfu": (1600, 10)}
PAPER_PAIRS |= {"camus": (4800, 8), "busi": (624, 7), "chexlocalize": (1279, 7), "pooled": (11203, 11)}
"""Training samples and prompts of the paper's 83 dataset-prompt pairs; the pooled set with what is left of the 83."""
PAPER_EPOCHS = 30


def paper_grid(cold: float, warm: float, plain: float, precision: str) -> Row:
    """Hours of the paper's frozen grid: 4 models x 83 dataset-prompt pairs, 30 epochs, each model taken as CLIPSeg."""
    samples = sum(count for count, _ in PAPER_PAIRS.values())
    work = sum(count * prompts for count, prompts in PAPER_PAIRS.values()) * PAPER_EPOCHS
    mine, theirs = (4 * (samples * cold + work * warm) / 3600, 4 * work * plain / 3600)
    return {
        "work": f"the paper's frozen grid: 4 models x 83 pairs, {PAPER_EPOCHS} epochs, computed, {precision}",
        "against": "plain loop, computed",
        "target": None,
        "ratio": theirs / mine,
        "spread": None,
        "hours": [mine, theirs],
        "floor": None,
    }


def full_training(repeats: int, device: str) -> list[Row]:
    """A step with both encoders trained, and its memory; each kind in a process of its own."""
    kinds = ["fp32", "checkpointed"] + (["bf16"] if "bf16" in precisions(device) else [])
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(max(2, repeats // 2)):
        for kind in ["plain", *kinds]:
            found.setdefault(kind, []).append(child("peers.py", "step", kind, 2, device))
    rows = []
    for kind in kinds:
        both = list(zip(found[kind], found["plain"], strict=True))
        memory = [statistics.median(one[1] for one in found[name]) for name in (kind, "plain")]
        rows.append(
            {"work": f"full fine-tuning step, both encoders trained, batch 4, {kind}", "against": "plain PyTorch loop"}
            | {"target": 1.5, **told([(a[0], b[0]) for a, b in both]), "floor": None}
        )
        rows.append(
            {
                "work": f"peak memory of full fine-tuning, {kind}",
                "against": "plain PyTorch loop (share; less is better)",
            }
            | {"target": 0.7, "ratio": memory[0] / memory[1], "spread": None, "gib": memory, "floor": None}
        )
    return rows


def surfaces(repeats: int) -> list[Row]:
    """All surface metrics of 500 pairs of masks of 512 x 512."""
    pairs = [pair(seed, 512) for seed in range(500)]
    worst = 0.0
    for (pred, target), other in zip(pairs[:100], monai(pairs[:100]), strict=True):
        mine = score_pair(pred, target)
        values = zip((mine.hd95, mine.hd, mine.nsd, mine.assd), other, strict=True)
        worst = max([worst, *(abs(a - b) for a, b in values if a is not None and np.isfinite(b))])
    work = {"work": "surface metrics of 500 pairs of masks, 512 x 512", "against": "MONAI loop", "target": 5.0}
    figures = in_turn(lambda: ours(pairs), lambda: monai(pairs), max(2, repeats // 2), warm=False)
    return [work | figures | {"equality": {"largest_difference": worst}, "floor": None}]


def attacks(repeats: int, device: str) -> list[Row]:
    """A step of PGD, several prompts and restarts an image."""
    return [
        {"work": work.name, "against": "plain loop, one sample and restart at a time", "target": 2.0}
        | in_turn(work.mine, work.theirs, repeats)
        | {"equality": attacked_alike(work)}
        for work in attack_works(device)
    ]


def over_http(picture: Path, repeats: int, device: str) -> list[Row]:
    """First mask and next prompt, asked of a server on this machine."""
    with served_works(picture, device) as works:
        return [
            {"work": work.name, "against": "transformers in the program itself", "target": None}
            | in_turn(work.mine, work.theirs, 2 * repeats)
            | {"equality": {"pixels_unlike_predictor": work.difference()}, "floor": None}
            for work in works
        ]


def engines(root: Path, pictures: list[Path], repeats: int) -> list[Row]:
    """What each engine gives over the same network: a folder, first mask, next prompt, memory, start from the shell."""
    slow = bool(slow_precision("bf16", torch.device("cpu")))
    kinds = tuple(kind for kind in KINDS if not (slow and kind.endswith("bf16")))
    found = engine_folders(root, kinds, pictures[2 * repeats :][-32:])  # others than are measured
    rows = starts(root, pictures[0], found, repeats)
    for work in engine_works(found, pictures[: 2 * repeats]):
        some = 2 * repeats if "prompt on" in work.name else repeats
        rows.append(
            {"work": f"{work.name}, {work.kind}", "against": "transformers", "target": work.target}
            | in_turn(work.mine, work.theirs, some)
            | {"equality": {f"dice_{name}": value for name, value in work.dice().items()}, "floor": None}
        )
    return rows


def starts(root: Path, picture: Path, found: dict[str, Path], repeats: int) -> list[Row]:
    """Seconds from the shell to one written mask, and the peak memory of loading and one answer."""
    script = plain_script(found["torch fp32"], picture, root / "mask.png")
    # Bytecode and OpenVINO's compiled graphs are kept from the first start on, as by users.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept["VLSEG_CACHE"] = str(root / "kept")
    rows = []
    least = child("engines.py", "peak", "transformers", found["torch fp32"], picture)

    def shell(kind: str, folder: Path) -> None:
        precision = "bf16" if kind == "torch bf16" else "fp32"
        call = [sys.executable, "-m", "vlseg", "predict", folder, "--image", picture, "--prompt", WORDS]
        call += ["--out", root / f"masks-{kind}", "--device", "cpu", "--precision", precision]
        subprocess.run([str(part) for part in call], check=True, capture_output=True, env=kept)

    for kind, folder in found.items():
        rows.append(
            {"work": f"vlseg predict from the shell, one image, {kind}", "against": "plain transformers script"}
            | {"target": 1.25}
            | in_turn(
                lambda kind=kind, folder=folder: shell(kind, folder),
                lambda: subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, env=kept),
                max(3, repeats),
            )
            | {"floor": None}
        )
        gib = child("engines.py", "peak", kind, folder, picture)
        rows.append(
            {"work": f"peak memory of one answer, {kind}", "against": "transformers (share; less is better)"}
            | {"target": None, "ratio": gib / least, "spread": None, "gib": [gib, least], "floor": None}
        )
    return rows


def dataset(root: Path, sources: list[Path]) -> Path:
    """The images of several folders, with their masks, as one training split; made-up ones where there is no source."""
    for name in ("images", "masks", "anns"):
        (root / name).mkdir(parents=True)
    if not sources:
        made_up(root)
    for source in sources:
        masks = {path.stem: path for path in (source / "masks").iterdir()}
        for image in sorted((source / "images").iterdir()):
            name = f"{source.name}-{image.stem}.png"
            Image.open(image).convert("RGB").save(root / "images" / name)
            mask = np.asarray(Image.open(masks[image.stem]).convert("L"))
            Image.fromarray(np.where(mask > 0, np.uint8(255), np.uint8(0))).save(root / "masks" / name)
    entries = [
        {"img_name": path.name, "mask_name": path.name, "prompts": {"p1": WORDS}}
        for path in sorted((root / "images").iterdir())
    ]
    for split, found in (("train", entries), ("val", []), ("test", [])):
        (root / "anns" / f"{split}.json").write_text(json.dumps(found))
    (root / "dataset.json").write_text(json.dumps({"name": "bench", "prompt_sources": {"p1": ["class"]}}))
    return root


def made_up(root: Path) -> None:
    """Forty images of 500 x 560 with a disc."""
    yy, xx = np.mgrid[:500, :560]
    for number in range(40):
        rng = np.random.default_rng(number)
        mask = np.hypot(yy - rng.uniform(150, 350), xx - rng.uniform(150, 400)) < rng.uniform(30, 120)
        pixels = np.clip(rng.normal(100, 25, (500, 560)) + 70 * mask, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).convert("RGB").save(root / "images" / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / f"{number}.png")


def main() -> None:
    """Run what is asked for, print the table, write results/latest.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, nargs="*", help="folders with images/ and masks/ of equal names")
    parser.add_argument("--only", nargs="*", choices=WORKS)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "latest.json")
    options = parser.parse_args()
    sources = options.images
    if sources is None:
        sources = [path for name in ("busi_sample", "chase_db1") if (path := SHARED / name).is_dir()]
    set_threads(None)
    root = Path(tempfile.mkdtemp())
    try:
        pictures = sorted((dataset(root / "data", sources) / "images").iterdir())
        works: dict[str, Callable[[], list[Row]]] = {
            "prompts": lambda: many_prompts(pictures, options.repeats, options.device),
            "frozen": lambda: frozen_training(root, options.repeats, options.device),
            "full": lambda: full_training(options.repeats, options.device),
            "surfaces": lambda: surfaces(options.repeats),
            "attacks": lambda: attacks(max(1, options.repeats // 2), options.device),
            "served": lambda: over_http(pictures[0], options.repeats, options.device),
            "engines": lambda: engines(root / "engines", pictures, options.repeats),
        }
        here = machine(options.device) | {"images": f"{len(pictures)} {'real' if sources else 'made-up'} ones"}
        rows = [row | {"machine": here} for name in options.only or works for row in works[name]()]
    finally:
        shutil.rmtree(root)
    for row in rows:
        target = "" if row["target"] is None else f"(target {row['target']:g})"
        print(f"{row['work']:<84} {row['ratio']:6.2f} {target:<13} against {row['against']}")
    options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
