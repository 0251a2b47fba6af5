"""`--scale tiny`: all of a study in minutes, on made-up images dressed as its datasets, with small networks."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from vlseg.phantoms import dressed_names, write_dressed, write_phantoms
from vlseg.records import InputError, replacing_folder
from vlseg.records.study import Attacked, ModelEntry, Part, Probe, StudySpec
from vlseg.studies.read import datasets

PROBED = 3
"""Images that a probe asks about."""
ATTACKED = 4
"""Samples that are attacked."""
CANDIDATES = 4
"""Sentences that an attack on them asks at each step."""
COUNTS: Mapping[str, int] = {"train": 8, "val": 4, "test": 6}


def at_tiny_scale(spec: StudySpec, out: Path) -> StudySpec:
    """The study with every model, part and table, at a size that takes seconds a run; its data and weights in `out`.

    Data are phantoms with the names, targets, prompts and splits of the datasets. Weights that a study names become
    random ones of a small network of the same architecture. Of several seeds the first is run.

    Args:
        spec: with labels that are names of known datasets; others become plain phantoms.
        out: the study's folder.

    Raises:
        InputError: a model of which no small size is known.
    """
    sizes = _sizes()
    labels = {label for part in spec.parts for label in part.models}
    zero_shot = {label for part in spec.parts if not part.train for label in part.models}
    models = {
        label: _small(label, spec.models.get(label, ModelEntry()), sizes, out, weighted=label in zero_shot)
        for label in sorted(labels)
    }
    fixed = set().union(*(entry.set for entry in models.values())) | {"weights", "revision"}
    return spec.model_copy(
        update={
            "data": {label: str(_phantoms(label, out)) for label in datasets(spec)},
            "models": models,
            "set": _without(spec.set, fixed),
            "parts": [_part(part, fixed) for part in spec.parts],
            "external": [],
            "phantoms": True,
        }
    )


def _sizes() -> dict[str, Any]:
    text = files("vlseg.studies").joinpath("tiny.yaml").read_text(encoding="utf-8")
    sizes: dict[str, Any] = yaml.safe_load(text)
    return sizes


def _part(part: Part, fixed: set[str]) -> Part:
    probes = [Probe.model_validate({**one.model_dump(), "limit": PROBED}) for one in part.probe]
    attacks = [one.model_copy(update=_fewer(one)) for one in part.attack]
    evaluations = [
        one.model_copy(update={"limit": ATTACKED}) if "smoothed" in one.conditions else one for one in part.evaluate
    ]
    asked = {"evaluate": evaluations, "probe": probes, "attack": attacks}
    return part.model_copy(update={"set": _without(part.set, fixed), "seeds": part.seeds[:1], **asked})


def _fewer(one: Attacked) -> dict[str, int | None]:
    """Samples, steps and sentences of an attack."""
    candidates = {"candidates": min(one.candidates or CANDIDATES, CANDIDATES)} if one.words else {}
    return {"limit": ATTACKED, "steps": one.steps and min(one.steps, 2), **candidates}


def _without(settings: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key.partition(".")[0] not in keys}


def _small(label: str, entry: ModelEntry, sizes: Mapping[str, Any], out: Path, *, weighted: bool) -> ModelEntry:
    """The same architecture, small; with random weights in a folder where the study has weights of it."""
    name = entry.model or label
    text = entry.set.get("model_arguments", {}).get("text")
    size = sizes.get(f"{name}/{text}") or sizes.get(name)
    if size is None:
        raise InputError(f"--scale tiny: no small size is known of '{name}' (known: {', '.join(sizes)})")
    settings = {**_without(entry.set, {"model_arguments", *size["settings"]}), **size["settings"]}
    arguments = size["model_arguments"]
    if entry.weights is None and not weighted:
        return ModelEntry(model=name, recipe=entry.recipe, set={**settings, "model_arguments": arguments})
    folder = _weights(label, name, arguments, out)
    return ModelEntry(model=name, weights=str(folder), recipe=entry.recipe, set=settings)


def _weights(label: str, name: str, arguments: Mapping[str, Any], out: Path) -> Path:
    """A folder with the small network at random weights, the same for the same label."""
    folder = out.absolute() / "weights" / label
    if not folder.exists():
        import torch

        from vlseg.models import build_model

        torch.manual_seed(0)
        model = build_model(name, arguments=dict(arguments), targets=("target",))
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(folder) as new:
            model.save(new)
    return folder


def _phantoms(label: str, out: Path) -> Path:
    folder = out.absolute() / "data" / label
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        if label in dressed_names():
            write_dressed(folder, label)
        else:
            write_phantoms(folder, counts=COUNTS, size=32)
    return folder
