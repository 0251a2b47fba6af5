"""What a segmenter is: the same steps for every model, so that caching, many prompts per image and
live prompting work for all of them (design: prepare, tokenize, encode, decode, restore).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

ImageSize = tuple[int, int]


@dataclass(frozen=True)
class Rows:
    """Named tensors whose first axis is the row; opaque to everybody but the model that made them.

    Inputs, tokens and features are all Rows: they can be indexed, joined, moved and, being a plain
    mapping of tensors, written to disk with safetensors.
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: Tensor | slice | Sequence[int]) -> "Rows":
        """Rows by slice, or by a tensor or list of positions (repeats allowed)."""
        if isinstance(index, slice):
            return Rows({name: tensor[index] for name, tensor in self.tensors.items()})
        positions = torch.as_tensor(index)
        return Rows({n: t.index_select(0, positions.to(t.device)) for n, t in self.tensors.items()})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Rows":
        """Move; `dtype` applies to floating tensors only."""
        return Rows({n: t.to(device, dtype if t.is_floating_point() else None) for n, t in self.tensors.items()})

    def widened(self) -> "Rows":
        """Floating tensors in single precision."""
        return Rows({n: t.float() if t.is_floating_point() else t for n, t in self.tensors.items()})

    @classmethod
    def join(cls, parts: Sequence["Rows"]) -> Self:
        """Rows one after another; all parts hold the same names."""
        return cls({name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].tensors})


Inputs = Rows
Tokens = Rows
ImageFeatures = Rows
PromptFeatures = Rows


@dataclass(frozen=True)
class Output:
    """What decode gives.

    Attributes:
        logits: (B, C, h, w), at the network's size.
        presence: (B,) logits of "the named thing is in the image", or None.
        samples: (S, B, C, h, w) logits of Monte-Carlo draws, or None.
    """

    logits: Tensor
    presence: Tensor | None = None
    samples: Tensor | None = None


@dataclass(frozen=True)
class Spec:
    """What callers need to know of a segmenter.

    Attributes:
        name: the model's name in MODELS.
        uses_text: a sentence steers the mask.
        uses_target: tokenize takes names of targets instead of sentences.
        targets: the targets trained on. Image-only: channel i is targets[i].
        threshold: on probabilities.
        protocol: "published" variants or "corrected"; belongs to the weights.
        image_size: (h, w) of the network's input.
        image_features_depend_on_text, prompt_features_depend_on_image: True forbids caching.
        precisions: allowed ones of "fp32", "bf16", "fp16".
        engine: what computes: "torch", or "onnx" or "openvino", which do on the processor and in their own precision.
    """

    name: str
    uses_text: bool
    image_size: ImageSize
    uses_target: bool = False
    targets: tuple[str, ...] = ()
    threshold: float = 0.5
    protocol: str = "corrected"
    image_features_depend_on_text: bool = False
    prompt_features_depend_on_image: bool = False
    precisions: tuple[Literal["fp32", "bf16", "fp16"], ...] = ("fp32", "bf16", "fp16")
    # Not shown: digests of models depend on what is.
    engine: str = field(default="torch", repr=False)


@runtime_checkable
class Segmenter(Protocol):
    """Everything that segments. Implementations are torch modules.

    `parts` groups the parameters by what a regime freezes: it maps every trainable part's name
    ("image_encoder", "text_encoder", "mask_decoder") to its modules. A parameter that no output
    depends on is in no part, and never trained.
    """

    spec: Spec

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) of any size, RGB in [0, 1], to the network's input. Differentiable."""
        ...

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W) of 0/1 to (B, 1, h, w) in [0, 1] on the network's grid, as `prepare` maps images.

        Training compares logits with the truth where the network gives them; how an image lies in
        the input (stretched, letterboxed) is the model's own affair.
        """
        ...

    def tokenize(self, prompts: Sequence[str]) -> Tokens | None:
        """Sentences (or, with spec.uses_target, names of targets) to tokens; None: image-only."""
        ...

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """Features that do not depend on the prompt, one row per image."""
        ...

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures | None:
        """Features of the prompts, one row per prompt; None for image-only models."""
        ...

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Row i of one belongs to row i of the other."""
        ...

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits (B, C, h, w) to the original sizes: a list of (C, H_i, W_i), bilinear."""
        ...

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        ...

    def parts(self) -> dict[str, list[torch.nn.Module]]:
        """Trainable parts by name."""
        ...

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors and what the tokenizer needs into `folder`."""
        ...


@runtime_checkable
class Separable(Protocol):
    """A segmenter that says what its features are made of, so that kept ones serve every model with the same side."""

    def sides(self) -> tuple[list[torch.nn.Module], list[torch.nn.Module]]:
        """The modules that `encode_image` computes with, and those that `encode_prompts` does.

        A declared module counts with all that is in it, and whatever holds it with its plain attributes. What is in
        neither may differ between models that share features; opening a store watches both methods and refuses a
        model that reads more than it declares.
        """
        ...


def as_module(segmenter: Segmenter) -> torch.nn.Module:
    """The segmenter as the torch module that it is."""
    if not isinstance(segmenter, torch.nn.Module):
        raise TypeError(f"{type(segmenter).__name__} is not a torch module; a segmenter must be one")
    return segmenter
