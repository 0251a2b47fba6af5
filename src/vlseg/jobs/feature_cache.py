"""Opening a store of features for a run, and saying beforehand what it will take."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from vlseg.models import Segmenter, as_module
from vlseg.models.additions.addition import IMAGE_PART
from vlseg.models.additions.extended import Extended
from vlseg.models.device import autocast
from vlseg.models.feature_keys import feature_contexts
from vlseg.models.features import FeatureStore, free_bytes
from vlseg.prompts import Prompted
from vlseg.records import InputError, RunConfig
from vlseg.training import trained_parts
from vlseg.training.batches import Known, group_by_image
from vlseg.training.distributed import is_first

DISK_SHARE = 0.9
ENCODES_AGAIN = (
    "no --cache: the frozen encoder encodes every image again in each epoch, which on a CPU then takes three to ten "
    "times as long; --cache FOLDER keeps its features"
)
"""What a run without kept features is told once."""


def open_features(config: RunConfig, model: Segmenter, train: Sequence[Prompted], device: torch.device) -> Known | None:
    """The store that a configuration names, or None; its final size, or what it would spare, is said on stderr.

    Raises:
        InputError: the image encoder trains under the regime, or the model's encoders need each other.
    """
    trains = set(trained_parts(model, config.regime))
    if config.feature_cache is None:
        if is_first() and _encodes_again(config, model, trains):
            print(ENCODES_AGAIN, file=sys.stderr)
        return None
    if {"image_encoder", IMAGE_PART} & trains:
        what = "something trains inside the image encoder" if IMAGE_PART in trains else "the image encoder trains"
        raise InputError(
            f"feature_cache: {what} under regime '{config.regime}'; take --regime freeze_encoders or decoder, or leave "
            "feature_cache out"
        )
    place = Path(config.feature_cache)
    store = open_store(place, model, device, config.precision, config.feature_precision, config.feature_limit_gib)
    store.note_user(" ".join([config.model, *(f"{name}={one}" for name, one in config.model_arguments.items())]))
    views = config.feature_views if config.augment else 1
    groups = group_by_image(train, unlabelled=config.pseudo_labels != "none")
    one = feature_bytes(model, device, config.precision, store.dtype)
    if is_first():
        _say(place, store, one, len(groups), views)
    # A further part (words that are learned) may lie on a prompt's way: then its features change as it trains. So do
    # the tokens of a model that is told the target: they train with the decoder.
    prompts = model.spec.uses_text and trains <= {"mask_decoder"}
    return Known(store, views, prompts, device, config.precision)


def _say(place: Path, store: FeatureStore, one: int, images: int, views: int) -> None:
    """What the store will take, of so many bytes a view of an image."""
    wanted = one * images * views
    fits = store.limit is None or store.used + wanted <= store.limit
    print(
        f"feature cache {place}: {images} images x {views} views, {wanted / 2**30:.2f} GiB "
        f"({one / 2**20:.2f} MiB each); {store.used / 2**30:.2f} GiB of this encoder are there"
        + ("" if fits else f"; the limit of {(store.limit or 0) / 2**30:.2f} GiB holds a part of them"),
        file=sys.stderr,
    )


def _encodes_again(config: RunConfig, model: Segmenter, trains: set[str]) -> bool:
    """Whether a frozen encoder gives the same features in every epoch, and they could be kept."""
    dependent = model.spec.image_features_depend_on_text or model.spec.prompt_features_depend_on_image
    frozen = "image_encoder" in model.parts() and "image_encoder" not in trains
    frozen = frozen or (isinstance(model, Extended) and model.leaves_images)
    return frozen and config.epochs > 1 and not dependent and config.adversarial == "none"


def open_store(
    folder: Path,
    model: Segmenter,
    device: torch.device,
    precision: str,
    dtype: str = "fp16",
    limit_gib: float | None = None,
) -> FeatureStore:
    """The store of a model's encoders in a folder."""
    limit = int(limit_gib * 2**30) if limit_gib is not None else int(DISK_SHARE * free_bytes(folder))
    store = FeatureStore(folder, feature_contexts(model, device, precision), "fp32" if dtype == "fp32" else "fp16")
    store.limit = limit if limit_gib is not None else store.used + limit
    return store


def feature_bytes(model: Segmenter, device: torch.device, precision: str, dtype: torch.dtype) -> int:
    """Size of one image's features, from the shapes that a blank image gives."""
    as_module(model).to(device).eval()  # in train mode a blank image would move batch norm's statistics
    with torch.no_grad(), autocast(precision, device):
        features = model.encode_image(model.prepare([torch.zeros(3, 8, 8, device=device)]))
    return sum(
        tensor.numel() * (dtype.itemsize if tensor.is_floating_point() else tensor.element_size())
        for tensor in features.tensors.values()
    )
