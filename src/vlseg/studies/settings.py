"""A run's configuration from command-line options and --set key=value."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from vlseg.records import InputError, RunConfig, parse_config

RECIPES: dict[str, dict[str, Any]] = {
    "clipseg": {"learning_rate": 2e-4, "batch_size": 4, "schedule": "plateau"},
    "clipseg-tiny": {"learning_rate": 2e-3, "presence_weight": 0.3},
    "unet": {"learning_rate": 2e-3, "presence_weight": 0.3},
    "unet-target": {"learning_rate": 2e-3, "presence_weight": 0.3},
}
"""Where a model's defaults differ from RunConfig's."""


def config_from_options(given: Mapping[str, Any], settings: Sequence[str], *, resume: bool = False) -> RunConfig | None:
    """Options over the model's recipe over RunConfig's defaults; None when only --resume is given.

    Raises:
        InputError: a setting without "=", an unknown key, a value of the wrong type, no model or data.
    """
    options = {key: value for key, value in given.items() if value is not None}
    options |= dict(_setting(text) for text in settings)
    if resume and not options:
        return None
    for needed in ("model", "data"):
        if needed not in options:
            raise InputError(f"--{needed}: is missing; vlseg train needs --model and --data (or --resume and --out)")
    return parse_config({**RECIPES.get(options["model"], {}), **options}, "--set")


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set: '{text}' is not of the form key=value")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {key}: '{value}' is not a value YAML can read") from error
    # YAML 1.1 reads 1e-3 as text; a number was meant.
    if isinstance(parsed, str):
        try:
            parsed = float(parsed)
        except ValueError:
            return key, parsed
    return key, parsed
