"""The first sentences of a page: what the records of one or many runs come to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlseg.reports.load import EvaluationOnDisk, RunOnDisk, trained_on
from vlseg.reports.words.cell import Cell
from vlseg.reports.words.gain import about_class_prompt, about_words, asked_alike, tells_class, tells_more
from vlseg.reports.words.numbers import counted
from vlseg.reports.words.reading import NO_TEXT, about_language, reading_cell
from vlseg.reports.words.sentences import about_leak, about_scores, differs

NAMES_ALONE = 2
"""The kind of runs whose prompt is the class; those before it are told more, those after it less."""


ENDED = {
    "planned": "has not begun",
    "running": "is not done, or was killed",
    "failed": "failed",
    "interrupted": "was interrupted",
}
"""A run's status in words, but for "done"."""


@dataclass(frozen=True)
class _Lead:
    run: RunOnDisk
    evaluation: EvaluationOnDisk

    @property
    def data(self) -> tuple[str, str, str, str | None]:
        spec = self.evaluation.spec
        return spec.dataset, spec.data_fingerprint, spec.split, spec.target

    @property
    def kind(self) -> int:
        """What a reader is after comes first: sentences that a user can write, then those that leak, then names."""
        spec = self.evaluation.spec
        if spec.told != "prompt":
            return NAMES_ALONE + 1
        if not tells_more(self.evaluation):
            return NAMES_ALONE if tells_class(self.evaluation) else NAMES_ALONE + 1
        return 0 if spec.deployable or spec.phantoms else 1


def first_screen(runs: Sequence[RunOnDisk], comparison: Mapping[str, Any] | None = None) -> list[str]:
    """Two or three sentences on the runs, and one more where some of them failed.

    They are about one run: of several that are told sentences the one with the best Dice, and then they say that it was
    picked so. Runs that are told the class alone are its controls.

    Args:
        runs: of the page.
        comparison: of the runs, as `vlseg compare` gives it.
    """
    leads = [lead for run in runs if (lead := _lead(run)) is not None]
    if not leads:
        return [*_nothing(runs), *_unfinished(runs)]
    lead, among = _best(leads)
    one, who = lead.evaluation, lead.run.record.id
    asked = _asked(lead)
    language = about_language(asked.scores, asked.spec, who=who, use=_use(asked)) if asked is not None else ""
    if not language and one.spec.told in NO_TEXT:
        language = about_language((), one.spec, who=who)
    elif not language and lead.kind < NAMES_ALONE:
        language = f"Whether {who} reads its sentences has not been asked{_otherwise(lead)}: vlseg probe does."
    words = about_words(lead.run, one, runs, who=who)
    if not words:
        words = f"{about_scores(one.whole, one.spec, who=who)} {about_class_prompt(lead.run, one, who=who)}".strip()
    words += _unseen(lead)
    told = [_picked(lead, among, leads, comparison), language, words, about_leak(one.spec), *_unfinished(runs)]
    return [sentence for sentence in told if sentence]


def spoken_of(runs: Sequence[RunOnDisk]) -> tuple[RunOnDisk, EvaluationOnDisk] | None:
    """The run and the evaluation that the sentences of `first_screen` are about; None where nothing was scored."""
    leads = [lead for run in runs if (lead := _lead(run)) is not None]
    if not leads:
        return None
    lead, _ = _best(leads)
    return lead.run, lead.evaluation


def _kind(lead: _Lead, other_sentences: bool) -> str:
    sentences = "sentences that a user can write" if other_sentences else "sentences"
    return (sentences, "sentences", "the class as their prompt", "no prompt that is known and tells anything")[
        lead.kind
    ]


def _picked(lead: _Lead, among: Sequence[_Lead], leads: Sequence[_Lead], comparison: Mapping[str, Any] | None) -> str:
    """The highest of several scores is higher than that run would get again."""
    if len(among) < 2 or lead.evaluation.whole.dice_present.mean is None:
        return ""
    kind = _kind(lead, any(one.kind == 1 for one in leads))
    on = f" on {lead.evaluation.spec.dataset}" if any(one.data != lead.data for one in leads) else ""
    best = (
        f"Of {len(among)} runs with {kind}{on}, {lead.run.record.id} has the highest Dice over targets that are there"
    )
    names = {one.run.folder.name for one in among}
    mine = lead.run.folder.name
    pairs = [pair for pair in (comparison or {}).get("pairs", ()) if mine in (pair["first"], pair["second"])]
    alike = sum(not differs(pair) for pair in pairs if {pair["first"], pair["second"]} <= names)
    best += _ties(lead, among)
    same = f"; {alike} of the others could not be shown to differ from it over all targets" if alike else ""
    return f"{best}{same}. It was picked after seeing these scores: expect less of it on new images."


def _ties(lead: _Lead, among: Sequence[_Lead]) -> str:
    same = [one for one in among if one.evaluation.whole.dice_present.mean == lead.evaluation.whole.dice_present.mean]
    return f", as {counted(len(same) - 1, 'other has', 'others have')}" if len(same) > 1 else ""


def _use(evaluation: EvaluationOnDisk) -> Any:
    return evaluation.use if evaluation.spec.condition == "probe" else None


def _lead(run: RunOnDisk) -> _Lead | None:
    """The evaluation that stands for a run: test images of its own data, its own prompt and threshold."""
    record = run.record

    def preference(one: EvaluationOnDisk) -> tuple[object, ...]:
        spec = one.spec
        return (
            spec.split != "test",
            not set(spec.data_fingerprints or {spec.dataset: ""}) <= set(trained_on(record, spec.phantoms)),
            spec.prompt != record.prompt,
            spec.threshold_origin == "fixed",
            spec.precision != record.precision,
            -len(one.scores),
            one.name,
        )

    scored = sorted((one for one in run.clean if one.scores), key=preference)
    return _Lead(run, scored[0]) if scored else None


def _best(leads: Sequence[_Lead]) -> tuple[_Lead, list[_Lead]]:
    """The best of the first kind on the data that most runs share, and all among which it is."""
    (data, _), *_ = Counter(lead.data for lead in leads).most_common(1)
    there = [lead for lead in leads if lead.data == data]
    kind = min(lead.kind for lead in there)
    among = [lead for lead in there if lead.kind == kind]
    return max(among, key=lambda lead: lead.evaluation.whole.dice_present.mean or 0.0), among


def _asked(lead: _Lead) -> EvaluationOnDisk | None:
    """What tells whether the words are read, measured as the scores are: a probe, else swapped prompts.

    Of several the one that asked most.
    """
    for condition in ("probe", "swapped"):
        found = [one for one in lead.run.under(condition) if asked_alike(one.spec, lead.evaluation.spec)]
        if found:
            return max(found, key=lambda one: len(one.scores))
    return None


def _otherwise(lead: _Lead) -> str:
    """Where it was asked with these prompts, but not as the scores were measured: other data, another threshold."""
    kinds = (*lead.run.under("probe"), *lead.run.under("swapped"))
    same = any(one.scores and one.spec.prompt == lead.evaluation.spec.prompt for one in kinds)
    return " as it was scored here" if same else ""


def _unseen(lead: _Lead) -> str:
    record, spec = lead.run.record, lead.evaluation.spec
    names = set(spec.data_fingerprints) or {spec.dataset}
    unseen = record.trained_on and not names & set(trained_on(record, spec.phantoms))
    return " It was not trained on this data." if unseen else ""


def _nothing(runs: Sequence[RunOnDisk]) -> list[str]:
    """Of runs that were not scored as they are; a probe or worse images may have been asked about all the same."""
    plain = " of images and prompts as they are" if any(one.scores for run in runs for one in run.evaluations) else ""
    if len(runs) != 1:
        return [f"None of the {counted(len(runs), 'run')} has scores{plain} yet: vlseg evaluate makes them."]
    run, who = runs[0], runs[0].record.id
    asked = [one for condition in ("probe", "swapped") for one in run.under(condition) if one.scores]
    told = [about_language(one.scores, one.spec, who=who, use=_use(one)) for one in asked[:1]]
    mend = ": vlseg evaluate makes them" if run.record.status == "done" else ""
    return [*told, f"{who} has no scores{plain} yet{mend}."]


def _unfinished(runs: Sequence[RunOnDisk]) -> list[str]:
    """Runs that did not end well, which no sentence above is about."""
    found = Counter(run.record.status for run in runs if run.record.status != "done")
    if not found:
        return []
    if len(runs) == 1:
        return [f"The training {ENDED[runs[0].record.status]}: vlseg train --resume --out RUN goes on with it."]
    told = ", ".join(f"{count} {status}" for status, count in found.items())
    return [f"Not done, of {counted(len(runs), 'run')}: {told}."]


def reads(run: RunOnDisk, evaluation: EvaluationOnDisk, *, dataset: str | None = None) -> Cell:
    """The cell "reads the prompt" of an evaluation's line, from the run's probe or swapped prompts measured alike.

    Args:
        run: whose evaluation it is.
        evaluation: the line's.
        dataset: of a pool, the part the line is about.
    """
    asked = _asked(_Lead(run, evaluation))
    if asked is None and evaluation.spec.told in NO_TEXT:
        return reading_cell((), evaluation.spec)
    if asked is None:
        return Cell(note=f"not asked{_otherwise(_Lead(run, evaluation))}")
    rows = [row for row in asked.scores if dataset in (None, row.dataset)]
    return reading_cell(rows, asked.spec, use=_use(asked) if dataset is None else None)
