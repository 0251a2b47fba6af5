"""Known words and prompts: what several patients share, and nothing that tells who one of them is."""

import json
import re
from pathlib import Path

from vlseg.prompts import Prompted, Vocabulary, vocabulary_of
from vlseg.prompts.meaning import words_of
from vlseg.prompts.vocabulary import FUNCTION_WORDS, SHARED_BY
from vlseg.records import Sample


def asked(number: int, *wordings: str, group: str | None = None, dataset: str = "set") -> Prompted:
    sample = Sample(
        id=f"{number}",
        image_id=f"image{number}",
        image_path=Path("a.png"),
        mask_paths=(),
        target="tumour",
        prompts={"p": wordings},
        dataset=dataset,
        split="train",
        group=group,
    )
    return Prompted(sample, wordings, "p", frozenset())


def test_what_fewer_patients_than_five_have_is_not_kept() -> None:
    shared = [asked(number, "A round tumour.") for number in range(5)]
    rare = [asked(10 + number, f"Round tumour of Mrs Example, born 1950-01-0{number}") for number in range(4)]
    found = vocabulary_of([*shared, *rare], ("tumour",), reads_text=True)
    assert SHARED_BY == 5
    assert found.words == ("a", "round", "tumour")
    assert found.prompts == ("A round tumour.",)
    told = json.dumps(found.to_json())
    assert not any(word in told.casefold() for word in ("example", "mrs", "1950", "born"))


def test_a_patient_with_many_images_counts_once() -> None:
    own = [asked(number, "scar near the Smith clip", group="patient 7") for number in range(40)]
    others = [asked(100 + number, "scar", group=f"patient {100 + number}") for number in range(4)]
    found = vocabulary_of([*own, *others], (), reads_text=True)
    assert found.words == ("scar",)
    assert found.prompts == ()
    apart = [asked(number, "scar", group="1", dataset=f"set {number}") for number in range(5)]
    assert vocabulary_of(apart, (), reads_text=True).prompts == ("scar",)  # patient 1 of five sets


def test_what_was_asked_is_not_kept() -> None:
    words_of.cache_clear()
    assert Vocabulary(("polyp",), (), ()).unknown("polyp of Jane") == ["jane"]
    assert Vocabulary(("polyp",), ("polyp",), ()).suggest("polyp of Jane") == ["polyp"]
    assert words_of.cache_info().currsize == 0


def test_words_never_seen_are_marked() -> None:
    found = vocabulary_of(
        [asked(n, "one small, well-defined Tumour") for n in range(5)], ("breast cyst",), reads_text=True
    )
    assert found.unknown("One SMALL tumour!") == []
    assert found.unknown("a spiculated, well-defined mass; spiculated") == ["spiculated", "mass"]
    assert found.unknown("breast cyst") == []  # targets' names are known though no prompt has them
    assert found.unknown("") == []


def test_articles_are_not_marked_and_words_that_change_the_meaning_are() -> None:
    found = vocabulary_of([asked(n, "polyp") for n in range(5)], (), reads_text=True)
    assert found.unknown("The polyp in the middle of an image with a polyp") == ["middle", "image"]
    changing = ["no", "not", "without", "none", "never", "nor", "neither", "absent", "free", "except", "but"]
    changing += ["and", "or", "left", "above", "under", "between", "outside", "one", "two", "all", "other", "larger"]
    assert found.unknown(" ".join(changing)) == changing
    page = (Path(__file__).resolve().parents[2] / "docs" / "cannot-judge.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"English words that name nothing \((.+?)\) are never marked", page)
    assert set(told.split(", ")) == FUNCTION_WORDS
    assert found.words == ("polyp",)  # what is stored, and what /words tells, is the training's alone


def test_suggestions_are_what_was_typed_or_near_it() -> None:
    texts = {"dark cyst in the lower left": 7, "bright nodule": 9, "large dark cyst": 5}
    samples = [asked(10 * i + n, text) for i, (text, many) in enumerate(texts.items()) for n in range(many)]
    found = vocabulary_of(samples, ("nodule",), reads_text=True)
    assert found.prompts == ("bright nodule", "dark cyst in the lower left", "large dark cyst")
    assert found.suggest("drak cyst", 2)[0] in ("large dark cyst", "dark cyst in the lower left")
    assert set(found.suggest("nodul", 2)) == {"bright nodule", "nodule"}
    assert found.suggest("", 2) == ["bright nodule", "dark cyst in the lower left"]
    assert found.suggest("zzzzqqq") == []


def test_models_that_read_no_text_know_their_targets() -> None:
    found = vocabulary_of([asked(n, "a long report") for n in range(9)], ("optic disc", "cup"), reads_text=False)
    assert found.words == ("cup", "disc", "optic")
    assert found.prompts == ()
    assert found.suggest("disk") == ["optic disc"]


def test_written_and_read_it_is_the_same() -> None:
    found = vocabulary_of([asked(n, "über tumour") for n in range(5)], ("cyst",), reads_text=True)
    assert Vocabulary.from_json(json.loads(json.dumps(found.to_json()))) == found
