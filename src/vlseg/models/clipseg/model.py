"""CLIPSeg (Lüddecke and Ecker 2022) in the segmenter's steps, over transformers' towers and decoder.

transformers' own forward runs both encoders without gradients, so that through it nothing but the
decoder ever trains. Here the towers are called directly. Encoder blocks behind the last tapped one
do not reach the mask and are not run.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

from vlseg.models.additions.towers import Tower, Towers
from vlseg.models.clipseg.tokenizer import CONTEXT_LENGTH, FILLER
from vlseg.models.folder import our_part, write_model
from vlseg.models.images import IMAGENET_MEAN, IMAGENET_STD, resize_and_normalise, resize_masks, restore_bilinear
from vlseg.models.portable import TOKENIZER, Portable, library_words, used_columns
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Spec, Tokens
from vlseg.records import InputError


class ClipSeg(nn.Module):
    """A CLIPSeg network with its tokenizer.

    Under the protocol "published" only the mask decoder can train, whatever the regime: that is what
    published runs did. Under "corrected" the encoders train too.
    """

    def __init__(self, network: CLIPSegForImageSegmentation, tokenizer: CLIPTokenizer, spec: Spec) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.spec = spec
        self.taps: list[int] = list(network.extract_layers)

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) in [0, 1] to the square input with ImageNet mean and deviation."""
        return resize_and_normalise(rgb, self.spec.image_size, IMAGENET_MEAN, IMAGENET_STD)

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W) to (B, 1, h, w)."""
        return resize_masks(masks, self.spec.image_size)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Sentences to `input_ids` and `attention_mask` (B, 77); longer ones are cut."""
        encoded = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt"
        )
        return Tokens({"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]})

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """`taps` (B, number of taps, tokens, width): outputs of the tapped blocks."""
        # An attack asks for the gradient of the pixels, whatever may train.
        asked = torch.is_grad_enabled() and inputs.tensors["pixel_values"].requires_grad
        with torch.set_grad_enabled(asked or self._encoders_may_train()):
            vision = self.network.clip.vision_model
            hidden = vision.pre_layrnorm(
                vision.embeddings(inputs.tensors["pixel_values"], interpolate_pos_encoding=True)
            )
            outputs = {}
            for index, block in enumerate(vision.encoder.layers[: max(self.taps) + 1]):
                hidden = block(hidden, attention_mask=None)
                if index in self.taps:
                    outputs[index] = hidden
            return ImageFeatures({"taps": torch.stack([outputs[tap] for tap in self.taps], dim=1)})

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures:
        """`embedding` (B, 512): the projected state at the end-of-text token."""
        if tokens is None:
            raise ValueError("CLIPSeg needs tokens; call tokenize first")
        # Columns that are padding in every row change nothing under the causal mask.
        length = used_columns(tokens.tensors["attention_mask"])
        with torch.set_grad_enabled(self._encoders_may_train()):
            text = self.network.clip.get_text_features(
                tokens.tensors["input_ids"][:, :length],
                attention_mask=tokens.tensors["attention_mask"][:, :length],
            )
            return PromptFeatures({"embedding": text.pooler_output})

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Logits (B, 1, h, w)."""
        if prompts is None:
            raise ValueError("CLIPSeg needs prompt features; call encode_prompts first")
        taps = list(image.tensors["taps"].unbind(dim=1))
        decoded = self.network.decoder(taps, prompts.tensors["embedding"])
        return Output(decoded.logits[:, None])

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Trainable parts; what no mask depends on (last blocks, visual projection) is in none."""
        parts: dict[str, list[nn.Module]] = {"mask_decoder": [self.network.decoder]}
        if self.spec.protocol != "published":
            vision, clip = self.network.clip.vision_model, self.network.clip
            blocks = list(vision.encoder.layers[: max(self.taps) + 1])
            parts["image_encoder"] = [vision.embeddings, vision.pre_layrnorm, *blocks]
            parts["text_encoder"] = [clip.text_model, clip.text_projection]
        return parts

    def towers(self) -> Towers:
        """Both encoders; the image's up to the last tapped block.

        Raises:
            InputError: under the protocol "published" no gradient reaches the encoders.
        """
        if self.spec.protocol == "published":
            raise InputError("protocol: under 'published' nothing but CLIPSeg's decoder can train; take corrected")
        vision, clip = self.network.clip.vision_model, self.network.clip
        text, config = clip.text_model, self.network.config
        return Towers(
            image=replace(
                _tower(vision.encoder.layers[: max(self.taps) + 1], config.vision_config.hidden_size),
                entry=vision.pre_layrnorm,
            ),
            text=_tower(text.encoder.layers, config.text_config.hidden_size),
            taps=tuple(self.taps),
            token_embedding=text.embeddings.token_embedding,
            filler=FILLER,
            context=CONTEXT_LENGTH,
            sentence_width=config.projection_dim,
            projection=clip.text_projection,
        )

    def portable(self) -> Portable:
        """Stretched images, byte pairs."""
        words = library_words(self.tokenizer, CONTEXT_LENGTH, kind="clip")
        return Portable(IMAGENET_MEAN, IMAGENET_STD, words=words, tokenizers={TOKENIZER: self.tokenizer})

    def save(self, folder: Path) -> None:
        """A Hugging Face folder that transformers loads by itself, with our part in config.json."""
        config = self.network.config.to_dict()
        config["architectures"] = ["CLIPSegForImageSegmentation"]
        arguments = {"image_size": self.spec.image_size[0]}
        config["vlseg"] = our_part(self.spec.name, self.spec.protocol, self.spec.targets, arguments)
        write_model(folder, config, self.network.state_dict())
        self.tokenizer.save_pretrained(folder)

    def _encoders_may_train(self) -> bool:
        # `and` keeps an outer no_grad (evaluation) in force.
        return torch.is_grad_enabled() and self.spec.protocol != "published"


def _tower(blocks: Sequence[nn.Module], width: int) -> Tower:
    attentions, mlps = ([block.get_submodule(name) for block in blocks] for name in ("self_attn", "mlp"))
    return Tower(list(blocks), attentions, mlps, width)
