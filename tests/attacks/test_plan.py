"""Attacks as data: repr and JSON give them again, and what cannot be is refused in one line."""

import json
import subprocess
import sys

import pytest

from vlseg.attacks import Attack, Budget, Goal, Search, attack_from, attack_to_json, parse_attack
from vlseg.records import InputError

SOME = [
    Attack(),
    Attack(Budget("l2", 0.1 + 0.2, "native"), Goal("move", "both"), Search("apgd", steps=7, restarts=3, seed=-5)),
    Attack(Budget(epsilon=8 / 255), Goal("erase"), Search("fgsm")),
    Attack(search=Search("pgd", step_size=1e-17, momentum=1, random_start=False, keep="last")),
    Attack(search=Search("universal")),
]


@pytest.mark.parametrize("attack", SOME, ids=lambda one: one.search.method)
def test_the_repr_and_the_json_give_the_attack_again(attack: Attack) -> None:
    assert eval(repr(attack)) == attack
    assert parse_attack(repr(attack)) == attack
    assert parse_attack(attack_to_json(attack)) == attack
    assert attack_from(json.loads(attack_to_json(attack))) == attack


def test_the_repr_names_what_was_left_out() -> None:
    assert "steps=1," in repr(Search("fgsm"))
    assert "random_start=True" in repr(Search("pgd"))
    assert Attack(Budget(epsilon=0.1), search=Search("pgd", steps=5)).step_size == pytest.approx(0.05)
    assert Attack(Budget(epsilon=0.1), search=Search("fgsm")).step_size == 0.1
    assert Attack(Budget(epsilon=0.1), search=Search("apgd")).step_size == 0.2


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Budget("l1"), "norm"),
        (lambda: Budget(epsilon=-1.0), "epsilon"),
        (lambda: Budget(epsilon=float("nan")), "epsilon"),
        (lambda: Budget(epsilon="8/255"), "epsilon"),
        (lambda: Budget(place="file"), "place"),
        (lambda: Goal("hide"), "kind"),
        (lambda: Search("bim"), "method"),
        (lambda: Search(steps=0), "steps"),
        (lambda: Search(steps=True), "steps"),
        (lambda: Search("fgsm", steps=2), "steps"),
        (lambda: Search("fgsm", restarts=2), "restarts"),
        (lambda: Search("apgd", momentum=0.5), "momentum"),
        (lambda: Search("noise", random_start=False), "random_start"),
        (lambda: Search("noise", step_size=0.1), "step_size"),
        (lambda: Search(seed=0.5), "seed"),
        (lambda: Attack(goal=Goal(loss="dice"), search=Search("segpgd")), "loss"),
        (lambda: parse_attack("__import__('os').getcwd()"), "attack"),
        (lambda: parse_attack("Budget()"), "attack"),
        (lambda: parse_attack("Attack(budget=Budget(epsilo=1))"), "epsilo"),
        (lambda: parse_attack("{"), "attack"),
        (lambda: attack_from({"bugdet": {}}), "bugdet"),
        (lambda: attack_from({"budget": 3}), "budget"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make: object, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_an_attack_is_named_without_torch() -> None:
    code = (
        "import sys; from vlseg.attacks import parse_attack, Attack; "
        "parse_attack(repr(Attack())); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
