"""XML of others: no document type, so that no entity is declared, expanded or fetched."""

from contextlib import suppress
from xml.etree import ElementTree
from xml.parsers import expat

from vlseg.records import InputError

_HEAD = 1 << 16


class _EnoughError(Exception):
    """The first elements are known."""


def parse_xml(content: bytes, name: str) -> ElementTree.Element:
    """The root element of an XML file's content; `name` stands in the errors.

    Raises:
        InputError: broken XML, or one that declares a document type.
    """
    builder: ElementTree.TreeBuilder = ElementTree.TreeBuilder()
    parser = _parser(name)
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(f"{name}: is no XML that can be read ({error}); export it anew") from error


def first_elements(content: bytes, count: int) -> list[str]:
    """The names of the first elements of an XML file; fewer, or none, where it breaks off or is no XML."""
    found: list[str] = []

    def start(tag: str, _: dict[str, str]) -> None:
        found.append(tag)
        if len(found) == count:
            raise _EnoughError

    parser = _parser("")
    parser.StartElementHandler = start
    with suppress(_EnoughError, expat.ExpatError, InputError, ValueError, LookupError):
        parser.Parse(content[:_HEAD], False)
    return found


def _parser(name: str) -> expat.XMLParserType:
    def refuse(*_: object) -> None:
        raise InputError(f"{name}: declares a document type (DOCTYPE), which is not read; take the declaration out")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    return parser
