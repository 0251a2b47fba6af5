"""What kept features save in training `guide`: against its own loop without, and against a user's plain loop.

    python benchmarks/guide_training.py [--data FOLDER] [--rounds 3] [--epochs 1]

The network is the same in all three: EfficientNet-Lite0 at 224 px and all-MiniLM-L6-v2, both frozen, and guide's
decoder with AdamW; batch 16, one thread, horizontal mirror images. The plain loop is what a paper's repository holds:
images decoded and resized in every step, both encoders under no_grad, the longest sentence's padding. The three take
turns, each in a process of its own, and processor seconds are compared, which a busy machine moves less than the clock.
Prints a table and writes results/guide_training.json.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from machine import machine
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from vlseg.jobs.fitting import open_run, trainer_of
from vlseg.jobs.run_folder import begin
from vlseg.losses import dice_bce_loss
from vlseg.metrics import dice_score
from vlseg.models import Rows, Segmenter, build_model
from vlseg.models.device import set_threads
from vlseg.models.guide.decoder import Decoder
from vlseg.models.lite0 import read_lite0
from vlseg.models.packaged import packaged
from vlseg.records import RunConfig
from vlseg.training import Fit
from vlseg.training.precision import deterministic_on_cpu

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared" / "data"
Row = dict[str, Any]
SIDE, BATCH, PROMPT = 224, 16, "p6"
ARGUMENTS = {"encoder_weights": "lite0", "text": "minilm"}


class Plain(nn.Module):
    """The network as a user puts it together: timm's features, transformers' BERT, the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.image = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4))
        known = {key.replace(".", "_"): one for key, one in read_lite0(packaged("lite0")).items()}
        self.image.load_state_dict({key: known[key.replace(".", "_")] for key in self.image.state_dict()})
        self.text = AutoModel.from_pretrained(packaged("minilm"))
        self.tokenizer = AutoTokenizer.from_pretrained(packaged("minilm"))
        self.decoder = Decoder(self.image.feature_info.channels(), self.text.config.hidden_size, 1)
        self.image.eval(), self.text.eval()

    def forward(self, pixels: Tensor, sentences: list[str]) -> Tensor:
        """Normalised pixels (B, 3, 224, 224) to logits (B, 1, 224, 224)."""
        tokens = self.tokenizer(sentences, padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.no_grad():
            maps = self.image(pixels)
            words = self.text(**tokens).last_hidden_state
        logits = self.decoder(maps, words, tokens["attention_mask"].bool())
        return F.interpolate(logits, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


def plain_epochs(data: Path, epochs: int) -> Row:
    """Processor seconds an image of the plain loop, after three steps that do not count."""
    torch.set_num_threads(1)
    entries = [one for one in json.loads((data / "anns" / "train.json").read_text()) if one["prompts"].get(PROMPT)]
    network = Plain()
    optimizer = torch.optim.AdamW(network.decoder.parameters(), lr=1e-3)
    random.seed(0)

    def example(entry: dict[str, Any]) -> tuple[Tensor, Tensor, str]:
        picture = Image.open(data / "images" / entry["img_name"]).convert("RGB").resize((SIDE, SIDE))
        mask = (
            Image.open(data / "masks" / entry["mask_name"]).convert("L").resize((SIDE, SIDE), Image.Resampling.NEAREST)
        )
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
        truth = torch.from_numpy(np.array(mask) > 127).float()[None]
        said = entry["prompts"][PROMPT]
        if random.random() < 0.5:
            pixels, truth = pixels.flip(-1), truth.flip(-1)
        return (pixels - 0.5) / 0.5, truth, said if isinstance(said, str) else random.choice(said)

    def step(some: list[dict[str, Any]]) -> None:
        pixels, truth, sentences = zip(*map(example, some), strict=True)
        logits = network(torch.stack(pixels), list(sentences))
        dice_bce_loss(logits, torch.stack(truth)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(3):
        step(entries[:BATCH])
    begin_at = time.process_time()
    for _ in range(epochs):
        random.shuffle(entries)
        for start in range(0, len(entries), BATCH):
            step(entries[start : start + BATCH])
    return measured((time.process_time() - begin_at) / (epochs * len(entries)))


def our_epochs(data: Path, epochs: int, cache: str | None, out: Path) -> Row:
    """Processor seconds an image of vlseg's own loop after its first epoch, which fills what is kept in memory."""
    with ExitStack() as held:
        trainer = _trainer(data, cache, out, held)
        _epoch(trainer)
        begin_at = time.process_time()
        for _ in range(epochs):
            _epoch(trainer)
        return measured((time.process_time() - begin_at) / (epochs * len(trainer.groups)))


def fill(data: Path, cache: str, out: Path) -> Row:
    """Encode every view of every image, as the first epochs of a run do."""
    with ExitStack() as held:
        trainer = _trainer(data, cache, out, held)
        begin_at = time.process_time()
        for epoch in range(24):
            trainer.progress.epoch = epoch
            for _ in trainer._epoch():
                pass
        return measured((time.process_time() - begin_at) / len(trainer.groups))


def _trainer(data: Path, cache: str | None, out: Path, held: ExitStack) -> Fit:
    config = RunConfig(
        model="guide",
        model_arguments=ARGUMENTS,
        data=[str(data)],
        prompt=PROMPT,
        regime="freeze_encoders",
        device="cpu",
        threads=1,
        batch_size=BATCH,
        epochs=1000,
        patience=None,
        learning_rate=1e-3,
        feature_cache=cache,
    )
    started = begin(config, out, held, resume=False, places={})
    trainer = trainer_of(open_run(started, held))  # type: ignore[arg-type]
    assert trainer is not None
    return trainer


def _epoch(trainer: Fit) -> None:
    with deterministic_on_cpu(trainer.arithmetic.device):
        for chunk in trainer._epoch():
            rate = trainer._begin_step()
            trainer._end_step(trainer.gradients(chunk), rate)
    trainer.progress.epoch, trainer.progress.batch = trainer.progress.epoch + 1, 0


def measured(seconds: float) -> Row:
    """With the process's peak memory."""
    return {
        "cpu_ms_per_image": 1e3 * seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30,
    }


def equality(data: Path) -> Row:
    """One decoder in both networks: the largest difference of logits, and Dice of masks from kept features."""
    set_threads(1)
    torch.manual_seed(0)
    model: Segmenter = build_model("guide", arguments=ARGUMENTS)
    network: Any = model.eval()  # type: ignore[attr-defined]
    plain = Plain().eval()
    plain.decoder.load_state_dict(network.mask_decoder.state_dict())
    entries = json.loads((data / "anns" / "train.json").read_text())[:16]
    worst, dice = 0.0, []
    with torch.no_grad():
        for entry in entries:
            said = entry["prompts"][PROMPT]
            told = [said if isinstance(said, str) else said[0]]
            picture = np.array(Image.open(data / "images" / entry["img_name"]).convert("RGB").resize((SIDE, SIDE)))
            inputs = model.prepare([torch.from_numpy(picture).permute(2, 0, 1).float() / 255])
            image, prompts = model.encode_image(inputs), model.encode_prompts(model.tokenize(told))
            kept = Rows({key: one.half() for key, one in image.tensors.items()}).widened()
            ours, halved = model.decode(image, prompts).logits, model.decode(kept, prompts).logits
            theirs = plain(inputs.tensors["pixel_values"], told)
            worst = max(worst, float((ours - theirs).abs().max() / theirs.std()))
            middle = float(theirs.quantile(0.8))
            dice.append(dice_score((halved[0, 0] > middle).numpy(), (theirs[0, 0] > middle).numpy()))
    return {"largest_difference_of_logits_by_their_spread": worst, "dice_of_kept_features": min(dice)}


def child(*arguments: object) -> Row:
    """What this script prints last, run in a process of its own on one thread."""
    call = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(data: Path, rounds: int, epochs: int, images: int | None) -> list[Row]:
    """The three in turn, some rounds."""
    root = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(data, root / "data", copy_function=os.symlink)
        train = json.loads((data / "anns" / "train.json").read_text())[:images]
        (root / "data" / "anns" / "train.json").unlink()
        (root / "data" / "anns" / "train.json").write_text(json.dumps(train))
        told = {"name": "bench", "symmetries": ["horizontal"]}
        (root / "data" / "dataset.json").write_text(json.dumps(told))
        cache, out = root / "cache", root / "run"
        filled = child("--fill", "--data", root / "data", "--cache", cache, "--out-run", out / "fill")
        found: dict[str, list[Row]] = {"kept": [], "uncached": [], "plain": []}
        for turn in range(rounds):
            for kind, rows in found.items():
                more = ["--cache", cache] if kind == "kept" else []
                place = out / f"{kind}-{turn}"
                rows.append(
                    child("--kind", kind, "--data", root / "data", "--epochs", epochs, *more, "--out-run", place)
                )
    finally:
        shutil.rmtree(root)
    same = equality(data)
    rows = []
    for other, against in (("uncached", "guide's own loop without --cache"), ("plain", "plain PyTorch loop")):
        pairs = [
            (a["cpu_ms_per_image"], b["cpu_ms_per_image"]) for a, b in zip(found["kept"], found[other], strict=True)
        ]
        ratios = sorted(b / a for a, b in pairs)
        rows.append(
            {"work": "warm epoch of guide, kept features", "against": against, "ratio": statistics.median(ratios)}
            | {"spread": [ratios[0], ratios[-1]]}
            | {"cpu_ms_per_image": [statistics.median(side) for side in zip(*pairs, strict=True)]}
            | {"peak_gib": [statistics.median(one["peak_gib"] for one in found[kind]) for kind in ("kept", other)]}
            | {"equality": same, "filling_cpu_ms_per_image": filled["cpu_ms_per_image"]}
        )
    return rows


def main() -> None:
    """Print the table and write results/guide_training.json; with --kind or --fill one JSON line of one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "busi_train_small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--images", type=int, help="train on so many images, not on all")
    parser.add_argument("--kind", choices=["kept", "uncached", "plain"])
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--cache")
    parser.add_argument("--out-run", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "guide_training.json")
    options = parser.parse_args()
    if options.fill:
        print(json.dumps(fill(options.data, options.cache, options.out_run)))
    elif options.kind == "plain":
        print(json.dumps(plain_epochs(options.data, options.epochs)))
    elif options.kind:
        print(json.dumps(our_epochs(options.data, options.epochs, options.cache, options.out_run)))
    else:
        set_threads(1)
        here = machine("cpu") | {"data": options.data.name, "images": options.images}
        rows = [
            row | {"machine": here} for row in compare(options.data, options.rounds, options.epochs, options.images)
        ]
        for row in rows:
            mine, theirs = row["cpu_ms_per_image"]
            print(
                f"{row['work']}: {mine:.1f} ms, {row['ratio']:.2f} times less than {row['against']} ({theirs:.1f} ms)"
            )
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
