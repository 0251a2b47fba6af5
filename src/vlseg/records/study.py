"""A study: its typed file, the runs that it plans, and what the ledger keeps of each.

A run of a study is one call of a job: a training, an evaluation, a probe, or the scoring of somebody's mask files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml

from vlseg.records.errors import InputError, from_validation
from vlseg.records.files import read_json, write_text
from vlseg.records.run import Strict

STUDY_FORMAT = 1

Kind = Literal["train", "evaluate", "probe", "attack", "masks", "worth"]
State = Literal["planned", "running", "interrupted", "failed", "done"]
Names = Annotated[list[str], pydantic.Field(min_length=1)]
OWN = "own"
"""In place of datasets or prompts of an evaluation: those that were trained on."""


class ModelEntry(Strict):
    """A model of a study, under a label of the study's own."""

    model: str | None = None
    """Its name in `vlseg models`; None = the label."""
    weights: str | None = None
    """What training starts from, or what is evaluated untrained: hub id, folder, or file."""
    revision: str | None = None
    recipe: str | None = None
    """None = that of the protocol, where the model has one of this name."""
    set: dict[str, Any] = {}
    """Any settings of a training run (RunConfig), for this model alone."""


class Smoothed(Strict):
    """Of condition smoothed, as on the command line of `vlseg evaluate`."""

    sigmas: list[float] = pydantic.Field(default=[0.25], min_length=1)
    draws: int = 100
    tau: float = 0.75
    alpha: float = 0.001
    place: Literal["input", "native"] = "input"


class Evaluate(Strict):
    """What is asked of each trained model, or of an untrained one, one evaluation for each combination."""

    data: Literal["own"] | Names = "own"
    """Datasets or pools; "own": every dataset that was trained on."""
    prompts: Literal["own"] | Names = "own"
    split: str = "test"
    conditions: list[Literal["clean", "swapped", "corrupted", "blind", "smoothed"]] = pydantic.Field(
        default=["clean"], min_length=1
    )
    threshold: float | None = None
    smoothing: Smoothed = Smoothed()
    """Of condition smoothed."""
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Samples of condition smoothed; None = all."""
    models: list[str] | None = None
    """Of these alone; None = of all."""


class Probe(Strict):
    """`vlseg probe` of each trained model."""

    data: Literal["own"] | Names = "own"
    split: str = "test"
    limit: int | None = pydantic.Field(default=None, ge=1)
    models: list[str] | None = None


class Attacked(Strict):
    """`vlseg attack` of each trained model, all budgets in one run; no images are kept."""

    data: Literal["own"] | Names = "own"
    method: (
        Literal["fgsm", "pgd", "segpgd", "apgd", "spsa", "noise", "universal", "greedy", "gradient", "random"] | None
    ) = None
    epsilons: list[str | float] = []
    """As on the command line: "2/255", 0.01."""
    norm: Literal["linf", "l2"] = "linf"
    goal: Literal["untargeted", "erase", "make", "move"] = "untargeted"
    steps: int | None = pydantic.Field(default=None, ge=1)
    restarts: int = pydantic.Field(default=1, ge=1)
    round_trip: Literal["8bit", "jpeg"] | None = None
    preset: Literal["published"] | None = None
    words: list[Literal["typos", "synonyms", "vocabulary", "near", "suffix", "order"]] = []
    """Ways to change the sentence instead of the image."""
    sizes: list[Annotated[int, pydantic.Field(ge=1)]] = []
    """Of words: how many changes."""
    candidates: int | None = pydantic.Field(default=None, ge=1)
    split: str = "test"
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Samples."""
    models: list[str] | None = None


class Worth(Strict):
    """What a leaking prompt is worth: its runs against those on a deployable one (`vlseg prompts worth`)."""

    leaking: str
    honest: str = "class"
    split: str = "test"
    models: list[str] | None = None


class Search(Strict):
    """Settings that are searched for instead of listed, see docs/studies.md."""

    space: dict[str, Any] = pydantic.Field(min_length=1)
    """By setting: a list of choices, or {low, high, log, step}."""
    trials: int = pydantic.Field(default=20, ge=1)
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    seed: int = 0


class Part(Strict):
    """One section of a study: every combination of its axes."""

    name: str = pydantic.Field(min_length=1)
    models: Names
    data: Names
    """Datasets or pools to train on; with `train: false` what untrained models are asked about."""
    train: bool = True
    """False: zero-shot, nothing is trained."""
    prompts: Names | dict[str, Names] = ["class"]
    """Names, or patterns such as p[0-9] for all that a dataset has; or such lists by dataset or pool."""
    regimes: list[str] | None = None
    """None = what the model's recipe says."""
    seeds: list[Annotated[int, pydantic.Field(ge=0)]] = pydantic.Field(default=[0], min_length=1)
    folds: int | None = pydantic.Field(default=None, ge=2)
    """Every fold of so many."""
    shares: list[Annotated[float, pydantic.Field(gt=0, le=1)]] = pydantic.Field(default=[1.0], min_length=1)
    """Of the labelled training images."""
    protocols: list[Literal["corrected", "published"]] | None = None
    """None = that of the study."""
    axes: dict[str, Annotated[list[Any], pydantic.Field(min_length=1)]] = {}
    """Further settings (RunConfig) with the values of each."""
    set: dict[str, Any] = {}
    start_from: str | None = None
    """Train from what another part's run of the same model, prompt and seed has learned: the name of that part."""
    start_data: str | None = None
    """Of that part's runs, those on this dataset or pool; None = on the same."""
    start_model: str | None = None
    """Of that part's runs, those of this model, which holds a part of this one (lvit-unet); None = of the same."""
    exclude: list[dict[str, Any]] = []
    """Combinations to leave out: a value or a list of values by label, e.g. {model: cris, data: [camus]}; `why` is told
    in tables."""
    evaluate: list[Evaluate] = [Evaluate()]
    probe: list[Probe] = []
    attack: list[Attacked] = []
    worth: list[Worth] = []
    search: Search | None = None


class External(Strict):
    """Somebody else's predictions, scored under the same rules."""

    name: str
    masks: str
    """A folder; {data} stands for the dataset's name."""
    data: Names
    prompt: str = "class"
    split: str = "test"


class TableSpec(Strict):
    """A table out of the cells of a study, see `vlseg.reports.tables`."""

    name: str
    title: str = ""
    rows: str | list[str] = "model"
    columns: str | list[str] = "data"
    where: dict[str, Any] = {}
    """A value or a list of values by label."""
    kind: Literal["evaluate", "probe", "attack", "masks", "worth"] | None = None
    """None: evaluations and mask files."""
    metric: str = "dice"
    """Of the cell's values, a dotted path: dice, dice_present, hd95, attributes.size.wrong."""
    scale: float = 100.0
    published: str | None = None
    order: dict[str, list[str]] = {}
    note: str = ""


SLURM_OWN = (
    "account array cpus-per-task error gpus-per-node mem nodes ntasks-per-node open-mode output partition qos requeue "
    "signal time"
).split()
"""Parameters of sbatch that `Slurm` has fields for, or that submitit needs for itself."""


class Slurm(Strict):
    """How workers are asked of a Slurm cluster; None = what the cluster gives by itself."""

    workers: int = pydantic.Field(default=4, ge=1)
    """Workers of the array, each of which makes one run after the other."""
    at_once: int | None = pydantic.Field(default=None, ge=1)
    """So many of them at a time; None = all."""
    minutes: int = pydantic.Field(default=240, ge=2)
    """That a worker may take; its run is then laid down, and it is queued again."""
    notice: int = pydantic.Field(default=120, ge=10, validate_default=True)
    """Seconds before that limit at which the run is laid down."""
    requeues: int = pydantic.Field(default=50, ge=0)
    """So often a worker whose time is up is queued again."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    cpus: int = pydantic.Field(default=1, ge=1)
    """For each task."""
    gpus: int = pydantic.Field(default=0, ge=0)
    """For each node."""
    memory_gib: float | None = pydantic.Field(default=None, gt=0)
    """For each node."""
    nodes: int = pydantic.Field(default=1, ge=1)
    """For one run."""
    tasks: int = pydantic.Field(default=1, ge=1)
    """For each node: the processes that train one run together, one for each GPU."""
    setup: list[str] = []
    """Lines of shell before a worker starts: module load, export."""
    extra: dict[str, str | int | float | bool | None] = {}
    """Further parameters of sbatch by their long names, {constraint: a100}; true for one without a value."""

    @pydantic.field_validator("notice")
    @classmethod
    def _in_time(cls, notice: int, info: pydantic.ValidationInfo) -> int:
        if notice * 2 > info.data.get("minutes", notice) * 60:
            raise ValueError("a worker must have at least twice as long before its time limit: give more minutes")
        return notice

    @pydantic.field_validator("extra")
    @classmethod
    def _further(cls, extra: dict[str, Any]) -> dict[str, Any]:
        own = sorted({key.replace("_", "-") for key in extra}.intersection(SLURM_OWN))
        if own:
            raise ValueError(f"'{own[0]}' is set by a field of slurm, or by vlseg itself: leave it out")
        return extra


def parse_slurm(values: Any, where: str) -> Slurm:
    """Slurm's options from plain values; `where` names their origin in the error.

    Raises:
        InputError: an unknown field or a value of the wrong type.
    """
    try:
        return Slurm.model_validate(values)
    except pydantic.ValidationError as error:
        raise from_validation(error, where) from error


class StudySpec(Strict):
    """study.yaml."""

    format_version: int = STUDY_FORMAT
    name: str = pydantic.Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = ""
    note: str = ""
    protocol: Literal["corrected", "published"] = "corrected"
    data: dict[str, str] = {}
    """Folders of datasets by name; relative ones lie beside the study's file. A dataset without one is data/NAME."""
    pools: dict[str, Names] = {}
    """Several datasets trained on together, by a name."""
    models: dict[str, ModelEntry] = {}
    """By label; a model of vlseg that needs no settings may be named without an entry."""
    set: dict[str, Any] = {}
    """Settings (RunConfig) of every training."""
    parts: Annotated[list[Part], pydantic.Field(min_length=1)]
    external: list[External] = []
    tables: list[TableSpec] = []
    phantoms: bool = False
    """The data are made up, so that nothing stands beside published numbers."""
    features: bool = True
    """Features of frozen encoders are computed once and lie in STUDY/features while the study runs, for all its runs.
    Training then shows fixed variants of each image (see feature_views)."""
    keep_features: bool = False
    """Keep them when the study is done: they are of patients' images."""
    pictures: bool = True
    """Evaluations and probes keep small copies of the images, and outlines, for reports. Gives no run another name."""
    lease_seconds: float = pydantic.Field(default=120.0, gt=0)
    """A run whose worker was not heard of for so long is taken over by another."""
    together: int | None = pydantic.Field(default=None, ge=1)
    """Trainings of one shape that a worker makes in one pass; None = 8 on a GPU, one after the other on a CPU."""
    deaths: int = pydantic.Field(default=5, ge=1)
    """So often a run's process may die without progress before the run counts as failed."""
    slurm: Slurm = Slurm()

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [part.name for part in self.parts]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two parts are called '{doubled[0]}'; give each a name of its own")
        for part in self.parts:
            if part.start_from is not None and part.start_from not in names[: names.index(part.name)]:
                raise ValueError(f"part '{part.name}': start_from '{part.start_from}' is no part before it")
            if part.start_model is not None and part.start_from is None:
                raise ValueError(
                    f"part '{part.name}': start_model is of the part that start_from names; give that, too"
                )
        tables = [table.name for table in self.tables]
        doubled = sorted({name for name in tables if tables.count(name) > 1})
        if doubled:
            raise ValueError(f"two tables are called '{doubled[0]}'; give each a name of its own")
        return self


class Planned(Strict):
    """A run that a study wants.

    Attributes:
        name: of its folder; holds a digest of `config`, so that another configuration is another run.
        labels: what tables choose it by; `part` is not among them, for several parts may want one run.
        parts: those that want it.
        config: of a training the whole RunConfig; of an evaluation or probe its options and, where nothing was
            trained, the model.
        data: the dataset's folder by label, in order.
        needs: names of the runs whose results it reads; the first is the model that is asked or trained on.
        identity: digest of all its result depends on; a result of another identity is not this run's.
        near: runs that share features follow each other.
    """

    name: str
    kind: Kind
    labels: dict[str, str]
    parts: list[str]
    config: dict[str, Any]
    data: dict[str, str]
    needs: list[str] = []
    identity: str
    near: str = ""


class PlannedSearch(Strict):
    """A search of a study, as far as it has gone.

    Attributes:
        name: in the journal; holds a digest of everything that a trial's result depends on but its own settings.
        search: what is searched for.
        runs: names of the trials' trainings, in the order in which they were asked; two trials may have one.
    """

    name: str
    search: Search
    runs: list[str] = []


LEFT_OUT = "left out"
"""What a hole is that the study itself makes: by an exclusion that says why."""


class Hole(Strict):
    """What a study cannot do here, or leaves out, and why.

    `what` says which dataset or weights are missing, which run is not done, or `LEFT_OUT`; `labels` say which cells of
    tables are empty for it.
    """

    what: str
    why: str
    labels: dict[str, str] = {}
    parts: list[str] = []
    kind: Kind | None = None
    """Of a run; None = of whatever needs it."""


class Plan(Strict):
    """plan.json: the study in force, expanded."""

    format_version: int = STUDY_FORMAT
    study: StudySpec
    runs: list[Planned]
    holes: list[Hole] = []
    searches: list[PlannedSearch] = []
    """Their trials are added to `runs` as they are asked."""

    def write(self, study: Path) -> None:
        """Write plan.json and study.yaml into the study's folder."""
        write_text(study / "study.yaml", yaml.safe_dump(self.study.model_dump(mode="json"), sort_keys=False))
        write_text(study / "plan.json", self.model_dump_json() + "\n")

    @classmethod
    def read(cls, study: Path) -> Self:
        """Read plan.json of a study's folder.

        Raises:
            InputError: no study there, or one that a later version wrote.
        """
        values = read_json(study / "plan.json", "give the folder of a study made by vlseg study run")
        if isinstance(values, dict) and values.get("format_version", 0) > STUDY_FORMAT:
            raise InputError(f"{study}: written by a later vlseg (format {values['format_version']}); update vlseg")
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            raise from_validation(error, str(study / "plan.json")) from error


class LedgerRecord(Strict):
    """record.json of a run in the ledger: what the last attempt became.

    Attributes:
        identity: see `Planned`; of what was done, not of what is wanted now.
        seconds: of the attempt that ended it.
        values: what tables read, by dataset label: of an evaluation its aggregates, of a probe its summary, of a
            training its record's summary under "".
        error: one line; error.txt beside has the traceback.
    """

    format_version: int = STUDY_FORMAT
    name: str
    kind: Kind
    identity: str
    status: Literal["done", "failed"]
    token: int
    host: str = ""
    started: str = ""
    ended: str = ""
    seconds: float = 0.0
    version: str = ""
    git_revision: str | None = None
    values: dict[str, dict[str, Any]] = {}
    error: str | None = None

    def write(self, folder: Path) -> None:
        """Write record.json into a state's folder."""
        write_text(folder / "record.json", json.dumps(self.model_dump(mode="json")) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read record.json of a state's folder.

        Raises:
            InputError: missing, or broken.
        """
        values = read_json(folder / "record.json", "start the study again with --redo for this run")
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            raise from_validation(error, str(folder / "record.json")) from error


@dataclass(frozen=True)
class Cell:
    """What a table reads: one evaluation or probe on one dataset, of one part.

    Attributes:
        labels: part, model, trained_on, data, prompt, asked, regime, protocol, seed, fold, share, condition, split, and
            further axes.
        values: of an evaluation `Aggregate.to_json()` and what was told of its prompts; of a probe its summary.
    """

    kind: str
    labels: Mapping[str, str]
    values: Mapping[str, Any]


def several(value: Any) -> list[str]:
    """A value of a label, or a list of such, as texts."""
    return [str(one) for one in (value if isinstance(value, list | tuple) else [value])]


def parse_study(values: Any, where: str) -> StudySpec:
    """A study from plain values; `where` names their origin in the error.

    Raises:
        InputError: an unknown field or a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: holds no mapping; a study has name, parts and so on, see vlseg study schema")
    try:
        return StudySpec.model_validate(values)
    except pydantic.ValidationError as error:
        raise from_validation(error, where) from error
