"""A run's configuration from command-line options and --set key=value."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from vlseg.jobs.run_folder import PLACES
from vlseg.records import InputError, RunConfig, parse_config, unknown_name

_TINY: dict[str, Any] = {"learning_rate": 2e-3, "presence_weight": 0.3}
_MEDVLSM: dict[str, Any] = {
    "loss": "published",
    "weight_decay": 1e-3,
    "schedule": "plateau",
    "warmup_steps": 0,
    "clip_norm": 0.5,
    "epochs": 1000,
    "patience": 20,
    "augment": False,
    "precision": "fp16",
    "batch_size": 128,
    "learning_rate": 2e-3,
    "seed": 42,
    "protocol": "published",
}
_CNN: dict[str, Any] = {
    **_MEDVLSM,
    "model_arguments": {"encoder_weights": "imagenet"},
    "loss": "present_dice",
    "optimizer": "adam",
    "weight_decay": 0.0,
    "schedule": "constant",
    "batch_size": 16,
    "learning_rate": 1e-3,
}

RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "corrected": {
        # Encoders that were trained on much more than this data move slowly; a decoder from CLIPSeg adapts.
        "clipseg": {"learning_rate": 2e-4, "encoder_rate": 0.05, "batch_size": 4, "schedule": "plateau"},
        "clipseg-rd64": {"learning_rate": 2e-4, "encoder_rate": 0.05, "batch_size": 4, "schedule": "plateau"},
        "cris": {"learning_rate": 1e-4, "encoder_rate": 0.1, "batch_size": 4, "schedule": "cosine"},
        "biomedclipseg": {"learning_rate": 1e-3, "encoder_rate": 0.01, "batch_size": 8, "schedule": "plateau"},
        "biomedclipseg-d": {"learning_rate": 5e-4, "encoder_rate": 0.02, "batch_size": 8, "schedule": "plateau"},
        "smp-unet": {"learning_rate": 1e-3, "batch_size": 8},
        "smp-unetplusplus": {"learning_rate": 1e-3, "batch_size": 8},
        "smp-deeplabv3plus": {"learning_rate": 1e-3, "batch_size": 8},
        "ensemble": {"regime": "full", "learning_rate": 1e-2},
        "clipseg-tiny": _TINY,
        "unet": _TINY,
        "unet-target": _TINY,
    },
    "published": {
        "clipseg": _MEDVLSM,
        "clipseg-rd64": _MEDVLSM,
        "cris": {**_MEDVLSM, "protocol": "medvlsm", "learning_rate": 2e-5, "batch_size": 32},
        "biomedclipseg": {**_MEDVLSM, "regime": "decoder"},
        "biomedclipseg-d": {**_MEDVLSM, "regime": "decoder"},
        "smp-unet": _CNN,
        "smp-unetplusplus": _CNN,
        "smp-deeplabv3plus": _CNN,
    },
}
"""What a recipe sets, by recipe and model; RunConfig's defaults are the rest.

published: MedVLSM's training (Poudel et al., MIDL 2024, configs and scripts of the code). What differs here: the rate
falls by val Dice at native size, not by val loss; training stops by val Dice at native size, not at the network's;
frozen encoders stay in eval mode (PubMedBERT's dropout and CRIS's batch norm went on in theirs);
masks are shrunk with antialiasing, not by the nearest pixel; an epoch has each image once with up to
`prompts_per_image` of its prompts; wordings are drawn by (seed, epoch, sample). corrected: ours, untested on
published weights.
"""


def config_from_options(
    given: Mapping[str, Any], settings: Sequence[str], *, resume: bool = False, recipe: str | None = None
) -> RunConfig | None:
    """Options over the model's recipe over RunConfig's defaults; None when only --resume and places are given.

    Raises:
        InputError: an unknown recipe or none for this model, a setting without "=", an unknown key, a value of the
            wrong type, no model or data.
    """
    options = {key: value for key, value in given.items() if value is not None}
    options |= dict(parse_setting(text) for text in settings)
    if resume and not options.keys() - set(PLACES):
        return None
    for needed in ("model", "data"):
        if needed not in options:
            if resume:
                raise InputError(
                    f"--resume: a run goes on with its own settings; leave out {', '.join(sorted(options))}, "
                    "or give the whole command that started it again"
                )
            raise InputError(f"--{needed}: is missing; vlseg train needs --model and --data (or --resume and --out)")
    own = _recipe(options["model"], recipe)
    arguments = options.get("model_arguments", {})
    if isinstance(arguments, dict) and "model_arguments" in own:
        options["model_arguments"] = {**own["model_arguments"], **arguments}
    return parse_config({**own, **options}, "--set")


def model_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`protocol` and `arguments` of a model to load, from --set.

    Raises:
        InputError: a setting without "=", of another name, or arguments that are no mapping.
    """
    found = dict(parse_setting(text) for text in settings)
    for key in found:
        if key not in ("protocol", "model_arguments"):
            raise unknown_name("setting of a trained model", key, ("protocol", "model_arguments"))
    arguments = found.get("model_arguments")
    if arguments is not None and not isinstance(arguments, dict):
        raise InputError(f"--set model_arguments: '{arguments}' is no mapping; write {{name: value}}")
    return {"protocol": found.get("protocol"), "arguments": arguments}


def _recipe(model: str, name: str | None) -> dict[str, Any]:
    if name is not None and name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    recipes = RECIPES[name or "corrected"]
    if name is not None and model not in recipes:
        raise unknown_name(f"model with a recipe '{name}'", model, recipes)
    return recipes.get(model, {})


def parse_setting(text: str, option: str = "--set") -> tuple[str, Any]:
    """The key and the value, as YAML reads it, of "key=value".

    Raises:
        InputError: of another form; `option` names where it came from.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"{option}: '{text}' is not of the form key=value")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"{option} {key}: '{value}' is not a value YAML can read") from error
    return key, _with_exponents(parsed)


def _with_exponents(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; a number was meant, also inside lists and mappings."""
    if isinstance(value, dict):
        return {key: _with_exponents(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_with_exponents(inside) for inside in value]
    return float(value) if isinstance(value, str) and EXPONENT.fullmatch(value) else value


EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
