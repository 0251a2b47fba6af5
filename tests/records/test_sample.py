"""Where the words of a prompt come from, as tables say it."""

import pytest

from vlseg.records import origin


@pytest.mark.parametrize(
    ("sources", "made_up", "words"),
    [
        (["class", "image"], False, "a user has it"),
        (["none"], False, "no words"),
        ([], False, "source unknown"),
        (["class", "mask"], False, "from the mask"),
        (["label", "mask"], False, "from the mask and from the image's label"),
        (["class", "unknown"], False, "source unknown"),
        (["class", "mask"], True, "from the made-up scene, as someone who sees it would say it"),
        (["class"], True, "a user has it"),
    ],
)
def test_where_words_come_from_in_words(sources: list[str], made_up: bool, words: str) -> None:
    assert origin(sources, made_up=made_up) == words
