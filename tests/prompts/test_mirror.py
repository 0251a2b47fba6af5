import pytest

from vlseg.prompts.mirror import mirrored, names_a_place


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
