"""A segmenter whose answer is a sum over the words it reads, so that the worst sentence is known."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vlseg.attacks.text_words import wording_of
from vlseg.models import Inputs, Output, Rows, Spec
from vlseg.models.images import resize_and_normalise, resize_masks, restore_bilinear

WORDS = ("thing", *"alfa bravo charlie delta echo foxtrot golf hotel india juliett".split())
LONGEST, FIRST = 12, 2


class Adding(nn.Module):
    """Logits are the pixels plus the sum of the words' weights (0 for unknown words)."""

    def __init__(self, side: int = 8) -> None:
        super().__init__()
        self.spec = Spec("adding", uses_text=True, image_size=(side, side))
        self.vectors = nn.Embedding(len(WORDS) + FIRST, 1, padding_idx=0)
        rng = torch.Generator().manual_seed(5)
        with torch.no_grad():
            self.vectors.weight[FIRST - 1] = 0
            self.vectors.weight[FIRST:] = torch.randn(len(WORDS), 1, generator=rng) * 0.4

    def weight(self, word: str) -> float:
        return float(self.vectors.weight.detach()[FIRST + WORDS.index(word)]) if word in WORDS else 0.0

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        return resize_and_normalise(rgb, self.spec.image_size, (0.0, 0.0, 0.0), (0.25, 0.25, 0.25))

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        return resize_masks(masks, self.spec.image_size)

    def tokenize(self, prompts: Sequence[str]) -> Rows:
        ids = torch.zeros(len(prompts), LONGEST, dtype=torch.long)
        for row, prompt in zip(ids, prompts, strict=True):
            told = [FIRST + WORDS.index(word) if word in WORDS else 1 for word in wording_of(prompt).words]
            row[: len(told)] = torch.tensor(told, dtype=torch.long)
        return Rows({"ids": ids})

    def encode_image(self, inputs: Inputs) -> Rows:
        return Rows({"pixels": inputs.tensors["pixel_values"][:, :1]})

    def encode_prompts(self, tokens: Rows | None) -> Rows:
        assert tokens is not None
        return Rows({"sum": self.vectors(tokens.tensors["ids"]).sum(1)})

    def decode(self, image: Rows, prompts: Rows | None) -> Output:
        assert prompts is not None
        return Output(image.tensors["pixels"] + prompts.tensors["sum"][..., None, None])

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Rows | None) -> Output:
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        return {}

    def save(self, folder: Path) -> None:
        raise NotImplementedError
