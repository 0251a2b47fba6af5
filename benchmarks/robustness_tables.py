"""The docs' tables of results/robustness.json; `robustness.py --tables` prints them."""

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]


def cell(estimate: Result | None, *, sign: bool = False) -> str:
    """A mean and its interval, e.g. 0.512 [0.401, 0.623]; with signs where it is a difference."""
    if estimate is None:
        return ""
    form = "+.3f" if sign else ".3f"
    told = format(estimate["mean"], form)
    if estimate["ci95"]:
        low, high = estimate["ci95"]
        told += f" [{low:{form}}, {high:{form}}]"
    return told


def phantom_table(phantoms: Result) -> list[str]:
    """A line for each model and budget."""
    lines = _head("model", "budget", "noise", "FGSM", "PGD", "APGD")
    for arm, told in phantoms.items():
        curves = told["all"]
        lines.append(_line(f"`{arm}`", "none", cell(curves["clean"]), "", "", ""))
        for budget in _budgets(curves, "pgd of 10 "):
            names = (f"noise of 10 {budget}", f"fgsm of 1 {budget}", f"pgd of 10 {budget}", f"apgd of 10 {budget}")
            lines.append(_line(f"`{arm}`", budget, *(cell(curves.get(name)) for name in names)))
    return lines


def goal_table(phantoms: Result) -> list[str]:
    """A line for each model: to erase what is there, to make what is not."""
    lines = _head("model", "there, as it is", "erased", "absent, as it is", "made", "with what was wanted")
    for arm, told in phantoms.items():
        erase, make = told["erase"], told["make"]
        cells = [erase["clean"], erase["pgd of 10 to erase 8/255"], make["clean"], make["pgd of 10 to make 8/255"]]
        cells.append(make["pgd of 10 to make, with what it wanted 8/255"])
        lines.append(_line(f"`{arm}`", *map(cell, cells)))
    return lines


def busi_table(busi: Result, part: str) -> list[str]:
    """A line for each attack: twin, told p6, and what lies between them; `part` is "all" or "present"."""
    twin, told = (busi["arms"][arm][part] for arm in ("none", "p6"))
    pairs = busi["pairs"]["p6"][part]
    some = next(iter(pairs.values()))
    lines = _head("search, budget", "told nothing", "told `p6`", "difference", "in what is lost", "in the share lost")
    lines.append(_line("none", cell(twin["clean"]), cell(told["clean"]), cell(some["clean"], sign=True), "", ""))
    for name, pair in pairs.items():
        between = [cell(pair[one], sign=True) for one in ("dice", "drop", "share")]
        lines.append(_line(words(name), cell(twin[name]), cell(told[name]), *between))
    return lines


def told_table(busi: Result, part: str) -> list[str]:
    """A line for each way of telling, against the twin, PGD."""
    lines = _head("trained on, asked", "budget", "Dice", "in what is lost", "in the share lost")
    names = {"class": "class, class", "p6": "`p6`, `p6`", "p6 asked class": "`p6`, class"}
    for arm, name in names.items():
        pairs = busi["pairs"].get(arm)
        for budget in _budgets(pairs[part] if pairs else {}, "pgd of 10 "):
            pair = pairs[part][f"pgd of 10 {budget}"]
            dice = busi["arms"][arm][part][f"pgd of 10 {budget}"]
            lines.append(
                _line(name, words(budget), cell(dice), cell(pair["drop"], sign=True), cell(pair["share"], sign=True))
            )
    return lines


def transfer_table(busi: Result, part: str) -> list[str]:
    """A line for each budget of PGD: found on itself, and on the other."""
    arms = busi["arms"]
    columns = ("none", "none under p6's changes", "p6", "p6 under none's changes")
    lines = _head("PGD, budget", "nothing: own", "nothing: `p6`'s", "`p6`: own", "`p6`: nothing's")
    for budget in _budgets(arms["p6"][part], "pgd of 10 "):
        lines.append(_line(words(budget), *(cell(arms[arm][part][f"pgd of 10 {budget}"]) for arm in columns)))
    return lines


def published_table(published: Result) -> list[str]:
    """A line for each published attack, and the one of the same budget beside it."""
    lines = _head("model", "published, normalised units", "published", "in the image's units", "same budget")
    for arm, told in published.items():
        curves = told["all"]
        pairs = zip(
            (name for name in curves if name.startswith("published")),
            (name for name in curves if name.split()[0] in ("fgsm", "pgd")),
            strict=True,
        )
        for name, honest in pairs:
            spoken = name.removeprefix("published ").removesuffix(" normalised")
            lines.append(_line(f"`{arm}`", words(spoken), cell(curves[name]), words(honest), cell(curves[honest])))
    return lines


def words_table(told: Result) -> list[str]:
    """A line for each attack on sentences, random sentences among them."""
    lines = _head("sentences", "samples", "as they are", "changed", "lost")
    for name, one in told.items():
        lines.append(_line(name, str(one["dice"]["n"]), *(cell(one[key]) for key in ("clean", "dice", "drop"))))
    return lines


def masking_table(told: Result) -> list[str]:
    """A line for each run: success of what follows gradients and of what does not."""
    lines = _head("run", "PGD", "SPSA", "the other's changes", "no gradient")
    for run, one in told.items():
        given = ", ".join(f"{value:.3f}" for value in one["transferred"].values())
        lines.append(_line(f"`{run}`", f"{one['white']:.3f}", f"{one['spsa']:.3f}", given, f"{one['no_gradient']:.0%}"))
    return lines


def words(name: str) -> str:
    """A condition as the page has it: budgets below half a grey level as shares of one, a single look not counted."""
    *rest, budget = name.split(" ")
    levels = _levels(budget)
    if 0 < levels < 0.5:
        budget = f"(1/{round(1 / levels)})/255"
    told = " ".join([*rest, budget]).replace(" of 1 ", " ")
    for method in ("fgsm", "apgd", "pgd"):
        told = told.replace(method, method.upper())
    return told


def tables(results: Result) -> dict[str, list[str]]:
    """By name, those for which there are results."""
    found: dict[str, list[str]] = {}
    if results["phantoms"]:
        found |= {"phantoms": phantom_table(results["phantoms"]), "goals": goal_table(results["phantoms"])}
    if results["busi"]:
        for part in ("present", "all"):
            found[f"busi {part}"] = busi_table(results["busi"], part)
        found["told"] = told_table(results["busi"], "present")
        found["transfer"] = transfer_table(results["busi"], "present")
    if results["words"]:
        found["words"] = words_table(results["words"])
    if results["masking"]:
        found["masking"] = masking_table(results["masking"])
    if results["published"]:
        found["published"] = published_table(results["published"])
    return found


def _budgets(curves: Result, start: str) -> list[str]:
    """Of plain searches with that beginning, in order."""
    return [name.removeprefix(start) for name in curves if name.startswith(start) and " " not in name[len(start) :]]


def _levels(budget: str) -> float:
    top, _, bottom = budget.partition("/")
    return 255 * float(top) / float(bottom or 1)


def _head(*names: str) -> list[str]:
    return [_line(*names), f"|{'---|' * len(names)}"]


def _line(*cells: str) -> str:
    shown: Sequence[str] = [one or " " for one in cells]
    return f"| {' | '.join(shown)} |"
