"""A study from its file, from a built-in one's name, or from the folder of one that ran before."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from vlseg.jobs.settings import EXPONENT
from vlseg.records import InputError, unknown_name
from vlseg.records.study import ModelEntry, Part, Slurm, StudySpec, TableSpec, parse_slurm, parse_study, several


@dataclass(frozen=True)
class Changes:
    """What the command line says over the file.

    Attributes:
        protocol: of all models that have one of this name.
        data: folders by dataset.
        data_root: where the others lie, each under its name.
        weights: by model label.
        set: settings of every training.
        seeds: instead of every part's.
        parts: those to run, with those that they start from; all where none is named.
        slurm: what workers on a cluster get; extra.NAME is one of `extra`.
    """

    protocol: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    data_root: Path | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    parts: tuple[str, ...] = ()
    slurm: Mapping[str, Any] = field(default_factory=dict)


def built_in() -> dict[str, Path]:
    """The files of the studies that come with vlseg, by name."""
    folder = Path(str(files("vlseg.studies"))) / "builtin"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def read_study(source: str) -> StudySpec:
    """A study with the folders of its data as they are meant from here.

    Args:
        source: a built-in study's name, a YAML file, or the folder of a study.

    Raises:
        InputError: no such file or name, broken YAML, or an unknown or wrong field.
    """
    path = Path(source)
    if source in built_in():  # a folder of that name is given as ./NAME
        return parse_study(_yaml(built_in()[source]), source)
    if path.is_dir():
        path = path / "study.yaml"
    if not path.is_file():
        if path.suffix in (".yaml", ".yml") or "/" in source:
            raise InputError(f"{path}: no such study file; vlseg study list names the built-in ones")
        raise unknown_name("study", source, built_in())
    spec = parse_study(_yaml(path), str(path))
    return _beside(spec, path.absolute().parent)


def _yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Once)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: broken YAML ({' '.join(str(error).split())})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


class _Once(yaml.SafeLoader):
    """YAML in which no mapping has a key twice, where the first would be lost unseen, and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.value != "<<":
                mark = f"line {key.start_mark.line + 1}"
                raise yaml.YAMLError(f"'{key.value}' is given twice, again in {mark}; give each once")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Once.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^{EXPONENT.pattern}$"), list("-+.0123456789"))


def _beside(spec: StudySpec, base: Path) -> StudySpec:
    """Relative folders lie beside the study's file."""
    data = {label: str(base / folder) for label, folder in spec.data.items()}
    external = [one.model_copy(update={"masks": str(base / one.masks)}) for one in spec.external]
    models = {
        label: entry.model_copy(update={"weights": str(base / entry.weights)})
        if entry.weights and (base / entry.weights).exists()
        else entry
        for label, entry in spec.models.items()
    }
    return spec.model_copy(update={"data": data, "external": external, "models": models})


def changed(spec: StudySpec, changes: Changes) -> StudySpec:
    """The study as the command line wants it, every dataset with its folder.

    Raises:
        InputError: a dataset, model or part that the study does not name.
    """
    spec = _only(spec, changes.parts)
    used = datasets(spec)
    for label in changes.data:
        if label not in used:
            raise unknown_name("dataset of the study", label, used)
    root = changes.data_root.absolute() if changes.data_root else Path("data").absolute()
    data = {label: str(root / label) for label in used}
    if changes.data_root is None:  # those of a built-in study are meant from here
        data |= {label: str(Path(folder).absolute()) for label, folder in spec.data.items()}
    data |= {label: str(Path(folder).absolute()) for label, folder in changes.data.items()}
    models = dict(spec.models)
    labels = {label for part in spec.parts for label in part.models}
    for label, weights in changes.weights.items():
        if label not in labels:
            raise unknown_name("model of the study", label, labels)
        entry = models.get(label, ModelEntry())
        place = str(Path(weights).absolute()) if Path(weights).exists() else weights
        models[label] = entry.model_copy(update={"weights": place, "revision": None})
    parts = [_training_changed(part, changes) if part.train else part for part in spec.parts]
    update: dict[str, Any] = {"data": data, "models": models, "parts": parts, "set": {**spec.set, **changes.set}}
    if changes.protocol is not None:
        update["protocol"] = changes.protocol
    if changes.slurm:
        update["slurm"] = _slurm(spec.slurm, changes.slurm)
    return parse_study(spec.model_copy(update=update).model_dump(mode="json"), spec.name)


def _slurm(options: Slurm, changes: Mapping[str, Any]) -> Slurm:
    values = options.model_dump()
    for key, value in changes.items():
        if key not in values and not key.startswith("extra."):
            raise unknown_name("option of --slurm", key, [*values, "extra.NAME"])
        if key.startswith("extra."):
            values["extra"] = {**values["extra"], key.removeprefix("extra."): value}
        else:
            values[key] = value
    return parse_slurm(values, "--slurm")


def _training_changed(part: Part, changes: Changes) -> Part:
    """With what the command line says of every training; a setting becomes the part's, too: no model's is over it."""
    update: dict[str, Any] = {"set": {**part.set, **changes.set}}
    for key in changes.set:
        if key in part.axes:
            raise InputError(f"--set {key}: is an axis of part '{part.name}'; leave one of the two out")
    if changes.seeds:
        update["seeds"] = list(changes.seeds)
    return part.model_copy(update=update)


def _only(spec: StudySpec, names: tuple[str, ...]) -> StudySpec:
    """The parts that are named, and those that they start from; the tables of no others."""
    by_name = {part.name: part for part in spec.parts}
    for name in names:
        if name not in by_name:
            raise unknown_name("part of the study", name, by_name)
    wanted = set(names or by_name)
    for part in reversed(spec.parts):  # a part starts from an earlier one
        if part.name in wanted and part.start_from is not None:
            wanted.add(part.start_from)
    parts = [part for part in spec.parts if part.name in wanted]
    dropped = set(by_name) - wanted
    tables = [_without_parts(one, dropped) for one in spec.tables if not (about := _about(one)) or about - dropped]
    return spec.model_copy(update={"parts": parts, "tables": tables})


def _about(table: TableSpec) -> set[str] | None:
    """The parts that a table says it is about; None where it does not say."""
    named = table.where.get("part")
    return None if named is None else set(several(named))


def _without_parts(table: TableSpec, dropped: set[str]) -> TableSpec:
    about = _about(table)
    if not about or not about & dropped:
        return table
    return table.model_copy(update={"where": {**table.where, "part": sorted(about - dropped)}})


def datasets(spec: StudySpec) -> list[str]:
    """Labels of all datasets that a study names, pools by their members."""
    named: list[str] = [*spec.data]
    for part in spec.parts:
        named += part.data
        asked = [one.data for one in part.evaluate] + [one.data for one in part.probe]
        asked += [one.data for one in part.attack]
        named += [label for names in asked if isinstance(names, list) for label in names]
        named += [part.start_data] if part.start_data else []
    for one in spec.external:
        named += one.data
    return list(dict.fromkeys(label for name in named for label in spec.pools.get(name, [name])))


def schema() -> str:
    """The JSON schema of a study file."""
    values = StudySpec.model_json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **values}, indent=1) + "\n"
