"""STUDY/runs: the results as other commands read them, by links into the ledger."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vlseg.records.ledger import At, state_of
from vlseg.records.study import Planned


def link(study: Path, run: Planned, at: At) -> None:
    """Make runs/NAME, runs/TRAINING/evaluations/NAME, evaluations/NAME or worths/NAME lead to a done run's results."""
    place = _place(study, run)
    if place is None or (place.is_symlink() and place.exists() and place.resolve() == at.work.resolve()):
        return
    # A training that was begun anew meanwhile has gone, and what was asked of it is of no interest any more.
    with suppress(FileNotFoundError):
        place.parent.mkdir(exist_ok=True)
        # From the real folder: runs/TRAINING is a link itself.
        target = os.path.relpath(at.work.resolve(), place.parent.resolve())
        new = place.with_name(f".{place.name}.{os.getpid()}.link")
        new.unlink(missing_ok=True)
        new.symlink_to(target, target_is_directory=True)
        new.replace(place)


def relink(study: Path, runs: Iterable[Planned]) -> None:
    """Links of all done runs, and of no others."""
    wanted: set[Path] = set()
    folders = [study / "runs", study / "evaluations", study / "worths"]
    for run in runs:
        at = state_of(study, run.name)
        if at is None or at.state != "done":
            continue
        link(study, run, at)
        if (place := _place(study, run)) is not None:
            wanted.add(place)
        if run.kind == "train":
            folders.append(at.work / "evaluations")
    for folder in folders:
        for one in folder.glob("*"):
            if one.is_symlink() and one not in wanted:
                one.unlink(missing_ok=True)


def where(run: Planned) -> str:
    """Where within the study's folder a done run's results are found, by these links."""
    if run.kind == "train":
        return f"runs/{run.name}"
    if run.needs and run.kind != "worth":
        return f"runs/{run.needs[0]}/evaluations/{run.name}"
    return f"{'worths' if run.kind == 'worth' else 'evaluations'}/{run.name}"


def _place(study: Path, run: Planned) -> Path | None:
    if run.kind in ("train", "worth") or not run.needs:
        return study / where(run)
    above = state_of(study, run.needs[0])
    return above.work / "evaluations" / run.name if above is not None and above.state == "done" else None
