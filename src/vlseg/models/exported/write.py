"""A folder that answers without PyTorch: three graphs, config.json, the tokenizer, and a runner."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.models.exported import run, words
from vlseg.models.exported.graphs import write_graphs
from vlseg.models.folder import EXPORTED_FORMAT, our_part, read_config, saved_part
from vlseg.models.portable import Exportable, Portable
from vlseg.models.protocol import Segmenter
from vlseg.records import InputError, write_text

TRIED = (
    "",
    "A polyp, red & <b>round</b>",
    "tumeur de 12 mm à gauche",
    "no lesion!" * 60,
    "腫瘍 ½ İ [SEP] <|endoftext|>",
)
"""Prompts on which the runner's tokenizer must agree with the model's."""


def write_exported(model: Segmenter, folder: Path, *, threshold: float | None = None) -> None:
    """Write the model's graphs for ONNX Runtime in single precision into an empty folder.

    Args:
        model: on the processor, in eval mode.
        folder: exists and is empty.
        threshold: on probabilities; None = the model's own.

    Raises:
        InputError: a model that cannot be exported, and why.
    """
    portable = portable_of(model)
    graphs, any_size = write_graphs(model, portable, folder)
    for name, tokenizer in portable.tokenizers.items():
        write_text(folder / name, tokenizer.backend_tokenizer.to_str())
    for name in run.PROGRAM:
        shutil.copyfile(Path(str(run.__file__)).with_name(name), folder / name)
    spec = model.spec
    told = {
        "engine": "onnx",
        "weights": "fp32",
        "uses_text": spec.uses_text,
        "uses_target": spec.uses_target,
        "targets": list(spec.targets),
        "threshold": spec.threshold if threshold is None else threshold,
        "prepare": {
            "size": list(spec.image_size),
            "any_size": any_size,
            "fit": portable.fit,
            "mean": list(portable.mean),
            "std": list(portable.std),
        },
        "words": None if portable.words is None else dict(portable.words),
        "graphs": graphs,
    }
    write_told(folder, model, told)
    _check_words(model, folder, portable)


def write_told(folder: Path, model: Segmenter, told: Mapping[str, Any]) -> None:
    """config.json, with the digests of all files that answer as they are now."""
    _write_config(folder, our_part(model.spec.name, model.spec.protocol, model.spec.targets, {}), told)


def exported_part(folder: Path) -> dict[str, Any]:
    """What config.json says of the graphs.

    Raises:
        InputError: a folder of another kind.
    """
    part = saved_part(read_config(folder), folder)
    if part is None or "exported" not in part:
        raise InputError(f"{folder}: holds no exported graphs; write them with vlseg export")
    return dict(part["exported"])


def retell(folder: Path, told: Mapping[str, Any]) -> None:
    """Write what config.json says of the graphs anew, with the digests of all files that answer as they are now."""
    part = saved_part(read_config(folder), folder)
    assert part is not None
    _write_config(folder, part, told)


def _write_config(folder: Path, part: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    graphs = {
        name: {**graph, "files": {file: _digest(folder / file) for file in graph["files"]}}
        for name, graph in told["graphs"].items()
    }
    beside = {name: _digest(folder / name) for name in [*_tokenizers(told["words"]), *run.PROGRAM]}
    whole = {**part, "format_version": EXPORTED_FORMAT, "exported": {**told, "graphs": graphs, "beside": beside}}
    # As a reader will see it: JSON has no tuples.
    whole["digest"] = run.config_digest(json.loads(json.dumps(whole)))
    write_text(folder / "config.json", json.dumps({"vlseg": whole}, indent=1) + "\n")


def _tokenizers(told: Mapping[str, Any] | None) -> list[str]:
    """The files that sentences are split with, each once."""
    if told is None:
        return []
    parts = [name for part in told.get("parts", {}).values() for name in _tokenizers(part)]
    return list(dict.fromkeys([*([told["file"]] if "file" in told else []), *parts]))


def portable_of(model: Segmenter) -> Portable:
    """What the model says of itself.

    Raises:
        InputError: it cannot be exported, and why.
    """
    if not isinstance(model, Exportable):
        raise InputError(f"'{model.spec.name}' cannot be exported as graphs; --format hf keeps it whole")
    if model.spec.image_features_depend_on_text or model.spec.prompt_features_depend_on_image:
        raise InputError(f"'{model.spec.name}': image and prompt are not encoded apart; --format hf keeps it whole")
    return model.portable()


def _check_words(model: Segmenter, folder: Path, portable: Portable) -> None:
    if portable.words is None or portable.words["kind"] == "targets":
        return
    theirs = model.tokenize(TRIED)
    assert theirs is not None
    try:
        ours = words.tokenize(portable.words, folder, TRIED)
    except (ValueError, KeyError, TypeError, IndexError) as error:  # a file of another make
        raise InputError(
            f"'{model.spec.name}': the runner cannot read its tokenizer ({type(error).__name__}: {error}); --format hf "
            "keeps it whole"
        ) from error
    if any(not np.array_equal(theirs.tensors[name].numpy(), one) for name, one in ours.items()):
        raise InputError(
            f"'{model.spec.name}': the runner reads sentences otherwise than its tokenizer does; --format hf keeps it "
            "whole"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
