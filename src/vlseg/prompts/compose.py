"""From attributes to a sentence, with the provenance of its words."""

from collections.abc import Sequence

from vlseg.records import Attribute, Source

ORDER = ("number", "size", "brightness", "color", "texture", "shape")
"""Attributes before the target's name, as the published sentences put them; location follows it."""


def compose(target: str, attributes: Sequence[Attribute]) -> tuple[str, frozenset[Source]]:
    """E.g. "one small pink round polyp, located in top left of the image" and its sources.

    Attributes that are neither in ORDER nor "location" are left out.
    """
    by_name = {attribute.name: attribute for attribute in attributes}
    before = [by_name[name] for name in ORDER if name in by_name]
    text = " ".join([*(attribute.value for attribute in before), target])
    used = list(before)
    if "location" in by_name:
        text += f", located in {by_name['location'].value} of the image"
        used.append(by_name["location"])
    return text, frozenset({"class", *(attribute.source for attribute in used)})
