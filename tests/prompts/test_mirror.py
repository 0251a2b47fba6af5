import pytest

from vlseg.prompts.mirror import mirrored, mirrored_name, names_a_place


@pytest.mark.parametrize(
    ("text", "axis", "expected"),
    [
        ("polyp in the top left", "horizontal", "polyp in the top right"),
        ("polyp in the top left", "vertical", "polyp in the bottom left"),
        ("Upper RIGHT mass", "horizontal", "Upper LEFT mass"),
        ("Upper RIGHT mass", "vertical", "Lower RIGHT mass"),
        ("bright lesion", "horizontal", "bright lesion"),
        ("mass at three o'clock", "horizontal", None),
        ("medial meniscus", "vertical", None),
        ("", "horizontal", ""),
        ("left kidney", "horizontal", "right kidney"),
        ("Left ventricular cavity of the heart", "horizontal", None),
        ("left main bronchus", "horizontal", None),
        ("Left ventricular cavity of the heart", "vertical", "Left ventricular cavity of the heart"),
        ("lesion in the RUQ", "horizontal", None),
        ("vertical scar", "horizontal", "vertical scar"),
    ],
)
def test_mirrored(text: str, axis: str, expected: str | None) -> None:
    assert mirrored(text, axis) == expected


@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_twice_is_the_same(axis: str) -> None:
    text = "one in the upper left, one in the lower right"
    once = mirrored(text, axis)
    assert once is not None
    assert mirrored(once, axis) == text


def test_places() -> None:
    assert names_a_place("in the Left lung")
    assert not names_a_place("the brightest polyp")


@pytest.mark.parametrize(
    "text", ["a vertical scar", "Diagonal line", "horizontally stretched", "top polyp", "lateral view"]
)
def test_a_quarter_turn_would_falsify(text: str) -> None:
    assert names_a_place(text)


@pytest.mark.parametrize(
    ("name", "axis", "expected"),
    [
        ("left lung", "horizontal", "Right Lung"),
        ("Right Lung", "horizontal", "left lung"),
        ("left lung", "vertical", "left lung"),
        ("left kidney", "horizontal", None),
        ("left atrium", "horizontal", None),
        ("heart", "horizontal", "heart"),
        ("upper lobe", "vertical", None),
    ],
)
def test_a_target_becomes_its_counterpart_where_there_is_one(name: str, axis: str, expected: str | None) -> None:
    known = ("left lung", "Right Lung", "left kidney", "left atrium", "right atrium", "heart", "upper lobe")
    assert mirrored_name(name, axis, known) == expected
