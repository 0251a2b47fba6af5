"""LoRA (Hu et al., 2021, arXiv:2106.09685) by PEFT: beside a layer W x of a frozen encoder, alpha / rank * B A x.

B starts at zero, so the model starts as it was. PEFT puts its layers into the modules themselves; our own steps call
those, so that gradients reach them (through transformers' forward of CLIPSeg none does).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlseg.models.additions import peft_files
from vlseg.models.additions.addition import DECODER_PART, IMAGE_PART, TEXT_PART, Addition
from vlseg.models.protocol import Segmenter, as_module
from vlseg.records import InputError, unknown_name

PLACES = {
    "image": ("image_encoder", IMAGE_PART),
    "text": ("text_encoder", TEXT_PART),
    "decoder": ("mask_decoder", DECODER_PART),
}
"""What `encoders` may name: the model's part, and that of the additions."""
QUERIES_AND_VALUES = ("q_proj", "v_proj", "query", "value", "q_lin", "v_lin", "qkv", "Wqkv")
"""How transformers (CLIP, BERT, DistilBERT) and timm call them; fused ones are taken whole."""
COLOURS = 4
"""A convolution of up to so many channels reads the image itself: a stem, or the patches of a transformer."""
ADAPTER = "default"
"""PEFT's name for the one adapter of a network."""


def lora(
    model: Segmenter,
    *,
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
    encoders: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    rslora: bool = False,
) -> Addition:
    """LoRA beside layers of a model's encoders.

    Args:
        model: changed in place.
        rank: of each product.
        alpha: its share is alpha / rank (`rslora`: alpha / sqrt(rank)); None = 2 * rank.
        dropout: of what goes into each product, in training.
        encoders: of image, text (and decoder); None = image and text, where the model has them. With text alone
            images' features stay as they are.
        targets: layers by name, whole or by its last parts, as PEFT takes them; None = queries and values of
            transformers and the undivided convolutions, or all linear layers of an encoder with neither.
        rslora: see `alpha`.

    Raises:
        InputError: a wrong value, a layer that is not there, or no gradient reaches an encoder under the protocol.
    """
    config = _checked(rank, 2 * rank if alpha is None else alpha, dropout, rslora=rslora)
    root = root_of(model)
    chosen = {
        part: _chosen(found, None if targets is None else _names(targets, "targets"))
        for part, found in _layers(model, root, encoders).items()
    }
    _check_targets(model, root, targets, {name for names in chosen.values() for name in names})
    chosen = {part: names for part, names in chosen.items() if names}
    if not chosen:
        raise InputError(f"regime: 'lora' finds no layer in the encoders of '{model.spec.name}'; give targets")
    return Lora(model, root, config, chosen).addition()


class Lora:
    """LoRA's layers in a model, and PEFT's names of them.

    Bound methods of this, not closures, are what `Addition` gets: a copy of a model copies them along.
    """

    def __init__(
        self, model: Segmenter, root: nn.Module, config: Mapping[str, Any], chosen: Mapping[str, Sequence[str]]
    ) -> None:
        """Put them in, A random from torch's global generator."""
        from peft import LoraConfig, inject_adapter_in_model

        self.model, self.root, self.chosen = model, root, chosen
        self.names = sorted(name for names in chosen.values() for name in names)
        self.config = dict(config)
        inject_adapter_in_model(LoraConfig(target_modules=list(self.names), **config), root, ADAPTER)
        del root.peft_config
        found = sorted(name for name, module in root.named_modules() if hasattr(module, "lora_A"))
        if found != self.names:
            raise ValueError(f"PEFT took other layers than were named: {set(found) ^ set(self.names)}")

    def addition(self) -> Addition:
        """For `Extended`."""
        modules = {part: self._tree(names) for part, names in self.chosen.items()}
        self.modules = modules
        return Addition(modules, inside=True, apart=self.apart, merge=self.merge, write=self.write, read=self.read)

    def merge(self) -> Segmenter:
        """The model with B A added to its own weights, in plain layers."""
        for name in self.names:
            layer: Any = self.root.get_submodule(name)
            layer.merge(safe_merge=True)
            self._put(name, layer.get_base_layer())
        return self.model

    @contextmanager
    def apart(self) -> Iterator[None]:
        """While this lasts the model is as it was."""
        layers: dict[str, Any] = {name: self.root.get_submodule(name) for name in self.names}
        try:
            for name, layer in layers.items():
                self._put(name, layer.get_base_layer())
            yield
        finally:
            for name, layer in layers.items():
                self._put(name, layer)

    def _put(self, name: str, layer: nn.Module) -> None:
        parent, _, own = name.rpartition(".")
        setattr(self.root.get_submodule(parent), own, layer)

    def write(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        """PEFT's adapter_config.json and adapter_model.safetensors; a decoder that trained is one of its saved modules.

        Args:
            folder: exists.
            tensors: as `Extended.stored` names them.
        """
        known = self._peft_names()
        decoder = sorted(self._decoder().values()) if any(key.startswith(DECODER_OWN) for key in tensors) else []
        config = {**self.config, "target_modules": self.names, "modules_to_save": decoder or None}
        peft_files.write(folder, config, {known[name]: tensor for name, tensor in tensors.items()})

    def read(self, folder: Path) -> Mapping[str, Tensor]:
        """What `write`, or PEFT, wrote, as `Extended.stored` names them."""
        ours = {theirs: name for name, theirs in self._peft_names().items()}
        return {ours.get(name, name): tensor for name, tensor in peft_files.read_tensors_of(folder).items()}

    def _tree(self, names: Sequence[str]) -> nn.Module:
        """What was added to these layers, in modules that are called as the layers are."""
        tree = nn.Module()
        for name in names:
            at = tree
            for step in name.split("."):
                if step not in at._modules:
                    at.add_module(step, nn.Module())
                at = at.get_submodule(step)
            layer: Any = self.root.get_submodule(name)
            for kind in ("lora_A", "lora_B", "lora_dropout"):
                at.add_module(kind, getattr(layer, kind))
        return tree

    def _decoder(self) -> dict[int, str]:
        """The modules of the mask decoder by number, as the network calls them."""
        names = {id(module): name for name, module in self.root.named_modules()}
        return {number: names[id(one)] for number, one in enumerate(self.model.parts().get("mask_decoder", []))}

    def _peft_names(self) -> dict[str, str]:
        """PEFT's name of each tensor that `Extended.stored` may name."""
        found = {
            f"{part}.{name}": peft_files.PREFIX + name.replace(f".{ADAPTER}.", ".")
            for part, tree in self.modules.items()
            for name in tree.state_dict()
        }
        modules = self._decoder()
        for number, module in modules.items():
            start = f"{DECODER_OWN}{number}." if len(modules) > 1 else DECODER_OWN
            names = self.root.get_submodule(module).state_dict()
            found |= {f"{start}{name}": f"{peft_files.PREFIX}{module}.{name}" for name in names}
        return found


DECODER_OWN = "mask_decoder."
"""How `Extended.stored` begins the names of a decoder that trains whole."""


def root_of(model: Segmenter) -> nn.Module:
    """What layers' names are counted from: transformers' own network where a model holds one, else the model."""
    from transformers import PreTrainedModel

    network = getattr(model, "network", None)
    return network if isinstance(network, PreTrainedModel) else as_module(model)


def layers_by_part(model: Segmenter, root: nn.Module) -> dict[str, dict[str, nn.Module]]:
    """Of image, text and decoder: the layers that can be added to, by name in `root`.

    Attention and transformer layers of torch's own read the weights inside them past their forward: not theirs.
    """
    own = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
    closed = {id(inner) for module in root.modules() if isinstance(module, own) for inner in module.modules()}
    found: dict[str, dict[str, nn.Module]] = {}
    for what, (part, _) in PLACES.items():
        inside = {id(inner) for module in model.parts().get(part, []) for inner in module.modules()} - closed
        found[what] = {
            name: module for name, module in root.named_modules() if id(module) in inside and _can_be_added_to(module)
        }
    return found


def found_in(model: Segmenter, layers: Sequence[str], where: str) -> tuple[list[str], list[str], list[str]]:
    """Of an adapter's layers: those of the model that reach its mask, the encoders they are in, and the others.

    Raises:
        InputError: a layer that the model has not, or none of it is of use.
    """
    root = root_of(model)
    every, known = {name for name, _ in root.named_modules()}, layers_by_part(model, root)
    if strange := [name for name in layers if name not in every]:
        raise InputError(
            f"{where}: is an adapter of another model than '{model.spec.name}', which has no layer {strange[0]}; say "
            "which model it goes onto: --set 'model_arguments={base: FOLDER}'"
        )
    encoders = [what for what, names in known.items() if any(name in names for name in layers)]
    read = [name for name in layers if any(name in known[what] for what in encoders)]
    if not read:
        raise InputError(f"{where}: adds to no layer that a mask of '{model.spec.name}' depends on")
    return read, encoders, [name for name in layers if name not in read]


def _can_be_added_to(layer: nn.Module) -> bool:
    """What PEFT does right: of dilation and of padding by anything but zeros its convolutions know nothing."""
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    return type(layer) is nn.Linear


def _layers(model: Segmenter, root: nn.Module, encoders: Sequence[str] | None) -> dict[str, dict[str, nn.Module]]:
    """Layers that may be chosen, by part of the additions."""
    wanted = ["image", "text"] if encoders is None else _names(encoders, "encoders")
    for name in wanted:
        if name not in PLACES:
            raise unknown_name("encoder of lora", name, PLACES)
    found, parts = layers_by_part(model, root), model.parts()
    protocol, name = model.spec.protocol, model.spec.name
    if protocol == "published" and "image" in wanted and "image_encoder" not in parts:
        rest = ", or regime_arguments={encoders: [text]}" if found["text"] else ""
        raise InputError(
            f"protocol: under 'published' no gradient reaches the image encoder of '{name}'; take corrected{rest}"
        )
    lacking = [what for what in wanted if not found[what]] if encoders is not None else []
    if lacking:
        raise InputError(
            f"regime_arguments of 'lora': encoders: '{name}' has no {lacking[0]} encoder with layers that PEFT can add "
            f"to, or none that may train under '{protocol}'; it has {', '.join(w for w in found if found[w])}"
        )
    return {PLACES[what][1]: found[what] for what in wanted}


def _chosen(layers: Mapping[str, nn.Module], targets: Sequence[str] | None) -> list[str]:
    if targets is not None:
        return [name for name in layers if any(_is_called(name, target) for target in targets)]
    usual = [
        name
        for name, layer in layers.items()
        if name.rpartition(".")[2] in QUERIES_AND_VALUES
        or (isinstance(layer, nn.Conv2d) and layer.in_channels > COLOURS)
    ]
    return usual or [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]


def _is_called(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _check_targets(model: Segmenter, root: nn.Module, targets: Sequence[str] | None, chosen: set[str]) -> None:
    missed = [target for target in targets or () if not any(_is_called(name, target) for name in chosen)]
    if missed:
        every = {name.rpartition(".")[2] for found in layers_by_part(model, root).values() for name in found}
        raise unknown_name(f"target of lora in '{model.spec.name}'", missed[0], sorted(every))


def _names(given: Any, what: str) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(one, str) for one in given):
        raise InputError(f"regime_arguments of 'lora': {what} is {given!r}; give a list of names")
    if not given:
        raise InputError(f"regime_arguments of 'lora': {what} is empty; name some, or leave it out")
    return list(given)


def _checked(rank: Any, alpha: Any, dropout: Any, *, rslora: Any) -> dict[str, Any]:
    """PEFT's names of the settings."""
    for name, value, right, told in (
        ("rank", rank, type(rank) is int and rank > 0, "a whole number from 1"),
        ("alpha", alpha, type(alpha) in (int, float) and 0 < alpha < inf, "a number over 0"),
        ("dropout", dropout, type(dropout) in (int, float) and 0 <= dropout < 1, "a number from 0 to below 1"),
        ("rslora", rslora, isinstance(rslora, bool), "true or false"),
    ):
        if not right:
            raise InputError(f"regime_arguments of 'lora': {name} is {value!r}; give {told}")
    return {"r": rank, "lora_alpha": alpha, "lora_dropout": float(dropout), "use_rslora": rslora, "bias": "none"}
