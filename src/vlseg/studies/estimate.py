"""What a study will take: time and disk of each run, from a short measurement of each kind of run.

Kinds are what differs in cost: not seeds, prompts' words or learning rates. A run's time is the sum of its amounts (see
`amounts`) times what one of each costs its kind; early stopping can only shorten it. Kinds that have done runs are
taken from these.
"""

import math
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from vlseg import __version__
from vlseg.records import InputError, RunConfig
from vlseg.records.estimate import Estimate, KindCost, RunCost, total
from vlseg.records.ledger import record_of, state_of
from vlseg.records.study import Plan, Planned
from vlseg.studies.amounts import Amounts, Counting, new_features
from vlseg.studies.local import Resources
from vlseg.studies.measuring import Asked, measured
from vlseg.studies.naming import digest

MOST_SECONDS = 60.0
SHARE = 0.05
"""Measuring takes at most this share of the study's own time, and at most so many seconds."""
SHORT_SECONDS = 80.0
"""A study that is guessed shorter is not measured: starting to measure alone would take more than the share."""
PASS_SECONDS = 1e-3
"""Guess for one image of 32 x 32 through a network and back, on the low side."""
USUAL_SIDE = 96
TRAINING = (
    "model model_arguments weights device threads regime precision batch_size accumulate prompts_per_image compile "
    "workers checkpoint_activations image_cache feature_precision augment zoom rotate optimizer loss "
    "adversarial adversarial_steps"
).split()
ASKING = "model model_arguments weights condition".split()


@dataclass(frozen=True)
class Counted:
    """A run that is still to be made or is done, with its amounts; `why` where they could not be counted."""

    run: Planned
    kind: str
    what: str
    amounts: Amounts
    why: str | None = None


def estimate(study: Path, plan: Plan, resources: Resources, *, most: float = MOST_SECONDS) -> Estimate:
    """Time and disk of each run of a prepared study; measures what is not known, and keeps it in STUDY/estimate.json.

    Args:
        study: its folder.
        plan: what is to be run.
        resources: the workers that will run it.
        most: seconds that measuring may take.
    """
    counted = count(plan, resources)
    before = Estimate.read(study)
    found = Estimate(
        host=socket.gethostname(),
        device=resources.device,
        threads=resources.threads,
        workers=resources.workers,
        version=__version__,
    )
    known: dict[str, KindCost] = {}
    if before is not None and (before.host, before.version) == (found.host, found.version):
        known = {key: cost for key, cost in before.kinds.items() if cost.measured}
    done = seconds_done(study, plan)
    known = {one.kind: known[one.kind] for one in counted if one.kind in known}
    for one in counted:  # of done runs the time is known as a whole: it is shared out as the guess would be
        if one.run.name in done and one.kind not in known:
            known[one.kind] = _from_records(study, one, counted, done)
    wanted = [one for one in counted if one.kind not in known and one.run.name not in done]
    spent, note = 0.0, None
    ahead = [one for one in counted if one.run.name not in done]

    def limit() -> float:
        """Seconds that measuring may take in all, by what is known; before anything is, all that it ever may."""
        if not any(one.kind in known and known[one.kind].unknown is None for one in ahead):
            return most
        return min(most, SHARE * guess(ahead, known) / resources.workers)

    if wanted and guess(ahead, known) < SHORT_SECONDS * resources.workers:
        note = "too short to measure beforehand; known as soon as the first run of each kind is done"
    elif wanted:
        begin = time.monotonic()
        questions = _questions(wanted, counted)
        for cost_of, cost in measured(study, questions, resources, limit):
            what = next(question.what for question in questions if question.kind == cost_of)
            known[cost_of] = cost.model_copy(update={"what": what, "measured": cost.unknown is None})
        spent = time.monotonic() - begin
    for one in wanted:
        if one.kind not in known:
            why = note or one.why or f"not measured within {spent:.0f} s"
            known[one.kind] = KindCost(what=one.what, unknown=why)
    found = found.model_copy(
        update={"kinds": known, "runs": costs(counted, known), "spent": round(spent, 1), "note": note}
    )
    found.write(study)
    return found


def count(plan: Plan, resources: Resources) -> list[Counted]:
    """Kind and amounts of all runs of a plan."""
    counting, runs = Counting(), {run.name: run for run in plan.runs}
    found = []
    for run in plan.runs:
        try:
            amounts, why = counting.of(run, runs), None
            side = counting.side(next(iter(run.data.values())), run.config.get("target"))
        except InputError as error:
            amounts, why, side = Amounts({"fixed": 1.0}), str(error), 0
        kind, what = kind_of(run, runs, amounts, side, resources)
        found.append(Counted(run, kind, what, amounts, why))
    return found


def kind_of(
    run: Planned, runs: Mapping[str, Planned], amounts: Amounts, side: int, resources: Resources
) -> tuple[str, str]:
    """What the run's cost depends on beside its amounts, as a key; and in words.

    Sides of images are alike within a factor of two in area, samples of an image to the whole number.
    """
    area = round(2 * math.log2(side)) if side else 0
    place = [area, round(amounts.rows), resources.device, resources.threads]
    source = runs[run.needs[0]].config if run.kind != "train" and run.needs else run.config
    names = TRAINING if run.kind == "train" else ASKING
    settings: dict[str, Any] = {name: source.get(name) for name in names}
    if run.kind != "train":
        settings["condition"] = run.config.get("condition", "clean")
        settings["trained"] = bool(run.needs)
    settings["cached"] = bool(run.config.get("cache") or run.config.get("feature_cache"))
    if str(settings["weights"] or "").startswith("run:"):
        settings["weights"] = "run"
    settings["masks"] = run.config.get("masks")
    if "smoothing" in run.config:
        settings["smoothing"] = run.config["smoothing"]
    if run.kind == "attack":
        settings["attack"] = run.config["attack"]
    job = "evaluate" if run.kind == "worth" else run.kind  # several evaluations
    told = [job, run.labels["model"]]
    told += [source["regime"] if run.kind == "train" else settings["condition"]]
    told += ["kept features"] if settings["cached"] else []
    return digest([job, settings, place])[:12], f"{', '.join(told)}, images of about {side} x {side}"


def seconds_done(study: Path, plan: Plan) -> dict[str, float]:
    """Seconds of the runs that are done as the plan wants them."""
    found = {}
    for run in plan.runs:
        record = record_of(study, run)
        if record is not None and record.status == "done":
            found[run.name] = record.seconds
    return found


def rough(run: Planned, amounts: Amounts) -> dict[str, float]:
    """Guessed seconds of one of each amount, on the low side: by the network's image size alone."""
    arguments = run.config.get("model_arguments") or {}
    side = arguments.get("image_size", USUAL_SIDE)
    image = PASS_SECONDS * ((side if isinstance(side, int) else USUAL_SIDE) / 32) ** 2
    batch = run.config.get("batch_size", 1)
    passes = RunConfig.model_validate(run.config).passes if run.kind == "train" else 1
    step = 2 * passes * batch * image
    return {"fixed": 0.2, "images": image, "val_images": image, "val_reads": image, "steps": step}


def guess(counted: Sequence[Counted], known: Mapping[str, KindCost]) -> float:
    """Seconds of all runs: of those that are known, and of others by the rough guess set right by the known ones."""
    sure = lows = rest = 0.0
    for one in counted:
        low = total(one.amounts.parts, rough(one.run, one.amounts))
        cost = known.get(one.kind)
        if cost is None or cost.unknown is not None:
            rest += low
        else:
            sure, lows = sure + total(one.amounts.parts, cost.seconds), lows + low
    return sure + rest * (sure / lows if lows else 1.0)


def _from_records(study: Path, first: Counted, counted: Sequence[Counted], done: Mapping[str, float]) -> KindCost:
    """A kind's cost from its done runs: the guess, scaled by the median of how wrong it was."""
    same = [one for one in counted if one.kind == first.kind and one.run.name in done]
    ratios = [done[one.run.name] / total(one.amounts.parts, rough(one.run, one.amounts)) for one in same]
    scale = median(ratios)
    seconds = {what: price * scale for what, price in rough(first.run, first.amounts).items()}
    at = state_of(study, first.run.name)
    nested = at.work / "evaluations" if at is not None else None
    files = [file for file in at.work.rglob("*") if file.is_file()] if at is not None else []
    size = sum(file.stat().st_size for file in files if nested not in file.parents)
    return KindCost(what=first.what, seconds=seconds, bytes={"fixed": float(size)})


def costs(counted: Sequence[Counted], known: Mapping[str, KindCost]) -> dict[str, RunCost]:
    """By run; of features that several need, the first one pays."""
    features: dict[str, int] = {}
    found = {}
    for one in counted:
        cost = known.get(one.kind)
        new = float(new_features(one.amounts, features))
        if cost is None or cost.unknown is not None:
            found[one.run.name] = RunCost(kind=one.kind, seconds=None)
            continue
        parts = {**one.amounts.parts, "features": new}
        kept = {**cost.bytes, "features": 0.0}
        found[one.run.name] = RunCost(
            kind=one.kind,
            seconds=round(total(parts, cost.seconds), 2),
            bytes=total(parts, kept),
            feature_bytes=new * cost.bytes.get("features", 0.0),
        )
    return found


def _questions(wanted: Sequence[Counted], counted: Sequence[Counted]) -> list[Asked]:
    """One run of each kind to measure: those first whose runs are guessed to take longest; models before what asks."""
    firsts: dict[str, Counted] = {}
    for one in wanted:
        if one.why is None and one.run.kind != "worth":  # costs what evaluations cost
            firsts.setdefault(one.kind, one)
    weights: dict[str, float] = {}
    for one in wanted:
        weights[one.kind] = weights.get(one.kind, 0.0) + total(one.amounts.parts, rough(one.run, one.amounts))
    by_name = {one.run.name: one for one in counted}
    representative = {one.kind: one.run.name for one in firsts.values()}

    def chain(one: Counted) -> str:
        """The training whose model is asked, or the run itself: what one process measures together."""
        need = by_name.get(one.run.needs[0]) if one.run.kind != "train" and one.run.needs else one
        return representative.get(need.kind, need.run.name) if need is not None else one.run.name

    order = sorted(
        firsts.values(),
        key=lambda one: (-weights.get(by_name[chain(one)].kind, 0.0), chain(one), one.run.kind != "train"),
    )
    return [Asked(one.kind, one.what, one.run.name, chain(one)) for one in order]


def expected(found: Estimate, names: Sequence[str]) -> tuple[float, float, float, int]:
    """Of runs that are to be made: seconds with all workers at it, bytes, those of features, runs of unknown time.

    No shorter than the longest run.
    """
    runs = [found.runs[name] for name in names if name in found.runs]
    seconds = [run.seconds for run in runs if run.seconds is not None]
    wall = max(sum(seconds) / found.workers, max(seconds, default=0.0))
    features = sum(run.feature_bytes for run in runs)
    return wall, sum(run.bytes for run in runs), features, len(names) - len(seconds)
