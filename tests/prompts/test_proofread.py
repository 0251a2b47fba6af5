"""Texts: every planted defect is found and mended, sound ones are left alone, slips of the pen are found by rule."""

from pathlib import Path

import numpy as np
import pytest

from vlseg.prompts import TextCase, head_noun, mend, proofread, spelling_of
from vlseg.records import Sample

WORDS = (
    "polyp ulcer melanoma tumor breast ultrasound ventricle ventricular myocardium atrium cavity chamber systole "
    "diastole cardiac effusion pleural pneumothorax atelectasis edema cardiomegaly consolidation opacity lesion nodule "
    "irregular triangular oval rectangular elongated circular yellow brown orange purple bottom center image located "
    "mucous membrane texture speckles abnormal growth projecting colon rectum tissue mushroom infection bilateral "
    "unilateral retinal vessel nuclei malignant benign regular shaped small medium large sentence patient"
).split()
MEDICAL = (
    "cardiomediastinum echocardiogram hyperechoic hypoechoic endotracheal glioblastoma adenocarcinoma "
    "histopathology dermoscopy colonoscopy hepatic splenic renal vertebrae metastases carcinoma fibroadenoma "
    "tumour colour oedema haemorrhage tubings microcalcification ileum jejunum duodenum esophagus trachea"
).split()


def sample(text: str, name: str = "a", target: str | None = "polyp", key: str = "p2") -> Sample:
    return Sample(
        id=name,
        image_id=name,
        image_path=Path(f"{name}.png"),
        mask_paths=(Path(f"{name}_m.png"),),
        target=target,
        prompts={"p1": (target or "",), key: (text,)},
        dataset="d",
        split="train",
    )


def codes(text: str, **options: str) -> set[str]:
    return {case.code for case in proofread([sample(text, **options)])}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no polyp", "announces_absence"),
        ("No visible polyp in the image", "announces_absence"),
        ("colon without any polyp", "announces_absence"),
        ("absence of a small pink polyp", "announces_absence"),
        ("polyp not visible", "announces_absence"),
        ("two small white round polyp", "number_agreement"),
        ("two small, medium pink polyp", "number_agreement"),
        ("ten brown middle of the ear polyp", "number_agreement"),
        ("3 polyp in the image", "number_agreement"),
        ("COVID-19 with 3 polyp", "number_agreement"),
        ("one small polyps", "number_agreement"),
        ("polyp polyp", "repeated_word"),
        ("polyp, located in left, left of the image", "repeated_word"),
        ("polyp, located in top, top left, top of the image", "repeated_word"),
        ("polyp ", "stray_blank"),
        (" polyp", "stray_blank"),
        ("small  polyp", "stray_blank"),
        ("polyp , round", "stray_blank"),
        ("white a triangle polyp", "stray_article"),
        ("two yellow an oval polyps", "stray_article"),
        ("pink it is a round shape polyp", "sentence_answer"),
        ("polyp from a mucuos membrane", "misspelling"),
        ("polyp, an abnormailty of the colon", "misspelling"),
        ("polyp" + " and folds" * 40, "long_prompt"),
    ],
)
def test_planted_defects(text: str, code: str) -> None:
    assert codes(text) == {code}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "polyp",
        "two small polyps, located in left, top left of the image",
        "polyp, located in two places",
        "one of two polyps",
        "polyp without bleeding",
        "polyp that is an open wound with a red rim",
        "a normal fold beside a polyp",
        "Malignant polyp in the breast ultrasound image.",
        "polyp of a female at end of the diastole cycle",
        "three large and two small polyps",
        "polyp which is often a bumpy flesh",
        "COVID-19 polyp",
        "COVID 19 polyp",
        "grade 3 polyp",
    ],
)
def test_sound_texts(text: str) -> None:
    assert codes(text) == set()


def test_texts_that_stand_only_with_empty_masks() -> None:
    samples = [sample("polyp", f"p{n}") for n in range(6)] + [sample("healthy colon", f"e{n}") for n in range(3)]
    empty = {f"e{n}" for n in range(3)}
    found = [case for case in proofread(samples, empty=empty) if case.code == "announces_absence"]
    assert [(case.sample, case.text) for case in found] == [(f"e{n}", "healthy colon") for n in range(3)]
    assert not proofread(samples)
    same = [sample("polyp", f"x{n}") for n in range(9)]
    assert not proofread(same, empty={"x0", "x1"})


@pytest.mark.parametrize(
    ("target", "prompts", "noun"),
    [
        ("breast tumor", {}, "tumor"),
        (None, {"p1": ("Tumor in the breast ultrasound image.",)}, "tumor"),
        (None, {"p1": ("Left ventricular cavity of the heart.",)}, "cavity"),
        (None, {"p1": ("no polyp",)}, "polyp"),
        (None, {"p9": ("x",)}, None),
    ],
)
def test_head_noun(target: str | None, prompts: dict[str, tuple[str, ...]], noun: str | None) -> None:
    assert head_noun(target, prompts) == noun


def slip(word: str, rng: np.random.Generator) -> str:
    """Two letters swapped, one left out, one doubled, or one typed wrong."""
    kind, place = rng.integers(4), int(rng.integers(1, len(word) - 1))
    if kind == 0:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == 1:
        return word[:place] + word[place + 1 :]
    if kind == 2:
        return word[:place] + word[place] + word[place:]
    return word[:place] + "aeioutrnsl"[rng.integers(10)] + word[place + 1 :]


def test_injected_slips_are_found_and_correct_words_are_not() -> None:
    rng = np.random.default_rng(7)
    long = [word for word in WORDS if len(word) >= 6]
    slips = [(word, slip(word, rng)) for word in long for _ in range(4)]
    slips = [(word, wrong) for word, wrong in slips if wrong != word and wrong not in WORDS]
    found = right = 0
    for word, wrong in slips:
        spelling = spelling_of([" ".join(WORDS), wrong])
        meant = spelling.suggestions.get(wrong, ())
        found += bool(meant)
        right += word in meant
    assert found / len(slips) >= 0.9
    assert right / len(slips) >= 0.85
    assert spelling_of([" ".join(WORDS), " ".join(MEDICAL), "Kvasir BUSI ABCDEFG p53"]).suggestions == {}


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (" two  small polyp ", "two small polyps"),
        ("one pink polyps", "one pink polyp"),
        ("polyp polyp", "polyp"),
        ("polyp in left, left, top of the image", "polyp in left, top of the image"),
        ("a mucuos polyp , round", "a mucous polyp, round"),
        ("Abnormailty near a polyp", "Abnormality near a polyp"),
        ("one small polyp, located in left of the image", "one small polyp, located in left of the image"),
        ("", ""),
    ],
)
def test_mending(text: str, mended: str) -> None:
    spelling = spelling_of([text])
    once, changes = mend(text, spelling, "polyp")
    assert once == mended
    assert bool(changes) == (text != mended)
    assert mend(once, spelling, "polyp") == (once, [])


def entries_with(cases: list[TextCase], code: str) -> int:
    return len({(case.split, case.sample) for case in cases if case.code == code})


@pytest.mark.parametrize(
    ("name", "plural", "misspelt", "answers"),
    [
        ("bkai_polyp", 94, 994, 14),
        ("clinicdb_polyp", 70, 612, 0),
        ("kvasir_polyp", 181, 1000, 10),
        ("colondb_polyp", 10, 380, 0),
        ("etis_polyp", 17, 196, 2),
        ("isic", 14, 0, 0),
        ("dfu", 267, 2000, 0),
        ("camus", 0, 0, 0),
    ],
)
def test_published_texts(shared: Path, name: str, plural: int, misspelt: int, answers: int) -> None:
    """The six "no polyp" entries of BKAI have no definition, and so not its misspelling."""
    from vlseg.data import read_dataset

    cases = proofread(read_dataset(shared / "data" / "medvlsm_annotations" / name).samples)
    assert entries_with(cases, "number_agreement") == plural
    assert entries_with(cases, "misspelling") == misspelt
    assert entries_with(cases, "sentence_answer") == answers
    details = {case.detail.split(":")[0] for case in cases if case.code == "misspelling"}
    assert details <= {"'mucuos'", "'abnormailty'"}
    doubled = sum("foot foot" in case.detail for case in cases if case.code == "repeated_word")
    assert (doubled > 0) == (name == "dfu")
