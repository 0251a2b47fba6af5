"""Answers of a model smoothed by noise: what it gives, at each pixel, to most noisy copies of an image.

What is smoothed is everything from the noised image to the mask at the image's own size: the network's normalisation
and padding, the resizing of its map back, the threshold. So a certificate is about pixels of the mask that is scored,
and about changes of the image that is noised. Noisy values are not clipped to [0, 1].
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vlseg.attacks.canvas import Canvas, canvas_of, inputs_of
from vlseg.data.seeds import generator
from vlseg.evaluation.answers import Answer, prompt_of
from vlseg.evaluation.predict import PROMPTS_AT_ONCE, Prediction, check_prompts, encode_prompts
from vlseg.evaluation.query import Query, Truth
from vlseg.evaluation.setting import Setting
from vlseg.metrics import GUESSES, SMOOTHED, Smoothing, certified_pixels
from vlseg.models import ImageFeatures, Inputs, PromptFeatures, Segmenter
from vlseg.models.device import autocast
from vlseg.prompts import Prompted

DRAWS_AT_ONCE = 16
"""Noisy images encoded together, and rows decoded together."""


def smoothed_queries(prompted: Sequence[Prompted], smoothing: Smoothing) -> list[Query]:
    """Every sample's first wording, of the plain model and then of the one smoothed with each sigma."""
    queries = [Query(item, item.wordings[0], item.sample, (Truth(item.sample),), reference=True) for item in prompted]
    for sigma in smoothing.sigmas:
        arguments = {
            "sigma": sigma,
            "radius": smoothing.radius(sigma),
            "tau": smoothing.tau,
            "alpha": smoothing.alpha,
            "draws": smoothing.draws,
            "guesses": GUESSES,
            "place": smoothing.place,
        }
        truths = [(Truth(item.sample, arguments),) for item in prompted]
        queries += [
            Query(item, item.wordings[0], item.sample, held, SMOOTHED)
            for item, held in zip(prompted, truths, strict=True)
        ]
    return queries


def smoothed_answers(answer: Answer, model: Segmenter, setting: Setting, smoothing: Smoothing, seed: int) -> Answer:
    """The answers to `smoothed_queries`: plain ones by `answer`, the others by `predict_smoothed`.

    Args:
        answer: of the model, see `model_answers`.
        model: on the setting's device, in eval mode.
        setting: with the threshold, which is part of what is smoothed.
        smoothing: how.
        seed: of the noise, which depends beside it on the image's values alone: all sigmas and prompts share it.
    """

    def answer_all(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        plain = [query for query in group if query.condition != SMOOTHED]
        yield from answer(image, plain)
        for sigma in smoothing.sigmas:
            asked = [query for query in group if query.condition == SMOOTHED and _sigma(query) == sigma]
            prompts = [prompt_of(model, query) for query in asked]
            yield from predict_smoothed(model, image, prompts, setting, smoothing, sigma, seed)

    return answer_all


def predict_smoothed(
    model: Segmenter,
    rgb: np.ndarray,
    prompts: Sequence[str],
    setting: Setting,
    smoothing: Smoothing,
    sigma: float,
    seed: int,
) -> Iterator[Prediction]:
    """One prediction per prompt, in order, at the image's own size; `abstained` is where no class is certified.

    The class that GUESSES draws give more often is tested on other draws; a tie is background.

    Args:
        rgb: (H, W, 3) float32 in [0, 1].
        prompts: sentences; names of targets for models that read no text. Each is encoded once.
        sigma: of the noise.
        model, setting, smoothing, seed: see `smoothed_answers`.

    Raises:
        InputError: a target the model does not know; or, at "input", an image that cannot be found there.
    """
    check_prompts(model, prompts)
    device = setting.device
    pixels = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).to(device)
    with torch.inference_mode():
        canvas = canvas_of(model, pixels, smoothing.place)
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        chosen = prompts[start : start + PROMPTS_AT_ONCE]
        with torch.inference_mode(), autocast(setting.precision, device):
            told = encode_prompts(model, chosen, device)
            votes = torch.zeros(2, len(chosen), *rgb.shape[:2], dtype=torch.int32, device=device)
            for number, (purpose, draws) in enumerate((("guess", GUESSES), ("test", smoothing.draws))):
                for first in range(0, draws, DRAWS_AT_ONCE):
                    some = range(first, min(first + DRAWS_AT_ONCE, draws))
                    noise = torch.stack([_noise(canvas, seed, purpose, draw) for draw in some]).to(device)
                    images = canvas.image + sigma * noise
                    for which, mask in _masks(model, [canvas] * len(some), images, chosen, told, setting.threshold):
                        votes[number, which] += mask
            guesses, tests = votes.cpu().numpy()
        yield from (_prediction(guess, test, smoothing) for guess, test in zip(guesses, tests, strict=True))


def _prediction(guesses: np.ndarray, tests: np.ndarray, smoothing: Smoothing) -> Prediction:
    """Of (H, W) votes for the foreground."""
    foreground = 2 * guesses > GUESSES
    agreeing = np.where(foreground, tests, smoothing.draws - tests)
    certified = certified_pixels(agreeing, smoothing.draws, smoothing.tau, smoothing.alpha)
    mask = foreground & certified
    return Prediction(mask, mask, None, abstained=~certified)


def _noise(canvas: Canvas, seed: int, purpose: str, draw: int) -> Tensor:
    """(3, h, w) of deviation 1; each draw by itself, so that it is the same however many there are at once."""
    rng = generator("smoothing", seed, canvas.key, purpose, draw)
    return torch.from_numpy(rng.standard_normal(tuple(canvas.image.shape), dtype=np.float32))


def _masks(
    model: Segmenter,
    canvases: Sequence[Canvas],
    images: Tensor,
    prompts: Sequence[str],
    told: PromptFeatures | None,
    threshold: float,
) -> Iterator[tuple[int, Tensor]]:
    """For every image (B, 3, h, w) and prompt, the prompt's number and the mask (H, W) at the image's own size."""
    inputs = inputs_of(model, canvases, images)
    features = model.encode_image(inputs)
    spec = model.spec
    if not spec.uses_text and not spec.uses_target:
        channels = [spec.targets.index(prompt) for prompt in prompts]
        for maps in model.restore(model.decode(features, None).logits, inputs):
            yield from ((which, maps[channel].sigmoid() > threshold) for which, channel in enumerate(channels))
        return
    assert told is not None  # the model is told something
    rows = [(image, which) for image in range(len(images)) for which in range(len(prompts))]
    for first in range(0, len(rows), DRAWS_AT_ONCE):
        some = rows[first : first + DRAWS_AT_ONCE]
        yield from _decoded(model, inputs, features, told, some, threshold)


def _decoded(
    model: Segmenter,
    inputs: Inputs,
    features: ImageFeatures,
    told: PromptFeatures,
    rows: Sequence[tuple[int, int]],
    threshold: float,
) -> Iterator[tuple[int, Tensor]]:
    images, prompts = ([row[part] for row in rows] for part in (0, 1))
    logits = model.decode(features[images], told[prompts]).logits
    restored = model.restore(logits, inputs[images])
    yield from ((which, maps[0].sigmoid() > threshold) for which, maps in zip(prompts, restored, strict=True))


def _sigma(query: Query) -> float:
    return float(query.truths[0].arguments["sigma"])
