"""CLIP's ResNet and text tower as CRIS changes them: the attention pool keeps its map, words keep their states.

Key layout of OpenAI's RN50.pt, with one more branch (`attnpool.connect`) that only CRIS has.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.cris.shape import CrisShape


class Bottleneck(nn.Module):
    """1x1, 3x3, average pool in place of a stride, 1x1 to four times the width; residual."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.stride = stride
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, 4 width, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self._pooled(F.relu(self.bn2(self.conv2(out))))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(self._pooled(x))))

    def _pooled(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.stride) if self.stride > 1 else x


class AttentionPool(nn.Module):
    """Self-attention over all places of the map, which stays a map, plus a convolved residual."""

    def __init__(self, side: int, width: int, heads: int, outputs: int) -> None:
        super().__init__()
        self.side, self.heads = side, heads
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, width) / width**0.5)
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, outputs)
        self.connect = nn.Sequential(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to (B, outputs, h, w). The first position, of CLIP's mean token, is not used."""
        batch, width, height, columns = x.shape
        grid = self.positional_embedding[1:].T.reshape(1, width, self.side, self.side)
        places = F.interpolate(grid, size=(height, columns), mode="bicubic", align_corners=False)
        tokens = (x + places).flatten(2).transpose(1, 2)
        split = (batch, height * columns, self.heads, width // self.heads)
        q, k, v = (layer(tokens).reshape(split).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        mapped = self.c_proj(attended).transpose(1, 2).reshape(batch, -1, height, columns)
        return F.relu(mapped + self.connect(x))


class Visual(nn.Module):
    """CLIP's modified ResNet: three-convolution stem, four layers, attention pool."""

    def __init__(self, shape: CrisShape) -> None:
        super().__init__()
        width = shape.vision_width
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for number, blocks in enumerate(shape.vision_layers):
            inner = width * 2**number
            stride = 1 if number == 0 else 2
            layer = [Bottleneck(inputs, inner, stride), *(Bottleneck(4 * inner, inner, 1) for _ in range(blocks - 1))]
            inputs = 4 * inner
            self.add_module(f"layer{number + 1}", nn.Sequential(*layer))
        self.attnpool = AttentionPool(shape.pool_side, inputs, inputs // 64, shape.embed_dim)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) to maps at 1/8, 1/16 and 1/32."""
        x = F.relu(self.bn1(self.conv1(pixels)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        c3 = self.get_submodule("layer2")(self.get_submodule("layer1")(x))
        c4 = self.get_submodule("layer3")(c3)
        return c3, c4, self.attnpool(self.get_submodule("layer4")(c4))


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), as OpenAI's CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x * torch.sigmoid(1.702 * x)


class TextBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        parts = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGelu()), ("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict[str, nn.Module](parts))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, width) with an additive mask (L, L)."""
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        result: Tensor = x + self.mlp(self.ln_2(x))
        return result


class Transformer(nn.Module):
    """The blocks in a row, under the key that CLIP uses."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(TextBlock(width, heads) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, width); each word sees those before it."""
        length = x.shape[1]
        mask = torch.full((length, length), -torch.inf, dtype=x.dtype, device=x.device).triu(1)
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Backbone(nn.Module):
    """Both of CLIP's towers. `logit_scale` is in the files and never read."""

    def __init__(self, shape: CrisShape) -> None:
        super().__init__()
        width = shape.text_width
        self.visual = Visual(shape)
        self.transformer = Transformer(width, shape.text_heads, shape.text_layers)
        self.token_embedding = nn.Embedding(shape.vocabulary, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(shape.context, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, shape.embed_dim) / width**0.5)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))

    def encode_text(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, L) to the words' states (B, L, width) and the sentence's (B, embed_dim), at the end-of-text id."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        words = self.ln_final(self.transformer(x))
        end = words[torch.arange(ids.shape[0], device=ids.device), ids.argmax(dim=1)]
        return words, end @ self.text_projection
