"""What `robustness.py` asks of the library: whether gradients are masked, and attacks on sentences."""

from pathlib import Path
from typing import Any

from vlseg.attacks import (
    Lexicon,
    TextAttack,
    TextBudget,
    TextSearch,
    check_masking,
    parse_attack,
    run_text_attack,
    vocabulary_of,
)
from vlseg.jobs.attack_samples import choose
from vlseg.jobs.attack_search import Attackable, Some, read_some
from vlseg.jobs.scoring import EvaluateOptions, Job, open_job
from vlseg.prompts import known_words, synonyms

WORDS = {
    "a typo": TextBudget("typos", 1),
    "three typos": TextBudget("typos", 3),
    "a synonym": TextBudget("words", 1, "synonyms"),
    "another word": TextBudget("words", 1, "vocabulary"),
    "two words appended": TextBudget("suffix", 2),
}
CANDIDATES = 16


def masking(run: Path, data: Path, attack: str, limit: int) -> dict[str, Any]:
    """Success of an attack and of SPSA, the mean over samples, and how often SPSA did more."""
    job, some = _opened(run, data, limit)
    assert job.model is not None
    threshold = job.setting.threshold
    asked = some.images, some.prompts, some.masks
    found = check_masking(parse_attack(attack), job.model, *asked, threshold=threshold)
    white, spsa = (float(one.mean()) for one in (found.white, found.spsa))
    told = {"n": len(found.white), "white": white, "spsa": spsa, "spsa_more": int((found.spsa > found.white).sum())}
    return {**told, "no_gradient": found.no_gradient, "signs": list(found.signs)}


def words_attacked(run: Path, data: Path, limit: int) -> dict[str, Any]:
    """By attack and search, lists over samples."""
    job, some = _opened(run, data, limit)
    assert job.model is not None
    vocabulary = vocabulary_of([item.wordings[0] for item in job.pool.split(job.options.split)])
    lexicon = Lexicon(vocabulary, {word: synonyms(word) for word in vocabulary}, known_words())
    asked = some.images, some.prompts, some.masks
    groups = [item.sample.group or item.sample.image_id for item in some.items]
    empty = [not bool(mask.any()) for mask in some.masks]
    told = {}
    for name, budget in WORDS.items():
        for method in ("random", "greedy"):
            attack = TextAttack(budget, search=TextSearch(method, candidates=CANDIDATES))  # type: ignore[arg-type]
            found = run_text_attack(attack, job.model, *asked, lexicon=lexicon, threshold=job.setting.threshold)
            told[f"{name}, {method}"] = {
                "groups": groups,
                "empty": empty,
                "clean": found.clean_dice.tolist(),
                "dice": found.dice.tolist(),
                "queries": found.queries.tolist(),
                "keeps_meaning": found.keeps_meaning,
                "examples": list(zip(found.prompts[:3], found.sentences[:3], strict=True)),
            }
    return told


def _opened(run: Path, data: Path, limit: int) -> tuple[Job, Some]:
    """A run on the test samples that `vlseg attack --limit` takes, images and masks read."""
    job = open_job(str(run), [str(data)], EvaluateOptions(device="cpu", threads=1))
    assert job.model is not None
    items = choose(job, job.options.split, "untargeted", limit, 0).items
    return job, read_some(items, job.pool.infos, Attackable(job.model, job.setting.threshold, job.setting.device), None)
