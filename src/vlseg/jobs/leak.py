"""What a leaking prompt is worth: its score minus that of a model trained and tested on a deployable one."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.evaluation import Scene, blind_queries, read_truths
from vlseg.jobs.compare import Result, gather, method_difference, paired
from vlseg.jobs.evaluate import evaluate_on
from vlseg.jobs.scoring import Evaluated, EvaluateOptions, open_job, prompted_split, score
from vlseg.records import WORTH_FILE, InputError, read_record, write_text


def leak_worth(
    leaking: Sequence[str], honest: Sequence[str], data: list[str], options: EvaluateOptions
) -> dict[str, Any]:
    """Runs on a leaking prompt against runs on a deployable one, on the same data, paired in order of their seeds.

    Beside the worth stand (a) the same leaking model asked with the deployable prompt, where the loss of the leak and
    the shift of the words come together, and (b) its image-blind score: the leaking prompt on the mean image and on
    another image, which is what the words alone give.

    The result is written into each leaking run's folder too.

    Args:
        leaking: run folders.
        honest: as many run folders, trained on a deployable prompt.
        data: dataset folders.
        options: how to evaluate; its prompt is not used.

    Raises:
        InputError: not as many of both, a source that is no run, or a prompt of the second kind that leaks.
    """
    if len(leaking) != len(honest) or not leaking:
        raise InputError("prompts worth: give as many --leaking as --honest runs, one pair for each seed")
    for run in (*leaking, *honest):
        if not (Path(run) / "run.json").exists():
            raise InputError(f"{run}: is no run folder (made by vlseg train)")
    prompts = {read_record(Path(run) / "run.json").prompt for run in honest}
    if len(prompts) > 1:
        raise InputError(
            f"prompts worth: the --honest runs have several prompts ({', '.join(sorted(prompts))}); give one"
        )
    honest_prompt = prompts.pop()
    rows = []
    pairs: list[tuple[Result, Result]] = []
    for first, second in zip(_by_seed(leaking), _by_seed(honest), strict=True):
        own = evaluate_on(second, data, options)
        if not own.spec.deployable:
            raise InputError(
                f"{second}: its prompt '{own.spec.prompt}' is not deployable ({', '.join(own.spec.prompt_sources)}); "
                "the second kind must not leak"
            )
        leaky = evaluate_on(first, data, options)
        pair = (_gathered(own), _gathered(leaky))
        pairs.append(pair)
        shifted = evaluate_on(first, data, replace(options, prompt=honest_prompt))
        blind = _blind(first, data, options)
        rows.append(
            {
                "seed": leaky.spec.seed,
                "leaking": _mean(leaky),
                "honest": _mean(own),
                "worth": asdict(paired(*pair)),
                "leaking_present": _mean(leaky, present=True),
                "honest_present": _mean(own, present=True),
                "leaking_model_honest_prompt": _mean(shifted),
                "leaking_model_honest_prompt_present": _mean(shifted, present=True),
                "blind_mean_image": _mean(blind, "mean_image"),
                "blind_other_image": _mean(blind, "other_image"),
                "n": len(pair[0].values),
            }
        )
    values = {
        "dataset": leaky.spec.dataset,
        "split": options.split,
        "protocols": sorted({leaky.spec.protocol, own.spec.protocol}),
        "groups_known": leaky.spec.groups_known,
        "leaking_prompt": leaky.spec.prompt,
        "leaking_sources": leaky.spec.prompt_sources,
        "honest_prompt": honest_prompt,
        "honest_sources": own.spec.prompt_sources,
        "seeds": rows,
        "worth": method_difference([pair[0] for pair in pairs], [pair[1] for pair in pairs]),
    }
    for run in leaking:  # for the report, which reads disk alone
        write_text(Path(run) / WORTH_FILE, json.dumps(values, indent=1) + "\n")
    return values


def _by_seed(runs: Sequence[str]) -> list[str]:
    return sorted(runs, key=lambda run: read_record(Path(run) / "run.json").seeds["run"])


def _gathered(evaluated: Evaluated) -> Result:
    return gather(evaluated.folder, "dice", evaluated.scores, [evaluated.spec], evaluated.spec.groups_known)


def _blind(source: str, data: list[str], options: EvaluateOptions) -> Evaluated:
    begin = time.monotonic()
    job = open_job(source, data, options)
    prompted = [item for item in prompted_split(job.pool, options.split) if item.sample.mask_paths]
    queries = []
    for dataset in job.pool.datasets:
        inside = [item for item in prompted if item.sample.dataset == dataset.info.name]
        queries += blind_queries(Scene(dataset, inside, read_truths(inside, job.pool.infos), options.seed))
    return score(job, queries, begin=begin, condition="blind")


def _mean(evaluated: Evaluated, condition: str | None = None, *, present: bool = False) -> float | None:
    """Mean Dice of samples, wordings averaged first, as the worth has it. Image-blind rows are of present ones."""
    samples: dict[tuple[str, str], list[float]] = {}
    for row in evaluated.scores:
        if row.dice is not None and not (present and row.empty_target) and condition in (None, row.condition):
            samples.setdefault((row.dataset, row.sample_id), []).append(row.dice)
    return float(np.mean([np.mean(found) for found in samples.values()])) if samples else None
