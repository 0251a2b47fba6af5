"""The networks of VLSM-Ensemble, under the keys of their checkpoints: a vision-language segmenter that tells UNet-D.

What the files hold and no mask depends on is kept, so that files fit both ways; `parts` name what is read.
"""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor, nn
from transformers import CLIPSegForImageSegmentation

from vlseg.models.biomedclipseg.network import Network as BiomedClipSegNetwork
from vlseg.models.biomedclipseg.network import Shape
from vlseg.models.vlsm_ensemble.unet_d import STRIDE, UNetD, Widths

HEADS, FEED_FORWARD = 4, 2048
DENSE, BIOMED_CONTEXT, CLIP_CONTEXT = 1568, 256, 77
"""Sizes of layers that nothing reads."""
BIOMED, CLIP = "biomedclip", "clipseg"
"""The branches, as they name their tokens and features."""


class ClipBranch(nn.Module):
    """CLIPSeg and UNet-D: network B, and the second branch of C.

    The published code runs through the first three images of the batch where it means the three taps, and its
    transformer layers attend to the same place of other images; a prediction depends on its batch mates. Here the taps
    are gone through, the deepest first as in CLIPSeg's own decoder, and the places of an image attend to each other.

    Args:
        clipseg: CLIPSeg with patches of 16.
        widths: of UNet-D.
        places: number of patches.
        maps: how many times UNet-D gets the map.
        kept: see `UNetD`.
    """

    def __init__(
        self,
        clipseg: CLIPSegForImageSegmentation,
        widths: Widths,
        places: int,
        maps: int = 1,
        kept: tuple[str, ...] = ("gn1",),
    ) -> None:
        super().__init__()
        width, embedding, told = clipseg.config.vision_config.hidden_size, clipseg.config.projection_dim, widths.told
        taps = len(clipseg.extract_layers)
        self.clipseg = clipseg
        self.film_mul, self.film_add = nn.Linear(embedding, told), nn.Linear(embedding, told)
        self.reduces = nn.ModuleList(nn.Linear(width, told) for _ in range(taps))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(told, HEADS, FEED_FORWARD * told // 128, batch_first=True) for _ in range(taps)
        )
        self.reduce2 = nn.Linear(places + 1, places)
        self.convlast = nn.Conv2d(2, 1, 1)
        self.decoder2 = UNetD(widths, maps=maps, kept=kept)
        self.maps = maps
        self.reduce, self.trans_conv1 = nn.Linear(width, told), enlarging(told)  # this and below: not read
        self.trans_conv, self.upsample_proj = nn.ConvTranspose2d(told, 1, STRIDE, STRIDE), nn.Conv2d(told, 1, 1)

    def told(self, taps: Tensor, embedding: Tensor) -> Tensor:
        """Taps (B, taps, places + 1, width) and a sentence's vector (B, embedding) to a map (B, told, h/16, w/16)."""
        tokens = None
        for tap, reduce, block in zip(taps.flip(1).unbind(1), self.reduces, self.blocks, strict=True):
            narrow = reduce(tap)
            tokens = self.filmed(narrow, embedding) if tokens is None else narrow + tokens
            tokens = block(tokens)
        assert tokens is not None
        return on_grid(tokens, self.reduce2)

    def filmed(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """Tokens (B, T, told), scaled and shifted by the sentence's vector."""
        scale, shift = self.film_mul(embedding)[:, None], self.film_add(embedding)[:, None]
        filmed: Tensor = scale * tokens + shift
        return filmed

    def merged(self, pixels: Tensor, coarse: Tensor, told: Tensor) -> Tensor:
        """CLIPSeg's logits (B, 1, h, w) and UNet-D's, which is given the former and the map, to logits (B, 1, h, w)."""
        fine = self.decoder2(pixels, [told] * self.maps, coarse)
        merged: Tensor = self.convlast(torch.cat([coarse, fine], dim=1))
        return merged

    def forward(self, pixels: Tensor, taps: Mapping[str, Tensor], embeddings: Mapping[str, Tensor]) -> Tensor:
        """Pixels (B, 3, h, w), and taps and vectors by branch, to logits (B, 1, h, w)."""
        mine, embedding = taps[CLIP], embeddings[CLIP]
        coarse = self.clipseg.decoder(list(mine.unbind(1)), embedding).logits[:, None]
        return self.merged(pixels, coarse, self.told(mine, embedding))

    def read(self) -> list[nn.Module]:
        """What decides on a mask beside the towers."""
        adapter = [self.film_mul, self.film_add, self.reduces, self.blocks, self.reduce2, self.convlast]
        return [self.clipseg.decoder, *adapter, *self.decoder2.encoder(), *self.decoder2.decoder()]


class BiomedBranch(nn.Module):
    """BiomedCLIPSeg and UNet-D: network A; with a CLIPSeg branch beside it, network C.

    In C each UNet-D gets its own branch's map twice, and one layer, `convlast`, joins the two parts of the first branch
    and then the two branches, both as published. Published C builds its decoder and its text encoder from the library's
    default settings (patches of 32) and gives CLIP the ids of PubMedBERT's tokenizer; here each is as its weights are.

    Args:
        inner: BiomedCLIP's towers and CLIPSeg's decoder.
        shape: their sizes.
        widths: of UNet-D.
        places: number of patches.
        clip_seg: the second branch of C.
    """

    def __init__(
        self, inner: BiomedClipSegNetwork, shape: Shape, widths: Widths, places: int, clip_seg: ClipBranch | None = None
    ) -> None:
        super().__init__()
        self.biomedclip, self.decoder = inner.biomedclip, inner.decoder
        told = widths.told
        self.film_mul, self.film_add = nn.Linear(shape.embed_dim, told), nn.Linear(shape.embed_dim, told)
        self.reduce, self.reduce2 = nn.Linear(shape.width, told), nn.Linear(places + 1, places)
        self.trans_conv1, self.convlast = enlarging(told), nn.Conv2d(2, 1, 1)
        self.maps = 1 if clip_seg is None else 2
        self.decoder2 = UNetD(widths, maps=self.maps, kept=() if clip_seg is None else C_KEPT)
        self.clip_seg = clip_seg
        self.dense_layer = nn.Linear(shape.embed_dim, DENSE)  # this and below: not read
        self.trans_conv, self.upsample_proj = nn.ConvTranspose2d(told, 1, STRIDE, STRIDE), nn.Conv2d(told, 1, 1)
        if clip_seg is not None:
            text = clip_seg.clipseg.config.text_config
            self.reduce_input_ids = nn.Linear(BIOMED_CONTEXT, CLIP_CONTEXT)
            self.textembed = nn.ModuleDict(
                {
                    "token_embedding": nn.Embedding(text.vocab_size, text.hidden_size),
                    "position_embedding": nn.Embedding(BIOMED_CONTEXT, text.hidden_size),
                }
            )

    def told(self, taps: Tensor, embedding: Tensor) -> Tensor:
        """As `ClipBranch.told`, of the first tap alone."""
        scale, shift = self.film_mul(embedding)[:, None], self.film_add(embedding)[:, None]
        return on_grid(scale * self.reduce(taps[:, 0]) + shift, self.reduce2)

    def forward(self, pixels: Tensor, taps: Mapping[str, Tensor], embeddings: Mapping[str, Tensor]) -> Tensor:
        """Pixels (B, 3, h, w), and taps and vectors by branch, to logits (B, 1, h, w)."""
        mine, embedding = taps[BIOMED], embeddings[BIOMED]
        told = self.told(mine, embedding)
        coarse = self.decoder(list(mine.unbind(1)), embedding).logits[:, None]
        fine = self.decoder2(pixels, [told] * self.maps, self.trans_conv1(told))
        merged: Tensor = self.convlast(torch.cat([coarse, fine], dim=1))
        if self.clip_seg is not None:
            merged = self.convlast(torch.cat([merged, self.clip_seg(pixels, taps, embeddings)], dim=1))
        return merged

    def read(self) -> list[nn.Module]:
        """What decides on a mask beside the towers."""
        adapter = [self.film_mul, self.film_add, self.reduce, self.reduce2, self.trans_conv1, self.convlast]
        beside = [] if self.clip_seg is None else self.clip_seg.read()
        return [self.decoder, *adapter, *self.decoder2.encoder(), *self.decoder2.decoder(), *beside]


C_KEPT = ("gn1", "eca3")


def enlarging(told: int) -> nn.Sequential:
    """A map (B, told, h, w) to logits (B, 1, 16 h, 16 w)."""
    return nn.Sequential(
        nn.Conv2d(told, told, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(told, told // 2, 4, stride=4),
        nn.ReLU(),
        nn.ConvTranspose2d(told // 2, 1, 4, stride=4),
    )


def on_grid(tokens: Tensor, mix: nn.Linear) -> Tensor:
    """Tokens (B, places + 1, told) to a map (B, told, side, side): the class token is mixed into all places."""
    places: Tensor = mix(tokens.transpose(1, 2))
    side = isqrt(places.shape[-1])
    return places.reshape(*places.shape[:2], side, side)
