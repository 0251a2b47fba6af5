"""The table of robustness: every number again from its rows, and what must not be mixed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pictured import absent, score

from vlseg.evaluation import SCANNERS
from vlseg.metrics import SCANNER_LIKE, Robustness, RobustnessRow, bootstrap_mean, robustness, way_of
from vlseg.records import EvaluationSpec, SampleScore

EASY = [f"easy{number}" for number in range(12)]
HARD = [f"hard{number}" for number in range(12)]


def spec(condition: str = "clean", **changes: Any) -> EvaluationSpec:
    values: dict[str, Any] = {
        "id": condition, "model": "m", "run_id": "r", "dataset": "d", "data_fingerprint": "f", "split": "test",
        "prompt": "p", "protocol": "corrected", "condition": condition, "told": "prompt", "prompt_sources": [],
        "deployable": True,
    }  # fmt: skip
    return EvaluationSpec(**(values | changes))


def clean(names: Sequence[str] = (*EASY, *HARD), **changes: Any) -> list[SampleScore]:
    """Easy samples have a Dice of about 0.9, hard ones one of about 0.3."""
    start = {"e": 0.9, "h": 0.3}
    return [score(name, start[name[0]] + 0.002 * len(name) + 0.003 * hash_of(name), **changes) for name in names]


def hash_of(name: str) -> int:
    return sum(map(ord, name)) % 7


def on_image(epsilon: float = 8 / 255, method: str = "pgd", goal: str = "untargeted", **more: Any) -> dict[str, Any]:
    search = {"method": method, "steps": 20, "restarts": 1, "seed": 0}
    budget = {"norm": "linf", "epsilon": epsilon, "place": "input"}
    return {"budget": budget, "goal": {"kind": goal, "loss": "both"}, "search": search, **more}


def on_words(unit: str, size: int, *, kept: bool, method: str = "greedy", source: str | None = None) -> dict[str, Any]:
    budget = {"unit": unit, "size": size, "source": source, "ends": False, "keeps_meaning": kept}
    goal = {"kind": "untargeted", "loss": "both"}
    return {"budget": budget, "goal": goal, "search": {"method": method}, "words": True}


def changed(rows: Sequence[SampleScore], lost: float, **changes: Any) -> list[SampleScore]:
    """The same samples with so much less, more or less."""
    arguments = json.dumps(changes.pop("arguments"), sort_keys=True)
    return [
        replace(row, dice=max(0.0, (row.dice or 0.0) - lost * (1 + 0.05 * hash_of(row.sample_id))),
                condition_arguments=arguments, **{"condition": "attack", **changes})
        for row in rows
    ]  # fmt: skip


def attack(rows: Sequence[SampleScore], *parts: Sequence[SampleScore], **changes: Any) -> Any:
    return spec("attack", **changes), [*rows, *(row for part in parts for row in part)]


def corrupted(rows: Sequence[SampleScore], lost: dict[str, float], severities: Sequence[int] = (1, 2)) -> Any:
    found = list(rows)
    for name, much in lost.items():
        for level in severities:
            found += changed(rows, much * level, condition=name, arguments={"severity": level})
    return spec("corrupted"), found


def made(*evaluations: Any) -> Robustness:
    table = robustness(evaluations)
    assert table is not None
    return table


def row_of(table: Robustness, kind: str, **about: Any) -> RobustnessRow:
    def fits(row: RobustnessRow) -> bool:
        known = {"severity": row.severity, "method": row.arguments.get("search", {}).get("method")}
        known |= row.arguments.get("budget", {}) | {"n": len(row.samples)}
        return row.kind == kind and all(known[name] == value for name, value in about.items())

    (found,) = (row for row in table.rows if fits(row))
    return found


def told(row: SampleScore) -> tuple[Any, ...]:
    """What tells a row's condition, as whoever opens scores.parquet would: name, severity, method, epsilon, unit."""
    given = json.loads(row.condition_arguments)
    budget = given.get("budget", {})
    method = given.get("search", {}).get("method")
    return row.condition, given.get("severity"), method, budget.get("epsilon"), budget.get("unit")


def by_sample(rows: Sequence[SampleScore], *conditions: tuple[Any, ...]) -> dict[str, float]:
    """Mean Dice of each sample's rows of these conditions."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if told(row) in conditions:
            found.setdefault(row.sample_id, []).append(row.dice or 0.0)
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_a_change_is_of_the_same_samples_where_the_difference_of_the_means_has_the_other_sign() -> None:
    easy = clean(EASY)
    table = made((spec(), clean()), attack(easy, changed(easy, 0.2, arguments=on_image())))
    row, whole = row_of(table, "attack"), table.rows[0]
    assert (whole.kind, len(whole.samples), len(row.samples)) == ("clean", 24, 12)
    assert (row.dice.mean or 0) > (whole.dice.mean or 1), "under attack more than the whole has as it is"
    before = {one.sample_id: one.dice or 0.0 for one in easy}
    after = {one.sample_id: one.dice or 0.0 for one in changed(easy, 0.2, arguments=on_image())}
    assert row.change is not None
    assert row.change.difference == pytest.approx(np.mean([after[name] - before[name] for name in EASY]))
    assert row.change.difference < -0.2
    assert row.clean_dice == pytest.approx(np.mean(list(before.values())))
    same = table.rows[1]
    assert (same.kind, same.samples, same.dice.mean) == ("same", row.samples, pytest.approx(row.clean_dice))
    assert table.common == [], "all rows but the first are of the same samples already"
    assert table.same_samples


def test_every_number_of_the_table_again_from_its_rows() -> None:
    own = [*clean(EASY, presence_score=0.9, group="a"), *clean(HARD, presence_score=0.6)]
    own = [replace(row, group=f"patient {hash_of(row.sample_id)}") if row.group else row for row in own]
    own += [absent(f"e-absent{number}", marked=number == 0, presence_score=0.1) for number in range(4)]
    worse = changed(own, 0.1, arguments=on_image(2 / 255), presence_score=0.5)
    worst = changed(own, 0.2, arguments=on_image(8 / 255), presence_score=0.3)
    worst = [
        replace(row, empty_pred=row.sample_id in EASY[:3], presence_score=0.7 if row.empty_target else 0.3)
        for row in worst
    ]
    noise = changed(own, 0.01, arguments=on_image(8 / 255, "noise"), presence_score=0.8)
    natural = corrupted(own, {"blur": 0.05, "jpeg": 0.1, "gain": 0.02})
    typos = changed(own, 0.05, arguments=on_words("typos", 2, kept=True), wording="the csyt")
    table = made((spec(), own), natural, attack(own, worse, noise, worst), attack(own, typos, id="words"))
    kinds = ["clean", "natural", "natural", "scanner", "scanner", "noise", "attack", "attack", "words"]
    assert [row.kind for row in table.rows] == kinds
    assert [row.severity for row in table.rows[1:5]] == [1, 2, 1, 2]

    rows = [*own, *worse, *worst, *noise, *typos, *natural[1][len(own) :]]
    before = by_sample(rows, ("clean", None, None, None, None))
    patients = {row.sample_id: row.group or row.sample_id for row in own}
    wanted: list[list[tuple[Any, ...]]] = [
        *([(name, level, None, None, None) for name in ("blur", "jpeg")] for level in (1, 2)),
        *([("gain", level, None, None, None)] for level in (1, 2)),
        [("attack", None, "noise", 8 / 255, None)],
        [("attack", None, "pgd", 2 / 255, None)],
        [("attack", None, "pgd", 8 / 255, None)],
        [("attack", None, "greedy", None, "typos")],
    ]
    for row, conditions in zip(table.rows[1:], wanted, strict=True):
        means = by_sample(rows, *conditions)
        groups = [patients[name] for name in means]
        assert row.samples == {("d", name) for name in before}
        assert row.dice.mean == pytest.approx(np.mean(list(means.values())))
        assert row.dice.ci95 == pytest.approx(bootstrap_mean(list(means.values()), groups, bounds=(0, 1)).ci95)
        lost = [means[name] - before[name] for name in means]
        assert row.change is not None
        assert (row.change.difference, row.change.n) == (pytest.approx(np.mean(lost)), 28)
        assert row.change.ci95 == pytest.approx(bootstrap_mean(lost, groups, bounds=(-1, 1)).ci95)
        assert row.change.n_groups == len(set(groups))
        part = [one for one in rows if told(one) in conditions]
        there, gone = ([one for one in part if one.empty_target is empty] for empty in (False, True))
        assert row.after.left_empty == pytest.approx(np.mean([one.empty_pred for one in there]))
        assert row.after.presence == pytest.approx(np.mean([one.presence_score for one in there]))
        assert row.after.absent_presence == pytest.approx(np.mean([one.presence_score for one in gone]))
        assert row.before.absent_presence == pytest.approx(0.1)
        assert row.before.presence == pytest.approx((0.9 * 12 + 0.6 * 12) / 24)
        assert row.before.left_empty == 0
    claims = row_of(table, "attack", epsilon=8 / 255).after
    assert (claims.left_empty, claims.absent_presence) == (3 / 24, pytest.approx(0.7)), "it claims what is absent"
    jpeg = by_sample(rows, ("jpeg", 2, None, None, None))
    lost = [jpeg[name] - before[name] for name in jpeg]
    assert row_of(table, "natural", severity=2).worst == ("jpeg", pytest.approx(np.mean(lost)))
    assert table.rows[0].change is None
    assert table.rows[0].dice.mean == pytest.approx(np.mean(list(before.values())))
    assert table.same_samples
    assert not table.common


def test_rows_of_different_samples_are_offered_on_those_that_they_share() -> None:
    own, few = clean(), clean([*EASY, *HARD[:6]])
    natural, some = corrupted(own, {"blur": 0.1}, (3,)), attack(few, changed(few, 0.2, arguments=on_image()))
    own_words = clean([*EASY[6:], *HARD])
    typos = attack(own_words, changed(own_words, 0.1, arguments=on_words("typos", 1, kept=True)), id="words")
    table = made((spec(), own), natural, some, typos)
    assert [len(row.samples) for row in table.rows] == [24, 24, 18, 18]
    assert not table.same_samples
    shared = {("d", name) for name in [*EASY[6:], *HARD[:6]]}
    assert [row.kind for row in table.common] == ["clean", "natural", "attack", "words"]
    assert all(row.samples == shared for row in table.common)
    kept = {name for _, name in shared}
    before = np.mean([row.dice for row in own if row.sample_id in kept])
    for row, rows in zip(table.common[1:], (natural[1], some[1], typos[1]), strict=True):
        after = np.mean([one.dice for one in rows if one.sample_id in kept and one.condition != "clean"])
        assert (row.dice.mean, row.clean_dice) == (pytest.approx(after), pytest.approx(before))
        assert row.change is not None
        assert row.change.difference == pytest.approx(after - before)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 0.3}, {"prompt": "p6"}, {"answers": "other weights"}, {"protocol": "published"}, {"split": "val"},
        {"precision": "bf16"}, {"data_fingerprint": "g"}, {"target": "cyst"}, {"model_arguments": {"size": 3}},
    ],
)  # fmt: skip
def test_what_was_measured_otherwise_has_another_way(changes: dict[str, Any]) -> None:
    assert way_of(spec("attack", **changes)) != way_of(spec())
    further = {"cached_features": True, "seconds": 3.0, "query_seed": 4, "uncertainty": "flip"}
    assert way_of(spec("attack", **further)) == way_of(spec())


def test_without_corruption_or_attack_there_is_no_table() -> None:
    swapped = [score("easy0", 0.1, condition="swapped", arguments={"against": "original"})]
    assert robustness([]) is None
    assert robustness([(spec(), clean()), (spec("swapped"), swapped)]) is None
    assert robustness([attack(clean())]) is None


def test_of_searches_of_one_budget_the_strongest_stands_there() -> None:
    own = clean()
    weak = attack(own, changed(own, 0.1, arguments=on_image(method="fgsm")), id="fgsm")
    strong = attack(own, changed(own, 0.3, arguments=on_image(method="apgd")), id="apgd")
    small = attack(own, changed(own, 0.05, arguments=on_image(2 / 255, "fgsm")), id="small")
    for order in ((weak, strong, small), (small, strong, weak)):
        found = [row.arguments["search"]["method"] for row in made((spec(), own), *order).rows[1:]]
        assert found == ["fgsm", "apgd"], "by growing budget, each the one that leaves least"


def test_a_search_on_fewer_samples_stands_there_only_where_it_leaves_less_of_these() -> None:
    """Not by its mean: easy samples keep more under a stronger search than all under a weaker one."""
    own, easy = clean(), clean(EASY)
    whole = attack(own, changed(own, 0.1, arguments=on_image()), id="whole")
    stronger = attack(easy, changed(easy, 0.2, arguments=on_image(method="apgd")), id="limit")
    weaker = attack(easy, changed(easy, 0.05, arguments=on_image(method="fgsm")), id="limit")
    table = made(whole, stronger)
    assert [(row.arguments["search"]["method"], len(row.samples)) for row in table.rows[1:]] == [
        ("pgd", 24),
        ("apgd", 12),
    ]
    assert (row_of(table, "attack", n=12).dice.mean or 0) > (row_of(table, "attack", n=24).dice.mean or 1)
    assert [len(row.samples) for row in made(whole, weaker).rows[1:]] == [24]
    hard = clean(HARD)
    weaker = attack(hard, changed(hard, 0.05, arguments=on_image(method="fgsm")), id="limit")
    assert [len(row.samples) for row in made(weaker, whole).rows[1:]] == [24], "though hard ones keep least"


def test_searches_on_samples_of_which_neither_has_all_stand_beside_each_other() -> None:
    one, two = clean([*EASY, *HARD[:6]]), clean(HARD)
    parts = [
        attack(rows, changed(rows, lost, arguments=on_image()), id=str(lost)) for rows, lost in ((one, 0.1), (two, 0.2))
    ]
    table = made(*parts)
    assert sorted(len(row.samples) for row in table.rows[1:]) == [12, 18]
    assert {len(row.samples) for row in table.common} == {6}


def test_other_goals_files_norms_and_sources_are_not_measured_against_each_other() -> None:
    own = clean()
    kinds = [
        on_image(), on_image(goal="erase"), on_image(round_trip="jpeg"), on_image(found_on="another"),
        on_image() | {"budget": {"norm": "l2", "epsilon": 8 / 255, "place": "input"}},
        on_image() | {"budget": {"norm": "linf", "epsilon": 8 / 255, "place": "native"}},
        on_image(method="noise"),
    ]  # fmt: skip
    table = made(attack(own, *(changed(own, 0.1 + 0.01 * place, arguments=one) for place, one in enumerate(kinds))))
    assert len(table.rows) == 1 + len(kinds)


def test_targeted_attacks_do_not_narrow_what_all_share() -> None:
    """What is made is absent and what is erased is there: no sample is in both."""
    own = [*clean(EASY), *(absent(f"e-absent{number}", marked=False) for number in range(12))]
    there, gone = own[:12], own[12:]
    make = attack(gone, changed(gone, 0.9, arguments=on_image(goal="make") | {"against": "original"}), id="make")
    wanted = changed(gone, 0.4, arguments=on_image(goal="make") | {"against": "wanted"})
    make[1].extend(wanted)
    erase = attack(there, changed(there, 0.5, arguments=on_image(goal="erase")), id="erase")
    table = made((spec(), own), attack(own, changed(own, 0.2, arguments=on_image())), make, erase)
    assert table.same_samples
    assert not table.common
    assert [len(row.samples) for row in table.rows] == [24, 24, 12, 12]
    alone = made((spec(), own), attack(own, changed(own, 0.2, arguments=on_image())), erase)
    assert [(row.kind, len(row.samples)) for row in alone.rows] == [("clean", 24), ("attack", 24), ("attack", 12)]
    assert not alone.common
    made_up = next(
        row for row in table.rows if row.targeted and row.after.presence is None and row.after.left_empty is None
    )
    assert made_up.dice.mean == pytest.approx(np.mean([row.dice for row in make[1][12:24]])), (
        "with the truth, not what is wanted"
    )


def test_words_whose_meaning_is_kept_stand_apart_and_so_do_drawn_ones() -> None:
    own = clean()
    parts = [
        changed(own, 0.3, arguments=on_words("suffix", 1, kept=False, source="vocabulary")),
        changed(own, 0.1, arguments=on_words("typos", 1, kept=True, method="random")),
        changed(own, 0.2, arguments=on_words("typos", 1, kept=True)),
        changed(own, 0.25, arguments=on_words("typos", 1, kept=True, method="gradient")),
    ]
    table = made(attack(own, *([replace(row, wording="found") for row in part] for part in parts)))
    kinds = [(row.kind, row.keeps_meaning, row.arguments["search"]["method"]) for row in table.rows[1:]]
    assert kinds == [("drawn", True, "random"), ("words", True, "gradient"), ("words", False, "greedy")]
    assert all(row.change is not None and row.change.n == 24 for row in table.rows[1:]), "paired though words differ"


def test_a_published_attack_is_held_against_the_clean_answer_to_the_words_that_were_drawn() -> None:
    own = clean()
    other = [replace(row, wording=f"{row.wording}, in other words", dice=(row.dice or 0) - 0.2) for row in own]
    drawn = [replace(row, wording=two.wording if hash_of(row.sample_id) % 2 else row.wording)
             for row, two in zip(own, other, strict=True)]  # fmt: skip
    rows = changed(drawn, 0.25, arguments=on_image(method="fgsm", published=True))
    scored = spec(), [row for pair in zip(own, other, strict=True) for row in pair]
    table = made(scored, attack(own, rows))
    known = {(row.sample_id, row.wording): row.dice for row in scored[1]}
    partners = [known[row.sample_id, row.wording] for row in rows]
    row = row_of(table, "published")
    assert row.change is not None
    assert row.clean_dice == pytest.approx(np.mean(partners))
    assert row.change.difference == pytest.approx(np.mean([row.dice for row in rows]) - np.mean(partners))
    assert table.first_wording
    assert table.rows[0].dice.mean == pytest.approx(np.mean([row.dice for row in own])), "of the first wording"
    alone = row_of(made(attack(own, rows)), "published")
    assert alone.change is not None
    assert (alone.change.difference, alone.clean_dice) == (None, None), "no clean answer to these words is known"
    assert "other words" in (alone.change.reason or "")


def test_scanner_like_corruptions_are_of_the_data_that_have_them() -> None:
    ours, theirs = clean(EASY, dataset="us"), clean(HARD, dataset="xray")
    _, general = corrupted([*ours, *theirs], {"blur": 0.1}, (2,))
    _, gain = corrupted(ours, {"gain": 0.2, "shadow": 0.3}, (2,))
    _, edge = corrupted(theirs, {"collimation": 0.02}, (2,))
    table = made((spec("corrupted"), [*general, *gain[12:], *edge[12:]]))
    row = row_of(table, "scanner")
    assert len(row.samples) == 24
    assert (row.corruptions, (row.worst or ("",))[0]) == (3, "shadow")
    means = [np.mean([one.dice for one in gain[12:] if one.sample_id == name]) for name in EASY]
    means += [one.dice for one in edge[12:]]
    assert row.dice.mean == pytest.approx(np.mean(means))


def test_of_several_draws_of_corruptions_the_one_with_most_samples_then_the_first() -> None:
    own, easy = clean(), clean(EASY)
    first, second = corrupted(own, {"blur": 0.1}, (1,)), corrupted(own, {"blur": 0.2}, (1,))
    few = corrupted(easy, {"blur": 0.3}, (1,))
    later = second[0].model_copy(update={"query_seed": 5}), second[1]
    table = made(few, later, first)
    assert table.left_out == 2
    assert len(row_of(table, "natural").samples) == 24
    assert (row_of(table, "natural").dice.mean or 0) == pytest.approx(np.mean([row.dice for row in first[1][24:]]))


def test_the_names_of_scanner_like_corruptions_are_those_that_are_computed() -> None:
    assert set(SCANNER_LIKE) == {name for one in SCANNERS.values() for name in one}


def test_samples_without_a_truth_are_in_no_row() -> None:
    own = [*clean(), score("e-unknown", None)]
    rows = [
        *changed(clean(), 0.1, arguments=on_image()),
        replace(own[-1], condition="attack", condition_arguments=json.dumps(on_image())),
    ]
    assert [len(row.samples) for row in made(attack(own, rows)).rows] == [24, 24]
