"""What `vlseg merge` does: a model with what a regime added to it becomes a plain one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlseg.data import new_folder
from vlseg.evaluation import copy_judging
from vlseg.models import Segmenter, as_module, load_model
from vlseg.models.additions.extended import Extended
from vlseg.models.hub import locate
from vlseg.models.registry import model_folder
from vlseg.models.run_settings import RunSettings, keep_settings, kept_settings
from vlseg.records import InputError, IntensityPolicy, read_record, replacing_folder

WORDS = ("a round mass", "")


@dataclass(frozen=True)
class Merged:
    """A model that was written.

    Attributes:
        model: its name.
        regime: what had been added.
        largest_difference: between the logits of the model as it was and as it is, on a made-up image.
        largest_logit: of those logits, without its sign.
        threshold: the run's, where it is another than the model's own; the folder keeps it.
    """

    model: str
    regime: str
    largest_difference: float
    largest_logit: float
    threshold: float | None


def merge_into(source: str, out: Path, *, protocol: str | None, arguments: Mapping[str, Any] | None) -> Merged:
    """Fold what was added into the weights of the model, and save that in its own layout.

    Args:
        source: run or model folder.
        out: a new folder, or an empty one.
        protocol: as `load_model`.
        arguments: as `load_model`.

    Raises:
        InputError: nothing was added, or weights of this kind cannot hold it.
    """
    new_folder(out)
    model = load_model(source, protocol=protocol, arguments=arguments)
    if not isinstance(model, Extended):
        raise InputError(f"{source}: is a '{model.spec.name}' to which nothing was added; use it as it is")
    if model.addition.merge is None:
        raise InputError(
            f"{source}: what '{model.regime}' added computes what no weights of a '{model.spec.name}' can; "
            "it is used as it is, by every command that takes a run"
        )
    as_module(model).eval()
    before = _answer(model)
    regime, plain = model.regime, model.addition.merge()
    after = _answer(plain)
    if not torch.isfinite(after).all():
        raise InputError(f"{source}: merged, the model answers with values that are not finite; train it again")
    settings = _settings(source)
    with replacing_folder(out) as folder:
        plain.save(folder)
        if settings is not None:
            keep_settings(folder, settings)
        copy_judging(model_folder(locate(source, None)), folder)
    return Merged(
        model=plain.spec.name,
        regime=regime,
        largest_difference=float((before - after).abs().max()),
        largest_logit=float(before.abs().max()),
        threshold=None if settings is None or settings.threshold == plain.spec.threshold else settings.threshold,
    )


def _settings(source: str) -> RunSettings | None:
    """What the run, or the folder of a run's model, answers with beside the weights; None where nothing says."""
    record = Path(source) / "run.json"
    if not record.exists():
        return kept_settings(model_folder(locate(source, None)))
    run = read_record(record)
    return RunSettings(run.threshold, None if run.intensities else IntensityPolicy(**run.intensity))


@torch.no_grad()
def _answer(model: Segmenter) -> torch.Tensor:
    """Logits for noise."""
    pixels = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))
    words = model.spec.targets[:2] if model.spec.uses_target else WORDS
    inputs = model.prepare([pixels] * len(words))
    return model.forward(inputs, model.tokenize(words)).logits
