"""Several models as one: folds, seeds or different architectures, in the segmenter's steps."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.folder import our_part, write_model
from vlseg.models.images import restore_bilinear
from vlseg.models.portable import Portable
from vlseg.models.protocol import (
    ImageFeatures,
    Inputs,
    Output,
    PromptFeatures,
    Rows,
    Segmenter,
    Spec,
    Tokens,
    as_module,
)
from vlseg.records import InputError

COMBINATIONS = ("mean", "majority", "stack")
SMALLEST = 1e-6
"""Probabilities are kept this far from 0 and 1 before they become logits again."""


def averaged(model: Segmenter) -> Segmenter | None:
    """The mean of a vote's members, through which gradients pass; None for every other model."""
    if not isinstance(model, Ensemble) or model.combine != "majority":
        return None
    spec = replace(model.spec, threshold=sum(model.thresholds) / len(model.thresholds))
    return Ensemble(model.segmenters, spec, "mean", model.thresholds)


class Ensemble(nn.Module):
    """Members answer for themselves; their maps are brought to the largest member's grid and combined.

    `mean`: of the probabilities, against the mean of the members' thresholds. `majority`: the share of members whose
    probability passes their own threshold.
    `stack`: one learned weight per member and a bias, on logits, the same at every place; only these train. The
    members' logits are the output's samples, so that their disagreement is the case's uncertainty.
    """

    def __init__(
        self, members: Sequence[Segmenter], spec: Spec, combine: str, thresholds: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(as_module(member) for member in members)
        self.segmenters = list(members)
        self.spec = spec
        self.combine = combine
        self.thresholds = list(thresholds or (member.spec.threshold for member in members))
        self.stack = nn.Conv2d(len(members), 1, 1) if combine == "stack" else None
        if self.stack is not None:
            nn.init.constant_(self.stack.weight, 1 / len(members))
            nn.init.zeros_(self.stack.bias)  # type: ignore[arg-type]

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Every member's input side by side, under its number."""
        parts = [member.prepare(rgb) for member in self.segmenters]
        sizes = parts[0].tensors["original_size"]
        return Inputs({**_side_by_side(parts), "original_size": sizes})

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks on the largest member's grid."""
        largest = next(m for m in self.segmenters if m.spec.image_size == self.spec.image_size)
        return largest.prepare_masks(masks)

    def tokenize(self, prompts: Sequence[str]) -> Tokens | None:
        """Every member's tokens side by side; None where none reads."""
        parts = [member.tokenize(prompts) for member in self.segmenters]
        found = [part for part in parts if part is not None]
        return Tokens(_side_by_side(found)) if len(found) == len(parts) else None

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """Every member's features side by side."""
        parts = [member.encode_image(_own(inputs, number)) for number, member in enumerate(self.segmenters)]
        return ImageFeatures(_side_by_side(parts))

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures | None:
        """Every member's prompt features side by side; None where none reads."""
        if tokens is None:
            return None
        found = [member.encode_prompts(_own(tokens, number)) for number, member in enumerate(self.segmenters)]
        return PromptFeatures(_side_by_side([part for part in found if part is not None]))

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Combined logits (B, C, h, w), the members' as samples, the mean presence where all members have one."""
        outputs = [
            member.decode(_own(image, number), None if prompts is None else _own(prompts, number))
            for number, member in enumerate(self.segmenters)
        ]
        maps = torch.stack([self._on_grid(output.logits) for output in outputs])
        told = [output.presence for output in outputs if output.presence is not None]
        presence = None
        if len(told) == len(outputs):
            presence = torch.logit(torch.stack(told).float().sigmoid().mean(0), eps=SMALLEST)
        return Output(self._combined(maps), presence, maps)

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """The stacking weights; members never train here."""
        return {} if self.stack is None else {"mask_decoder": [self.stack]}

    def portable(self) -> Portable:
        """Never: each member has its own inputs.

        Raises:
            InputError: always.
        """
        raise InputError(
            "an ensemble is not exported as graphs: its members take inputs of their own; export each of them"
        )

    def save(self, folder: Path) -> None:
        """config.json, the stacking weights, and every member as a model folder of its own."""
        for number, member in enumerate(self.segmenters):
            member.save(folder / "members" / str(number))
        arguments = {"members": len(self.segmenters), "combine": self.combine, "thresholds": self.thresholds}
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, arguments)
        own = {} if self.stack is None else {f"stack.{key}": value for key, value in self.stack.state_dict().items()}
        write_model(folder, {"vlseg": part}, own)

    def _on_grid(self, logits: Tensor) -> Tensor:
        if tuple(logits.shape[-2:]) == self.spec.image_size:
            return logits
        return F.interpolate(logits.float(), size=self.spec.image_size, mode="bilinear", align_corners=False)

    def _combined(self, maps: Tensor) -> Tensor:
        if self.stack is not None:
            members, rows, channels, height, width = maps.shape
            beside = maps.permute(1, 2, 0, 3, 4).reshape(rows * channels, members, height, width)
            stacked: Tensor = self.stack(beside).reshape(rows, channels, height, width)
            return stacked
        probabilities = maps.float().sigmoid()
        if self.combine == "majority":
            limits = torch.tensor(self.thresholds, device=maps.device)
            probabilities = (probabilities > limits[:, None, None, None, None]).float()
        return torch.logit(probabilities.mean(0), eps=SMALLEST)


def _side_by_side(parts: Sequence[Rows]) -> dict[str, Tensor]:
    return {f"{number}.{name}": tensor for number, part in enumerate(parts) for name, tensor in part.tensors.items()}


def _own(rows: Rows, number: int) -> Rows:
    start = f"{number}."
    return Rows({name.removeprefix(start): t for name, t in rows.tensors.items() if name.startswith(start)})
