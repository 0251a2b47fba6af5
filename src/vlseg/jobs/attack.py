"""`vlseg attack`: how far a mask is pushed by a change of the image that nobody sees, or of the sentence."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vlseg.jobs.attack_asked import attacks_of, goal_of
from vlseg.jobs.attack_masking import check_gradients
from vlseg.jobs.attack_parts import Advance, images_of, over_parts
from vlseg.jobs.attack_pictures import attack_picture, shown_attacks, shown_samples
from vlseg.jobs.attack_plan import AttackOptions, Planned
from vlseg.jobs.attack_published import as_published, deviation
from vlseg.jobs.attack_rows import Given, Side, score_some, written
from vlseg.jobs.attack_samples import Chosen, choose
from vlseg.jobs.attack_search import (
    MEAN_OF_MEMBERS,
    Attackable,
    Found,
    Key,
    Some,
    attackable,
    found_by,
    key_of,
    laid_over,
    read_some,
    universal_change,
)
from vlseg.jobs.attack_words import attack_words, check_readers, lexicon_facts, lexicon_of, words_marks
from vlseg.jobs.evaluation_folder import evaluation_folder
from vlseg.jobs.scoring import (
    Evaluated,
    EvaluateOptions,
    Job,
    describe,
    open_job,
)
from vlseg.metrics import ATTACKED
from vlseg.models.ensemble.model import averaged
from vlseg.prompts import Prompted
from vlseg.records import SPLITS, InputError
from vlseg.records.pictures import Pictures

UNIVERSAL_SAMPLES = 64
"""That a universal change is found on, at most."""


@dataclass(frozen=True)
class AttackedRun:
    """One model under attacks that were found on it, or on another one.

    Attributes:
        found_on: the id of the run or name of the model that was attacked.
        planned: the attacks, in order.
    """

    found_on: str
    planned: list[Planned]
    evaluated: Evaluated


def attack_on(
    sources: Sequence[str],
    data: list[str],
    options: EvaluateOptions,
    asked: AttackOptions,
    *,
    onto: Sequence[str] = (),
    out: Path | None = None,
) -> list[AttackedRun]:
    """Attack models on a split; what is found on each one is tried on all others, too.

    Every sample is attacked with the first wording of its prompt. Rows are those of an evaluation of condition attack,
    in the run's evaluations/<id>: the samples as they are, and under each attack; `condition_arguments` name it. What
    was done before an attack was cut off is not done again, but where pictures are kept.

    Args:
        sources: run folders, model folders, hub ids or model names.
        data: dataset folders.
        options: as for an evaluation; `condition`, `cache` and `uncertainty` are not used.
        asked: the attacks.
        onto: models that changes, or sentences, found on others are tried on, and that are not attacked themselves.
        out: the evaluation's folder, of a single model; default: inside the run.

    Returns:
        For each source the source itself, then the others.

    Raises:
        InputError: an unknown source, dataset, prompt or split, attacks that do not fit, no sample to attack.
    """
    begin = time.monotonic()
    plans = attacks_of(asked)
    names = [*sources, *onto]
    _check(names, asked, out)
    jobs = [open_job(name, data, options, out) for name in names]
    words = any(one.words is not None for one in plans)
    if words:
        check_readers(jobs)
    done = []
    for number in range(len(sources)):
        first = jobs[number]
        if asked.preset == "published":
            assert first.model is not None
            plans = attacks_of(asked, deviation(first.model))
        lexicon = lexicon_of(first.pool, plans) if words else None
        chosen = choose(first, options.split, goal_of(plans), asked.limit, options.seed)
        others = [job for place, job in enumerate(jobs) if place != number]
        facts = {} if lexicon is None else {"lexicon": lexicon_facts(lexicon)}
        sides = [_side(job, first, chosen, plans, asked, facts) for job in (first, *others)]
        if lexicon is None:
            _attack(sides, chosen, asked, options)
        else:
            attack_words(sides, chosen, lexicon)
        if asked.check_gradients:
            sides[0].checks += check_gradients(sides, chosen)
        done += [AttackedRun(first.setting.run_id, side.planned, written(side, begin)) for side in sides]
    return done


def _check(names: Sequence[str], asked: AttackOptions, out: Path | None) -> None:
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise InputError(f"attack: {doubled} is given twice; give each model once")
    if len(names) > 1 and out is not None:
        raise InputError("--out: is the folder of one evaluation; leave it out with several models")
    if len(names) > 1 and (asked.round_trip is not None or asked.preset is not None):
        option = "--preset" if asked.preset else "--round-trip"
        raise InputError(f"{option}: is for one model; leave --onto and further runs out")


def _side(
    job: Job, first: Job, chosen: Chosen, plans: Sequence[Planned], asked: AttackOptions, facts: Mapping[str, Any]
) -> Side:
    plans = [replace(one, extra={**one.extra, **_found_on(one, job, first)}) for one in plans]
    marks = (*job.marks, *_marks(plans, asked), *((f"from-{first.setting.run_id}",) if job is not first else ()))
    job = replace(job, marks=marks, arguments={"attacks": [one.arguments() for one in plans], **facts})
    spec = describe(job, ATTACKED, asked.limit)
    every = {key_of(item): item for item in job.pool.split(job.options.split)}
    missing = next((item.sample.id for item in chosen.items if key_of(item) not in every), None)
    if missing is not None:
        raise InputError(f"--onto: {job.setting.run_id} is not asked about {missing} under its prompt; give --prompt")
    own = [item for item in chosen.items if every[key_of(item)].wordings[0] != item.wordings[0]]
    if own and plans[0].words is not None:
        raise InputError(
            f"--onto: {job.setting.run_id} is asked with another sentence about {own[0].sample.id} than "
            f"{first.setting.run_id}; give --prompt, so that the attacked sentence is that of both"
        )
    pictures = Pictures({}, []) if job.options.pictures else None
    return Side(job, every, spec, evaluation_folder(spec, job.base, job.out), plans, pictures=pictures)


def _found_on(one: Planned, job: Job, first: Job) -> dict[str, str]:
    """What the row says of where the change, or the sentence, comes from, where that is not the model itself."""
    assert job.model is not None
    if job is not first:
        return {"found_on": first.setting.run_id}
    follows = one.words is None or one.words.search.method == "gradient"
    return {"found_on": MEAN_OF_MEMBERS} if follows and averaged(job.model) is not None else {}


def _marks(plans: Sequence[Planned], asked: AttackOptions) -> list[str]:
    """What the evaluation's name says of its attacks."""
    attacks = [one.attack for one in plans if one.attack is not None and not one.control]
    if not attacks:
        return words_marks(plans)
    first = attacks[0]
    methods = ["published"] if asked.preset else list(dict.fromkeys(one.search.method for one in attacks))
    usual = {"linf", "input", "untargeted"}
    told = [first.budget.norm, first.budget.place, first.goal.kind, asked.round_trip or ""]
    return [*methods, *(one for one in told if one and one not in usual)]


def _attack(sides: Sequence[Side], chosen: Chosen, asked: AttackOptions, options: EvaluateOptions) -> None:
    """Rows of all sides: the first is attacked, its changes are laid over the images for the others."""
    first, target = sides[0], attackable(sides[0].job)
    universals: dict[str, Tensor] = {}

    def work(number: int, items: list[Prompted], advance: Advance) -> None:
        if not universals:
            universals.update(_universals(first, target, options.split, options.seed))
        some = read_some(items, first.job.pool.infos, target, chosen.wanted)
        found: dict[str, Mapping[Key, Found]] = {}
        kept = len(sides) > 1 or first.pictures is not None
        for one in first.planned:
            found[one.name] = _found(one, target, some, universals.get(one.name), asked.seed, kept)
            advance(len(images_of(items)))
        if first.pictures is not None:
            shown = [key for key in some.keys if key in shown_samples(chosen.items)]
            attacks = shown_attacks(first.planned)
            first.attacked += [attack_picture(key, one, found[one.name][key]) for one in attacks for key in shown]
        for side in sides:
            given = found if side is first else _transferred(side, items, chosen, found)
            score_some(side, items, chosen, given, asked.seed, number)

    over_parts(sides, chosen.items, work)


def _found(
    one: Planned, target: Attackable, some: Some, universal: Tensor | None, seed: int, changes: bool
) -> dict[Key, Found]:
    if one.published is not None:
        return as_published(*one.published, target, some, seed)
    return found_by(one, target, some, universal, changes=changes)


def _transferred(side: Side, items: Sequence[Prompted], chosen: Chosen, found: Given) -> Given:
    assert side.job.model is not None
    target = Attackable(side.job.model, side.job.setting.threshold, side.job.setting.device)
    some = read_some([side.items[key_of(item)] for item in items], side.job.pool.infos, target, chosen.wanted)
    given = {}
    for one in side.planned:
        assert one.attack is not None  # a preset is for one model
        given[one.name] = laid_over(one.attack, target, some, found[one.name])
    return given


def _universals(side: Side, target: Attackable, split: str, seed: int) -> dict[str, Tensor]:
    """By attack, one change for all images, found on another split than the one that is scored where there is one."""
    asked = [one for one in side.planned if one.attack is not None and one.attack.search.method == "universal"]
    if not asked:
        return {}
    having = {sample.split for dataset in side.job.pool.datasets for sample in dataset.samples}
    where = next((name for name in SPLITS if name in having and name != split), split)
    changes = {}
    for one in asked:
        assert one.attack is not None
        some = choose(side.job, where, one.attack.goal.kind, UNIVERSAL_SAMPLES, seed)
        ready = read_some(some.items, side.job.pool.infos, target, some.wanted)
        changes[one.name] = universal_change(one.attack, target, ready)
    return changes
