"""What the entries of a feature store depend on besides image and prompt.

Asked of the model itself, not of what it was built from: weights and buffers, settings of its modules (heads, taps,
epsilons), what its preprocessing makes of an image and its tokenizer of some prompts.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from vlseg.models.additions.extended import Extended
from vlseg.models.protocol import Rows, Segmenter, Separable, Spec, as_module
from vlseg.models.tensors import add_to_digest
from vlseg.records import InputError

LIBRARIES = ("torch", "transformers", "timm", "segmentation-models-pytorch", "vlseg")
PROBE_PROMPTS = ("", "polyp", "a small, round tumour (12 mm) at the upper left of the breast", "Kehlkopf: geöffnet?")
"""How a tokenizer takes these apart tells it from another one."""
NOTES = frozenset(
    {"training", "random_part", "name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"}
)
"""Attributes of modules and configurations that say where a model comes from or what is done with it."""


@dataclass(frozen=True)
class Contexts:
    """What the features of images, and those of prompts, depend on; `prompts` is None where they are one context."""

    images: Mapping[str, Any]
    prompts: Mapping[str, Any] | None = None


def feature_contexts(model: Segmenter, device: torch.device, precision: str) -> Contexts:
    """The contexts of a model's features: apart where it declares what each is made of, else one for both.

    One context counts everything but the decoder. Apart, images count with the declared image side alone, so that
    models that differ in their words, or in what may train, share them; and prompts with the text side.

    Raises:
        InputError: a model whose encoders need each other.
        ValueError: a model that declares too little; names what it reads beside.
    """
    spec = model.spec
    if spec.image_features_depend_on_text or spec.prompt_features_depend_on_image:
        raise InputError(f"feature cache: the encoders of '{spec.name}' depend on each other; train without")
    if isinstance(model, Extended):
        whole = _whole(model, device, precision)
        if not model.leaves_images:
            return Contexts(whole, whole)
        with model.addition.apart():  # then they are those of the model that was added to, for all that train so
            return Contexts(feature_contexts(model.model, device, precision).images, whole)
    if not isinstance(model, Separable):
        return Contexts(_whole(model, device, precision))
    common = _common(spec, device, precision)
    network, size = as_module(model), list(spec.image_size)
    images, prompts = ([inner for one in side for inner in one.modules()] for side in model.sides())
    _check_declared(model, images, prompts)
    of_images = {
        "features": "images",
        "image_size": size,
        "preprocessing": _digest_of([_prepared(model)]),
        **_digests(network, _with_holders(network, images)),
    }
    of_prompts = {
        "features": "prompts",
        "preprocessing": _digest_of([_tokenized(model)]),
        **_digests(network, _with_holders(network, prompts)),
    }
    return Contexts({**common, **of_images}, {**common, **of_prompts} if spec.uses_text else None)


def _whole(model: Segmenter, device: torch.device, precision: str) -> dict[str, Any]:
    """One context: all of a model but its decoder."""
    network, spec = as_module(model), model.spec
    decoder = [inner for module in model.parts().get("mask_decoder", []) for inner in module.modules()]
    return {
        **_common(spec, device, precision),
        "image_size": list(spec.image_size),
        "targets": list(spec.targets) if spec.uses_target else None,
        **_digests(network, _without(network, decoder)),
        "preprocessing": _digest_of([_prepared(model), _tokenized(model)]),
    }


def _common(spec: Spec, device: torch.device, precision: str) -> dict[str, Any]:
    return {"model": spec.name, "protocol": spec.protocol, **_computation(device, precision)}


def _computation(device: torch.device, precision: str) -> dict[str, Any]:
    return {
        "device": device.type,
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "precision": precision,
        "products": torch.get_float32_matmul_precision(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def _without(network: nn.Module, modules: Iterable[nn.Module]) -> dict[str, nn.Module]:
    outside = {id(module) for module in modules}
    return {name: module for name, module in network.named_modules() if id(module) not in outside}


def _with_holders(network: nn.Module, modules: Iterable[nn.Module]) -> dict[str, nn.Module]:
    """The modules by name, and what holds them: its settings, which its method may hand on, count, too."""
    inside = {id(module) for module in modules}
    return {
        name: module
        for name, module in network.named_modules()
        if any(id(inner) in inside for inner in module.modules())
    }


def _check_declared(model: Segmenter, images: Sequence[nn.Module], prompts: Sequence[nn.Module]) -> None:
    """Watch both encoders work: what they read must have been declared."""
    network = as_module(model).eval()  # in train mode a blank image would move batch norm's statistics
    device = next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
    blank = model.prepare([torch.zeros(3, 8, 8, device=device)])
    _check_read(model, "encode_image", lambda: model.encode_image(blank), images)
    if model.spec.uses_text:
        tokens = model.tokenize(PROBE_PROMPTS)
        moved = None if tokens is None else tokens.to(device)
        _check_read(model, "encode_prompts", lambda: model.encode_prompts(moved), prompts)


def _check_read(model: Segmenter, what: str, work: Callable[[], object], declared: Sequence[nn.Module]) -> None:
    called: set[int] = set()
    hook = register_module_forward_pre_hook(lambda module, _: called.add(id(module)))
    try:
        with torch.no_grad(), _Reading() as reading:
            work()
    finally:
        hook.remove()
    network = as_module(model)
    tensors = {id(tensor) for module in declared for tensor in _own(module).values()}
    undeclared = [
        *(k for k, t in network.state_dict(keep_vars=True).items() if id(t) in reading.seen and id(t) not in tensors),
        *(name for name, module in _without(network, declared).items() if id(module) in called),
    ]
    if undeclared:
        raise ValueError(f"{model.spec.name}: {what} reads {', '.join(undeclared[:5])}, which sides() does not declare")


class _Reading(TorchFunctionMode):
    """Notes every tensor that is handed to a function of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._note(args)
        self._note(list((kwargs or {}).values()))
        return func(*args, **(kwargs or {}))

    def _note(self, given: Any) -> None:
        for one in given:
            if isinstance(one, Tensor):
                self.seen.add(id(one))
            elif isinstance(one, list | tuple):
                self._note(one)


def _own(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters and buffers, those that are saved."""
    skipped = module._non_persistent_buffers_set
    tensors = {**module._parameters, **{k: t for k, t in module._buffers.items() if k not in skipped}}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _digests(network: nn.Module, counted: Mapping[str, nn.Module]) -> dict[str, str]:
    """Of the parameters and buffers of some modules, and of what else a computation is: classes, plain attributes."""
    inside = {id(tensor) for module in counted.values() for tensor in _own(module).values()}
    weights = hashlib.sha256()
    for name, tensor in sorted(network.state_dict(keep_vars=True).items()):
        if id(tensor) in inside:
            add_to_digest(weights, name, tensor)
    told = [(name, type(module).__name__, _plain(vars(module))) for name, module in counted.items()]
    settings = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    return {"encoder": weights.hexdigest(), "settings": settings.hexdigest()}


def _plain(value: Any) -> Any:
    """Numbers, words and what is made of them; None for everything else."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        kept = {str(key): _plain(inner) for key, inner in value.items() if key not in NOTES}
        return {key: inner for key, inner in kept.items() if not key.startswith("_") and inner is not None}
    if hasattr(value, "to_dict"):  # configurations of transformers
        return _plain(value.to_dict())
    return _plain(asdict(value)) if is_dataclass(value) and not isinstance(value, Spec | type) else None


def _prepared(model: Segmenter) -> Rows:
    return model.prepare([torch.linspace(0, 1, 3 * 13 * 22).reshape(3, 13, 22)])


def _tokenized(model: Segmenter) -> Rows | None:
    return model.tokenize(PROBE_PROMPTS) if model.spec.uses_text else None


def _digest_of(rows: Sequence[Rows | None]) -> str:
    """Of what becomes of an image, or of some prompts, before the encoders see them."""
    digest = hashlib.sha256()
    for one in rows:
        for name, tensor in sorted(one.tensors.items() if one is not None else ()):
            add_to_digest(digest, name, tensor)
    return digest.hexdigest()


def _processor() -> str:
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
