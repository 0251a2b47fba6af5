"""The model card of an exported folder: README.md, from the run's record and from what was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlseg import __version__
from vlseg.jobs.export_checks import Cost, Parity, shown_cost
from vlseg.jobs.scoring import plain_rows
from vlseg.metrics import Estimate, aggregate
from vlseg.models import Spec, architecture_of
from vlseg.models.manifest import published_at
from vlseg.records import EvaluationSpec, InputError, RunRecord, read_record, read_scores

RESEARCH = "Research use, not a medical device."


def card(
    folder: Path,
    spec: Spec,
    *,
    facts: Mapping[str, Any],
    source: str,
    run: Path | None,
    record: RunRecord | None,
    weights: str | None,
    parity: Parity,
    cost: Cost | None,
    notes: Sequence[str],
) -> str:
    """The card's text.

    Args:
        folder: what is exported, whole but for the card.
        spec: of the model.
        facts: "format", "weights", "computes", "threshold", "origin" of it, and "opens" (in transformers, as what).
        source: what was exported, as the user named it.
        run: its folder, where it is one.
        record: of the run.
        weights: a published place that the model, or the run's training, started from.
        parity: with PyTorch.
        cost: None: not measured.
        notes: what else to know, a line each.
    """
    name = f"{spec.name}, {record.dataset}" if record else spec.name
    parts = [
        _front(spec, record),
        f"# {name}",
        RESEARCH + " Made by vlseg " + __version__ + ".",
        "## What it is",
        _bullets(_about(spec, facts, source, record)),
        "## Files",
        _files(folder),
        "## How to run it",
        _usage(spec, facts),
        "## Against PyTorch",
        _bullets(_against(facts, parity, cost)),
    ]
    if record is not None and run is not None:
        parts += ["## Training", _bullets(_training(record)), "## Results", _results(run, record)]
    parts += ["## Licence", _licence(spec.name, weights, record)]
    parts += ["## To know", _bullets(notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def _front(spec: Spec, record: RunRecord | None) -> str:
    lines = ["---", "library_name: vlseg", "pipeline_tag: image-segmentation", "license: other", "tags:"]
    lines += [f"- {tag}" for tag in ("medical", "segmentation", spec.name)]
    return "\n".join([*lines, "---"])


def _about(spec: Spec, facts: Mapping[str, Any], source: str, record: RunRecord | None) -> list[str]:
    reads = "an image and a sentence" if spec.uses_text else f"an image; targets: {', '.join(spec.targets)}"
    computed = f", computed in {facts['computes']}" if facts["computes"] != "f32" else ""
    return [
        f"Model `{spec.name}`, protocol `{spec.protocol}`; exported from "
        + (f"the run `{record.id}`" if record else f"`{Path(source).name}`"),
        f"Format {facts['format']}, weights {facts['weights']}{computed}; images of any size, brought to "
        f"{spec.image_size[0]}x{spec.image_size[1]}",
        f"Reads {reads}; gives a probability for each pixel",
        f"Threshold {facts['threshold']:g} ({ORIGINS.get(facts['origin'], facts['origin'])})",
    ]


ORIGINS = {
    "default": "the model's own",
    "weights": "comes with the weights",
    "fixed": "given by the user",
    "val": "chosen on val",
}


def _files(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    rows = [f"| {path.relative_to(folder).as_posix()} | {path.stat().st_size / 2**20:.1f} |" for path in files]
    return "\n".join(["| file | MiB |", "| --- | --- |", *rows])


def _usage(spec: Spec, facts: Mapping[str, Any]) -> str:
    asked = spec.targets[0] if spec.targets else "a polyp"
    ours = f'vlseg predict . --image image.png --prompt "{asked}" --out masks'
    if facts["format"] == "hf":
        opens = facts["opens"]
        told = (
            f"\n\n`transformers.{opens}.from_pretrained` opens the folder, too, and gives the same logits."
            if opens
            else ""
        )
        return f"```sh\n{ours}\n```{told}"
    package = "onnxruntime" if facts["format"] == "onnx" else "openvino"
    return (
        f'```sh\npip install numpy pillow {package}\npython run.py image.png "{asked}" --out masks\n```\n\n'
        f"Neither PyTorch nor vlseg is needed. Where vlseg is installed, the folder is a model to its commands:\n\n"
        f"```sh\n{ours}\n```"
    )


def _against(facts: Mapping[str, Any], parity: Parity, cost: Cost | None) -> list[str]:
    on = f"{parity.images} images of noise" if parity.made_up else f"{parity.images} images"
    lines = [
        f"Logits on {on} differ by at most {parity.largest:.2g} of their deviation; masks agree with Dice "
        f"{parity.mask_dice:.4f}"
    ]
    if cost is not None:
        told = "; 95 % interval of the paired difference by patients or images" if cost.compared.ci95 else ""
        lines.append(shown_cost(cost) + told)
    elif facts["lossy"]:
        lines.append("What the smaller numbers cost in Dice: not measured, for want of samples with masks")
    return lines


def _training(record: RunRecord) -> list[str]:
    config = record.config
    leaks = "" if record.deployable else ": not deployable, the words tell of the truth or nobody knows whether they do"
    return [
        f"Data {record.dataset}, fingerprint `{record.data_fingerprint}`"
        + (f"; made-up images: {', '.join(record.phantoms)}" if record.phantoms else ""),
        f"Prompt `{record.prompt}`, its words from: {', '.join(record.prompt_sources) or 'unknown'}{leaks}",
        f"Regime {config.get('regime')}, seed {record.seeds.get('run')}, {record.precision}, at learning rate "
        f"{config.get('learning_rate')}; epochs: {record.summary.get('epochs', '?')}",
    ]


def _results(run: Path, record: RunRecord) -> str:
    """Of the run's own evaluations on images and prompts as they are."""
    rows = []
    for path in sorted(run.glob("evaluations/*/spec.json")):
        try:
            spec = EvaluationSpec.read(path)
            scores = read_scores(path.parent / "scores.parquet")
        except InputError:
            continue  # of another version: not this card's
        if spec.condition != "clean" or spec.engine != "torch":
            continue
        found = aggregate(plain_rows(scores), groups_known=spec.groups_known)
        split = ", ".join([spec.split, *_otherwise(spec, record)])
        rows.append(
            f"| {spec.dataset} | {split} | {spec.prompt}{'' if spec.deployable else ' (not deployable)'} | "
            f"{spec.threshold:g} | {found.n} | {_interval(found.dice)} | {_interval(found.iou)} |"
        )
    if not rows:
        return "Not evaluated."
    head = [
        "| data | split | prompt | threshold | n | Dice [95 %] | IoU [95 %] |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "Of the run in PyTorch:\n\n" + "\n".join([*head, *rows])


def _otherwise(spec: EvaluationSpec, record: RunRecord) -> list[str]:
    """What a reader of the split's name would not expect."""
    limit = spec.condition_arguments.get("limit")
    given = {
        f"limit {limit}": limit is not None,
        f"{spec.target} alone": spec.target != record.config.get("target"),
        spec.precision: spec.precision != "fp32",
        f"protocol {spec.protocol}": spec.protocol != record.protocol,
        **{f"{name}: {value}": True for name, value in spec.model_arguments.items()},
    }
    return [told for told, unusual in given.items() if unusual]


def _interval(value: Estimate) -> str:
    if value.mean is None:
        return "-"
    return f"{value.mean:.3f}" + (
        f" [{value.ci95[0]:.3f}, {value.ci95[1]:.3f}]" if value.ci95 else f" ({value.reason})"
    )


def begun_with(weights: str) -> str | None:
    """The published place that a run, or the run that it went on from, and so on, began with.

    Where nothing published is found it is the last place that is known; None: none was given.
    """
    met = set[str]()
    while weights and weights not in met and published_at(weights) is None:
        met.add(weights)
        run = next((one for one in (Path(weights), Path(weights).parent) if (one / "run.json").is_file()), None)
        if run is None:
            break
        before = str(read_record(run / "run.json").config.get("weights") or "")
        if not before:
            return None
        weights = before
    return weights or None


def _licence(name: str, weights: str | None, record: RunRecord | None) -> str:
    known = None if weights is None else published_at(weights)
    if known is not None:
        return f"Weights from {known.place}: {known.licence}. The training data have a licence of their own."
    if weights is not None:
        place = Path(weights).name if Path(weights).is_absolute() else weights
        return (
            f"Weights from {place}, whose licence vlseg does not know. The training data have a licence of their own."
        )
    listed = [f"{one.place}: {one.licence}" for one in architecture_of(name).published]
    parts = f" Published weights that parts of a `{name}` may start from: {'; '.join(listed)}." if listed else ""
    begun = (
        "The run started from no whole published model."
        if record
        else "vlseg does not know where the weights are from."
    )
    return begun + parts + " The training data have a licence of their own."


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
