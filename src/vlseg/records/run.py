"""A run: its typed configuration (config.yaml) and its record (run.json). A failed run is a record too."""

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml

from vlseg.records.errors import InputError, from_validation
from vlseg.records.files import read_json, write_text

RUN_FORMAT = 1

FREEZING = ("full", "freeze_text_encoder", "freeze_encoders", "decoder")
"""Regimes that train parts of a model; others add weights to it (`vlseg.models.additions`)."""
Precision = Literal["fp32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
TrackerName = Literal["tensorboard", "mlflow", "trackio", "wandb"]
Status = Literal["planned", "running", "done", "failed", "interrupted"]

WORTH_FILE = "leak_worth.json"
"""In a run's folder: what its prompt's leak is worth, written by `vlseg prompts worth`."""


def _divided(value: Any) -> Any:
    """The number that a fraction such as "8/255" is."""
    if not isinstance(value, str) or value.count("/") != 1:
        return value
    top, bottom = map(float, value.split("/"))
    if not bottom:
        raise ValueError("is divided by 0")
    return top / bottom


Steps = Annotated[float, pydantic.BeforeValidator(_divided)]
"""A number; fractions may be written as such, e.g. 8/255 for eight steps of an image of 8 bits."""
ADVERSARIAL_STEPS = {"pgd": 7, "free": 4}
"""Where none are given: Madry et al.'s on CIFAR-10, Shafahi et al.'s on ImageNet."""


class Strict(pydantic.BaseModel):
    """Base of what is read from YAML and JSON: an unknown key is an error, values do not change."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class RunConfig(Strict):
    """Everything a training run depends on. Learning rates are per optimiser step."""

    model: str
    model_arguments: dict[str, Any] = {}
    """Arguments of the model's builder, e.g. {"image_size": 96}."""
    weights: str | None = None
    """Hub id or folder; None = random."""
    revision: str | None = None
    """Pinned revision of a hub id."""
    protocol: str | None = None
    """None = that of the weights, or "corrected" for random ones."""
    data: list[str] = pydantic.Field(min_length=1)
    target: str | None = None
    prompt: str = "class"
    regime: str = "full"
    """What trains: one of FREEZING, or a regime that adds weights to a model that stays as it is."""
    regime_arguments: dict[str, Any] = {}
    """Of a regime that adds weights, e.g. {"rank": 8}."""
    seed: int = pydantic.Field(0, ge=0)
    pooling: Literal["size", "root_size", "dataset"] = "size"
    """Share of an epoch's images that each of several datasets gets: by its number of images (every image once), by
    that number's root, or the same for all."""
    train_share: float = pydantic.Field(1.0, gt=0, le=1)
    """Share of the training images, by group; smaller shares are parts of larger ones."""
    label_share: float = pydantic.Field(1.0, gt=0, le=1)
    """Share of the training images with a mask, by group, whose masks are used; smaller shares are parts of larger
    ones. The rest are images without one."""
    pseudo_labels: Literal["none", "epi"] = "none"
    """What training images without a mask are good for. none: nothing, they are left out; epi: the model's own earlier
    answers take the mask's place (LViT's exponential pseudo-label iteration, docs/runs.md)."""
    pseudo_beta: float = pydantic.Field(0.99, ge=0, lt=1)
    """How much of a pseudo-label stays from epoch to epoch; the rest is the model's new answer."""
    pseudo_warmup: float = pydantic.Field(0.5, ge=0, lt=1)
    """Share of `epochs`, the first ones, that train on images with masks alone, before the first pseudo-labels."""
    lv_weight: float = pydantic.Field(0.0, ge=0)
    """Weight of LViT's language-vision loss of images without a mask (theirs is 0.1): likeness to the mask of the
    labelled training sample whose text is closest."""
    folds: int | None = pydantic.Field(default=None, ge=2)
    """Number of folds that train and val together are parted into, by group; None = the dataset's own val."""
    fold: int | None = pydantic.Field(default=None, ge=0)
    """The fold that validates, from 0."""
    device: Device = "auto"
    precision: Precision = "fp32"
    threads: int | None = pydantic.Field(default=None, ge=1)
    devices: int = pydantic.Field(1, ge=1)
    """GPUs of this machine, or with device=cpu processes, that train the run together: each takes its part of every
    batch. Where srun or torchrun has started processes, those do."""
    nodes: int = pydantic.Field(1, ge=1)
    """Machines with `devices` each; needs srun or torchrun."""
    epochs: int = pydantic.Field(50, ge=1)
    max_steps: int | None = pydantic.Field(default=None, ge=1)
    """Optimiser steps; ends the run before `epochs` are over. None = no such limit."""
    batch_size: int = pydantic.Field(8, ge=1)
    """Images a step, of all devices together; each image brings up to `prompts_per_image` of its prompts."""
    prompts_per_image: int = pydantic.Field(4, ge=1)
    class_prompt_share: float = pydantic.Field(0.0, ge=0, le=1)
    """Share of the training prompts that are replaced by the target's name, so that the model answers it, too; anew in
    every epoch."""
    attribute_dropout: float = pydantic.Field(0.0, ge=0, le=1)
    """Probability that the words of an attribute are left out of a training prompt, each for itself."""
    accumulate: Annotated[int, pydantic.Field(ge=1)] | Literal["auto"] = 1
    """Batches of `batch_size` images that one optimiser step takes. "auto": the step takes `batch_size` images in all,
    cut into the largest equal pieces that fit into the free memory; config.yaml then has both numbers."""
    checkpoint_activations: bool = False
    """Keep less for the backward pass and compute it again: less memory, about a third more time, same gradients."""
    compile: bool = False
    """Compile the network for this machine (torch.compile): a minute or more at the start. Numbers change in their last
    digits."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    encoder_rate: float = pydantic.Field(1.0, gt=0)
    """The encoders' learning rate as a share of `learning_rate`."""
    weight_decay: float = pydantic.Field(1e-3, ge=0)
    schedule: Literal["plateau", "cosine", "constant"] = "cosine"
    warmup_steps: int = pydantic.Field(20, ge=0)
    clip_norm: float | None = pydantic.Field(1.0, gt=0)
    loss: Literal["dice_bce", "published", "present_dice", "lvit"] = "dice_bce"
    """published: Dice alone; present_dice: Dice over maps with foreground alone (MedVLSM's CNNs); lvit: LViT's, whose
    cross-entropy is balanced over what is computed at once."""
    bce_weight: float = pydantic.Field(1.0, ge=0)
    positive_weight: float = pydantic.Field(1.0, gt=0)
    """Weight of foreground pixels in the cross-entropy term."""
    presence_weight: float = pydantic.Field(0.0, ge=0)
    """Weight of the presence term, for data whose prompts may name what is absent."""
    augment: bool = True
    """Show changed images: brightness, contrast and gamma, the dataset's symmetries, and as the next two say."""
    zoom: float = pydantic.Field(0.0, ge=0, le=1)
    """Scale training images about their middle by up to 1 + `zoom`, or down to the inverse."""
    rotate: float = pydantic.Field(0.0, ge=0, le=45)
    """Turn training images by up to so many degrees, either way."""
    adversarial: Literal["none", "pgd", "free"] = "none"
    """Train on attacked images (docs/attacks.md). pgd: a search in each step (Madry et al. 2018); free: each batch is
    shown `adversarial_steps` times, and one backward pass changes weights and images (Shafahi et al. 2019)."""
    adversarial_epsilon: Steps = pydantic.Field(8 / 255, ge=0, le=1)
    """How far a value of the image in [0, 1] may be changed, at the size of the network's input, before normalisation;
    8/255 is the larger of what `vlseg attack` tries and what defences are mostly trained with."""
    adversarial_steps: int | None = pydantic.Field(default=None, ge=1)
    """Steps of pgd's search, or how often free shows a batch; None = 7 and 4."""
    adversarial_step_size: Steps | None = pydantic.Field(default=None, ge=0, le=1)
    """In the same units; None = 2.5 epsilon / steps for pgd, epsilon for free."""
    adversarial_share: float = pydantic.Field(1.0, gt=0, le=1)
    """Of a batch's images that are attacked; the rest are as they are."""
    patience: int | None = pydantic.Field(20, ge=1)
    """Validations without a better val Dice before the run stops; None = never."""
    validate_every: int = pydantic.Field(1, ge=1)
    """Epochs between validations."""
    validate_limit: int | None = pydantic.Field(default=None, ge=1)
    """Validate on so many samples only, spread over datasets, targets, present and absent, by the seed."""
    threshold: float | Literal["val"] | None = None
    """On probabilities; None = the model's own (0.35 for CRIS under a published protocol, else 0.5); "val" chooses the
    one with the best val Dice when training ends."""
    workers: int = pydantic.Field(0, ge=0)
    """Threads that read and prepare the next batches while one is trained on: for GPUs; a busy CPU gains nothing."""
    image_cache: Literal["native", "reduced"] = "native"
    """How decoded images are kept in memory: as they are, or larger ones resized once to about the network's input
    (8 bit; a second rounding): for photographs of many megapixels."""
    feature_cache: str | None = None
    """Folder where the features of frozen encoders are kept, for this run and for others. They are of patients' images:
    keep the folder as you keep the images."""
    feature_precision: Literal["fp16", "fp32"] = "fp16"
    feature_views: int = pydantic.Field(4, ge=1)
    """With augmentation, how many fixed variants of each image are shown (the first is the image as it is)."""
    feature_limit_gib: float | None = pydantic.Field(default=None, gt=0)
    """Size that the cache may reach; None = nine tenths of the free disk."""
    trackers: list[TrackerName] = []
    """Who is told the rows of history.csv, the settings and the summary as well (docs/runs.md); on this machine unless
    the tracker's own variables say otherwise. Never an image."""

    @property
    def warmup_epochs(self) -> int:
        """Epochs before the first pseudo-labels, where there are images that need one; at least one epoch has them."""
        return min(math.ceil(self.pseudo_warmup * self.epochs), self.epochs - 1)

    @property
    def attack_steps(self) -> int:
        """Of adversarial training: `adversarial_steps`, or the method's usual ones; 0 where there is none."""
        return 0 if self.adversarial == "none" else self.adversarial_steps or ADVERSARIAL_STEPS[self.adversarial]

    @property
    def attack_step_size(self) -> float:
        """Of adversarial training, in units of the image in [0, 1]."""
        if self.adversarial_step_size is not None:
            return self.adversarial_step_size
        share = 2.5 / self.attack_steps if self.adversarial == "pgd" else 1.0
        return share * self.adversarial_epsilon

    @property
    def replays(self) -> int:
        """How many optimiser steps in a row see the same batch."""
        return self.attack_steps if self.adversarial == "free" else 1

    @property
    def passes(self) -> int:
        """Forward and backward passes of an optimiser step."""
        return 1 + (self.attack_steps if self.adversarial == "pgd" else 0)


class RunRecord(Strict):
    """run.json: what was run, where, on what, and how it ended."""

    format_version: int = RUN_FORMAT
    id: str
    status: Status
    config: dict[str, Any]
    protocol: str
    device: str
    precision: str
    threads: int
    processes: int = 1
    """That trained together; the last time, of a run that was resumed."""
    batch_parts: int = 1
    """Into how many parts a batch was for batch norms that trained, whose statistics are those of a part."""
    seeds: dict[str, int]
    fold: int | None = None
    git_revision: str | None = None
    packages: dict[str, str] = {}
    data_fingerprint: str = ""
    dataset: str = ""
    """Name; of a pool the names joined by "+", see `datasets`."""
    datasets: list[str] = []
    """The names one by one: a name may hold a "+" itself."""
    phantoms: list[str] = []
    """Those of them whose images are made up: numbers on them say nothing about a real set of that name."""
    intensity: dict[str, Any] = {}
    """How images above 8 bit were read (IntensityPolicy); prediction does the same. Empty where pooled sets differ."""
    intensities: dict[str, dict[str, Any]] = {}
    """Of pooled sets that read such images differently, the policy of each by its name."""
    prompt: str = ""
    prompt_sources: list[str] = []
    deployable: bool = False
    threshold: float = 0.5
    threshold_origin: str = "default"
    """"default" (the model's own), "fixed" (given by the user), "weights" (comes with them) or "val" (chosen there)."""
    started: datetime
    ended: datetime | None = None
    peak_memory_bytes: int | None = None
    error: str | None = None
    summary: dict[str, Any] = {}

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of the datasets; a record without them one by one is of one dataset unless its config names several."""
        if self.datasets or not self.dataset:
            return tuple(self.datasets)
        return tuple(self.dataset.split("+")) if len(self.config.get("data", ())) > 1 else (self.dataset,)


def parse_config(values: dict[str, Any], where: str) -> RunConfig:
    """A RunConfig from plain values; `where` names their origin in the error.

    Raises:
        InputError: an unknown key (the known ones are listed) or a value of the wrong type.
    """
    from vlseg.records.errors import unknown_name

    for key in values:
        if key not in RunConfig.model_fields:
            raise unknown_name("configuration key", key, RunConfig.model_fields)
    try:
        return RunConfig.model_validate(values)
    except pydantic.ValidationError as error:
        raise from_validation(error, where) from error


def write_config(path: Path, config: RunConfig) -> None:
    """Write config.yaml."""
    write_text(path, yaml.safe_dump(config.model_dump(), sort_keys=False))


def read_config(path: Path) -> RunConfig:
    """Read config.yaml.

    Raises:
        InputError: missing, broken or of wrong content.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such run configuration; is this a run folder?") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: broken YAML ({str(error).splitlines()[0]})") from error
    return parse_config(values, str(path))


def write_record(path: Path, record: RunRecord) -> None:
    """Write run.json, whole or not at all."""
    write_text(path, json.dumps(record.model_dump(mode="json"), indent=1) + "\n")


def read_record(path: Path) -> RunRecord:
    """Read run.json.

    Raises:
        InputError: missing, broken, or of a later format than this version knows.
    """
    values = read_json(path, "give the folder of a run made by vlseg train")
    if isinstance(values, dict) and values.get("format_version", 0) > RUN_FORMAT:
        raise InputError(f"{path}: written by a later vlseg (format {values['format_version']}); update vlseg")
    try:
        return RunRecord.model_validate(values)
    except pydantic.ValidationError as error:
        raise from_validation(error, str(path)) from error


def finished_run(folder: Path) -> RunRecord:
    """The record of a run that has a model.

    Raises:
        InputError: it has none yet.
    """
    record = read_record(folder / "run.json")
    if not (folder / "model").is_dir():
        raise InputError(
            f"{folder}: the run has no model yet (status {record.status}); finish it with "
            f"vlseg train --resume --out {folder}"
        )
    return record


MEASURED = (
    "dataset",
    "data_fingerprint",
    "answers",
    "model_arguments",
    "cached_features",
    "split",
    "prompt",
    "protocol",
    "threshold",
    "precision",
    "nsd_tolerance",
)
"""What evaluations of one run must share for their numbers to stand side by side."""

Told = Literal["prompt", "target", "nothing", "unknown"]
"""What an answer could know beside the image: the sentence, the target's class alone, nothing, or nobody can say."""


class EvaluationSpec(Strict):
    """evaluations/<id>/spec.json: what was scored and the rules; aggregates are computed from scores.

    `text_blind_ceiling` and `class_ceiling`: see `vlseg.metrics.ceilings`; `ceiling_reason` says why one is missing.
    """

    format_version: int = 1
    id: str
    """Readable; two evaluations may share it."""
    identity: str = ""
    """Digest of everything that the scores depend on; empty in records of versions that kept none."""
    model: str
    answers: str = ""
    """Digest of the model's weights, or of the mask files."""
    weights: str | None = None
    """As given, with `revision`; `answers` says what they were."""
    revision: str | None = None
    model_arguments: dict[str, Any] = {}
    """Those that were given for this evaluation."""
    run_id: str
    dataset: str
    data_fingerprint: str
    data_fingerprints: dict[str, str] = {}
    """By dataset; `data_fingerprint` is theirs joined."""
    phantoms: list[str] = []
    """Names of the datasets whose images are made up: no score on them is one on a real set of that name."""
    split: str
    target: str | None = None
    """The one structure that was scored; None = all."""
    prompt: str
    prompt_sources: list[str]
    deployable: bool
    protocol: str
    condition: str = "clean"
    condition_arguments: dict[str, Any] = {}
    threshold: float = 0.5
    threshold_origin: str = "default"
    precision: str = "fp32"
    engine: str = "torch"
    """What computed: "torch", or an exported model's engine and the kind of its weights, as in "onnx int8"."""
    cached_features: bool = False
    """Whether images were answered from kept features, which are rounded to 16 bit."""
    uncertainty: str | None = None
    seed: int = 0
    query_seed: int = 0
    """Of the corruptions, or of the probe's choices."""
    groups_known: bool = False
    """True where any image's patient or sequence is known; images without one are groups of their own."""
    nsd_tolerance: float = 2.0
    distance_units: list[str] = []
    """"px", "mm" or both: what distances and the tolerance are in."""
    text_blind_ceiling: float | None = None
    class_ceiling: float | None = None
    ceiling_reason: str | None = None
    told: Told = "prompt"
    seconds: float | None = None
    attack_notes: dict[str, Any] = {}
    """Beside the rows under attack: sentences asked, and what a check of the gradients found."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read spec.json.

        Raises:
            InputError: missing, broken or of wrong content.
        """
        values = read_json(path, "give the folder of an evaluation made by vlseg evaluate")
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            raise from_validation(error, str(path)) from error
