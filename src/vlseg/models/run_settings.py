"""What a run answers with and no weight holds, in config.json of a model's folder: threshold and reading of images."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlseg.models.folder import read_config, saved_part
from vlseg.records import InputError, IntensityPolicy, write_text

KEY = "run"
KINDS = ("full_range", "bits_stored", "percentile", "window")
AGAIN = "is not what vlseg writes there; export the run again"


@dataclass(frozen=True)
class RunSettings:
    """Of a run whose model was written by itself.

    Attributes:
        threshold: on probabilities.
        intensity: how images above 8 bit were read in training; None: in several ways.
    """

    threshold: float
    intensity: IntensityPolicy | None


def keep_settings(folder: Path, settings: RunSettings) -> None:
    """Add them to config.json of a folder that a model's `save` wrote."""
    config = read_config(folder)
    intensity = None if settings.intensity is None else asdict(settings.intensity)
    config["vlseg"][KEY] = {"threshold": settings.threshold, "intensity": intensity}
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")


def kept_settings(folder: Path) -> RunSettings | None:
    """Those of a model's folder; None where it keeps none, or is none.

    Raises:
        InputError: config.json is broken, or says them otherwise than `keep_settings` writes them.
    """
    path = folder / "config.json"
    part = saved_part(read_config(folder), folder) if path.is_file() else None
    if part is None or KEY not in part:
        return None
    told = part[KEY]
    if not isinstance(told, dict) or set(told) != {"threshold", "intensity"}:
        raise InputError(f"{path}: its part 'vlseg.{KEY}' {AGAIN}")
    return RunSettings(threshold_of(told["threshold"], path), intensity_of(told["intensity"], path))


def threshold_of(told: Any, path: Path) -> float:
    """A threshold as config.json has it.

    Raises:
        InputError: it is none; names the file at `path`.
    """
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told <= 1:
        raise InputError(f"{path}: its threshold {AGAIN}")
    return float(told)


def intensity_of(told: Mapping[str, Any] | None, path: Path) -> IntensityPolicy | None:
    """A policy as config.json has it.

    Raises:
        InputError: it is none; names the file at `path`.
    """
    if told is None:
        return None
    try:
        policy = IntensityPolicy(**told)
    except TypeError as error:
        raise InputError(f"{path}: its intensity {AGAIN}") from error
    numbers = {"bits_stored": (policy.bits,), "window": (policy.low, policy.high)}.get(policy.kind, ())
    if policy.kind not in KINDS or any(isinstance(one, bool) or not isinstance(one, int | float) for one in numbers):
        raise InputError(f"{path}: its intensity {AGAIN}")
    return policy
