"""Which run a worker takes next: what it knows of a plan's runs, and which of them are ready."""

from dataclasses import dataclass, field
from pathlib import Path

from vlseg.records.ledger import At, record_at, state_of
from vlseg.records.processes import started_place
from vlseg.records.study import Plan, Planned
from vlseg.studies import ledger


@dataclass
class Seen:
    """What a worker knows of a plan's runs, so that it looks again only at those that may have changed.

    Attributes:
        open: runs not known to be done or failed, in the plan's order.
        done: identities of those that are done, by name.
        looked: all were looked at once; from then on those alone that could be made.
        missed: after the last look more may be ready: runs turned out to be closed, or somebody was faster.
    """

    plan: Plan
    open: dict[str, Planned]
    done: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    near: str = ""
    missed: bool = False
    looked: bool = False
    by_name: dict[str, Planned] = field(default_factory=dict)


def next_run(study: Path, seen: Seen) -> tuple[Planned, ledger.Lease] | None:
    """Claim a run: first one that shares features with the last, then one whose features nobody is at, then any."""
    now = ledger.clock(study)
    seconds = seen.plan.study.lease_seconds
    count = len(seen.open)
    ready: list[tuple[Planned, At]] = []
    busy: set[str] = set()
    for run in list(seen.open.values()):
        if seen.looked and not _ready(run, seen):
            continue
        at = state_of(study, run.name)
        if at is None or _closed(run, at, seen):
            continue
        if at.state == "running" and not ledger.expired(at, now, seconds):
            busy.add(run.near)
        elif at.state in ("planned", "interrupted", "running") and _ready(run, seen):
            ready.append((run, at))
            if run.near == seen.near:  # in the plan's order: nothing goes before it
                break
    else:
        seen.looked = True
    seen.missed = bool(ready) or len(seen.open) < count
    ready.sort(key=lambda one: (one[0].near != seen.near, one[0].near in busy))
    for run, at in ready:
        lease = ledger.claim(study, run, at, now, seconds)
        if lease is not None:
            return run, lease
    return None


APART = frozenset(
    {"seed", "prompt", "learning_rate", "encoder_rate", "weight_decay", "schedule", "warmup_steps", "clip_norm"}
    | {"bce_weight", "positive_weight", "presence_weight", "class_prompt_share", "attribute_dropout", "patience"}
)
"""Settings in which trainings may differ that are made in one pass."""
AT_ONCE = 8


def companions(study: Path, seen: Seen, first: Planned) -> list[tuple[Planned, ledger.Lease]]:
    """Claim trainings of the same shape as a claimed one, to be made with it in one pass."""
    if first.kind != "train" or first.config["devices"] * first.config["nodes"] > 1 or started_place() is not None:
        return []
    most = seen.plan.study.together or (AT_ONCE if _on_gpu(first) else 1)
    found: list[tuple[Planned, ledger.Lease]] = []
    now, seconds = ledger.clock(study), seen.plan.study.lease_seconds
    for run in list(seen.open.values()) if most > 1 else []:
        if len(found) + 1 >= most:
            break
        if run.kind != "train" or _shape(run) != _shape(first) or not _ready(run, seen):
            continue
        at = state_of(study, run.name)
        lease = ledger.claim(study, run, at, now, seconds) if at is not None else None
        if lease is not None:
            found.append((run, lease))
    return found


def _shape(run: Planned) -> tuple[object, ...]:
    return {key: value for key, value in run.config.items() if key not in APART}, run.data, run.needs


def _on_gpu(run: Planned) -> bool:
    from vlseg.models.device import resolve_device

    return resolve_device(run.config["device"]).type == "cuda"


def _closed(run: Planned, at: At, seen: Seen) -> bool:
    """Note a run that is done or failed: it needs no further look."""
    if at.state not in ("done", "failed"):
        return False
    record = record_at(at)
    if record is None:
        return False  # it is changing at this moment
    if at.state == "failed":
        seen.failed.add(run.name)
    elif record.identity == run.identity:
        seen.done[run.name] = record.identity
    del seen.open[run.name]
    return True


def _ready(run: Planned, seen: Seen) -> bool:
    return all(seen.done.get(need) == seen.by_name[need].identity for need in run.needs)


def _others_work(study: Path, seen: Seen) -> bool:
    return any((at := state_of(study, name)) is not None and at.state == "running" for name in seen.open)


def worth_waiting(study: Path, seen: Seen, *, thrifty: bool) -> bool:
    """Whether others work, whose runs may be laid down; a thrifty worker waits for trainings to come alone."""
    return _others_work(study, seen) and (not thrifty or _trainings_to_come(study, seen))


def _trainings_to_come(study: Path, seen: Seen) -> bool:
    waiting = (run for run in seen.open.values() if run.kind == "train" and not seen.failed.intersection(run.needs))
    return any((at := state_of(study, run.name)) is not None and at.state != "running" for run in waiting)
