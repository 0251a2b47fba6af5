"""From three maps and a sentence to one map, from that map and the words to the mask's kernel."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.cris.shape import CrisShape


def convolve(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class SentenceNorm(nn.BatchNorm1d):
    """Batch norm over sentences; a single one is normalised with the running statistics (there is no spread)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C)."""
        if self.training and len(x) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class CoordConv(nn.Module):
    """A convolution that is told each place's x and y in [-1, 1]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = convolve(width + 2, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w)."""
        batch, _, height, columns = x.shape
        across = torch.linspace(-1, 1, columns, device=x.device, dtype=x.dtype).expand(batch, 1, height, columns)
        down = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype)[:, None].expand(batch, 1, height, columns)
        result: Tensor = self.conv1(torch.cat([x, across, down], dim=1))
        return result


class Neck(nn.Module):
    """The sentence gates the coarsest map; finer maps are mixed in; everything meets at 1/16."""

    def __init__(self, shape: CrisShape) -> None:
        super().__init__()
        fine, middle, coarse = shape.fpn
        c3, c4, c5 = 8 * shape.vision_width, 16 * shape.vision_width, shape.embed_dim
        self.txt_proj = nn.Sequential(nn.Linear(shape.embed_dim, coarse, bias=False), SentenceNorm(coarse), nn.ReLU())
        self.f1_v_proj = convolve(c5, coarse, 1)
        self.norm_layer = nn.Sequential(nn.BatchNorm2d(coarse), nn.ReLU())
        self.f2_v_proj, self.f2_cat = convolve(c4, middle), convolve(coarse + middle, middle, 1)
        self.f3_v_proj, self.f3_cat = convolve(c3, fine), convolve(fine + middle, middle, 1)
        self.f4_proj5 = convolve(coarse, middle)
        self.f4_proj4 = convolve(middle, middle)
        self.f4_proj3 = convolve(middle, middle)
        self.aggr = convolve(3 * middle, middle, 1)
        self.coordconv = nn.Sequential(CoordConv(middle), convolve(middle, middle))

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor, state: Tensor) -> Tensor:
        """Maps at 1/8, 1/16, 1/32 and the sentence (B, embed_dim) to (B, middle, h / 16, w / 16)."""
        gate = self.txt_proj(state)[:, :, None, None]
        f5 = self.norm_layer(self.f1_v_proj(c5) * gate)
        f4 = self.f2_cat(torch.cat([self.f2_v_proj(c4), _doubled(f5)], dim=1))
        f3 = self.f3_cat(torch.cat([F.avg_pool2d(self.f3_v_proj(c3), 2), f4], dim=1))
        parts = [self.f4_proj3(f3), self.f4_proj4(f4), _doubled(self.f4_proj5(f5))]
        result: Tensor = self.coordconv(self.aggr(torch.cat(parts, dim=1)))
        return result


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class DecoderLayer(nn.Module):
    """Self-attention of places, cross-attention to words, feed-forward; norms before and after each attention."""

    def __init__(self, shape: CrisShape) -> None:
        super().__init__()
        width, drop = shape.fpn[1], shape.dropout
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attn_norm, self.cross_attn_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, shape.decoder_heads, dropout=drop, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, shape.decoder_heads, dropout=drop, batch_first=True)
        self.ffn = nn.Sequential(
            nn.Linear(width, shape.decoder_ffn),
            nn.ReLU(),
            nn.Dropout(drop),
            nn.LayerNorm(shape.decoder_ffn),
            nn.Linear(shape.decoder_ffn, width),
        )
        self.dropout = nn.Dropout(drop)

    def forward(self, places: Tensor, words: Tensor, where: Tensor, order: Tensor, padding: Tensor | None) -> Tensor:
        """Places (B, hw, C) with positions `where`; words (B, L, C) with positions `order`; padding (B, L) or None."""
        x = self.norm1(places)
        attended = self.self_attn(x + where, x + where, x, need_weights=False)[0]
        places = places + self.dropout(self.self_attn_norm(attended))
        x = self.norm2(places)
        attended = self.multihead_attn(x + where, words + order, words, key_padding_mask=padding, need_weights=False)[0]
        places = places + self.dropout(self.cross_attn_norm(attended))
        result: Tensor = places + self.dropout(self.ffn(self.norm3(places)))
        return result


class Decoder(nn.Module):
    """Transformer decoder over the map's places."""

    def __init__(self, shape: CrisShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(shape) for _ in range(shape.decoder_layers))
        self.norm = nn.LayerNorm(shape.fpn[1])

    def forward(self, maps: Tensor, words: Tensor, padding: Tensor | None) -> Tensor:
        """(B, C, h, w), (B, L, C), padding (B, L) true where a word is none; to (B, C, h, w)."""
        batch, width, height, columns = maps.shape
        where = grid_positions(width, height, columns).to(maps)
        order = waves(torch.arange(words.shape[1]), width).to(words)
        places = maps.flatten(2).transpose(1, 2)
        for layer in self.layers:
            places = layer(places, words, where, order, padding)
        result: Tensor = self.norm(places).transpose(1, 2).reshape(batch, width, height, columns)
        return result


def waves(positions: Tensor, width: int) -> Tensor:
    """(n,) to (n, width): sines and cosines in turn, of wavelengths up to 10,000."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = positions[:, None].float() * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def grid_positions(width: int, height: int, columns: int) -> Tensor:
    """(h w, width): the first half of the channels tells the column, the second the row."""
    across = waves(torch.arange(columns), width // 2)[None].expand(height, -1, -1)
    down = waves(torch.arange(height), width // 2)[:, None].expand(-1, columns, -1)
    return torch.cat([across, down], dim=2).flatten(0, 1)


class Projector(nn.Module):
    """The sentence becomes a 3x3 kernel that is run over the upsampled map: one channel of logits at 1/4."""

    def __init__(self, shape: CrisShape) -> None:
        super().__init__()
        self.width = shape.fpn[1] // 2
        double = nn.Upsample(scale_factor=2, mode="bilinear")
        wide = 2 * self.width
        self.vis = nn.Sequential(
            double, convolve(wide, wide), double, convolve(wide, self.width), nn.Conv2d(self.width, self.width, 1)
        )
        self.txt = nn.Linear(shape.embed_dim, self.width * 9 + 1)

    def forward(self, maps: Tensor, state: Tensor) -> Tensor:
        """(B, 2 width, h, w) and (B, embed_dim) to (B, 1, 4 h, 4 w)."""
        x = self.vis(maps)
        batch, width, height, columns = x.shape
        kernel = self.txt(state)
        weight, bias = kernel[:, :-1].reshape(batch, width, 3, 3), kernel[:, -1]
        if torch.compiler.is_exporting():  # as many groups as rows would fix their number in the graph
            return _each_with_its_kernel(x, weight, bias)
        x = F.conv2d(x.reshape(1, batch * width, height, columns), weight, bias, padding=1, groups=batch)
        return x.transpose(0, 1)


def _each_with_its_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Maps (B, C, h, w), each under its own kernel (B, C, 3, 3) and bias (B,), to (B, 1, h, w).

    The nine places of the kernel are one product, whose maps are then shifted and added: of the gathered
    neighbourhoods that `unfold` becomes OpenVINO reads all but the first image's wrongly where they are large.
    """
    batch, _, height, width = x.shape
    parts = (weight.flatten(2).transpose(1, 2) @ x.flatten(2)).reshape(batch, 9, height, width)
    wide = F.pad(parts, (1, 1, 1, 1))
    shifted = [
        wide[:, 3 * row + left, row : row + height, left : left + width] for row in range(3) for left in range(3)
    ]
    return torch.stack(shifted).sum(dim=0)[:, None] + bias[:, None, None, None]
