"""BiomedCLIP's towers and CLIPSeg's decoder, under the keys of the published checkpoints.

The towers are timm's vision transformer and transformers' BERT; open_clip puts the same two together from BiomedCLIP's
configuration (Zhang et al. 2023, arXiv:2303.00915).
"""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import BertConfig, BertModel, CLIPSegConfig
from transformers.models.clipseg.modeling_clipseg import CLIPSegDecoder

from vlseg.models.clipseg.build import refined_config


@dataclass(frozen=True)
class Shape:
    """Sizes of the towers and the decoder; the defaults are the published ones."""

    side: int = 224
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    vocabulary: int = 30522
    text_width: int = 768
    text_depth: int = 12
    text_heads: int = 12
    embed_dim: int = 512
    reduce_dim: int = 64
    decoder_ffn: int = 2048


SHAPES = {
    "base": Shape(),
    "tiny": Shape(
        side=32,
        width=32,
        depth=12,
        heads=2,
        vocabulary=256,
        text_width=32,
        text_depth=2,
        text_heads=2,
        embed_dim=24,
        reduce_dim=16,
        decoder_ffn=32,
    ),
}
"""By name; "tiny" is for tests and has random weights only."""


class Head(nn.Module):
    """The image tower's projection: in the files, never read for a mask."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, outputs, bias=False)


class Visual(nn.Module):
    """The image tower."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.trunk = VisionTransformer(
            img_size=shape.side,
            patch_size=shape.patch,
            num_classes=0,
            embed_dim=shape.width,
            depth=shape.depth,
            num_heads=shape.heads,
            dynamic_img_size=True,
        )
        self.head = Head(shape.width, shape.embed_dim)

    def blocks(self, pixels: Tensor, wanted: tuple[int, ...]) -> Tensor:
        """(B, 3, h, w) to (B, number wanted, tokens, width): outputs of these blocks, counted from 0."""
        trunk = self.trunk
        hidden = trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(pixels))))
        found = {}
        for index, block in enumerate(trunk.blocks[: max(wanted) + 1]):
            hidden = block(hidden)
            if index in wanted:
                found[index] = hidden
        return torch.stack([found[index] for index in wanted], dim=1)


class Text(nn.Module):
    """PubMedBERT without pooler, and the projection of its first token."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        config = BertConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.text_width,
            num_hidden_layers=shape.text_depth,
            num_attention_heads=shape.text_heads,
            intermediate_size=4 * shape.text_width,
        )
        self.transformer = BertModel(config, add_pooling_layer=False)
        middle = (shape.text_width + shape.embed_dim) // 2
        self.proj = nn.Sequential(
            nn.Linear(shape.text_width, middle, bias=False), nn.GELU(), nn.Linear(middle, shape.embed_dim, bias=False)
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask (B, L) to (B, embed_dim), not normalised."""
        hidden = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        result: Tensor = self.proj(hidden[:, 0])
        return result


class BiomedClip(nn.Module):
    """Both towers, keys as in the hub's file. `logit_scale` is in the files and never read."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.visual = Visual(shape)
        self.text = Text(shape)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))


class Network(nn.Module):
    """The published network: the top-level keys of its checkpoints."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.biomedclip = BiomedClip(shape)
        self.decoder = CLIPSegDecoder(decoder_config(shape))


def decoder_config(shape: Shape) -> CLIPSegConfig:
    """CLIPSeg's refined decoder on these towers' widths."""
    values = refined_config().to_dict()
    values["vision_config"] |= {
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
        "patch_size": shape.patch,
        "image_size": shape.side,
    }
    values |= {
        "projection_dim": shape.embed_dim,
        "reduce_dim": shape.reduce_dim,
        "decoder_intermediate_size": shape.decoder_ffn,
    }
    config = CLIPSegConfig.from_dict(values)
    config._attn_implementation = "sdpa"  # a decoder on its own gets no default, and warns of it
    return config
