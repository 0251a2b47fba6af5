"""Models as they are named on the command line; known to be right without torch."""

import re
from collections.abc import Sequence
from pathlib import Path

from vlseg.models import known_models
from vlseg.records import InputError, finished_run

NAME = re.compile(r"[\w][\w.-]{0,99}")


def named_sources(sources: Sequence[str]) -> dict[str, str]:
    """Each source by the name that requests give it: its folder's, or what stands before "=".

    Raises:
        InputError: two of one name, a name that no request can give, or what is no folder, hub id or model.
    """
    found: dict[str, str] = {}
    for given in sources:
        before, equals, after = given.partition("=")
        name, source = (before, after) if equals and not Path(given).exists() else (_own_name(given), given)
        if not NAME.fullmatch(name):
            raise InputError(f"RUN_OR_MODEL: '{name}' is no name for requests; give one, as NAME={source}")
        if name in found:
            raise InputError(f"RUN_OR_MODEL: {found[name]} and {source} are both called {name}; give NAME={source}")
        _check_source(source)
        found[name] = source
    return found


def _own_name(source: str) -> str:
    path = Path(source)
    place = path.resolve() if path.exists() else path
    return place.parent.name if place.name == "model" and (place.parent / "run.json").exists() else place.name


def _check_source(source: str) -> None:
    if (Path(source) / "run.json").is_file():
        finished_run(Path(source))
    if Path(source).is_dir() or source in known_models() or re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        return
    raise InputError(
        f"RUN_OR_MODEL: {source} is no folder, no hub id and no model (known: {', '.join(known_models())})"
    )
