"""What `vlseg export` does: a model as graphs, or whole, with a card, held against PyTorch before it is called done."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from vlseg.data import new_folder
from vlseg.evaluation import Judging, Predictor, copy_judging, load, ready, write_judging
from vlseg.jobs.export_asked import Exported, ExportOptions, check_options
from vlseg.jobs.export_card import begun_with, card
from vlseg.jobs.export_checks import (
    CPU,
    MADE_UP,
    MOST_LOST,
    SAME,
    Cost,
    Held,
    Parity,
    calibration_examples,
    changed_verdicts,
    cost,
    held_of,
    parity,
    shown_cost,
)
from vlseg.jobs.judging import Fitting, fit_judging
from vlseg.models import Segmenter, as_module, known_models, load_model
from vlseg.models.additions.extended import Extended
from vlseg.models.exported.lighter import Example, lighten, to_openvino
from vlseg.models.exported.plain import transformers_class, transformers_logits
from vlseg.models.exported.write import exported_part, retell, write_exported
from vlseg.models.hub import locate
from vlseg.models.manifest import default_weights
from vlseg.models.registry import model_folder
from vlseg.models.run_settings import RunSettings, keep_settings
from vlseg.records import InputError, IntensityPolicy, RunRecord, finished_run, replacing_folder, write_text

PRESENCE_KEPT = (
    "the presence score's calibration is that of PyTorch's scores; vlseg calibrate on the exported folder fits it anew"
)


class _NotLeftError(Exception):
    """Carries what was found out of the folder that is thrown away."""

    def __init__(self, found: Exported) -> None:
        super().__init__(found.problem)
        self.found = found


def export(source: str, out: Path, options: ExportOptions) -> Exported:
    """Write `source` into the new folder `out` and hold it against PyTorch.

    Args:
        source: run, model folder, hub id or model name.
        out: a new folder, or an empty one; not made where the result has a `problem`.
        options: see there.

    Raises:
        InputError: wrong options, a model that cannot be exported so, or data that are not there.
    """
    check_options(options)
    new_folder(out)
    predictor = load(
        source,
        weights=options.place,
        revision=options.revision,
        device="cpu",
        threads=options.threads,
        protocol=options.protocol,
        arguments=options.arguments,
    )
    if predictor.model.spec.engine != "torch":
        raise InputError(f"{source}: is exported already; give the run or model that it came from")
    run = Path(source) if (Path(source) / "run.json").exists() else None
    held, why = _held(run, options)
    try:
        with replacing_folder(out) as folder:
            found = _Export(source, out, folder, options, predictor, run, held, why).write()
            if found.problem is not None:
                raise _NotLeftError(found)
    except _NotLeftError as error:
        return error.found
    return found


def _held(run: Path | None, options: ExportOptions) -> tuple[Held | None, str]:
    """The samples, or why there are none; what was asked for and cannot be had is an error."""
    try:
        held = held_of(run, options.data, options.prompt, options.target, options.split)
        why = (
            f"no sample of {options.split} with a mask" if run or options.data else "nothing says which data it is for"
        )
    except InputError as error:
        asked = options.data or options.prompt or options.target or options.split != "val"
        if asked or (options.lossy and not options.accept):
            raise
        held, why = None, str(error)
    if held is None and options.lossy and not options.accept:
        raise InputError(
            f"{options.asked}: what it costs in Dice cannot be measured ({why}); give --data with a val "
            "set, or --accept to take it unmeasured"
        )
    return held, why


@dataclass(frozen=True)
class _Export:
    """One export on its way."""

    source: str
    out: Path
    folder: Path
    options: ExportOptions
    predictor: Predictor
    run: Path | None
    held: Held | None
    why: str

    def write(self) -> Exported:
        """Graphs or weights, checks, what judges answers, and the card."""
        options, predictor, notes = self.options, self.predictor, list[str]()
        model, threshold = predictor.model, predictor.threshold
        ready(model, CPU)
        copy_judging(model_folder(locate(self._place(), options.revision)), self.folder)
        examples = calibration_examples(model, self.held) if options.weights == "int8" else []
        opens, ranged = None, False
        if options.format == "hf":
            other, opens = self._whole(notes)
        else:
            other, ranged = self._graphs(examples)
        found, spent = self._compared(other)
        if spent is not None and abs(spent.exported - spent.torch) > MOST_LOST and ranged:
            # Ranges of a few images do not suit every network, also where what they change is a gain by chance.
            first = shown_cost(spent)
            other, _ = self._graphs([])
            found, spent = self._compared(other)
            notes.append(f"int8 has no fixed ranges, which costs time: with those of examples, {first}")
        if self.held is None:
            notes.append(f"not held against images with masks: {self.why}")
        problem = self._problem(found, spent)
        if problem is None and options.lossy:
            notes += self._judge_again(other)
        if options.format != "hf":
            self._tell(found, spent, notes)
        self._card(found, spent, opens, notes)
        size = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        return Exported(
            self.out,
            options.format,
            options.weights,
            model.spec.name,
            threshold,
            found,
            spent,
            opens,
            size,
            tuple(notes),
            problem,
            options.computes,
        )

    def _place(self) -> str:
        options = self.options
        named = self.source if self.source in known_models() else None
        return options.place or (default_weights(named) if named else None) or self.source

    def _merged(self) -> Segmenter:
        """The model by itself, what was added folded into its weights where they can hold it."""
        again = load_model(
            self._place(),
            name=self.source if self.source in known_models() else None,
            revision=self.options.revision,
            protocol=self.options.protocol,
            arguments=self.options.arguments,
        )
        as_module(again).eval()
        if isinstance(again, Extended) and again.addition.merge is not None:
            again = again.addition.merge()
            as_module(again).eval()
        return again

    def _compared(self, other: Segmenter) -> tuple[Parity, Cost | None]:
        model, threshold, held = self.predictor.model, self.predictor.threshold, self.held
        spent = cost(model, other, held, threshold) if held is not None and self.options.lossy else None
        return parity(model, other, held, threshold), spent

    def _graphs(self, examples: Sequence[Example]) -> tuple[Segmenter, bool]:
        """What was written, opened, and whether int8 has the examples' ranges."""
        options = self.options
        for path in [*self.folder.glob("*.onnx"), *self.folder.glob("*.xml"), *self.folder.glob("*.bin")]:
            path.unlink()  # of an earlier try
        write_exported(self._merged(), self.folder, threshold=self.predictor.threshold)
        if options.format == "onnx":
            ranged = lighten(self.folder, options.weights, examples)
        else:
            computes: Literal["f32", "bf16"] = "bf16" if options.computes == "bf16" else "f32"
            ranged = to_openvino(self.folder, weights=options.weights, computes=computes, examples=examples)
        return load_model(str(self.folder)), ranged

    def _whole(self, notes: list[str]) -> tuple[Segmenter, str | None]:
        """The model's own folder; opened by transformers, where that knows it, its logits must be the same."""
        merged = self._merged()
        merged.save(self.folder)
        if isinstance(merged, Extended):
            notes.append("needs beside it what it was put onto: its config.json names that")
        settings = RunSettings(self.predictor.threshold, self.predictor.intensity)
        if self.run is not None or settings != RunSettings(merged.spec.threshold, IntensityPolicy()):
            keep_settings(self.folder, settings)
        opens = transformers_class(self.folder)
        if opens is not None:
            noise = torch.rand(len(MADE_UP), 3, 70, 90, generator=torch.Generator().manual_seed(0))
            theirs = transformers_logits(self.folder, merged, list(noise), MADE_UP)
            with torch.no_grad():
                ours = merged.forward(merged.prepare(list(noise)), merged.tokenize(MADE_UP)).logits
            if float((theirs - ours).abs().max()) > SAME * float(ours.std()):
                notes.append(f"transformers.{opens} opens the folder and answers otherwise: use vlseg")
                opens = None
        return load_model(str(self.folder)), opens

    def _problem(self, found: Parity, spent: Cost | None) -> str | None:
        options = self.options
        if found.largest == float("inf"):
            return (
                f"{self.source}: as {options.format}, {options.numbers}, its answers are not finite (NaN or infinity)"
            )
        if not options.lossy and not found.largest < SAME:
            return (
                f"{self.source}: as {options.format} it answers otherwise than in PyTorch: logits differ by "
                f"{found.largest:.2g} of their deviation"
            )
        if spent is not None and spent.too_much and not options.accept:
            return (
                f"{self.source}: {options.numbers} costs more than a point of Dice ({shown_cost(spent)}); take other "
                "weights, or --accept"
            )
        return None

    def _judge_again(self, other: Segmenter) -> list[str]:
        """What says found, not found or cannot judge was fitted to PyTorch's features: does it hold for these?"""
        familiarity = self.predictor.familiarity
        kept = [] if self.predictor.presence is None else [PRESENCE_KEPT]
        if familiarity is None:
            return kept
        if self.held is None:
            write_judging(self.folder, Judging(vocabulary=self.predictor.vocabulary))
            return ["which images it can judge was fitted to PyTorch's features and could not be checked: left out"]
        changed, images = changed_verdicts(self.predictor.model, other, familiarity, self.held)
        if not changed:
            same = f"which images it can judge was fitted to PyTorch's features: the same verdict on all {images}"
            return [same, *kept]
        told = f"which images it can judge was fitted to PyTorch's features: another verdict on {changed} of {images}"
        if self.held.trained is None:
            write_judging(self.folder, Judging(vocabulary=self.predictor.vocabulary))
            return [f"{told}, so it is left out; vlseg calibrate on the exported folder fits it anew"]
        fitting = Fitting(other, self.held.pool, self.held.trained, self.held.items, CPU, "fp32")
        write_judging(self.folder, fit_judging(fitting))
        return [f"{told}, so it is fitted anew to this export's"]

    def _tell(self, found: Parity, spent: Cost | None, notes: Sequence[str]) -> None:
        """What config.json keeps beside the graphs."""
        intensity = self.predictor.intensity
        told = exported_part(self.folder) | {
            "intensity": None if intensity is None else asdict(intensity),
            "checked": {"largest_difference": found.largest, "mask_dice": found.mask_dice, "images": found.images},
            "dice": None
            if spent is None
            else {
                "torch": spent.torch,
                "exported": spent.exported,
                "ci95": spent.compared.ci95,
                "n": spent.compared.n,
                "on": spent.on,
            },
            "notes": list(notes),
            "notice": "Research use, not a medical device.",
        }
        retell(self.folder, told)

    def _card(self, found: Parity, spent: Cost | None, opens: str | None, notes: Sequence[str]) -> None:
        options, record = self.options, self._record()
        facts = {
            "format": options.format,
            "weights": options.weights,
            "computes": options.computes,
            "lossy": options.lossy,
            "threshold": self.predictor.threshold,
            "origin": record.threshold_origin if record else "weights",
            "opens": opens,
        }
        weights = begun_with(str(record.config.get("weights") or "")) if record else self._place()
        if record is None and Path(self._place()).exists():
            weights = None
        text = card(
            self.folder,
            self.predictor.model.spec,
            facts=facts,
            source=self.source,
            run=self.run,
            record=record,
            weights=weights,
            parity=found,
            cost=spent,
            notes=notes,
        )
        write_text(self.folder / "README.md", text)

    def _record(self) -> RunRecord | None:
        return None if self.run is None else finished_run(self.run)
