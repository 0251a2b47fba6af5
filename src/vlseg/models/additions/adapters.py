"""VLSM-Adapter (Dhakal et al., MICCAI 2024, arXiv:2405.06196): small bottlenecks in or behind the frozen encoders.

An adapter gives x + relu(W2 relu(W1 x)), as the published code has it: what it adds is never negative.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.additions.addition import DECODER_PART, IMAGE_PART, TEXT_PART, Addition
from vlseg.models.additions.arguments import whole_number
from vlseg.models.additions.towers import Tower, Towers, image_tower, text_tower, towers_of
from vlseg.models.protocol import ImageFeatures, Output, PromptFeatures, Segmenter, Tokens

DENSE_WIDTH, SHALLOW_WIDTH, SENTENCE_WIDTH = 64, 512, 256


class Adapter(nn.Module):
    """A bottleneck beside the identity."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., width) to the same."""
        return hidden + F.relu(self.up(F.relu(self.down(hidden))))


def adapt(place: nn.Module, adapter: nn.Module) -> None:
    """Let an adapter act on what a module gives, alone or first of a tuple."""
    place.register_forward_hook(_Behind(adapter).hook)


class _Behind:
    """A hook that goes along when its module is copied: a function would stay with the original."""

    def __init__(self, adapter: nn.Module) -> None:
        self.adapter = adapter

    def hook(self, module: nn.Module, given: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self.adapter(output[0]), *output[1:])
        return self.adapter(output)


def dense(
    model: Segmenter,
    *,
    text: bool,
    sentence: bool,
    width: int = DENSE_WIDTH,
    sentence_width: int = SENTENCE_WIDTH,
) -> Addition:
    """Adapters behind attention and MLP, before each is added to the hidden state, of the blocks before the last tap.

    The last tapped block itself has none.

    Args:
        model: what is added to.
        text: in the text encoder, too, in as many blocks.
        sentence: an adapter on the sentence's projected vector, too.
        width: of the bottlenecks.
        sentence_width: of the bottleneck on the sentence's vector.

    Raises:
        InputError: a width that is none, or a model that it is not for.
    """
    whole_number("width", width)
    regime = _regime("dense", text=text, sentence=sentence)
    towers, tower = towers_of(model, regime), image_tower(model, regime)
    blocks = max(towers.taps)
    modules: dict[str, nn.Module] = {IMAGE_PART: _in_blocks(tower, blocks, width)}
    told = nn.ModuleDict()
    if text:
        told["blocks"] = _in_blocks(text_tower(model, regime), blocks, width)
    if sentence:
        told["sentence"] = _on_sentence(towers, sentence_width)
    return Addition({**modules, TEXT_PART: told} if len(told) else modules)


def shallow(
    model: Segmenter,
    *,
    text: bool,
    sentence: bool,
    width: int = SHALLOW_WIDTH,
    sentence_width: int = SENTENCE_WIDTH,
) -> Addition:
    """Adapters on the tapped states on their way to the decoder; the encoders stay as they are.

    Args:
        model: what is added to; its image features hold `taps`, its prompts' an `embedding`.
        text: the sentence's state behind the text blocks of the same numbers, each through an adapter, is added to the
            projected vector. Where the widths differ (not in CLIPSeg) the model's own projection comes between.
        sentence: an adapter on the sentence's projected vector, too, before that.
        width: of the bottlenecks.
        sentence_width: of the bottleneck on the sentence's vector.

    Raises:
        InputError: a width that is none, or a model that it is not for.
    """
    whole_number("width", width)
    regime = _regime("shallow", text=text, sentence=sentence)
    towers, tower = towers_of(model, regime), image_tower(model, regime)
    taps = OnTaps(model, len(towers.taps), tower.width, width)
    told: dict[str, nn.Module] = {}
    states = None
    if text:
        told["states"] = states = OnStates(model, towers, text_tower(model, regime), width)
    if sentence:
        told["sentence"] = _on_sentence(towers, sentence_width)
    return Addition(
        {DECODER_PART: taps, **({TEXT_PART: nn.ModuleDict(told)} if told else {})},
        encode_prompts=None if states is None else states.encode_prompts,
        decode=taps.decode,
    )


class OnTaps(nn.Module):
    """An adapter on each tapped state of the image encoder."""

    def __init__(self, model: Segmenter, taps: int, width: int, bottleneck: int) -> None:
        super().__init__()
        self._model = [model]  # in a list: no member of this module
        self.adapters = nn.ModuleList(Adapter(width, bottleneck) for _ in range(taps))

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """As the model, from adapted `taps` (B, number of taps, tokens, width)."""
        states = image.tensors["taps"].unbind(dim=1)
        adapted = torch.stack([adapter(one) for adapter, one in zip(self.adapters, states, strict=True)], dim=1)
        return self._model[0].decode(ImageFeatures({**image.tensors, "taps": adapted}), prompts)


class OnStates(nn.Module):
    """Adapters on the sentence's states inside the text encoder, which the decoder gets with its projected vector."""

    def __init__(self, model: Segmenter, towers: Towers, tower: Tower, bottleneck: int) -> None:
        super().__init__()
        numbers = sorted({min(tap, len(tower.blocks) - 1) for tap in towers.taps})
        self._model, self._towers = [model], towers
        self._blocks = [tower.blocks[number] for number in numbers]
        self.adapters = nn.ModuleList(Adapter(tower.width, bottleneck) for _ in numbers)

    def encode_prompts(self, tokens: Tokens) -> PromptFeatures:
        """`embedding` (B, sentence width): the model's own and what the adapters give."""
        own, states = self._own(tokens)
        ids = tokens.tensors[self._towers.ids]
        place = ids.argmax(dim=1) if self._towers.sentence_at_end else torch.zeros_like(ids[:, 0])
        embedding = own.tensors["embedding"]
        for adapter, state in zip(self.adapters, states, strict=True):
            embedding = embedding + self._projected(
                adapter(state[torch.arange(ids.shape[0], device=ids.device), place])
            )
        return PromptFeatures({**own.tensors, "embedding": embedding})

    def _own(self, tokens: Tokens) -> tuple[PromptFeatures, Sequence[Tensor]]:
        """What the model gives, and the states behind the tapped blocks."""
        seen: list[Tensor] = []

        def note(module: nn.Module, given: Any, output: Any) -> None:
            seen.append(output[0] if isinstance(output, tuple) else output)

        handles = [block.register_forward_hook(note) for block in self._blocks]
        try:
            own = self._model[0].encode_prompts(tokens)
        finally:
            for handle in handles:
                handle.remove()
        if own is None:
            raise ValueError(f"{self._model[0].spec.name} gives no features of prompts")
        return own, seen

    def _projected(self, state: Tensor) -> Tensor:
        if state.shape[-1] == self._towers.sentence_width or self._towers.projection is None:
            return state
        projected: Tensor = self._towers.projection.forward(state)  # not called: an adapter may hang on the call
        return projected


def _regime(kind: str, *, text: bool, sentence: bool) -> str:
    return f"{kind}_{'vlc' if sentence else 'vl' if text else 'v'}"


def _in_blocks(tower: Tower, count: int, width: int) -> nn.ModuleDict:
    """Two adapters in each of a tower's first blocks."""
    count = min(count, len(tower.blocks))
    made = {name: [Adapter(tower.width, width) for _ in range(count)] for name in ("attention", "mlp")}
    for places, name in ((tower.attentions, "attention"), (tower.mlps, "mlp")):
        for place, adapter in zip(places[:count], made[name], strict=True):
            adapt(place, adapter)
    return nn.ModuleDict({name: nn.ModuleList(adapters) for name, adapters in made.items()})


def _on_sentence(towers: Towers, width: int) -> Adapter:
    whole_number("sentence_width", width)
    if towers.projection is None:
        raise ValueError("towers(): 'projection' is needed for an adapter on the sentence's vector")
    adapter = Adapter(towers.sentence_width, width)
    adapt(towers.projection, adapter)
    return adapter
