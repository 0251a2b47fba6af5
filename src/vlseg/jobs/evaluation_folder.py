"""Where an evaluation lies: one that differs in anything its scores depend on never shares a folder with another."""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlseg.records import EvaluationSpec, InputError
from vlseg.records.names import file_name
from vlseg.records.pictures import PICTURES

BESIDE_SCORES = frozenset(
    {
        "id",
        "identity",
        "weights",
        "revision",
        "data_fingerprints",
        "phantoms",
        "groups_known",
        "threshold_origin",
        "engine",
        "distance_units",
        "text_blind_ceiling",
        "class_ceiling",
        "ceiling_reason",
        "told",
        "seconds",
        "attack_notes",
    }
)
"""Fields of EvaluationSpec that say something about an evaluation but change none of its scores. The names of weights
and revision, and the engine, stand beside their digest; phantoms, units, ceilings and whether groups are known follow
from the data, what was told from the model and the condition, notes of attacks from these."""
OURS = ("spec.json", "scores.parquet", "calibration.json", PICTURES)
FORMERLY_OURS = ("overlays",)
"""Of evaluations by earlier versions: pictures of what is replaced."""


def identity(spec: EvaluationSpec) -> str:
    """Sixteen hexadecimal digits of everything that the scores depend on."""
    values = spec.model_dump(mode="json", exclude=set(BESIDE_SCORES))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def evaluation_folder(spec: EvaluationSpec, base: Path, out: Path | None) -> Path:
    """The folder of an evaluation: `out`, or below `base` under its readable name.

    Where that name is taken by another evaluation, the first digits of the identity are added.

    Raises:
        InputError: `out` holds another evaluation, or something else.
    """
    if out is not None:
        _check_out(spec, out)
        return out
    name = file_name(spec.id, 180) or "evaluation"
    plain, exact = base / "evaluations" / name, base / "evaluations" / f"{name}-{spec.identity[:8]}"
    if _identity_in(exact) == spec.identity:
        return exact
    free = not plain.exists() or (plain.is_dir() and not any(plain.iterdir()))
    return plain if free or _identity_in(plain) == spec.identity else exact


@contextmanager
def replacing_evaluation(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` when the block ends well; else the old one stays.

    Files in `folder` that no evaluation writes are kept.

    Raises:
        InputError: the place cannot be written.
    """
    folder = folder.resolve()
    holder = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    new = holder / "new"
    try:
        _restore(folder)
        shutil.rmtree(holder, ignore_errors=True)
        new.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield new
    except BaseException:
        shutil.rmtree(holder, ignore_errors=True)
        raise
    try:
        _swap(new, folder, holder / "old")
    except OSError as error:
        raise _unwritable(folder, error) from error
    shutil.rmtree(holder, ignore_errors=True)


def _swap(new: Path, folder: Path, old: Path) -> None:
    """`new` takes the place of `folder`; what is not an evaluation's in the old one goes along."""
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    for item in sorted(old.glob("*")):
        if item.name not in (*OURS, *FORMERLY_OURS):
            item.rename(folder / item.name)


def _restore(folder: Path) -> None:
    """Put back what a process left aside that was killed between the two renamings."""
    kept = sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*.partial/old"))
    if kept and not folder.exists():
        kept[0].rename(folder)


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder")


def _check_out(spec: EvaluationSpec, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out: {out} cannot be written (it is a file); give a folder")
    if not out.exists() or not any(out.iterdir()) or _identity_in(out) == spec.identity:
        return
    other = _spec_in(out)
    if other is None:
        raise InputError(f"--out: {out} is not empty and holds no evaluation; give a new folder")
    raise InputError(f"--out: {out} holds another evaluation ({_difference(other, spec)}); give a new folder")


def _difference(old: EvaluationSpec, new: EvaluationSpec) -> str:
    """The first fields in which two evaluations differ."""
    names = [name for name in EvaluationSpec.model_fields if name not in BESIDE_SCORES]
    different = [name for name in names if getattr(old, name) != getattr(new, name)]
    return ", ".join(f"{name} {getattr(old, name)}, not {getattr(new, name)}" for name in different[:3])


def _identity_in(folder: Path) -> str | None:
    spec = _spec_in(folder)
    return spec.identity if spec is not None else None


def _spec_in(folder: Path) -> EvaluationSpec | None:
    """What a folder holds; None where it is no evaluation that can be read."""
    try:
        return EvaluationSpec.read(folder / "spec.json")
    except InputError:
        return None
