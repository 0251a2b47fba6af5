"""How numbers read, and that nothing reads as what it is not."""

import re

import pytest

from vlseg.metrics import bootstrap_mean, compare_paired, two_level_mean
from vlseg.metrics.language import CONDITIONS
from vlseg.reports.words.numbers import (
    condition_name,
    decimal,
    difference,
    estimate,
    p_value,
    percent,
    points,
    share,
    share_of,
    signed,
    why,
)


def test_shares() -> None:
    assert [percent(one) for one in (None, 0, 1, 0.5, 0.957, 0.996, 0.9999, 0.003, 0.00001)] == [
        "–", "0 %", "100 %", "50 %", "96 %", "99.6 %", "> 99.9 %", "0.3 %", "< 0.1 %",
    ]  # fmt: skip
    assert share(0.957, (0.93, 1.0)) == "96 % [93, 100]"
    assert share(0.957, None) == "96 %"
    assert [share_of(one, 3, "answer") for one in (0, 1, 1 / 3)] == [
        "none of 3 answers", "all 3 answers", "33 % of 3 answers",
    ]  # fmt: skip


def test_points() -> None:
    assert points(0.271, (0.254, 0.289)) == "+27 [+25, +29]"
    assert points(0.271, (0.254, 0.289), sign=False, word="points") == "27 points [25, 29]"
    assert points(-0.0123, (-0.03, 0.004)) == "-1.2 [-3.0, +0.4]"
    assert points(0.12, (0.003, 0.24)) == "+12.0 [+0.3, +24.0]"  # an end above zero does not read as zero
    assert points(0.0004) == "+0.04"
    assert points(0.0) == "0.0"
    assert points(None) == "–"


@pytest.mark.parametrize("value", [0.00001, -0.00001, 0.0003, 0.049, 0.5, -0.2])
def test_what_is_not_zero_reads_so(value: float) -> None:
    for text in (points(value), points(0.3, (value, 0.5)).split("[")[1].split(",")[0]):
        assert re.search(r"[1-9]", text), text
        assert ("-" in text) == (value < 0)


def test_scores_and_p() -> None:
    assert [decimal(one) for one in (None, float("nan"), 0.93849, 25.79)] == ["–", "–", "0.938", "25.8"]
    assert [signed(one) for one in (None, 0.1, -0.1, 12.3)] == ["–", "+0.100", "-0.100", "+12.3"]
    assert [p_value(one) for one in (None, 5e-5, 0.001, 0.2)] == ["–", "< 0.001", "0.001", "0.200"]
    assert difference(-2.5, (-4.0, -1.0), "hd95") == "-2.500 [-4.000, -1.000]"
    assert difference(-0.25, (-0.4, -0.1), "nsd") == "-25 [-40, -10]"
    assert estimate(bootstrap_mean([0.5] * 3, [1, 2, 3])) == "0.500"


def test_why_there_is_no_interval_in_words_of_its_own() -> None:
    """Every reason that the metrics give is met; none is passed on in their words."""
    apart = [0.0] * 18 + [1.0, 1.0]
    reasons = {
        "3 images: too few for an interval": bootstrap_mean([0.1, 0.2, 0.3], [1, 2, 3]).reason,
        "1 image: too few for an interval": bootstrap_mean([0.1], [1]).reason,
        "nothing to score": bootstrap_mean([], []).reason,
        "all alike: no interval": bootstrap_mean([1.0] * 20, list(range(20))).reason,
        "only 2 of 20 images differ from the rest: no interval": bootstrap_mean(apart, list(range(20))).reason,
        "no sample in common": compare_paired([], [], []).reason,
        "no difference anywhere": compare_paired([0.5] * 20, [0.5] * 20, list(range(20))).reason,
        "2 seeds: too few for an interval over seeds": two_level_mean([apart, apart], list(range(20))).reason,
    }
    for words, reason in reasons.items():
        assert reason is not None
        assert why(reason) == words != reason
    assert why("3 groups, fewer than 10", groups_known=True) == "3 patients or sequences: too few for an interval"
    assert why(None) == ""


def test_every_condition_of_a_probe_has_a_name_without_underscores() -> None:
    names = [condition_name(one) for one in (*CONDITIONS, "language_es", "wrong_size")]
    assert not [name for name in names if "_" in name]
    assert len(set(names)) == len(names)
    assert names[-2:] == ["in Spanish", "wrong size"]
