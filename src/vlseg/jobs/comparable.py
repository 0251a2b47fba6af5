"""What may stand side by side: the scores of a run or evaluation folder, read, and refused where they do not fit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vlseg.data.info import read_info
from vlseg.records import EvaluationSpec, InputError, RunRecord, SampleScore, read_record, read_scores

DISTANCES = ("hd95", "hd95_penalised", "hd", "assd")

Rule = Literal["same", "same_in_run", "own", "stated", "named", "chosen", "key", "value", "free"]
"""What a difference in a field means.

same: refused. same_in_run: two runs may differ in it, and then it is stated; the evaluations of one run may not.
own: the evaluations of one run share it, two runs have each their own. stated: may be the very thing that is compared;
printed. named: printed for each run. chosen: the evaluations are chosen by it. key: pairs the rows. value: what is
compared. free: no score depends on it."""

SPEC: dict[str, Rule] = {
    "format_version": "free",
    "id": "free",
    "identity": "free",  # of the fields here
    "model": "named",
    "answers": "own",
    "weights": "named",
    "revision": "named",
    "model_arguments": "same_in_run",
    "run_id": "named",
    "dataset": "free",  # a pool's name; rows have their own
    "data_fingerprint": "same",
    "data_fingerprints": "same",
    "phantoms": "free",  # follows from the data
    "split": "chosen",
    "target": "free",  # rows have their own
    "prompt": "stated",
    "prompt_sources": "stated",
    "deployable": "stated",
    "protocol": "same_in_run",
    "condition": "chosen",
    "condition_arguments": "same",
    "threshold": "same_in_run",
    "threshold_origin": "stated",
    "precision": "same",
    "engine": "stated",
    "cached_features": "same_in_run",
    "uncertainty": "free",  # the scores are those without it
    "seed": "named",
    "query_seed": "same",
    "groups_known": "free",  # rows have their groups
    "nsd_tolerance": "same",
    "distance_units": "free",  # rows have their own
    "attack_notes": "free",
    "text_blind_ceiling": "free",
    "class_ceiling": "free",
    "ceiling_reason": "free",
    "told": "stated",
    "seconds": "free",
}
"""Every field of EvaluationSpec."""

ROW: dict[str, Rule] = {
    **dict.fromkeys(("dataset", "split", "sample_id"), "key"),
    **dict.fromkeys(("image_id", "group", "target", "pixels", "precision"), "same"),
    **dict.fromkeys(("nsd_tolerance", "distance_unit", "spacing", "image_diagonal"), "same"),
    **dict.fromkeys(("condition", "condition_arguments"), "chosen"),
    **dict.fromkeys(("model", "run_id", "seed"), "named"),
    **dict.fromkeys(("prompt", "wording", "prompt_sources", "deployable", "named_target"), "stated"),
    **dict.fromkeys(("protocol", "threshold"), "same_in_run"),
    **dict.fromkeys(("site", "attributes"), "free"),
    **dict.fromkeys(("dice", "iou", "hd95", "hd", "nsd", "assd", "presence_score", "area", "area_error"), "value"),
    **dict.fromkeys(("empty_target", "empty_pred", "pixel_precision", "pixel_recall", "lesions"), "value"),
    **dict.fromkeys(("lesions_found", "false_lesions", "brier", "uncertainty", "overlap", "own_dice"), "value"),
    **dict.fromkeys(("abstained", "certified_dice", "certified_accuracy"), "value"),
}
"""Every column of SampleScore; what an evaluation has as a whole is looked up in its spec."""

RECORD: dict[str, Literal["method", "free"]] = {
    **dict.fromkeys(("config", "data_fingerprint", "batch_parts"), "method"),
    **dict.fromkeys(("format_version", "id", "status", "device", "threads", "processes", "seeds"), "free"),
    **dict.fromkeys(("git_revision",), "free"),
    **dict.fromkeys(("packages", "started", "ended", "peak_memory_bytes", "error", "summary"), "free"),
    # What follows from the configuration and the data.
    **dict.fromkeys(("protocol", "precision", "fold", "dataset", "datasets", "intensity", "intensities"), "free"),
    "phantoms": "free",
    **dict.fromkeys(("prompt", "prompt_sources", "deployable", "threshold", "threshold_origin"), "free"),
}
"""Every field of RunRecord: runs that differ in one of "method" are different methods."""

ONLY_FOR: dict[str, tuple[str, ...]] = {
    "nsd_tolerance": ("nsd",),
    "distance_unit": ("nsd", *DISTANCES),
    "spacing": ("nsd", *DISTANCES),
    "image_diagonal": ("hd95_penalised",),
}
"""Fields that matter for these metrics alone."""
TOLD = {
    "train_share": 1.0,
    "label_share": 1.0,
    "pseudo_labels": "none",
    "lv_weight": 0.0,
    "adversarial": "none",
    "adversarial_epsilon": 8 / 255,
    "adversarial_steps": None,
    "adversarial_step_size": None,
    "adversarial_share": 1.0,
}
"""What a run learned from, with the usual values: a method's name tells other ones, a comparison those that differ."""
_MASK_FILES = "given"
"""The protocol of mask files, which have no precision."""

Row = tuple[EvaluationSpec, SampleScore]


@dataclass(frozen=True)
class Side:
    """The scores of one run or evaluation folder: each row once, with the evaluation it comes from."""

    source: Path
    rows: tuple[Row, ...]
    record: RunRecord | None

    @property
    def spec(self) -> EvaluationSpec:
        """What all its evaluations share."""
        return self.rows[0][0]

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for two folders of scores of one run, or of the same weights or mask files."""
        if self.record is not None:
            return self.record.id, str(self.record.started)
        return self.spec.model, self.spec.run_id, self.spec.protocol, self.spec.answers


def read_side(source: Path, metric: str, split: str, data: Sequence[str], *, own_prompt: bool) -> Side:
    """The clean scores of a run or evaluation folder.

    Args:
        source: the folder.
        metric: what will be compared; some fields matter for distances alone.
        split: of the evaluations to take.
        data: names or folders of the datasets to take; all where empty.
        own_prompt: of a run, take the evaluations under the prompt it was trained on.

    Raises:
        InputError: no such scores, several that differ in more than the data, or units without a common mean.
    """
    found = list(_evaluations(source))
    record = _record(source, found)
    wanted = record.prompt if own_prompt and record is not None else None
    used = [
        (folder, spec)
        for folder, spec in found
        if spec.condition == "clean" and spec.split == split and wanted in (None, spec.prompt)
    ]
    if not used:
        raise InputError(f"{source}: holds no {split} scores{_beside(found)}; run vlseg evaluate with it first")
    rows = [(folder, spec, row) for folder, spec in used for row in read_scores(folder / "scores.parquet")]
    names = _names(source, data, list(dict.fromkeys(row.dataset for _, _, row in rows)))
    rows = [one for one in rows if one[2].dataset in names]
    _one_way(source, metric, rows)
    return Side(source, tuple(_once(source, rows)), record)


def _evaluations(source: Path) -> Iterator[tuple[Path, EvaluationSpec]]:
    folders = [source] if (source / "scores.parquet").exists() else sorted((source / "evaluations").glob("*"))
    for folder in folders:
        if (folder / "spec.json").exists() and (folder / "scores.parquet").exists():
            yield folder, EvaluationSpec.read(folder / "spec.json")


def _record(source: Path, found: Sequence[tuple[Path, EvaluationSpec]]) -> RunRecord | None:
    """Of a run's folder, or of the run that an evaluation lies in."""
    if (source / "run.json").exists():
        return read_record(source / "run.json")
    above = source.resolve().parent.parent / "run.json"
    if not above.exists():
        return None
    record = read_record(above)
    return record if all(spec.run_id == record.id for _, spec in found) else None


def _beside(found: Sequence[tuple[Path, EvaluationSpec]]) -> str:
    others = sorted({f"{spec.split} {spec.condition}, prompt {spec.prompt}" for _, spec in found})
    return f" of images as they are (it has {'; '.join(others)})" if others else ""


def _names(source: Path, data: Sequence[str], scored: Sequence[str]) -> Sequence[str]:
    """Names of datasets, each given as such or as the dataset's folder."""
    names = []
    for one in data:
        name = one if one in scored or not Path(one).is_dir() else read_info(Path(one)).name
        if name not in scored:
            raise InputError(f"{source}: no scores on a dataset called '{name}' (it has {', '.join(scored)})")
        names.append(name)
    return names or scored


def _one_way(source: Path, metric: str, rows: Sequence[tuple[Path, EvaluationSpec, SampleScore]]) -> None:
    """One side of a comparison was scored in one way."""
    units = sorted({row.distance_unit for _, _, row in rows})
    if metric in ONLY_FOR["distance_unit"] and len(units) > 1:
        raise InputError(f"{source}: {metric} in {' and '.join(units)} has no common mean; choose datasets with --data")
    prompts = sorted({spec.prompt for _, spec, _ in rows})
    if len(prompts) > 1:
        raise InputError(
            f"{source}: was scored under several prompts ({', '.join(prompts)}); give one evaluation's folder"
        )
    fields = [name for name, rule in SPEC.items() if rule in ("same", "same_in_run", "own") and not _of_data(name)]
    for name in _that_matter(fields, metric):
        values = {str(getattr(spec, name)): folder for folder, spec, _ in rows}
        if len(values) > 1:
            told = ", ".join(f"{value} in {folder.name}" for value, folder in values.items())
            one = "one dataset with --data, or " if len({row.dataset for _, _, row in rows}) > 1 else ""
            raise InputError(f"{source}: its evaluations differ in {name} ({told}); give {one}one evaluation's folder")


def _once(source: Path, rows: Sequence[tuple[Path, EvaluationSpec, SampleScore]]) -> Iterator[Row]:
    """Each sample and wording once. Several evaluations may hold it if they say the same of it."""
    seen: dict[tuple[str, str, str], SampleScore] = {}
    states: dict[str, tuple[Path, EvaluationSpec]] = {}
    for folder, spec, row in rows:
        before, earlier = states.setdefault(row.dataset, (folder, spec))
        where = f"{source}: {row.dataset} was scored in {before.name} and in {folder.name}"
        if fingerprint_of(earlier, row.dataset) != fingerprint_of(spec, row.dataset):
            raise InputError(f"{where} on different data of that name; give one evaluation's folder")
        key = (row.dataset, row.sample_id, row.wording)
        first = seen.setdefault(key, row)
        if first is row:
            yield spec, row
            continue
        if replace(row, seed=first.seed, uncertainty=first.uncertainty) != first:
            raise InputError(f"{where} with different results; give one evaluation's folder")


def refuse_unlike(first: Side, second: Side, metric: str) -> None:
    """Two sides whose difference would be one of data or measurement.

    Raises:
        InputError: what differs and where.
    """
    where = f"compare: {first.source} and {second.source}"
    if first.identity == second.identity:
        for name in (*_with_rule(SPEC, "same_in_run"), *_with_rule(SPEC, "own")):
            one, two = getattr(first.spec, name), getattr(second.spec, name)
            if one != two:
                raise InputError(
                    f"{where} are one run ({first.spec.run_id}) scored with {name} {one} and {two}: no two runs to "
                    "compare; evaluate both in one way"
                )
    common = {row.dataset for _, row in first.rows} & {row.dataset for _, row in second.rows}
    marks = [{row.dataset: fingerprint_of(spec, row.dataset) for spec, row in side.rows} for side in (first, second)]
    for name in sorted(common):
        if marks[0][name] != marks[1][name]:
            raise InputError(
                f"{where} were scored on different data, both called '{name}' (data_fingerprint {marks[0][name]}, "
                f"{marks[1][name]}); evaluate both on the same, or name other data with --data"
            )
    if common:
        _refuse_measured_unlike(first, second, metric, where)


def _refuse_measured_unlike(first: Side, second: Side, metric: str, where: str) -> None:
    mask_files = _MASK_FILES in (first.spec.protocol, second.spec.protocol)
    for name in _that_matter(_with_rule(SPEC, "same"), metric):
        one, two = getattr(first.spec, name), getattr(second.spec, name)
        if one != two and not _of_data(name) and not (name == "precision" and mask_files):
            raise InputError(f"{where} were scored with different {name} ({one}, {two}); evaluate both in one way")
    fields = [name for name in _that_matter(_with_rule(ROW, "same"), metric) if name != "precision"]
    rows = {(row.dataset, row.split, row.sample_id): row for _, row in first.rows}
    for _, row in second.rows:
        other = rows.get((row.dataset, row.split, row.sample_id))
        for name in fields if other is not None else ():
            one, two = getattr(other, name), getattr(row, name)
            if one != two:
                raise InputError(
                    f"{where} have {row.sample_id} of {row.dataset} with different {name} ({one}, {two}); evaluate "
                    "both on the same data"
                )


def stated_differences(first: Side, second: Side) -> list[str]:
    """What two runs may differ in and whoever reads their difference must know: "threshold 0.5, 0.35"."""
    learned = [(first.record.config, second.record.config)] if first.record and second.record else []
    return [
        f"{name} {one.get(name, usual)}, {two.get(name, usual)}"
        for one, two in learned
        for name, usual in TOLD.items()
        if one.get(name, usual) != two.get(name, usual)
    ] + [
        f"{name} {_shown(getattr(first.spec, name))}, {_shown(getattr(second.spec, name))}"
        for name in (*_with_rule(SPEC, "stated"), *_with_rule(SPEC, "same_in_run"))
        if getattr(first.spec, name, None) != getattr(second.spec, name, None)
    ]


def fingerprint_of(spec: EvaluationSpec, dataset: str) -> str:
    """Of one dataset of an evaluation; records that do not have it by dataset give that of the whole pool."""
    return spec.data_fingerprints.get(dataset) or spec.data_fingerprint


def _with_rule(fields: Mapping[str, Rule], rule: Rule) -> list[str]:
    return [name for name, one in fields.items() if one == rule]


def _that_matter(fields: Sequence[str], metric: str) -> list[str]:
    return [name for name in fields if metric in ONLY_FOR.get(name, (metric,))]


def _of_data(name: str) -> bool:
    """Held against each other dataset by dataset."""
    return name.startswith("data_fingerprint")


def _shown(value: Any) -> str:
    return "+".join(value) if isinstance(value, list) else str(value)
