"""What regimes ask of their arguments."""

from vlseg.records import InputError


def whole_number(name: str, value: object, least: int = 1) -> int:
    """A regime's argument that is a whole number.

    Raises:
        InputError: it is none, or too small.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"regime_arguments: {name} is {value!r}; give a whole number from {least}")
    return value
