"""What a leaking prompt is worth: its score minus that of a model trained and tested on a deployable one."""

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.evaluation import Scene, blind_queries, read_truths
from vlseg.jobs.evaluate import evaluate_on
from vlseg.jobs.methods import method_difference
from vlseg.jobs.results import Key, Result, compared, gather, left_out, paired
from vlseg.jobs.scoring import Evaluated, EvaluateOptions, open_job, prompted_split, score
from vlseg.metrics import independent_note
from vlseg.records import WORTH_FILE, InputError, SampleScore, read_record, write_text

IMAGE_BLIND = "image_blind"
"""Own prompts on images that do not show the target. "blind" is the control that is told nothing but the image."""


def leak_worth(
    leaking: Sequence[str],
    honest: Sequence[str],
    data: list[str],
    options: EvaluateOptions,
    out: Path | None = None,
) -> dict[str, Any]:
    """Runs on a leaking prompt against runs on a deployable one, on the same data, paired in order of their seeds.

    Beside the worth stand (a) the same leaking model asked with the deployable prompt, where the loss of the leak and
    the shift of the words come together, and (b) its image-blind score: the leaking prompt on the mean image and on
    another image, which is what the words alone give.

    The result is written into each leaking run's folder too, or into `out`.

    Args:
        leaking: run folders.
        honest: as many run folders, trained on a deployable prompt.
        data: dataset folders.
        options: how to evaluate; its prompt is not used.
        out: a folder for the result and the evaluations, where the runs' own folders are to stay as they are.

    Raises:
        InputError: not as many of both, a source that is no run, or a prompt of the second kind that leaks.
    """
    if len(leaking) != len(honest) or not leaking:
        raise InputError("prompts worth: give as many --leaking as --honest runs, one pair for each seed")
    for run in (*leaking, *honest):
        if not (Path(run) / "run.json").exists():
            raise InputError(f"{run}: is no run folder (made by vlseg train)")
    _one_prompt(leaking, "--leaking")
    honest_prompt = _one_prompt(honest, "--honest")
    rows = []
    pairs: list[tuple[Result, Result]] = []
    protocols: set[str] = set()
    for number, (first, second) in enumerate(zip(_by_seed(leaking), _by_seed(honest), strict=True)):
        places = {what: out / f"{what}-{number}" if out else None for what in ("honest", "leaking", "shifted", "blind")}
        own = evaluate_on(second, data, options, places["honest"])
        if not own.spec.deployable:
            raise InputError(
                f"{second}: its prompt '{own.spec.prompt}' is not deployable ({', '.join(own.spec.prompt_sources)}); "
                "the second kind must not leak"
            )
        leaky = evaluate_on(first, data, options, places["leaking"])
        protocols |= {own.spec.protocol, leaky.spec.protocol}
        pair = (_gathered(own), _gathered(leaky))
        pairs.append(pair)
        shifted = evaluate_on(first, data, replace(options, prompt=honest_prompt), places["shifted"])
        blind = _blind(first, data, options, places["blind"])
        rows.append({"seed": leaky.spec.seed, **_row(pair, leaky, own, shifted, blind)})
    values = {
        "dataset": leaky.spec.dataset,
        "split": options.split,
        "protocols": sorted(protocols),
        "groups_known": leaky.spec.groups_known,
        "note": independent_note(leaky.scores),
        "leaking_prompt": leaky.spec.prompt,
        "leaking_sources": leaky.spec.prompt_sources,
        "honest_prompt": honest_prompt,
        "honest_sources": own.spec.prompt_sources,
        "differs": differences(leaking, honest),
        "seeds": rows,
        "worth": method_difference([pair[0] for pair in pairs], [pair[1] for pair in pairs]),
    }
    for folder in [out] if out else map(Path, leaking):  # for the report, which reads disk alone
        write_text(folder / WORTH_FILE, json.dumps(values, indent=1) + "\n")
    return values


def _by_seed(runs: Sequence[str]) -> list[str]:
    return sorted(runs, key=lambda run: read_record(Path(run) / "run.json").seeds["run"])


def _one_prompt(runs: Sequence[str], flag: str) -> str:
    prompts = {read_record(Path(run) / "run.json").prompt for run in runs}
    if len(prompts) > 1:
        raise InputError(
            f"prompts worth: the {flag} runs have several prompts ({', '.join(sorted(prompts))}); give those of one"
        )
    return prompts.pop()


def differences(leaking: Sequence[str], honest: Sequence[str]) -> list[str]:
    """In what else than prompt and seed the two kinds of runs were trained differently: "epochs 5, 10"."""
    kinds = [[read_record(Path(run) / "run.json") for run in runs] for runs in (leaking, honest)]
    configs = [[record.config | {"data": sorted(record.trained_on)} for record in kind] for kind in kinds]
    names = dict.fromkeys(name for kind in configs for config in kind for name in config)
    told = []
    for name in names:
        if name in _NOT_THE_METHOD:
            continue
        one, two = (sorted({str(config.get(name)) for config in kind}) for kind in configs)
        if one != two:
            told.append(f"{name} {' and '.join(one)}, {' and '.join(two)}")
    return told


_NOT_THE_METHOD = ("prompt", "seed", "threads", "workers", "device", "feature_cache", "feature_limit_gib")
"""What the two kinds of runs may differ in without a word."""


def _gathered(evaluated: Evaluated) -> Result:
    return gather(evaluated.spec.run_id, "dice", evaluated.scores)


def _row(
    pair: tuple[Result, Result], leaky: Evaluated, own: Evaluated, shifted: Evaluated, blind: Evaluated
) -> dict[str, Any]:
    """One seed's numbers, all over the samples that the worth compares; those left out are counted."""
    worth = paired(*pair)
    keys = compared(*pair)
    return {
        "leaking": mean_dice(leaky.scores, keys),
        "honest": mean_dice(own.scores, keys),
        "worth": asdict(worth),
        "leaking_present": mean_dice(leaky.scores, keys, present=True),
        "honest_present": mean_dice(own.scores, keys, present=True),
        "leaking_model_honest_prompt": mean_dice(shifted.scores, keys),
        "leaking_model_honest_prompt_present": mean_dice(shifted.scores, keys, present=True),
        "blind_mean_image": mean_dice(blind.scores, keys, "mean_image"),
        "blind_other_image": mean_dice(blind.scores, keys, "other_image"),
        "n": worth.n,
        "left_out": left_out(*pair),
    }


def _blind(source: str, data: list[str], options: EvaluateOptions, out: Path | None) -> Evaluated:
    begin = time.monotonic()
    job = open_job(source, data, options, out)
    prompted = [item for item in prompted_split(job.pool, options.split) if item.sample.mask_paths]
    queries = []
    for dataset in job.pool.datasets:
        inside = [item for item in prompted if item.sample.dataset == dataset.info.name]
        queries += blind_queries(Scene(dataset, inside, read_truths(inside, job.pool.infos), options.seed))
    return score(job, queries, begin=begin, condition=IMAGE_BLIND)


def mean_dice(
    scores: Sequence[SampleScore], keys: Collection[Key], condition: str | None = None, *, present: bool = False
) -> float | None:
    """Mean Dice of the samples `keys` names, wordings averaged first, as the worth has it.

    Image-blind rows are of present targets alone.
    """
    samples: dict[Key, list[float]] = {}
    for row in scores:
        key = (row.dataset, row.split, row.sample_id)
        if row.dice is None or key not in keys or (present and row.empty_target):
            continue
        if condition in (None, row.condition):
            samples.setdefault(key, []).append(row.dice)
    return float(np.mean([np.mean(found) for found in samples.values()])) if samples else None
