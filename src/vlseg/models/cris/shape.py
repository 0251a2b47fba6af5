"""The widths and depths of a CRIS network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CrisShape:
    """Sizes; the defaults are those of the published network on CLIP RN50.

    `fpn` are the neck's widths, coarsest last; its middle one is the decoder's and must be the text tower's width.
    `pool_side` is the map's side that CLIP's positions were trained for (input / 32).
    """

    vision_layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    vision_width: int = 64
    embed_dim: int = 1024
    pool_side: int = 7
    text_width: int = 512
    text_heads: int = 8
    text_layers: int = 12
    vocabulary: int = 49408
    context: int = 77
    fpn: tuple[int, int, int] = (256, 512, 1024)
    decoder_layers: int = 3
    decoder_heads: int = 8
    decoder_ffn: int = 2048
    dropout: float = 0.2


SHAPES: dict[str, CrisShape] = {
    "rn50": CrisShape(),
    "rn101": CrisShape(vision_layers=(3, 4, 23, 3), embed_dim=512),
    "tiny": CrisShape(
        vision_layers=(1, 1, 1, 1),
        vision_width=8,
        embed_dim=32,
        pool_side=2,
        text_width=32,
        text_heads=4,
        text_layers=2,
        fpn=(16, 32, 32),
        decoder_layers=1,
        decoder_heads=4,
        decoder_ffn=64,
    ),
}
"""By CLIP backbone; "tiny" is for tests and has random weights only."""
