"""CRIS (Wang et al., CVPR 2022) in the segmenter's steps.

Protocols, which belong to the weights:

- `original`: the authors' own. Image letterboxed, 17 words, padding 0 and masked, threshold 0.35.
- `medvlsm`: Poudel et al., MIDL 2024. Image stretched, 77 words padded with the end-of-text id; its padding mask looks
  for 0 and so masks nothing, and the decoder attends to all 77 places. Threshold 0.35.
- `attention_mask`: as `medvlsm`, but padding is masked.
- `corrected`: as `attention_mask`, threshold 0.5. Ours, untested on published weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from vlseg.models.additions.towers import Tower, Towers
from vlseg.models.clipseg.tokenizer import CONTEXT_LENGTH, FILLER
from vlseg.models.cris.backbone import Backbone
from vlseg.models.cris.neck import Decoder, Neck, Projector
from vlseg.models.cris.shape import CrisShape
from vlseg.models.folder import our_part, write_model
from vlseg.models.images import (
    CLIP_MEAN,
    CLIP_STD,
    letterbox,
    letterbox_masks,
    resize_and_normalise,
    resize_masks,
    restore_bilinear,
    restore_letterboxed,
)
from vlseg.models.portable import TOKENIZER, Portable, library_words, used_columns
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Spec, Tokens

DROPOUT = {"corrected": 0.2, "original": 0.1, "medvlsm": 0.2, "attention_mask": 0.2}
"""Of the decoder in training, by protocol: CRIS.pytorch had 0.1, MedVLSM 0.2."""
WORDS = {"original": 17}
"""Tokens a sentence is cut to; 77 in the other protocols."""


class Network(nn.Module):
    """The published network: the top-level keys of its file."""

    def __init__(self, shape: CrisShape) -> None:
        super().__init__()
        self.backbone = Backbone(shape)
        self.neck = Neck(shape)
        self.decoder = Decoder(shape)
        self.proj = Projector(shape)


class Cris(nn.Module):
    """A CRIS network with its tokenizer. `random_part` is what the weights that were loaded lack."""

    def __init__(self, network: Network, tokenizer: CLIPTokenizer, spec: Spec, size_name: str) -> None:
        super().__init__()
        # A quarter faster with the channels innermost, on CPUs and on GPUs.
        network.backbone.visual.to(memory_format=torch.channels_last)
        self.network = network
        self.tokenizer = tokenizer
        self.spec = spec
        self.random_part: str | None = None
        self.size_name = size_name

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) in [0, 1] to the square input with CLIP's mean and deviation."""
        make = letterbox if self.spec.protocol == "original" else resize_and_normalise
        return make(rgb, self.spec.image_size, CLIP_MEAN, CLIP_STD)

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W) to (B, 1, h, w)."""
        make = letterbox_masks if self.spec.protocol == "original" else resize_masks
        return make(masks, self.spec.image_size)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Sentences to `input_ids` and `attention_mask` (B, 77 or 17); longer ones are cut, their end kept."""
        length = WORDS.get(self.spec.protocol, CONTEXT_LENGTH)
        encoded = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        ids, mask = encoded["input_ids"], encoded["attention_mask"]
        # The authors' tokenizer fills with 0; the library's with the end-of-text id, as MedVLSM had it.
        ids = ids * mask if self.spec.protocol == "original" else ids
        return Tokens({"input_ids": ids, "attention_mask": mask})

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """`c3`, `c4`, `c5`: maps at 1/8, 1/16, 1/32."""
        pixels = inputs.tensors["pixel_values"].contiguous(memory_format=torch.channels_last)
        maps = self.network.backbone.visual(pixels)
        # Written and read back they must give the same bits: in the same order in memory.
        return ImageFeatures({name: one.contiguous() for name, one in zip(("c3", "c4", "c5"), maps, strict=True)})

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures:
        """`words` (B, L, 512), `state` (B, 1024), `padding` (B, L) true where the decoder must not look."""
        if tokens is None:
            raise ValueError("CRIS needs tokens; call tokenize first")
        ids, mask = tokens.tensors["input_ids"], tokens.tensors["attention_mask"]
        if self.spec.protocol == "medvlsm":
            words, state = self.network.backbone.encode_text(ids)
            return PromptFeatures({"words": words, "state": state, "padding": torch.zeros_like(mask, dtype=torch.bool)})
        # Under the causal mask later columns change nothing, and the decoder does not see them.
        length = used_columns(mask)
        words, state = self.network.backbone.encode_text(ids[:, :length])
        words = F.pad(words, (0, 0, 0, ids.shape[1] - length))
        return PromptFeatures({"words": words, "state": state, "padding": mask == 0})

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Logits (B, 1, h, w) at the input's size, bicubic from a quarter of it."""
        if prompts is None:
            raise ValueError("CRIS needs prompt features; call encode_prompts first")
        words, state, padding = (prompts.tensors[name] for name in ("words", "state", "padding"))
        length = used_columns(~padding)
        fused = self.network.neck(*(image.tensors[name] for name in ("c3", "c4", "c5")), state)
        hidden = padding[:, :length]
        decoded = self.network.decoder(fused, words[:, :length], hidden if self.spec.protocol != "medvlsm" else None)
        logits = self.network.proj(decoded, state)
        return Output(F.interpolate(logits, size=self.spec.image_size, mode="bicubic", align_corners=True))

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        make = restore_letterboxed if self.spec.protocol == "original" else restore_bilinear
        return make(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Trainable parts. CLIP's temperature, which no mask depends on, is in none."""
        network, backbone = self.network, self.network.backbone
        return {
            "image_encoder": [backbone.visual],
            "text_encoder": [backbone.transformer, backbone.token_embedding, backbone.ln_final, TextTables(backbone)],
            "mask_decoder": [network.neck, network.decoder, network.proj],
        }

    def towers(self) -> Towers:
        """The text encoder; the image's is no transformer."""
        backbone = self.network.backbone
        blocks = list(backbone.transformer.resblocks)
        attentions, mlps = ([block.get_submodule(name) for block in blocks] for name in ("attn", "mlp"))
        sentence_width = backbone.text_projection.shape[1]
        return Towers(
            text=Tower(blocks, attentions, mlps, backbone.token_embedding.embedding_dim),
            token_embedding=backbone.token_embedding,
            filler=FILLER,
            context=WORDS.get(self.spec.protocol, CONTEXT_LENGTH),
            sentence_width=sentence_width,
            image_vector=mean_of_places,
            image_vector_width=sentence_width,
        )

    def portable(self) -> Portable:
        """Stretched or letterboxed images, byte pairs.

        Under `original` padding has the id 0, in the other protocols that of the end of text; under `medvlsm` it is
        looked at, so that none is left out.
        """
        letterboxed = self.spec.protocol == "original"
        length = WORDS.get(self.spec.protocol, CONTEXT_LENGTH)
        looked_at = self.spec.protocol == "medvlsm"
        filled = {"words": 0, "padding": 1}
        words = library_words(self.tokenizer, length, kind="clip", trimmed=not looked_at, widened=filled)
        words |= {"padding": 0} if letterboxed else {}
        fit: Literal["letterbox", "stretch"] = "letterbox" if letterboxed else "stretch"
        return Portable(CLIP_MEAN, CLIP_STD, fit=fit, words=words, tokenizers={TOKENIZER: self.tokenizer})

    def save(self, folder: Path) -> None:
        """config.json, model.safetensors and the tokenizer."""
        arguments = {"image_size": self.spec.image_size[0], "backbone": self.size_name}
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, arguments)
        write_model(folder, {"vlseg": part}, self.state_dict())
        self.tokenizer.save_pretrained(folder)


def mean_of_places(image: ImageFeatures) -> Tensor:
    """A vector of each image (B, 1024): the mean of its coarsest map, which lies in the sentences' space."""
    return image.tensors["c5"].mean(dim=(2, 3))


class TextTables(nn.Module):
    """The text tower's two bare parameters, so that a part can list them."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.positional_embedding, self.text_projection = backbone.positional_embedding, backbone.text_projection
