"""Templates: grammar, missing values, provenance."""

from pathlib import Path

import pytest

from vlseg.prompts import BUILT_IN, read_template, render
from vlseg.records import Attribute, InputError, Source


def written(tmp_path: Path, text: str, **more: str) -> str:
    path = tmp_path / "t.yaml"
    path.write_text(f'prompts: {{p: "{text}"}}\n' + "".join(f"{key}: {value}\n" for key, value in more.items()))
    return str(path)


def attributes(**values: str) -> list[Attribute]:
    sources: dict[str, Source] = {"age": "metadata", "sex": "metadata", "tumor_type": "label"}
    return [Attribute(name, value, sources.get(name, "mask")) for name, value in values.items()]


@pytest.mark.parametrize(
    ("text", "target", "values", "expected"),
    [
        ("{number} {size} {target}", "polyp", {"number": "1", "size": "small"}, "one small polyp"),
        ("{number} {size} {target}", "polyp", {"number": "3", "size": "small"}, "three small polyps"),
        ("{number} {target}", "breast tumor", {"number": "12"}, "twelve breast tumors"),
        ("{number} {target}", "nuclei", {"number": "2"}, "two nuclei"),
        ("{number} {target}", "metastasis", {"number": "2"}, "two metastases"),
        ("{number} {target}", "foot ulcer", {}, "foot ulcer"),
        ("{target}", "polyp", {"number": "3"}, "polyp"),
        ("{a} {age:words}-year-old patient", "x", {"age": "81"}, "an eighty-one-year-old patient"),
        ("{a} {age:words}-year-old patient", "x", {"age": "21"}, "a twenty-one-year-old patient"),
        ("{A} {shape} {target}", "polyp", {"shape": "oval"}, "An oval polyp"),
        ("{a} {shape} {target}", "ulcer", {}, "an ulcer"),
        ("{a} {number} {target}", "ulcer", {"number": "2"}, "two ulcers"),
        ("{target}[ in the {location:list} of the image]", "polyp", {}, "polyp"),
        (
            "{target}[ in the {location:list}]",
            "polyp",
            {"location": "top left, center, left"},
            "polyp in the top left, center and left",
        ),
        ("{target}[ in the {location:list}]", "polyp", {"location": "left, left"}, "polyp in the left"),
        ("{size:list} {target}", "polyp", {"size": "tiny, large"}, "tiny and large polyp"),
        ("{target}, {color} , round.", "polyp", {"color": "red"}, "polyp, red, round."),
        ("  {color}  {target} ", "polyp", {}, "polyp"),
        ("{target}[ with {findings:list}]", "edema", {"findings": "A; B"}, "edema with A and B"),
        ("{target}[ of {a} {age:words}-year-old {sex}]", "heart", {"age": "30"}, "heart"),
    ],
)
def test_sentences(tmp_path: Path, text: str, target: str, values: dict[str, str], expected: str) -> None:
    template = read_template(written(tmp_path, text))
    assert render(template, "p", target, attributes(**values)).wordings == (expected,)


def test_sources_are_those_of_the_words_that_stand_there(tmp_path: Path) -> None:
    template = read_template(written(tmp_path, "{size} {target}[ of {a} {age:words}-year-old {sex} patient]"))
    one = render(template, "p", "polyp", attributes(size="small", age="40", sex="female", color="red"))
    assert one.wordings == ("small polyp of a forty-year-old female patient",)
    assert one.sources == {"class", "mask", "metadata"}
    assert one.used == {"size", "age", "sex"}
    assert render(template, "p", "polyp", attributes(color="red")).sources == {"class"}


def test_descriptions_give_a_wording_each(tmp_path: Path) -> None:
    name = written(tmp_path, "{target} that is {description}", descriptions="{polyp: [round, raised]}")
    assert render(read_template(name), "p", "Polyp", []).wordings == ("Polyp that is round", "Polyp that is raised")


def test_words_replace_values(tmp_path: Path) -> None:
    name = written(tmp_path, "{tumor_type} {target}", words="{tumor_type: {malignant: irregular}}")
    rendered = render(read_template(name), "p", "mass", attributes(tumor_type="malignant"))
    assert rendered.wordings == ("irregular mass",)
    assert rendered.sources == {"class", "label"}


def test_empty_prompt_has_no_source() -> None:
    rendered = render(read_template("default"), "empty", "polyp", [])
    assert (rendered.wordings, rendered.sources) == (("",), {"none"})


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_templates_read_well(name: str) -> None:
    template = read_template(name)
    values = dict.fromkeys(template.attributes, "small") | {
        "number": "2",
        "age": "80",
        "location": "top, left",
        "sex": "female",
        "view": "frontal view",
        "phase": "end of the systole cycle",
    }
    for key in template.prompts:
        for wordings in (render(template, key, "polyp", attributes(**values)), render(template, key, "polyp", [])):
            for text in wordings.wordings:
                assert text == text.strip()
                assert "  " not in text
                assert not set("{}[]\0") & set(text)
                assert " ," not in text
                assert (not text) == (key == "empty")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompts: {a: '{size'}", "does not close"),
        ("prompts: {a: 'x]'}", "does not close"),
        ("prompts: {a: '{size:upper}'}", "known: all, list, words"),
        ("prompt: {a: 'x'}", "prompt"),
        ("prompts: [", "broken YAML"),
        ("prompts: {}", "prompts"),
    ],
)
def test_a_broken_template_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as raised:
        read_template(str(path))
    assert str(path) in str(raised.value)


def test_unknown_template_lists_the_known() -> None:
    with pytest.raises(InputError, match="breast-ultrasound"):
        read_template("polyps")
