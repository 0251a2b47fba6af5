"""Names that fit and stay unlike each other."""

from drawn_figures import ODD

from vlseg.reports.figures.labels import printable, told_apart, wrapped
from vlseg.reports.words.numbers import counted


def test_long_names_break_where_words_end() -> None:
    assert wrapped("clipseg busi", 27) == ["clipseg busi"]
    assert wrapped("biomedclip-busi-class+attributes-seed0", 27) == ["biomedclip-busi-class+", "attributes-seed0"]
    assert wrapped("x" * 40, 27) == ["x" * 27, "x" * 13]
    for text in ODD:
        lines = wrapped(text, 20)
        assert 1 <= len(lines) <= 2
        assert all(len(line) <= 20 for line in lines)
    assert wrapped("多模态分割网络", 8) == ["多模态分", "割网络"]
    cut = "".join(wrapped(f"begin{'-' * 100}end", 20))
    assert cut.startswith("begin")
    assert cut.endswith("end")
    assert "…" in cut


def test_names_that_cutting_makes_alike_are_told_apart() -> None:
    same = [f"{'x' * 60}{i}{'y' * 60}" for i in range(12)]
    lines = ["\n".join(one) for one in told_apart(same, 20)]
    assert len(set(lines)) == len(lines)
    assert all(len(line) <= 20 for one in lines for line in one.split("\n"))
    assert told_apart(["a", "a"], 20) == [["a"], ["a (2)"]]


def test_what_xml_cannot_hold_is_shown_as_such() -> None:
    assert printable(" a\tb\nc \x07\ud800 ") == "a b c ��"


def test_one_and_many() -> None:
    assert [counted(number, "row") for number in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
