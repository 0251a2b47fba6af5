"""`--mask-map`: which value or colour of a label map is which target."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlseg.data.mask_colours import FEW, codes_of, flat_colours
from vlseg.data.mask_levels import Colour, far, hexed, summarise
from vlseg.data.masks import Mask, mask_pixels
from vlseg.records import InputError

_HEX = re.compile(r"#[0-9a-fA-F]{6}$")
BACKGROUND = frozenset({"background", "ignore"})
_NAMED = 6


class UndeclaredError(InputError):
    """A label map holds what its map does not declare."""


@dataclass(frozen=True)
class MaskMap:
    """Targets by value (a palette's index) or by colour; None = background or ignored. Black and 0 need no mention."""

    values: Mapping[int, str | None]
    colours: Mapping[Colour, str | None]

    @property
    def targets(self) -> tuple[str, ...]:
        """In order of first mention."""
        return tuple(dict.fromkeys(t for t in (*self.values.values(), *self.colours.values()) if t is not None))


def read_mask_map(path: Path) -> MaskMap:
    """The map in a JSON or YAML file.

    `{1: liver, 2: null}`, `{"#ff0000": polyp}`, or turned round with one or several values for a target:
    `{polyp: ["#ff0000", "#00ff00"]}`, `{liver: [[255, 0, 0]]}`. "background" is the same as null.

    Raises:
        InputError: not readable, no such map, or a value declared twice.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--mask-map: {path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise InputError(f"--mask-map: {path}: is neither JSON nor YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f'--mask-map: {path}: must map values or colours to targets, e.g. {{"1": "liver"}}')
    values: dict[int, str | None] = {}
    colours: dict[Colour, str | None] = {}
    for key, value in content.items():
        for pixel, target in _lines(path, key, value):
            table: dict[Any, str | None] = values if isinstance(pixel, int) else colours
            if pixel in table:
                raise InputError(f"--mask-map: {path}: {_word(pixel)} is declared twice; keep one")
            table[pixel] = target
    if values and colours:
        raise InputError(f"--mask-map: {path}: holds values and colours; give one kind")
    found = MaskMap(values, colours)
    if not found.targets:
        raise InputError(f"--mask-map: {path}: names no target, only background")
    return found


def _lines(path: Path, key: Any, value: Any) -> list[tuple[int | Colour, str | None]]:
    pixel = _pixel(key)
    if pixel is not None and (value is None or isinstance(value, str)):
        return [(pixel, None if value is None or value.strip().lower() in BACKGROUND else value.strip())]
    pixels = [_pixel(one) for one in (value if isinstance(value, list) else [value])]
    if not isinstance(key, str | None) or not pixels or None in pixels:
        raise InputError(
            f"--mask-map: {path}: '{key}': give a value (127) or colour (\"#ff0000\" or [255, 0, 0]) and its target"
        )
    target = None if key is None or key.strip().lower() in BACKGROUND else key.strip()
    return [(one, target) for one in pixels if one is not None]


def _pixel(word: Any) -> int | Colour | None:
    if isinstance(word, int) and not isinstance(word, bool):
        return word
    if isinstance(word, str) and re.fullmatch(r"-?\d+", word.strip()):
        return int(word)
    if isinstance(word, str) and _HEX.match(word.strip()):
        red, green, blue = bytes.fromhex(word.strip()[1:])
        return red, green, blue
    if isinstance(word, str) and word.strip().startswith("["):
        word = [int(part) for part in re.findall(r"\d+", word)]
    if isinstance(word, list | tuple) and len(word) == 3 and all(isinstance(w, int) and 0 <= w < 256 for w in word):
        return int(word[0]), int(word[1]), int(word[2])
    return None


def _word(pixel: int | Colour) -> str:
    return str(pixel) if isinstance(pixel, int) else hexed(pixel)


def mapped(image: Image.Image, name: str, declared: MaskMap) -> dict[str, Mask]:
    """The mask (H, W) of each target of a label map; borders blurred by compression go to the nearest declared.

    Raises:
        UndeclaredError: a value or colour that covers an area and is not declared.
    """
    if declared.colours:
        nearest, targets = _by_colour(image, name, declared.colours)
    else:
        nearest, targets = _by_value(image, name, declared.values)
    return {
        target: np.isin(nearest, [number for number, other in enumerate(targets) if other == target])
        for target in declared.targets
    }


def _by_value(
    image: Image.Image, name: str, declared: Mapping[int, str | None]
) -> tuple[NDArray[np.intp], list[str | None]]:
    values, colours = mask_pixels(image, name, index=True)
    if colours is not None and len(colours) > 1:
        _refuse(name, [hexed(colour) for colour in colours], [str(value) for value in declared])
    known = {0: None, **declared}
    summary = summarise(values)
    flat = summary.present if len(summary.present) <= FEW else summary.present[summary.solid > 0]
    counts = dict(zip(summary.present.tolist(), summary.counts.tolist(), strict=True))
    _refuse(name, [f"{v} ({counts[v]} px)" for v in flat.tolist() if v not in known], [str(v) for v in declared])
    keys = np.array(sorted(known))
    nearest = np.abs(summary.present[:, None] - keys).argmin(axis=1)
    return nearest[np.searchsorted(summary.present, values)], [known[key] for key in keys.tolist()]


def _by_colour(
    image: Image.Image, name: str, declared: Mapping[Colour, str | None]
) -> tuple[NDArray[np.intp], list[str | None]]:
    if image.mode in ("1", "L", "P") or image.mode not in ("RGB", "RGBA", "LA", "CMYK", "YCbCr"):
        mask_pixels(image, name, index=True)  # what cannot be read has its error there
    rgb = np.asarray(
        image.convert("RGBA").convert("RGB") if image.mode in ("P", "RGBA", "LA") else image.convert("RGB")
    )
    known: dict[Colour, str | None] = {(0, 0, 0): None, **declared}
    flat = flat_colours(rgb)
    strange = [f"{hexed(c)} ({n} px)" for c, n in flat.items() if all(far(c, other) for other in known)]
    _refuse(name, strange, [hexed(colour) for colour in declared])
    codes, inverse = np.unique(codes_of(rgb), return_inverse=True)
    channels = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.int64)
    distances = ((channels[:, None] - np.array(list(known))) ** 2).sum(axis=2)
    return distances.argmin(axis=1)[inverse.reshape(rgb.shape[:2])], list(known.values())


def _refuse(name: str, strange: Sequence[str], declared: Sequence[str]) -> None:
    if strange:
        more = ", ..." if len(strange) > _NAMED else ""
        raise UndeclaredError(
            f"{name}: holds {', '.join(strange[:_NAMED])}{more}, which --mask-map does not declare (it declares "
            f"{', '.join(declared[:_NAMED])}); add it with its target, or null where it is background"
        )
