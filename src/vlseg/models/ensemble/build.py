"""Ensembles of models that are already trained."""

from collections.abc import Sequence
from pathlib import Path

from vlseg.models.ensemble.model import COMBINATIONS, Ensemble
from vlseg.models.folder import load_strictly, read_config, saved_part
from vlseg.models.hub import locate
from vlseg.models.protocol import Segmenter, Spec
from vlseg.models.run_settings import kept_settings
from vlseg.models.tensors import read_tensors
from vlseg.records import InputError, read_record, unknown_name


def build_ensemble(
    *,
    members: Sequence[str | Segmenter] = (),
    combine: str = "mean",
    targets: tuple[str, ...] = (),
    protocol: str = "corrected",
) -> Ensemble:
    """Two or more models as one.

    Args:
        members: run folders, model folders or hub ids, or models.
        combine: "mean", "majority" or "stack"; see `Ensemble`.
        targets: those of the data; image-only members must have been trained on them.
        protocol: not used; each member keeps its own.

    Raises:
        InputError: fewer than two members, an unknown combination, or members that cannot answer together.
    """
    from vlseg.models import load_model

    if combine not in COMBINATIONS:
        raise unknown_name("combination", combine, COMBINATIONS)
    if len(members) < 2:
        raise InputError("ensemble: give two or more members: --set 'model_arguments={members: [RUN, RUN]}'")
    models = [load_model(member) if isinstance(member, str) else member for member in members]
    thresholds = [_threshold(member, model) for member, model in zip(members, models, strict=True)]
    return Ensemble(models, _spec(models, targets, thresholds, combine), combine, thresholds)


def load_ensemble(path: Path, *, protocol: str | None = None) -> Ensemble:
    """An ensemble from the folder that `save` wrote."""
    from vlseg.models import load_model

    ours = saved_part(read_config(path), path)
    if ours is None:
        raise InputError(f"{path}: is no ensemble's folder; give one that vlseg train wrote")
    arguments = ours["arguments"]
    models = [load_model(str(path / "members" / str(number))) for number in range(arguments["members"])]
    thresholds = arguments.get("thresholds") or [model.spec.threshold for model in models]
    combine = arguments["combine"]
    model = Ensemble(models, _spec(models, tuple(ours["targets"]), thresholds, combine), combine, thresholds)
    if model.stack is not None:
        weights = read_tensors(path / "model.safetensors")
        load_strictly(model.stack, {key.removeprefix("stack."): t for key, t in weights.items()}, str(path))
    return model


def _threshold(member: str | Segmenter, model: Segmenter) -> float:
    """A run's own, which may have been chosen on val, also where its model was written by itself; else the model's."""
    if not isinstance(member, str):
        return model.spec.threshold
    record = Path(member) / "run.json"
    if record.exists():
        return read_record(record).threshold
    kept = kept_settings(locate(member))
    return model.spec.threshold if kept is None else kept.threshold


def _spec(models: Sequence[Segmenter], targets: tuple[str, ...], thresholds: Sequence[float], combine: str) -> Spec:
    first = models[0].spec
    kinds = {(model.spec.uses_text, model.spec.uses_target) for model in models}
    if len(kinds) > 1:
        raise InputError("ensemble: members that read sentences and members that do not cannot be asked together")
    if not first.uses_text and len({model.spec.targets for model in models}) > 1:
        raise InputError("ensemble: members that read no text must have been trained on the same targets")
    boxed = [model.spec.name for model in models if model.spec.protocol == "original"]
    if boxed:
        raise InputError(
            f"ensemble: {boxed[0]} of protocol 'original' letterboxes its images; members must stretch them"
        )
    return Spec(
        name="ensemble",
        uses_text=first.uses_text,
        uses_target=first.uses_target,
        image_size=max(model.spec.image_size for model in models),
        # The mean of probabilities passes where the members' mean limit lies; votes and stacked logits have a middle.
        threshold=sum(thresholds) / len(thresholds) if combine == "mean" else 0.5,
        targets=targets if first.uses_text else first.targets,
        protocol=first.protocol if len({model.spec.protocol for model in models}) == 1 else "mixed",
    )
