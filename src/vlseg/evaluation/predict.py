"""Prediction: each image encoded once, its prompts decoded together, masks at the image's own size."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlseg.metrics import dice_score
from vlseg.models import ImageFeatures, Inputs, PromptFeatures, Rows, Segmenter, as_module
from vlseg.models.device import autocast
from vlseg.models.products import fast_products
from vlseg.records import InputError, unknown_name

PROMPTS_AT_ONCE = 16
"""Rows decoded together, which bounds the memory that this takes."""


EncodePrompts = Callable[[Sequence[str]], PromptFeatures | None]
"""Features of prompts, one row each."""


@dataclass(frozen=True)
class Prediction:
    """The answer to one prompt.

    Attributes:
        probability: (H, W) float32 in [0, 1] at the image's size; bool, the mask itself, where there is none.
        mask: (H, W) bool, probability above the threshold.
        presence: in [0, 1], that the named thing is in the image: the model's own presence output
            where it has one, else the largest probability of the map; None for masks without one.
        uncertainty: of the whole case, 0 or more: for models that draw samples, 1 - the mean Dice of their masks with
            this one; None where there are none and nothing else was asked for.
        abstained: (H, W) bool, the pixels that a smoothed model does not answer, background in `mask`; None: no such
            model.
    """

    probability: np.ndarray
    mask: np.ndarray
    presence: float | None
    uncertainty: float | None = None
    abstained: np.ndarray | None = None

    @property
    def soft(self) -> bool:
        """Whether there are probabilities to be calibrated; mask files hold none."""
        return self.probability.dtype != np.bool_


def check_prompts(model: Segmenter, prompts: Sequence[str]) -> None:
    """For models that read no text a prompt is the name of a target they were trained on.

    Raises:
        InputError: such a model and an unknown target.
    """
    if model.spec.uses_text:
        return
    for prompt in prompts:
        if prompt not in model.spec.targets:
            raise unknown_name(f"target for '{model.spec.name}', which reads no text:", prompt, model.spec.targets)


def predict_image(
    model: Segmenter,
    rgb: np.ndarray,
    prompts: Sequence[str],
    *,
    device: torch.device,
    precision: str = "fp32",
    threshold: float | None = None,
) -> Iterator[Prediction]:
    """One prediction per prompt, in order; the image is encoded once.

    Args:
        model: on `device`, in eval mode.
        rgb: (H, W, 3) float32 in [0, 1].
        prompts: sentences; names of targets for models that read no text.
        device: where to compute.
        precision: "fp32", "bf16" or "fp16".
        threshold: on probabilities; None = the model's own.

    Raises:
        InputError: no prompt, or a target the model does not know.
    """
    if not prompts:
        raise InputError("prompt: give at least one")
    check_prompts(model, prompts)
    features, inputs = encode_images(model, [rgb], device=device, precision=precision)
    yield from answer_prompts(model, features, inputs, prompts, device=device, precision=precision, threshold=threshold)


def encode_images(
    model: Segmenter, images: Sequence[np.ndarray], *, device: torch.device, precision: str = "fp32"
) -> tuple[ImageFeatures, Inputs]:
    """Features and inputs, one row an image.

    Args:
        model: on `device`, in eval mode.
        images: each (H, W, 3) float32 in [0, 1], of any size.
        device: where to compute.
        precision: "fp32", "bf16" or "fp16".
    """
    with torch.inference_mode(), autocast(precision, device), fast_products(device, precision):
        tensors = [torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).to(device) for rgb in images]
        inputs = model.prepare(tensors)
        return model.encode_image(inputs), inputs


def answer_prompts(
    model: Segmenter,
    features: ImageFeatures,
    inputs: Inputs,
    prompts: Sequence[str],
    *,
    device: torch.device,
    precision: str = "fp32",
    threshold: float | None = None,
    encode: EncodePrompts | None = None,
) -> Iterator[Prediction]:
    """As `predict_image`, on one image whose features are known.

    Args:
        features: one row.
        inputs: one row, with at least what `restore` needs.
        encode: gives prompt features on `device`, e.g. from memory; None = the model itself.
    """
    check_prompts(model, prompts)
    limit = model.spec.threshold if threshold is None else threshold
    yield from answer_rows(
        model,
        features,
        inputs,
        [Question(0, prompt, limit) for prompt in prompts],
        device=device,
        precision=precision,
        encode=encode,
    )


@dataclass(frozen=True)
class Question:
    """A prompt about the image of a row, and the threshold on its probabilities."""

    row: int
    prompt: str
    threshold: float


def answer_rows(
    model: Segmenter,
    features: ImageFeatures,
    inputs: Inputs,
    questions: Sequence[Question],
    *,
    device: torch.device,
    precision: str = "fp32",
    encode: EncodePrompts | None = None,
) -> Iterator[Prediction]:
    """One prediction per question, in order: those about several images are decoded together.

    Args:
        model: on `device`, in eval mode; its prompts are known to be answerable (`check_prompts`).
        features: one row an image.
        inputs: their rows, with at least what `restore` needs.
        questions: about those rows.
        device: where to compute.
        precision: "fp32", "bf16" or "fp16".
        encode: gives prompt features on `device`, e.g. from memory; None = the model itself.
    """
    for start in range(0, len(questions), PROMPTS_AT_ONCE):
        chosen = questions[start : start + PROMPTS_AT_ONCE]
        answers = _decode(model, inputs, features, chosen, encode, device)
        for question in chosen:
            # The mode is entered for each answer: a generator that is left alone must not leave it on for its caller.
            with torch.inference_mode(), autocast(precision, device), fast_products(device, precision):
                prediction = _prediction(next(answers), question.threshold)
            yield prediction


@dataclass(frozen=True)
class _Answer:
    """Full-size logits (H, W), presence logit, and the logits (H, W) of Monte-Carlo draws or members."""

    restored: Tensor
    presence: Tensor | None = None
    samples: tuple[Tensor, ...] = ()


def _prediction(answer: _Answer, threshold: float) -> Prediction:
    probability = answer.restored.sigmoid()
    score = float(probability.max() if answer.presence is None else answer.presence.sigmoid())
    array = probability.float().cpu().numpy()
    mask = array > threshold
    draws = [(sample.sigmoid() > threshold).cpu().numpy() for sample in answer.samples]
    uncertainty = 1.0 - float(np.mean([dice_score(draw, mask) for draw in draws])) if draws else None
    return Prediction(array, mask, score, uncertainty)


def encode_prompts(model: Segmenter, prompts: Sequence[str], device: torch.device) -> PromptFeatures | None:
    """Features of prompts, one row each; None for image-only models."""
    tokens = model.tokenize(prompts)
    return model.encode_prompts(tokens.to(device) if tokens is not None else None)


def recall_prompts(
    model: Segmenter, prompts: Sequence[str], known: dict[str, Rows], device: torch.device
) -> PromptFeatures:
    """Features of prompts, one row each; those in `known` are taken from there, the others go there.

    Only for models whose prompt features are the prompt's alone.
    """
    new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
    if new:
        encoded = encode_prompts(model, new, device)
        assert encoded is not None  # asked only of models that are told something
        known |= {prompt: encoded[[row]] for row, prompt in enumerate(new)}
    return Rows.join([known[prompt] for prompt in prompts])


def recalls_prompts(model: Segmenter) -> bool:
    """Whether a prompt's features serve for every image: the model is told something, and encodes it alone."""
    return (model.spec.uses_text or model.spec.uses_target) and not model.spec.prompt_features_depend_on_image


def _decode(
    model: Segmenter,
    inputs: Inputs,
    features: ImageFeatures,
    questions: Sequence[Question],
    encode: EncodePrompts | None,
    device: torch.device,
) -> Iterator[_Answer]:
    """The answer to each question: all are decoded at once and restored one at a time, as full-size maps are large."""
    prompts = [question.prompt for question in questions]
    encoded = encode(prompts) if encode else encode_prompts(model, prompts, device)
    rows = torch.tensor([question.row for question in questions], dtype=torch.long)
    if not model.spec.uses_text and not model.spec.uses_target:
        # Image-only: one pass gives every target's channel.
        asked = sorted({question.row for question in questions})
        output = model.decode(features[asked], None)
        channels = dict(zip(asked, model.restore(output.logits, inputs[asked]), strict=True))
        for question in questions:
            yield _Answer(channels[question.row][model.spec.targets.index(question.prompt)])
        return
    output = model.decode(features[rows], encoded)
    for at, row in enumerate(rows.tolist()):
        one, size = slice(at, at + 1), inputs[[row]]
        samples = [] if output.samples is None else [sample[one] for sample in output.samples]
        yield _Answer(
            model.restore(output.logits[one], size)[0][0],
            None if output.presence is None else output.presence[at],
            tuple(model.restore(sample, size)[0][0] for sample in samples),
        )


def ready(model: Segmenter, device: torch.device) -> Segmenter:
    """The model on `device` in eval mode."""
    as_module(model).to(device).eval()
    return model
