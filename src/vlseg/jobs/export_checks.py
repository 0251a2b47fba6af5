"""What an export is held against: the model itself in PyTorch, on the samples that it was validated on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vlseg.data import load_image
from vlseg.evaluation import Familiarity, Setting, clean_queries, evaluate, model_answers, ready
from vlseg.evaluation.answers import prompt_of
from vlseg.jobs.calibrate import of_run
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.jobs.results import Result, gather, paired
from vlseg.jobs.scoring import prompted_split
from vlseg.metrics import Comparison
from vlseg.models import Segmenter
from vlseg.prompts import Prompted
from vlseg.records import InputError, read_config

CHECKED_IMAGES = 16
"""On at most so many images, spread over the samples, every number of the answers is compared."""
EXAMPLES = 32
"""Images whose ranges int8 takes where these are fixed."""
SAME = 1e-3
"""In single precision no logit may differ by more, in units of the logits' deviation."""
FLAT = 1e-3
"""Of the largest logit; logits that deviate by less are told in units of this."""
MOST_LOST = 0.01
"""Of the mean Dice; an export that loses more is not left as done."""
MADE_UP = ("a round mass", "")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Held:
    """Samples with a mask to hold an export against, and of a run on its own data what training showed."""

    pool: Pool
    items: list[Prompted]
    split: str
    trained: list[Prompted] | None = None

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.split} of {self.pool.name}, prompt {self.pool.prompt}"


@dataclass(frozen=True)
class Parity:
    """How far answers lie from PyTorch's.

    Attributes:
        images: that were asked about.
        made_up: whether these are noise, for want of others.
        largest: difference of two logits, in units of the deviation of PyTorch's.
        mask_dice: mean over answers of the Dice of both masks; 1 where both are empty.
    """

    images: int
    made_up: bool
    largest: float
    mask_dice: float


@dataclass(frozen=True)
class Cost:
    """Mean Dice over the same samples in PyTorch and as exported, and the paired difference of these."""

    on: str
    torch: float
    exported: float
    compared: Comparison

    @property
    def too_much(self) -> bool:
        """Whether more than a point is lost."""
        return self.exported - self.torch < -MOST_LOST


def held_of(run: Path | None, data: Sequence[str], prompt: str | None, target: str | None, split: str) -> Held | None:
    """The samples to hold an export against; None: nothing says which.

    A run has its own val set, prompt and target; what is given replaces them.

    Raises:
        InputError: data that are not there, or an unknown prompt, target or split.
    """
    if run is not None and prompt is None and target is None and split == "val":
        try:
            pool, chosen, trained, _ = of_run(run, data)
        except InputError:
            if not data:
                raise
        else:
            return _held(pool, chosen.val, split, trained)
    if not data and run is None:
        return None
    config = None if run is None else read_config(run / "config.yaml")
    pool = open_pool(
        list(data) or (config.data if config else []),
        prompt or (config.prompt if config else "class"),
        target or (config.target if config else None),
    )
    return _held(pool, prompted_split(pool, split), split, None)


def _held(pool: Pool, items: Sequence[Prompted], split: str, trained: list[Prompted] | None) -> Held | None:
    masked = [item for item in items if item.sample.mask_paths]
    return Held(pool, masked, split, trained) if masked else None


def parity(one: Segmenter, other: Segmenter, held: Held | None, threshold: float) -> Parity:
    """Every logit of both models at the images' own sizes.

    Raises:
        InputError: the first answers with values that are not finite.
    """
    asked = _asked(one, held)
    first, second = ([_answer(ready(model, CPU), *pair) for pair in asked] for model in (one, other))
    every = np.concatenate([logits.ravel() for logits in first]).astype(np.float64)
    if not np.isfinite(every).all():
        raise InputError(
            f"'{one.spec.name}': answers with values that are not finite (NaN or infinity) in PyTorch itself; train it "
            "again"
        )
    # A network that says the same everywhere has no deviation but its numbers' own rounding.
    deviation = max(float(every.std()), FLAT * float(np.abs(every).max())) or 1.0
    largest = max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))
    limit = float(np.log(threshold / (1 - threshold))) if 0 < threshold < 1 else (np.inf if threshold else -np.inf)
    overlaps = [
        _overlap(c > limit, d > limit) for a, b in zip(first, second, strict=True) for c, d in zip(a, b, strict=True)
    ]
    broken = not all(np.isfinite(logits).all() for logits in second)
    return Parity(len(asked), held is None, np.inf if broken else largest / deviation, float(np.mean(overlaps)))


def _asked(model: Segmenter, held: Held | None) -> list[tuple[np.ndarray, list[str]]]:
    """Images and what is asked of each."""
    if held is None:
        draw = np.random.default_rng(0)
        words = list(model.spec.targets if model.spec.uses_target else MADE_UP)
        return [(draw.random((size, 80, 3), np.float32), words) for size in (64, 96)]
    images: dict[tuple[str, str], list[str]] = {}
    first: dict[tuple[str, str], Prompted] = {}
    for query in clean_queries(held.items):
        sample = query.prompted.sample
        key = (sample.dataset, sample.image_id)
        first.setdefault(key, query.prompted)
        images.setdefault(key, []).append(prompt_of(model, query))
    keys = list(images)
    chosen = [keys[int(place)] for place in np.linspace(0, len(keys) - 1, min(CHECKED_IMAGES, len(keys)))]
    return [
        (load_image(first[key].sample, held.pool.infos[key[0]]), list(dict.fromkeys(images[key]))) for key in chosen
    ]


@torch.no_grad()
def _answer(model: Segmenter, image: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
    """(P, H, W), or for a model that answers all targets at once (C, H, W)."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    inputs = model.prepare([pixels])
    features, tokens = model.encode_image(inputs), model.tokenize(prompts)
    if tokens is None:
        return model.restore(model.decode(features, None).logits, inputs)[0].numpy()
    rows = [0] * len(prompts)
    logits = model.decode(features[rows], model.encode_prompts(tokens)).logits
    return np.concatenate([one.numpy() for one in model.restore(logits, inputs[rows])])


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


def calibration_examples(model: Segmenter, held: Held | None) -> list[tuple[np.ndarray, str]]:
    """Images with a prompt each, of the training where it is at hand, else of what the export is held against."""
    if held is None:
        return []
    queries = {
        (q.prompted.sample.dataset, q.prompted.sample.image_id): q for q in clean_queries(held.trained or held.items)
    }
    keys = list(queries)
    chosen = [queries[keys[int(place)]] for place in np.linspace(0, len(keys) - 1, min(EXAMPLES, len(keys)))]
    return [
        (load_image(q.prompted.sample, held.pool.infos[q.prompted.sample.dataset]), prompt_of(model, q)) for q in chosen
    ]


def cost(one: Segmenter, other: Segmenter, held: Held, threshold: float) -> Cost | None:
    """Dice of both over all of the samples; None where none of them has a truth."""
    before, after = (_scored(model, held, threshold) for model in (one, other))
    compared = paired(before, after)
    if not compared.n:
        return None
    means = [float(np.mean([result.values[key] for key in before.values])) for result in (before, after)]
    return Cost(held.name, means[0], means[1], compared)


def _scored(model: Segmenter, held: Held, threshold: float) -> Result:
    spec, infos = model.spec, held.pool.infos
    setting = Setting(spec.name, spec.protocol, spec.engine, 0, CPU, threshold)
    answer = model_answers(ready(model, CPU), setting, None, infos)
    return gather(spec.engine, "dice", evaluate(answer, clean_queries(held.items), infos, setting))


@torch.no_grad()
def changed_verdicts(one: Segmenter, other: Segmenter, familiarity: Familiarity, held: Held) -> tuple[int, int]:
    """On how many of the samples' images the two models' features are judged differently, and of how many."""
    images = {(item.sample.dataset, item.sample.image_id): item.sample for item in held.items}
    changed = 0
    for sample in images.values():
        image = load_image(sample, held.pool.infos[sample.dataset])
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        states = {familiarity.judge(image, model.encode_image(model.prepare([pixels]))).state for model in (one, other)}
        changed += len(states) > 1
    return changed, len(images)


def shown_cost(cost: Cost) -> str:
    """In words."""
    compared = cost.compared
    interval = compared.ci95
    told = f" [{100 * interval[0]:+.2f}, {100 * interval[1]:+.2f}]" if interval else f" ({compared.reason})"
    return (
        f"Dice {cost.exported:.4f}, in PyTorch {cost.torch:.4f}: {100 * (cost.exported - cost.torch):+.2f} points"
        f"{told}, n = {compared.n} of {compared.n_groups} groups ({cost.on})"
    )
