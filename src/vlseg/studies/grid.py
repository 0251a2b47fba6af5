"""What can be said in a line of the shell, as a study: `vlseg train --grid` and `vlseg prompts worth`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlseg.jobs.settings import parse_setting
from vlseg.models import DEFAULT_MODEL
from vlseg.records import InputError
from vlseg.records.names import file_name
from vlseg.records.study import ModelEntry, Plan, StudySpec, Worth, parse_study

AXES = {"seed": "seeds", "regime": "regimes", "train_share": "shares", "prompt": "prompts", "model": "models"}
"""Settings that are axes of every part, by their name there."""
LABELS = {"train_share": "share", "data": "trained_on"}
"""Settings whose label in a study has another name."""


def grid_study(options: Mapping[str, Any], axes: Sequence[str], recipe: str | None = None) -> StudySpec:
    """The study of every combination of the axes' values.

    Args:
        options: what all runs have in common, keys of RunConfig.
        axes: "key=[value, ...]", keys of RunConfig, also model_arguments.NAME.
        recipe: of training settings.

    Raises:
        InputError: no data, an axis that is not a list, is given twice, or names a value twice.
    """
    values = _axes(axes)
    common = {key: value for key, value in options.items() if key not in values}
    if "data" not in common and "data" not in values:
        raise InputError("--data: is missing; vlseg train needs --data")
    data, pools, on = _data(values.pop("data", [common.pop("data", [])]))
    models = values.pop("model", [common.pop("model", None) or _model_of(common.get("weights"))])
    weights, revision = common.pop("weights", None), common.pop("revision", None)
    entries = {model: ModelEntry(weights=weights, revision=revision, recipe=recipe) for model in models}
    own = {AXES[key]: values.pop(key, [common.pop(key)] if key in common else None) for key in AXES if key != "model"}
    part = {
        "name": "grid",
        "models": models,
        "data": on,
        "axes": values,
        "evaluate": [],
        **{key: value for key, value in own.items() if value is not None},
    }
    spec = {
        "name": "grid",
        "data": data,
        "pools": pools,
        "models": {model: entry.model_dump() for model, entry in entries.items()},
        "features": False,
        "set": common,
        "parts": [part],
    }
    return parse_study(spec, "--grid")


def link_by_values(out: Path, plan: Plan, axes: Sequence[str]) -> dict[str, Path]:
    """Folders of `out` that lead to the runs that are done, named by the values of the axes: OUT/prompt-p1_seed-0.

    Args:
        out: the study's folder.
        plan: of a `grid_study`.
        axes: as for it.

    Returns:
        The folder by the run's name; its place in OUT/runs where a file or folder has the other name.
    """
    found: dict[str, Path] = {}
    for run in plan.runs:
        place = out / "runs" / run.name
        if not place.is_dir():
            continue
        values = [f"{key}-{run.labels[LABELS.get(key, key)]}" for key in _axes(axes)]
        link = out / file_name("_".join(values))
        if link.is_symlink():
            link.unlink()
        if link.exists() or link in found.values():
            found[run.name] = place
            continue
        link.symlink_to(Path("runs") / run.name, target_is_directory=True)
        found[run.name] = link
    return found


def worth_study(options: Mapping[str, Any], leaking: str, honest: str, seeds: Sequence[int], split: str) -> StudySpec:
    """The study that trains one model on two prompts, once for each seed, and compares.

    Args:
        options: keys of RunConfig, with `data`.
        leaking: prompt that was written with sight of the truth.
        honest: prompt that a user could write.
        seeds: of both.
        split: to score.

    Raises:
        InputError: no data.
    """
    spec = grid_study({**options, "prompt": honest}, [])
    part = spec.parts[0].model_copy(
        update={
            "prompts": [leaking, honest],
            "seeds": list(seeds),
            "worth": [Worth(leaking=leaking, honest=honest, split=split)],
        }
    )
    return spec.model_copy(update={"name": "worth", "parts": [part], "features": True})


def _axes(axes: Sequence[str]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    for axis in axes:
        key, found = parse_setting(axis, "--grid")
        if not isinstance(found, list) or not found:
            raise InputError(f"--grid {key}: '{axis}' gives no list; write {key}=[a, b]")
        if key in values:
            raise InputError(f"--grid {key}: is given twice; put all values into one list")
        if len({repr(value) for value in found}) < len(found):
            raise InputError(f"--grid {key}: '{axis}' holds a value twice; give each once")
        values[key] = found
    return values


def _data(choices: Sequence[Any]) -> tuple[dict[str, str], dict[str, list[str]], list[str]]:
    """Datasets by label, pools by name, and what is trained on: each choice a folder or several."""
    data: dict[str, str] = {}
    pools: dict[str, list[str]] = {}
    on = []
    for choice in choices:
        folders = [str(Path(one).absolute()) for one in (choice if isinstance(choice, list) else [choice])]
        for folder in folders:
            if folder not in data.values():
                name = Path(folder).name or "data"
                label = next(one for one in [name, *(f"{name}-{n}" for n in range(2, 99))] if one not in data)
                data[label] = folder
        labels = [next(label for label, folder in data.items() if folder == one) for one in folders]
        if len(labels) > 1:
            pools["+".join(labels)] = labels
        on.append("+".join(labels))
    return data, pools, on


def _model_of(weights: str | None) -> str:
    from vlseg.models import model_of

    return DEFAULT_MODEL if weights is None else model_of(weights)
