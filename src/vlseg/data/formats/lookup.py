"""Files of a folder by names that other software wrote: other slashes, capitals, Unicode forms."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable


def finder(names: Iterable[str]) -> Callable[[str], str | None]:
    """Gives the one of `names` (paths with "/") that a path means, or None.

    It is the path itself, else the only one that differs from it in capitals or Unicode form alone.
    """
    exact = set(names)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in exact:
        alike[_key(name)].append(name)

    def find(path: str) -> str | None:
        if path in exact:
            return path
        others = alike.get(_key(path), [])
        return others[0] if len(others) == 1 else None

    return find


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
