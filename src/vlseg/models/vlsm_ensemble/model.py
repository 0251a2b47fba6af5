"""VLSM-Ensemble's networks (Dietlmeier et al., MIDL 2025) in the segmenter's steps.

UNet-D is in the mask decoder: it starts from random weights and trains wherever the encoders are frozen, so the pixels
go with the features. The towers' features know no prompt and can be kept.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlseg.models.biomedclipseg.model import BiomedClipSeg
from vlseg.models.clipseg.model import ClipSeg
from vlseg.models.folder import our_part, write_model
from vlseg.models.images import resize_masks, restore_bilinear
from vlseg.models.portable import TOKENIZER, Portable
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Rows, Spec, Tokens
from vlseg.models.vlsm_ensemble.networks import BiomedBranch, ClipBranch


class VlsmEnsemble(nn.Module):
    """Network A, B or C, and the one or two segmenters inside it, whose towers and tokenizers it uses.

    Args:
        network: holds all weights.
        members: by branch; their networks' modules are those of `network`. The first one's images are all's.
        spec: its protocol is the members'.
        arguments: that build it again.
    """

    def __init__(
        self,
        network: BiomedBranch | ClipBranch,
        members: Mapping[str, BiomedClipSeg | ClipSeg],
        spec: Spec,
        arguments: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.network = network
        self.members = dict(members)  # no child: the network has their weights
        self.spec = spec
        self.arguments = dict(arguments)
        self.random_part: str | None = None

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) in [0, 1] to the square input: A and C with CLIP's mean and deviation, B with ImageNet's."""
        return next(iter(self.members.values())).prepare(rgb)

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W) to (B, 1, h, w)."""
        return resize_masks(masks, self.spec.image_size)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Sentences to each text encoder's own ids and mask, side by side under the branch's name."""
        return Tokens(_side_by_side({name: member.tokenize(prompts) for name, member in self.members.items()}))

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """Each image tower's `taps`, and the `pixels` (B, 3, h, w) for UNet-D."""
        taps = {name: member.encode_image(inputs) for name, member in self.members.items()}
        return ImageFeatures({**_side_by_side(taps), "pixels": inputs.tensors["pixel_values"]})

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures:
        """Each text encoder's `embedding`."""
        if tokens is None:
            raise ValueError(f"{self.spec.name} needs tokens; call tokenize first")
        found = {name: member.encode_prompts(_own(tokens, name)) for name, member in self.members.items()}
        return PromptFeatures(_side_by_side(found))

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Logits (B, 1, h, w)."""
        if prompts is None:
            raise ValueError(f"{self.spec.name} needs prompt features; call encode_prompts first")
        taps = {name: image.tensors[f"{name}.taps"] for name in self.members}
        embeddings = {name: prompts.tensors[f"{name}.embedding"] for name in self.members}
        return Output(self.network(image.tensors["pixels"], taps, embeddings))

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """The members' encoders, as far as their protocol lets them train, and all that is read beside them."""
        parts: dict[str, list[nn.Module]] = {"mask_decoder": self.network.read()}
        for member in self.members.values():
            for name, modules in member.parts().items():
                if name != "mask_decoder":
                    parts[name] = [*parts.get(name, []), *modules]
        return parts

    def portable(self) -> Portable:
        """The first member's images; each member's words, with its tokenizer in a file of its own."""
        told = {name: member.portable() for name, member in self.members.items()}
        parts = {name: {**(one.words or {}), "file": f"{name}.{TOKENIZER}"} for name, one in told.items()}
        tokenizers = {f"{name}.{TOKENIZER}": member.tokenizer for name, member in self.members.items()}
        first = next(iter(told.values()))
        words = {"kind": "beside", "parts": parts, "trimmed": True}
        return Portable(first.mean, first.std, words=words, tokenizers=tokenizers)

    def save(self, folder: Path) -> None:
        """config.json, model.safetensors and PubMedBERT's vocabulary; CLIP's is the same for all."""
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, self.arguments)
        write_model(folder, {"vlseg": part}, self.state_dict())
        for member in self.members.values():
            if isinstance(member, BiomedClipSeg):
                member.tokenizer.save_pretrained(folder)


def _side_by_side(parts: Mapping[str, Rows]) -> dict[str, Tensor]:
    return {f"{branch}.{name}": tensor for branch, part in parts.items() for name, tensor in part.tensors.items()}


def _own(rows: Rows, branch: str) -> Rows:
    start = f"{branch}."
    return Rows({name.removeprefix(start): t for name, t in rows.tensors.items() if name.startswith(start)})
