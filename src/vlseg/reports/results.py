"""The rows of the main table: one an evaluation, and one a dataset where it pooled several."""

from collections.abc import Sequence
from dataclasses import dataclass

from vlseg.metrics import Aggregate
from vlseg.records import EvaluationSpec, RunRecord, SampleScore, origin
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk
from vlseg.reports.words import Cell, adds_over_class, reads

WORST = 10
TOLD = {
    "prompt": "told the prompt",
    "target": "told the target's class",
    "nothing": "told nothing",
    "unknown": "nobody says what it was told",
}


Ceilings = tuple[float | None, float | None, str | None]


@dataclass(frozen=True)
class Row:
    """One line of the results.

    Attributes:
        dataset: of the rows it stands for.
        made_up: names of the phantoms among them.
        ceilings: nothing told, class told, and why one is missing; of the whole evaluation alone.
        beside: what else tells it from the run's other rows, e.g. the evaluation's folder; empty as a rule.
        sources: of the words of the prompts that it stands for.
    """

    run: RunRecord
    evaluation: EvaluationOnDisk
    dataset: str
    aggregate: Aggregate
    made_up: list[str]
    ceilings: Ceilings
    beside: str
    reads: Cell
    adds: Cell
    sources: Sequence[str] = ()

    @property
    def spec(self) -> EvaluationSpec:
        """Of its evaluation."""
        return self.evaluation.spec

    def label(self, *, dataset: bool) -> str:
        """For figures, with or without the dataset."""
        asked = f" with {self.spec.prompt}" if self.spec.told == "prompt" else f", {told(self.spec)}"
        return ", ".join(filter(None, [f"{self.run.id}{asked}", self.dataset if dataset else "", self.beside]))

    @property
    def origin(self) -> str:
        """Where the words of its prompt come from."""
        if self.dataset == self.spec.dataset:
            return origin_of(self.spec)
        return origin(self.sources, made_up=bool(self.made_up))


def result_rows(runs: Sequence[RunOnDisk]) -> list[Row]:
    """Of all runs, in order: of each with its own prompt, with others, then controls that are told nothing."""
    rows = []
    for run in runs:
        # Of earlier versions "blind" may also be a leaking prompt's answers without the image, in two conditions.
        controls = [one for one in run.under("blind") if "rule" in one.spec.condition_arguments]
        own = sorted(run.clean, key=lambda one: one.spec.prompt != run.record.prompt)
        used = [*own, *controls]
        for evaluation in used:
            rows += _of_one(run, evaluation, runs, beside(evaluation, used))
    return rows


def _of_one(run: RunOnDisk, evaluation: EvaluationOnDisk, runs: Sequence[RunOnDisk], beside: str) -> list[Row]:
    spec = evaluation.spec
    # Of the whole: ceilings are computed over all that were asked about together.
    found = (spec.text_blind_ceiling, spec.class_ceiling, spec.ceiling_reason)
    named: list[tuple[str, str | None, Aggregate, Ceilings]] = [(spec.dataset, None, evaluation.whole, found)]
    named += [(name, name, one, (None, None, None)) for name, one in evaluation.parts.items()]
    return [
        Row(
            run=run.record,
            evaluation=evaluation,
            dataset=name,
            aggregate=one,
            made_up=[made for made in spec.phantoms if name in (made, spec.dataset)],
            ceilings=ceilings,
            beside=beside,
            reads=reads(run, evaluation, dataset=part),
            adds=adds_over_class(run, evaluation, runs, dataset=part),
            sources=spec.prompt_sources if part is None else _sources(evaluation, part),
        )
        for name, part, one, ceilings in named
    ]


def _sources(evaluation: EvaluationOnDisk, dataset: str) -> list[str]:
    """Where the words about one dataset of a pool come from: another's prompts may tell more."""
    found = {row.prompt_sources for row in evaluation.scores if row.dataset == dataset}
    return sorted({source for one in found for source in one.split(",") if source})


def words_from(spec: EvaluationSpec) -> str:
    """Where the words of an evaluation's prompt come from, for a line above scores; of phantoms "made up"."""
    names = set(spec.data_fingerprints) or {spec.dataset}
    return "made up" if names <= set(spec.phantoms) else origin(spec.prompt_sources)


def origin_of(one: EvaluationSpec | RunRecord) -> str:
    """Where the words of a prompt come from. Of a pool with real images it is not said that they are of a scene."""
    names = one.trained_on if isinstance(one, RunRecord) else (*one.data_fingerprints,) or (one.dataset,)
    return origin(one.prompt_sources, made_up=bool(names) and set(names) <= set(one.phantoms))


def beside(evaluation: EvaluationOnDisk, others: Sequence[EvaluationOnDisk]) -> str:
    """The folder's name where another evaluation of the run has the same data, split, prompt and told."""

    def shown(one: EvaluationOnDisk) -> tuple[str, ...]:
        return one.spec.dataset, one.spec.split, one.spec.prompt, told(one.spec)

    alike = [one for one in others if shown(one) == shown(evaluation)]
    return evaluation.name if len(alike) > 1 else ""


def told(spec: EvaluationSpec) -> str:
    """What the answers could know beside the image."""
    rule = spec.condition_arguments.get("rule")
    return f"{TOLD[spec.told]}; answers {rule}" if rule else TOLD[spec.told]


def worst(runs: Sequence[RunOnDisk]) -> list[tuple[str, str, SampleScore]]:
    """The rows with the lowest Dice of all runs, each with its run and evaluation."""
    rows = [
        (run.record.id, one.name, row)
        for run in runs
        for one in run.clean
        for row in one.scores
        if row.dice is not None
    ]
    return sorted(rows, key=lambda found: (found[2].dice or 0.0, found[2].sample_id, found[0], found[1]))[:WORST]
