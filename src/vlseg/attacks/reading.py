"""Plans as text: their repr and their JSON are read again, and what cannot be is refused in one line."""

import ast
import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from vlseg.records import InputError, unknown_name

T = TypeVar("T")


def read_plan(text: str, kind: type[T], parts: Mapping[str, type]) -> T:
    """The plan of a repr or of JSON; nothing in the text is executed.

    Args:
        text: either.
        kind: a dataclass whose fields are plans.
        parts: those of its fields, by the field's name.

    Raises:
        InputError: neither, an unknown name, or a value that a part refuses.
    """
    if text.lstrip().startswith("{"):
        try:
            return plan_from(json.loads(text), kind, parts)
        except ValueError as error:
            raise InputError(f"attack: is no JSON ({error}); give what {kind.__name__}'s is written as") from error
    classes = {one.__name__: one for one in (kind, *parts.values())}
    try:
        made = _made(ast.parse(text.strip(), mode="eval").body, classes)
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f"attack: {text[:80]!r} is no attack; give {kind.__name__}(budget=..., goal=..., search=...)"
        ) from error
    if not isinstance(made, kind):
        raise InputError(f"attack: {text[:80]!r} is a {type(made).__name__}; give {kind.__name__}(...)")
    return made


def plan_from(values: Mapping[str, Any], kind: type[T], parts: Mapping[str, type]) -> T:
    """The plan of a mapping as JSON and YAML have it; what is left out is as it is by default.

    Raises:
        InputError: an unknown name, or a value that a part refuses.
    """
    for name in values:
        if name not in parts:
            raise unknown_name("part of an attack", name, parts)
    return kind(**{name: _built(parts[name], name, given) for name, given in values.items()})


def check_known(name: str, value: object, known: tuple[str, ...]) -> None:
    """One of some names."""
    if value not in known:
        raise unknown_name(name, str(value), known)


def number(name: str, value: object, *, least: float) -> float:
    """A finite number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        raise InputError(f"{name}: {value!r} is no number of at least {least:g}")
    return float(value)


def whole(name: str, value: object, least: int | None) -> int:
    """A whole number of at least `least` (None: any)."""
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise InputError(f"{name}: {value!r} is no whole number{'' if least is None else f' of at least {least}'}")
    return value


def _built(part: Any, name: str, given: Any) -> Any:
    if not isinstance(given, Mapping):
        raise InputError(f"{name}: must be a mapping of its settings, is {given!r}")
    known = [one.name for one in dataclasses.fields(part)]
    for key in given:
        if key not in known:
            raise unknown_name(f"setting of {name}", str(key), known)
    return part(**given)


def _made(node: ast.expr, classes: Mapping[str, type]) -> Any:
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    if not isinstance(node.func, ast.Name) or node.func.id not in classes or node.args:
        raise ValueError("no part of an attack")
    values = {str(word.arg): _made(word.value, classes) for word in node.keywords}
    return _built(classes[node.func.id], node.func.id, values)
