"""What `vlseg attack --words` is asked for, as attacks: one for each budget, with random sentences of it beside it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from vlseg.attacks import (
    Goal,
    TextAttack,
    TextBudget,
    TextSearch,
    parse_attack,
    parse_text_attack,
    text_attack_from,
)
from vlseg.attacks.text_plan import Source, TextMethod, Unit
from vlseg.jobs.attack_plan import AttackOptions, Planned, each_once, given_of, only_attacks, option_of
from vlseg.records import InputError, unknown_name

SIZES = (1, 2)
BUDGETS: Mapping[str, tuple[Unit, Source | None]] = {
    "typos": ("typos", None),
    "synonyms": ("words", "synonyms"),
    "vocabulary": ("words", "vocabulary"),
    "near": ("words", "near"),
    "suffix": ("suffix", None),
    "order": ("order", None),
}
OF_IMAGES = ("epsilons", "norm", "place", "step_size", "restarts", "round_trip", "preset", "check_gradients")


def asks_for_words(options: AttackOptions) -> bool:
    """Whether sentences are attacked, and not images.

    Raises:
        InputError: options of both, or attacks on both.
    """
    texts = [_is_text(one) for one in options.attacks]
    if any(texts) and not all(texts):
        raise InputError("--attack: attacks on images and on sentences are evaluations of their own; give two commands")
    words, of_words = bool(options.words) or any(texts), get_args(TextMethod)
    given = given_of(options)
    wrong = next((name for name in given if name in (OF_IMAGES if words else ("sizes", "candidates"))), None)
    if wrong is not None and words:
        raise InputError(f"{option_of(wrong)}: is for attacks on images; leave it out here")
    if wrong is not None:
        raise InputError(f"{option_of(wrong)}: is for attacks on sentences; give --words as well, e.g. --words typos")
    if options.words and options.method not in (None, *of_words):
        raise InputError(f"--method: {options.method} changes images; with --words take {' or '.join(of_words)}")
    if not words and options.method in of_words:
        raise InputError(f"--method: {options.method} changes sentences; give --words as well, e.g. --words typos")
    return words


def planned_words(options: AttackOptions) -> list[Planned]:
    """The attacks on sentences, by kind and growing size, each followed by random sentences of its budget.

    Raises:
        InputError: what does not go together, or is unknown.
    """
    if options.attacks:
        only_attacks(options)
        asked = [_parsed(text) for text in options.attacks]
    else:
        for word in options.words:
            if word not in BUDGETS:
                raise unknown_name("kind of --words", word, BUDGETS)
        sizes = sorted(set(options.sizes or SIZES))
        asked = [_attack(options, words, size) for words in dict.fromkeys(options.words) for size in sizes]
    found = []
    for attack in dict.fromkeys(asked):
        found.append(Planned(None, words=attack))
        if attack.search.method != "random":
            found.append(Planned(None, words=random_beside(attack), control=True))
    return each_once(found)


def random_beside(attack: TextAttack) -> TextAttack:
    """Sentences of the whole budget, as many drawn as the search may ask."""
    return replace(attack, search=replace(attack.search, method="random"))


def _attack(options: AttackOptions, words: str, size: int) -> TextAttack:
    unit, source = BUDGETS[words]
    candidates = {} if options.candidates is None else {"candidates": options.candidates}
    method: Any = options.method or "greedy"
    search = TextSearch(method, options.steps, seed=options.seed, **candidates)
    return TextAttack(TextBudget(unit, size, source), Goal(options.goal, options.loss), search)


def _is_text(text: str) -> bool:
    values = _values(text)
    if values is None:
        return text.lstrip().startswith(TextAttack.__name__)
    budget = values.get("budget")
    return bool(values.get("words")) or (isinstance(budget, Mapping) and "unit" in budget)


def _parsed(text: str) -> TextAttack:
    values = _values(text)
    if values is None:
        return parse_text_attack(text)
    return text_attack_from({name: value for name, value in values.items() if name != "words"})


def _values(text: str) -> Mapping[str, Any] | None:
    """What JSON holds; None where the text is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        values = json.loads(text)
    except ValueError:
        parse_attack(text)  # says what is wrong
        raise
    return values if isinstance(values, Mapping) else None
