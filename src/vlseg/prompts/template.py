"""Templates: from a target and its attributes to sentences, with the provenance of every word."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pydantic
import yaml

from vlseg.records import Attribute, InputError, Source, from_validation, unknown_name

BUILT_IN = ("default", "echocardiography", "chest-xray", "breast-ultrasound")
_SLOT = re.compile(r"\{(?P<name>[A-Za-z_]+)(?::(?P<form>[a-z]+))?\}")
_FORMS = ("words", "list", "all")


class _TemplateFile(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    about: str = ""
    prompts: dict[str, str | list[str]] = pydantic.Field(min_length=1)
    descriptions: dict[str, list[str]] = {}
    words: dict[str, dict[str, str]] = {}


@dataclass(frozen=True)
class Template:
    """Sentences by prompt name.

    Attributes:
        prompts: wordings with slots by prompt name.
        descriptions: phrases by target, for the slot {description}.
        words: what stands in the sentence for a value of an attribute, by attribute and value.
    """

    prompts: Mapping[str, tuple[str, ...]]
    descriptions: Mapping[str, tuple[str, ...]]
    words: Mapping[str, Mapping[str, str]]

    @property
    def attributes(self) -> set[str]:
        """Names of the attributes that any sentence uses."""
        texts = [text for wordings in self.prompts.values() for text in wordings]
        return {match["name"] for text in texts for match in _SLOT.finditer(text)} - {"target", "a", "A", "description"}


@dataclass(frozen=True)
class Rendered:
    """The wordings of one prompt, the sources of its words, and the attributes that stood in it."""

    wordings: tuple[str, ...]
    sources: frozenset[Source]
    used: frozenset[str]


def read_template(name: str) -> Template:
    """A built-in template by name, or one from a YAML file.

    The file holds `prompts` (name: sentence, or a list of them) and optionally `about`, `descriptions` (phrases by
    target) and `words` (attribute: {value: what to write}). In a sentence `{target}` and `{size}` stand for
    values, `{age:words}` for a number in words, `{location:list}` for several values with "and" before the last,
    `{a}` for "a" or "an" as the next word asks (nothing before a plural). What stands in [brackets] goes when
    a value in it is missing; elsewhere a missing value leaves no gap. A number above one makes the target plural.

    Raises:
        InputError: no such template, broken YAML, an unknown key or form.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.exists():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: no such template file ({error})") from error
    elif name in BUILT_IN:
        text = files(__package__).joinpath(f"templates/{name}.yaml").read_text(encoding="utf-8")
    else:
        raise unknown_name("template (or give a .yaml file)", name, BUILT_IN)
    try:
        values = yaml.safe_load(text)
        read = _TemplateFile.model_validate(values if isinstance(values, dict) else {})
    except yaml.YAMLError as error:
        raise InputError(f"{name}: broken YAML ({str(error).splitlines()[0]})") from error
    except pydantic.ValidationError as error:
        raise from_validation(error, name) from error
    prompts = {key: (text,) if isinstance(text, str) else tuple(text) for key, text in read.prompts.items()}
    for key, wordings in prompts.items():
        for wording in wordings:
            _check(name, key, wording)
    described = {target.lower(): tuple(phrases) for target, phrases in read.descriptions.items()}
    return Template(prompts, described, read.words)


def _check(name: str, key: str, wording: str) -> None:
    rest = _SLOT.sub("", wording)
    if "{" in rest or "}" in rest or rest.count("[") != rest.count("]"):
        raise InputError(
            f"{name}: prompt '{key}': '{wording}' has a bracket that does not close, or a slot like {{size}}"
        )
    for match in _SLOT.finditer(wording):
        if match["form"] and match["form"] not in _FORMS:
            raise unknown_name(f"form in prompt '{key}' of {name}", match["form"], _FORMS)


def render(template: Template, name: str, target: str, attributes: Sequence[Attribute]) -> Rendered:
    """The wordings of one prompt for one target."""
    values = {attribute.name: attribute for attribute in attributes}
    wordings: list[str] = []
    used: set[str] = set()
    for wording in template.prompts[name]:
        for description in _descriptions(template, wording, target):
            text, names = _fill(template, wording, target, description, values)
            used |= names
            wordings.append(text)
    sources: set[Source] = {values[attribute].source for attribute in used if attribute in values}
    if any(wordings):
        sources.add("class")
    return Rendered(tuple(dict.fromkeys(wordings)), frozenset(sources or {"none"}), frozenset(used))


def _descriptions(template: Template, wording: str, target: str) -> Sequence[str | None]:
    if "{description}" not in wording:
        return (None,)
    return template.descriptions.get(target.lower()) or (None,)


def _fill(
    template: Template, wording: str, target: str, description: str | None, values: Mapping[str, Attribute]
) -> tuple[str, set[str]]:
    used: set[str] = set()
    number = values.get("number")
    several = number is not None and "{number" in wording and _count(number.value) > 1

    def value(match: re.Match[str]) -> str | None:
        name = match["name"]
        if name in ("a", "A"):
            return f"\0{name}\0"
        if name == "target":
            return plural(target) if several else target
        if name == "description":
            found = description
        elif name in values:
            found = _worded(template, values[name], match["form"])
        else:
            found = None
        if found is not None:
            used.add(name)
        return found

    def bracket(match: re.Match[str]) -> str:
        inside = list(_SLOT.finditer(match[1]))
        if any(slot["name"] not in ("target", "a", "A") and value(slot) is None for slot in inside):
            return ""
        return match[1]

    text = re.sub(r"\[([^\[\]]*)\]", bracket, wording)
    text = _SLOT.sub(lambda match: value(match) or "", text)
    return _tidy(text, several), used


def _worded(template: Template, attribute: Attribute, form: str | None) -> str:
    value = template.words.get(attribute.name, {}).get(attribute.value, attribute.value)
    if form == "words" or (attribute.name == "number" and value.isdigit()):
        return in_words(value)
    parts = [part.strip() for part in re.split(r"[;,]", value) if part.strip()]
    if form in ("list", "all") and len(parts) > 1:
        parts = list(dict.fromkeys(parts)) if form == "list" else parts
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return value


def _tidy(text: str, several: bool) -> str:
    """Single blanks, none before a comma or full stop, articles by the word that follows."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s+([,.;])", r"\1", text)

    def article(match: re.Match[str]) -> str:
        word = match[2]
        if several or not word:
            return word
        chosen = _article(word)
        return f"{chosen.capitalize() if match[1] == 'A' else chosen} {word}"

    return re.sub(r"\x00(a|A)\x00 ?([^\s,.;]*)", article, text).strip()


@cache
def _inflect() -> Any:
    import inflect

    return inflect.engine()


def _count(value: str) -> int:
    return int(value) if value.isdigit() else 1 if value.lower() in ("one", "single") else 2


@cache
def plural(noun: str) -> str:
    """The plural of a noun or of a noun phrase, by its last word."""
    head = noun.split()[-1] if noun.split() else ""
    start = noun[: len(noun) - len(head)]
    if head.lower().endswith("sis"):  # metastasis, atelectasis: unknown to inflect, which takes them for plurals
        return f"{start}{head[:-2]}es"
    singular = head and _inflect().singular_noun(head)
    if not head or (singular and _inflect().plural_noun(singular) == head):
        return noun
    return f"{start}{_inflect().plural_noun(head)}"


@cache
def in_words(value: str) -> str:
    """A whole number in words; any other text as it is."""
    return str(_inflect().number_to_words(value)) if value.isdigit() else value


@cache
def _article(word: str) -> str:
    return str(_inflect().a(word)).split()[0]
