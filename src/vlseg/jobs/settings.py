"""A run's configuration from command-line options and --set key=value."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from vlseg.jobs.run_folder import PLACES
from vlseg.records import InputError, RunConfig, parse_config, unknown_name


def config_from_options(
    given: Mapping[str, Any], settings: Sequence[str], *, resume: bool = False, recipe: str | None = None
) -> RunConfig | None:
    """Options over the model's recipe over RunConfig's defaults; None when only --resume and places are given.

    Raises:
        InputError: an unknown recipe or none for this model, a setting without "=", an unknown key, a value of the
            wrong type, no model, an unknown one, or no data.
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
    parse_config(options, "--set")  # what is wrong here is said before torch is imported
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


def _recipe(model: str, name: str | None) -> Mapping[str, Any]:
    """What a recipe sets of a model's training, as the model's own folder has it; the rest is RunConfig's."""
    from vlseg.models import architecture_of, known_models

    recipes = architecture_of(model).recipes
    if name is None or name in recipes:
        return recipes.get(name or "corrected", {})
    every = {one: architecture_of(one).recipes for one in known_models()}
    known = {recipe for one in every.values() for recipe in one}
    if name not in known:
        raise unknown_name("recipe", name, known)
    raise unknown_name(f"model with a recipe '{name}'", model, [one for one in every if name in every[one]])


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
