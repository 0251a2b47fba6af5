"""BiomedCLIPSeg (Poudel et al., MIDL 2024) in the segmenter's steps: BiomedCLIP's encoders, CLIPSeg's decoder.

Protocols, which belong to the weights. `published`: the decoder gets the outputs of blocks 4, 7 and 10 counted from 0
(the published code indexed a list that lacks the embeddings), and the image encoder cannot train (it ran in inference
mode). `corrected`: blocks 3, 6 and 9, as in CLIPSeg, and everything can train.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from transformers import BertTokenizer

from vlseg.models.additions.towers import Tower, Towers
from vlseg.models.biomedclipseg.network import SHAPES, Network
from vlseg.models.biomedclipseg.tokenizer import CONTEXT_LENGTH, SPECIAL
from vlseg.models.folder import our_part, write_model
from vlseg.models.images import CLIP_MEAN, CLIP_STD, resize_and_normalise, resize_masks, restore_bilinear
from vlseg.models.portable import TOKENIZER, Portable, library_words, used_columns
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Spec, Tokens

FILLER = SPECIAL.index("[UNK]")
TAPS = {"published": (4, 7, 10), "corrected": (3, 6, 9)}


class BiomedClipSeg(nn.Module):
    """A BiomedCLIPSeg network with its tokenizer. `random_part` is what the weights that were loaded lack."""

    def __init__(self, network: Network, tokenizer: BertTokenizer, spec: Spec, size_name: str) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.spec = spec
        self.random_part: str | None = None
        self.size_name = size_name
        self.taps = TAPS[spec.protocol]

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) in [0, 1] to the square input with CLIP's mean and deviation."""
        return resize_and_normalise(rgb, self.spec.image_size, CLIP_MEAN, CLIP_STD)

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W) to (B, 1, h, w)."""
        return resize_masks(masks, self.spec.image_size)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Sentences to `input_ids` and `attention_mask` (B, 256); longer ones are cut."""
        encoded = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt"
        )
        return Tokens({"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]})

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """`taps` (B, 3, tokens, width): outputs of the tapped blocks."""
        visual = self.network.biomedclip.visual
        return ImageFeatures({"taps": visual.blocks(inputs.tensors["pixel_values"], self.taps)})

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures:
        """`embedding` (B, 512)."""
        if tokens is None:
            raise ValueError("BiomedCLIPSeg needs tokens; call tokenize first")
        mask = tokens.tensors["attention_mask"]
        # Columns that are padding in every row are masked: leaving them out changes nothing.
        length = used_columns(mask)
        embedding = self.network.biomedclip.text(tokens.tensors["input_ids"][:, :length], mask[:, :length])
        return PromptFeatures({"embedding": embedding})

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Logits (B, 1, h, w)."""
        if prompts is None:
            raise ValueError("BiomedCLIPSeg needs prompt features; call encode_prompts first")
        taps = list(image.tensors["taps"].unbind(dim=1))
        return Output(self.network.decoder(taps, prompts.tensors["embedding"]).logits[:, None])

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Trainable parts; what no mask depends on (last blocks, final norm, image projection) is in none."""
        text = self.network.biomedclip.text
        parts: dict[str, list[nn.Module]] = {"mask_decoder": [self.network.decoder], "text_encoder": [text]}
        if self.spec.protocol != "published":
            parts["image_encoder"] = [ImageTower(self.network, max(self.taps) + 1)]
        return parts

    def towers(self) -> Towers:
        """Both encoders, the image's up to the last tapped block; it is not there under "published"."""
        clip, shape = self.network.biomedclip, SHAPES[self.size_name]
        image = list(clip.visual.trunk.blocks[: max(self.taps) + 1])
        text = list(clip.text.transformer.encoder.layer)
        return Towers(
            image=None if self.spec.protocol == "published" else _tower(image, "attn", "mlp", shape.width),
            # BERT adds, then normalises, inside of its "output" modules: what is added is what their first layer gives.
            text=_tower(text, "attention.output.dense", "output.dense", shape.text_width),
            taps=self.taps,
            token_embedding=clip.text.transformer.embeddings.word_embeddings,
            filler=FILLER,
            context=CONTEXT_LENGTH,
            sentence_width=shape.embed_dim,
            projection=clip.text.proj,
            sentence_at_end=False,
        )

    def portable(self) -> Portable:
        """Stretched images, word pieces."""
        words = library_words(self.tokenizer, CONTEXT_LENGTH, kind="bert")
        return Portable(CLIP_MEAN, CLIP_STD, words=words, tokenizers={TOKENIZER: self.tokenizer})

    def save(self, folder: Path) -> None:
        """config.json, model.safetensors and the tokenizer."""
        arguments = {"image_size": self.spec.image_size[0], "size": self.size_name}
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, arguments)
        write_model(folder, {"vlseg": part}, self.state_dict())
        self.tokenizer.save_pretrained(folder)


def _tower(blocks: Sequence[nn.Module], attention: str, mlp: str, width: int) -> Tower:
    attentions, mlps = ([block.get_submodule(name) for block in blocks] for name in (attention, mlp))
    return Tower(list(blocks), attentions, mlps, width)


class ImageTower(nn.Module):
    """What of the image tower reaches the decoder, its bare parameters too, so that a part can list it."""

    def __init__(self, network: Network, depth: int) -> None:
        super().__init__()
        trunk = network.biomedclip.visual.trunk
        self.cls_token, self.pos_embed = trunk.cls_token, trunk.pos_embed
        self.patch_embed = trunk.patch_embed
        self.blocks = nn.ModuleList(trunk.blocks[:depth])
