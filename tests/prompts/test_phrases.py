"""Which words are an attribute's, on every published annotation and on sentences that mislead."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlseg.data import read_dataset
from vlseg.prompts import Phrase, annotate, meaning, other_values, phrases, same_words, with_words
from vlseg.prompts.meaning import words_of
from vlseg.records import Attribute, Dataset, DatasetInfo, Sample

# Entries in the published files, and of these the ones that tell attributes: the others say that nothing is there.
PUBLISHED = {
    "bkai_polyp": (1000, 994),
    "busi": (780, 647),
    "camus": (1200, 1200),
    "chexlocalize": (2177, 2177),
    "clinicdb_polyp": (612, 612),
    "colondb_polyp": (380, 380),
    "cvc300_polyp": (380, 380),
    "cvc300_polyp_60_images": (60, 60),
    "dfu": (2000, 2000),
    "etis_polyp": (196, 196),
    "isic": (1279, 1279),
    "kvasir_polyp": (1000, 1000),
}
HEAD_NOUNS = {"polyp", "polyps", "melanoma", "ulcer", "ulcers", "tumor", "tumors", "cavity", "myocardium", "opacity"}
PLACES = {"left", "right", "top", "bottom", "center"}
# The key whose text is left when the attribute that a key adds is taken away again.
BEFORE = {
    "medvlsm-photo": {"p2": "p1", "p3": "p2", "p4": "p3", "p5": "p4", "p6": "p5", "p7": "p1", "p8": "p5"},
    "medvlsm-busi": {"p2": "p1", "p4": "p3", "p5": "p4", "p6": "p5"},  # p3 changes "tumor" to "tumors"
    "medvlsm-camus": {"p2": "p1", "p3": "p2", "p4": "p3", "p5": "p4", "p6": "p5", "p7": "p6"},
    "medvlsm-chexlocalize": {"p2": "p1", "p3": "p2", "p4": "p3", "p5": "p4", "p6": "p1"},
}


@pytest.fixture(scope="module", params=sorted(PUBLISHED))
def published(request: pytest.FixtureRequest, shared: Path) -> tuple[str, Dataset]:
    folder = shared / "data" / "medvlsm_annotations" / request.param
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return request.param, annotate(read_dataset(folder))


def found_in(dataset: Dataset) -> Iterator[tuple[Sample, str, str, list[Phrase]]]:
    """Every distinct text of every key beyond the class, with its phrases."""
    for key, content in dataset.info.aliases.items():
        seen = set()
        for sample in dataset.samples:
            text = sample.prompts[key][0]
            if len(content.split("+")) > 1 and content != "class+presence" and text not in seen:
                seen.add(text)
                yield sample, key, text, phrases(dataset, sample, key, text)


def test_every_attribute_of_every_published_entry_is_found(published: tuple[str, Dataset]) -> None:
    name, dataset = published
    for key, content in dataset.info.aliases.items():
        added = set(content.split("+")) - {"class", "presence", "empty"}
        if not added:
            continue
        by_texts = {tuple(texts[0] for texts in sample.prompts.values()): sample for sample in dataset.samples}
        whole = {
            texts: {one.attribute for one in phrases(dataset, sample, key, sample.prompts[key][0])} == added
            for texts, sample in by_texts.items()
        }
        complete = Counter(whole[tuple(texts[0] for texts in sample.prompts.values())] for sample in dataset.samples)
        assert (sum(complete.values()), complete[True]) == PUBLISHED[name], key


def test_phrases_hold_what_they_are_called(published: tuple[str, Dataset]) -> None:
    """Against the vocabularies of the annotation scripts, not against how phrases are found."""
    _, dataset = published
    for _, key, text, found in found_in(dataset):
        for one in found:
            words = set(re.findall(r"[a-z]+", one.words.lower()))
            assert text[one.start : one.end] == one.words
            assert one.attribute == "findings" or not words & HEAD_NOUNS, (key, text, one)
            match one.attribute:
                case "location":
                    assert words <= PLACES, (key, text, one)
                    assert words
                case "sex":
                    assert words in ({"male"}, {"female"})
                case "quality":
                    assert words in ({"good"}, {"medium"}, {"poor"})
                case "size":
                    assert words <= {"tiny", "small", "medium", "large"}
                case "view":
                    assert words in ({"two", "chamber"}, {"four", "chamber"}, {"frontal"}, {"lateral"})
                case "phase":
                    assert words in ({"diastole"}, {"systole"})
                case "age":
                    assert one.words.endswith("-year-old")
                case "type":
                    assert one.words.lower() in ("benign", "malignant")


def test_without_its_newest_attribute_a_text_is_that_of_the_key_before(published: tuple[str, Dataset]) -> None:
    _, dataset = published
    before = BEFORE[str(dataset.info.scheme)]
    for sample, key, text, found in found_in(dataset):
        if key in before and found:
            newest = (
                set(dataset.info.aliases[key].split("+")) - set(dataset.info.aliases[before[key]].split("+"))
            ).pop()
            phrase = next(one for one in found if one.attribute == newest)
            left = with_words(text, phrase, "")
            assert left.lower() == sample.prompts[before[key]][0].strip().lower(), key


def test_a_changed_text_differs_in_the_phrase_alone(published: tuple[str, Dataset]) -> None:
    """The words before and after stay, whatever takes the value's place; a wrong value means something else."""
    _, dataset = published
    by_key: dict[str, list[tuple[str, list[Phrase]]]] = {}
    for _, key, text, found in found_in(dataset):
        by_key.setdefault(key, []).append((text, found))
    for texts in by_key.values():
        every = list({(one.attribute, one.words): one for _, found in texts for one in found}.values())
        for text, found in texts[::7]:
            for one in found:
                for words in [*other_values(every, one)[:3], "kumquat"]:
                    changed = with_words(text, one, words)
                    expected = [*words_of(text[: one.start]), *words_of(words), *words_of(text[one.end :])]
                    assert list(words_of(changed)) == expected
                    assert meaning(words) != meaning(one.words)
                shorter = words_of(with_words(text, one, ""))
                assert not Counter(shorter) - Counter(words_of(text))
                assert len(shorter) < len(words_of(text))
                assert not re.search(r"\s[,.]|[,.]{2}|\s\s|^,|,$", with_words(text, one, ""))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("circle", "it is a round shape", True),
        ("circular", "a circle", True),
        ("triangular shape", "triangle", True),
        ("top left, center", "Center, upper left", True),
        ("center, center", "center", True),
        ("grey", "gray", True),
        ("x-ray", "xray", True),
        ("2", "two", True),
        ("left", "top left", False),
        ("top left, bottom", "bottom left, top", False),
        ("small, medium", "small", False),
        ("male", "female", False),
        ("seventy-one-year-old", "seventy-two-year-old", False),
    ],
)
def test_values_that_mean_the_same(first: str, second: str, same: bool) -> None:
    assert (meaning(first) == meaning(second)) == same


def test_a_wrong_value_is_no_synonym_and_if_possible_not_half_right() -> None:
    every = [Phrase("shape", 0, 0, words) for words in ("circle", "round", "a circle", "oval", "Square")]
    assert other_values(every, every[0]) == ["oval", "Square"]
    places = [
        Phrase("location", 0, 0, words) for words in ("left", "top left", "left, right", "bottom", "bottom right")
    ]
    assert other_values(places, places[0]) == ["bottom", "bottom right"]
    assert other_values(places[:2], places[0]) == ["top left"]


def told(text: str, *attributes: tuple[str, str], target: str = "cyst") -> dict[str, str]:
    """The words by attribute in a text of one's own."""
    listed = tuple(Attribute(name, value, "mask") for name, value in attributes)
    sample = Sample("s", "i", Path("i.png"), (), target, {}, "d", "test", listed)
    found = phrases(Dataset(DatasetInfo(name="d", root=Path(), files=Path()), ()), sample, None, text)
    return {one.attribute: one.words for one in found}


@pytest.mark.parametrize(
    ("text", "attributes", "target", "expected"),
    [
        ("the one on the left", [("number", "one"), ("location", "left")], "cyst", {"location": "left"}),
        ("one cyst, not this one", [("number", "one")], "cyst", {"number": "one"}),
        ("the bright one", [("number", "1")], "cyst", {}),
        ("one of the cysts", [("number", "1")], "cyst", {}),
        ("cyst, one, small", [("number", "1"), ("size", "small")], "cyst", {"number": "one", "size": "small"}),
        ("1 small cyst", [("number", "1")], "cyst", {"number": "1"}),
        ("two cysts in the left and right", [("location", "left; right")], "cyst", {"location": "left and right"}),
        (
            "cysts at the top, left and right",
            [("location", "top, left, right")],
            "cyst",
            {"location": "top, left and right"},
        ),
        ("cysts at the left", [("location", "left; left")], "cyst", {"location": "left"}),
        ("left kidney", [("location", "left")], "left kidney", {}),
        ("left kidney on the left", [("location", "left")], "left kidney", {"location": "left"}),
        ("cyst in the left kidney", [("location", "left")], "cyst", {}),
        ("cyst in the left kidney, at the left", [("location", "left")], "cyst", {"location": "left"}),
        ("left cyst", [("location", "left")], "cyst", {"location": "left"}),
        ("small bowel, small", [("size", "small")], "small bowel", {"size": "small"}),
        ("a fifty-six-year-old patient", [("age", "56")], "cyst", {"age": "fifty-six"}),
        ("cyst of a fifty-six-year-old", [("age", "50")], "cyst", {}),
        (
            "left cyst on the left",
            [("side", "left"), ("location", "left")],
            "cyst",
            {"side": "left", "location": "left"},
        ),
        ("dark cyst", [("class", "dark cyst")], "dark cyst", {"class": "dark cyst"}),
    ],
)
def test_own_words(text: str, attributes: list[tuple[str, str]], target: str, expected: dict[str, str]) -> None:
    assert told(text, *attributes, target=target) == expected


@pytest.mark.parametrize(
    ("text", "attribute", "left"),
    [
        ("two small cysts, located in the left and top of the image", ("location", "left, top"), "two small cysts"),
        ("cyst of a fifty-six-year-old male patient", ("sex", "male"), "cyst of a fifty-six-year-old patient"),
        ("cyst of a fifty-six-year-old male patient", ("age", "56"), "cyst of a male patient"),
        ("cyst of a male patient, good image quality", ("sex", "male"), "cyst, good image quality"),
        ("cyst of a male patient, good image quality", ("quality", "good"), "cyst of a male patient"),
        ("cyst in an image of good quality", ("quality", "good"), "cyst in an image"),
        ("cyst in the left of the image", ("location", "left"), "cyst"),
        (
            "cyst at the left in the breast ultrasound image",
            ("location", "left"),
            "cyst in the breast ultrasound image",
        ),
        ("cyst, small, round", ("size", "small"), "cyst, round"),
        ("Small cyst", ("size", "small"), "Cyst"),
        ("left cyst", ("location", "left"), "cyst"),
    ],
)
def test_what_carries_a_value_goes_with_it(text: str, attribute: tuple[str, str], left: str) -> None:
    sample = Sample("s", "i", Path("i.png"), (), "cyst", {}, "d", "test", (Attribute(*attribute, "mask"),))
    (phrase,) = phrases(Dataset(DatasetInfo(name="d", root=Path(), files=Path()), ()), sample, None, text)
    assert with_words(text, phrase, "") == left
    assert "kumquat" in with_words(text, phrase, "kumquat").lower()


def test_the_same_words() -> None:
    assert same_words("One polyp, left.", "one polyp left")
    assert not same_words("polyp", "polyps")
