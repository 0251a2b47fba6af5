"""Prediction: each image encoded once, its prompts decoded together, masks at the image's own size."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlseg.metrics import dice_score
from vlseg.models import ImageFeatures, Inputs, PromptFeatures, Segmenter, as_module
from vlseg.models.device import autocast
from vlseg.records import InputError, unknown_name

PROMPTS_AT_ONCE = 16
"""Rows decoded and restored together; bounds the memory of full-size maps."""


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
    with torch.inference_mode(), autocast(precision, device):
        pixels = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).to(device)
        inputs = model.prepare([pixels])
        features = model.encode_image(inputs)
    yield from answer_prompts(model, features, inputs, prompts, device=device, precision=precision, threshold=threshold)


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
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        # The mode is entered for each chunk: a generator that is left alone must not leave it on for its caller.
        with torch.inference_mode(), autocast(precision, device):
            chosen = prompts[start : start + PROMPTS_AT_ONCE]
            encoded = encode(chosen) if encode else encode_prompts(model, chosen, device)
            found = _decode(model, inputs, features, chosen, encoded)
            chunk = [_prediction(answer, limit) for answer in found]
        yield from chunk


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


def _decode(
    model: Segmenter,
    inputs: Inputs,
    features: ImageFeatures,
    prompts: Sequence[str],
    encoded: PromptFeatures | None,
) -> list[_Answer]:
    """The answer to each prompt on the one image."""
    rows = torch.zeros(len(prompts), dtype=torch.long)
    if not model.spec.uses_text and not model.spec.uses_target:
        # Image-only: one pass gives every target's channel.
        output = model.decode(features, None)
        channels = model.restore(output.logits, inputs)[0]
        return [_Answer(channels[model.spec.targets.index(prompt)]) for prompt in prompts]
    output = model.decode(features[rows], encoded)
    restored = model.restore(output.logits, inputs[rows])
    presence = list(output.presence) if output.presence is not None else [None] * len(prompts)
    draws = [model.restore(sample, inputs[rows]) for sample in output.samples] if output.samples is not None else []
    return [
        _Answer(maps[0], present, tuple(draw[row][0] for draw in draws))
        for row, (maps, present) in enumerate(zip(restored, presence, strict=True))
    ]


def ready(model: Segmenter, device: torch.device) -> Segmenter:
    """The model on `device` in eval mode."""
    as_module(model).to(device).eval()
    return model
