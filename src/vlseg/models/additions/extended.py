"""A model with what a regime added to it, in the segmenter's steps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vlseg.models.additions import ADDITIONS
from vlseg.models.additions.addition import DECODER_PART, IMAGE_PART, Addition
from vlseg.models.additions.base import BESIDE, Base, checksum
from vlseg.models.folder import ADDED_FORMAT, our_part
from vlseg.models.portable import Exportable, Portable
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Segmenter, Tokens, as_module
from vlseg.models.saving import save_tensors
from vlseg.records import InputError, unknown_name, write_text

ADDED_FILE = "added.safetensors"
DECODER = "mask_decoder"


class Extended(nn.Module):
    """A segmenter and an addition to it: what was added is all that trains and all that is saved.

    With the argument `train_decoder` the mask decoder trains and is saved as well.
    """

    def __init__(
        self,
        model: Segmenter,
        regime: str,
        arguments: Mapping[str, Any],
        base: Base,
        *,
        beside: Segmenter | None = None,
    ) -> None:
        """Put the regime's weights, random from torch's global generator, into `model`, which is changed in place.

        Args:
            model: what is added to.
            regime: a name in ADDITIONS.
            arguments: the regime's own, and `train_decoder`.
            base: where `model` comes from.
            beside: `model` as it was, to be saved with the addition where nothing else brings it back.

        Raises:
            InputError: unknown regime or argument, or a model that it is not for.
        """
        super().__init__()
        if regime not in ADDITIONS:
            raise unknown_name("regime that adds weights", regime, ADDITIONS)
        own = dict(arguments)
        self.trains_decoder = own.pop("train_decoder", False)
        if not isinstance(self.trains_decoder, bool):
            raise InputError(f"regime_arguments: train_decoder is {self.trains_decoder!r}; give true or false")
        self.regime, self.arguments, self.origin = regime, dict(arguments), base
        self.checksum = checksum(as_module(model), without=_decoder(model) if self.trains_decoder else ())
        self.addition = _put_in(model, regime, own)
        if self.trains_decoder and self.addition.inside and DECODER_PART in self.addition.modules:
            raise InputError(
                f"regime_arguments: with train_decoder the whole decoder trains, and '{regime}' inside it as well; "
                "give train_decoder: false, or leave the decoder out of the others"
            )
        self.spec = model.spec
        self.base = as_module(model)
        self._beside = [beside]  # in a list: no member of this module
        self.added = nn.ModuleDict({} if self.addition.inside else dict(self.addition.modules))
        # Settings that no weight shows (LoRA's scale) are part of what the model is, and so of every digest of it.
        told = json.dumps([regime, self.arguments], sort_keys=True).encode()
        self.register_buffer("settings", torch.tensor(list(told), dtype=torch.uint8))

    @property
    def model(self) -> Segmenter:
        """What was added to."""
        return cast(Segmenter, self.base)

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """As the model that was added to."""
        return self.model.prepare(rgb)

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """As the model that was added to."""
        return self.model.prepare_masks(masks)

    def tokenize(self, prompts: Sequence[str]) -> Tokens | None:
        """As the model that was added to, with places for learned vectors where the regime has some."""
        tokens = self.model.tokenize(prompts)
        change = self.addition.tokenize
        return tokens if change is None or tokens is None else change(tokens)

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """Through what was added."""
        features = self.model.encode_image(inputs)
        return features if self.addition.image is None else self.addition.image(features)

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures | None:
        """Through what was added."""
        instead = self.addition.encode_prompts
        return self.model.encode_prompts(tokens) if instead is None or tokens is None else instead(tokens)

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Through what was added."""
        instead = self.addition.decode
        return self.model.decode(image, prompts) if instead is None or prompts is None else instead(image, prompts)

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """As the model that was added to."""
        return self.model.restore(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """What was added, and the mask decoder where it trains; nothing else ever does."""
        parts = {name: [module] for name, module in self.addition.modules.items()}
        return {**parts, DECODER: _decoder(self.model)} if self.trains_decoder else parts

    def portable(self) -> Portable:
        """As the model that was added to, with places for learned vectors where the regime has some.

        Raises:
            InputError: the model that was added to cannot be exported, and why.
        """
        if not isinstance(self.model, Exportable):
            raise InputError(f"'{self.spec.name}' cannot be exported as graphs; --format hf keeps it whole")
        portable, change = self.model.portable(), self.addition.words
        if change is None or portable.words is None:
            return portable
        return replace(portable, words=change(portable.words))

    @property
    def leaves_images(self) -> bool:
        """Whether images' features are those of the model that was added to."""
        return IMAGE_PART not in self.addition.modules

    @property
    def way_out(self) -> str:
        """What to do where another regime is to go on with the model."""
        start = "start from the weights that it was put onto"
        merged = ", or from what vlseg merge RUN --out FOLDER makes of it"
        return start if self.addition.merge is None else start + merged

    def stored(self) -> dict[str, Tensor]:
        """The tensors that are saved, live, by part, number of the module where a part has several, and name in it."""
        return {
            ".".join([part, *([str(number)] if len(modules) > 1 else []), name]): tensor
            for part, modules in self.parts().items()
            for number, module in enumerate(modules)
            for name, tensor in module.state_dict().items()
        }

    def save(self, folder: Path) -> None:
        """config.json, which names what was added to and its checksum, and the added weights.

        What was added to is written into `base` beside where nothing else brings it back (random weights).
        """
        folder.mkdir(parents=True, exist_ok=True)
        base = self.origin.to_json()
        if (beside := self._beside[0]) is not None:
            beside.save(folder / BESIDE)
            base["weights"] = BESIDE
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.stored().items()}
        if self.addition.write is not None:
            self.addition.write(folder, tensors)
        else:
            save_tensors(folder / ADDED_FILE, tensors, {"format": "pt"})
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, {})
        part["format_version"] = ADDED_FORMAT
        part["addition"] = {
            "regime": self.regime,
            "arguments": self.arguments,
            "base": {**base, "sha256": self.checksum},
        }
        write_text(folder / "config.json", json.dumps({"vlseg": part}, indent=1) + "\n")


def _decoder(model: Segmenter) -> list[nn.Module]:
    return list(model.parts().get(DECODER, []))


def _put_in(model: Segmenter, regime: str, arguments: Mapping[str, Any]) -> Addition:
    add = ADDITIONS[regime].add
    known = [name for name in add.open() if name != "model"]
    for name in arguments:
        if name not in known:
            raise unknown_name(f"regime_arguments of '{regime}'", name, [*known, "train_decoder"])
    addition: Addition = add(model=model, **arguments)
    for module in addition.modules.values():
        module.to(next(as_module(model).parameters()).device)
    return addition
