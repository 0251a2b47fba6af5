"""Example rows: best, median and worst answer, the same target asked with other words, an absent target."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vlseg.records import SampleScore, origin
from vlseg.records.pictures import SmallImage
from vlseg.reports.chosen import has_pictures
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk, alike, data_uri
from vlseg.reports.words import spoken_of
from vlseg.reports.words.numbers import counted

OTHER_WORDS = ("swapped", "wrong_", "other_side", "paraphrase", "class_only")
"""Conditions that ask for the same target on the same image in other words, the first that was asked is shown; "wrong_"
is the start of several."""


@dataclass(frozen=True)
class Panel:
    """One picture: its caption, its outlines (None: not drawn) and words over it, e.g. "nothing marked"."""

    caption: str
    truth: str | None = None
    answer: str | None = None
    over: str = ""


@dataclass(frozen=True)
class Sentence:
    """What was asked, and where its words come from."""

    text: str
    origin: str


@dataclass(frozen=True)
class Example:
    """One row.

    Attributes:
        title: what it shows, e.g. "Best of 592".
        sentences: one, or two where the same target is asked for with other words; none where the model is told none.
        told: what it is told instead of a sentence; empty where it is told one.
        facts: what came of it, with numbers.
        sample: what was asked about: target, sample, dataset.
        image: data URL.
        width, height: of the outlines' grid.
        panels: from left to right.
    """

    title: str
    sentences: list[Sentence]
    told: str
    facts: list[str]
    sample: list[str]
    image: str
    width: int
    height: int
    panels: list[Panel]


@dataclass(frozen=True)
class Examples:
    """What examples.html.j2 shows.

    Attributes:
        rows: the examples.
        rule: by which they were chosen, and from what.
        missing: what could not be shown, and why.
    """

    rows: list[Example] = field(default_factory=list)
    rule: str = ""
    missing: list[str] = field(default_factory=list)

    @property
    def images(self) -> list[str]:
        """The data URLs, each once."""
        return list(dict.fromkeys(row.image for row in self.rows))


@dataclass(frozen=True)
class _Answer:
    """A scored row with its picture."""

    evaluation: EvaluationOnDisk
    score: SampleScore
    image: SmallImage
    truth: str | None
    answer: str

    @property
    def name(self) -> tuple[str, str, str]:
        """To break ties."""
        return self.score.sample_id, self.score.dataset, self.score.wording

    @property
    def sample(self) -> tuple[str, str]:
        return self.score.dataset, self.score.sample_id

    @property
    def dice(self) -> float:
        return self.score.dice or 0.0


def examples(runs: Sequence[RunOnDisk]) -> Examples:
    """Rows of one evaluation, chosen by a rule that the result states.

    The evaluation is the one that the page's sentences are about; where it has no pictures, of the runs the first that
    is told a sentence, else the first, and of its evaluations the first by `_preference`. Of the answers to own prompts
    about present targets the ones with the highest, the median (the lower of two) and the lowest Dice; the target
    nearest to the median that was also asked for with other words; of the absent targets that are answered as most are
    (half: with a mark) the one in the middle by area of the answer. Ties by sample id.

    Raises:
        InputError: pictures of other scores, or files that cannot be read.
    """
    found = [
        (run, evaluation)
        for run in runs
        for evaluation in run.evaluations
        if has_pictures(evaluation) and any(row.condition == "clean" for row in evaluation.scores)
    ]
    if not found:
        return Examples(missing=[NO_PICTURES])
    lead = spoken_of(runs)
    first = [one for one in found if lead is not None and one[1] is lead[1]]
    run, evaluation = first[0] if first else min(found, key=lambda one: _preference(*one))
    own = [one for one in _answers(evaluation) if one.score.condition == "clean"]
    present = sorted((one for one in own if one.score.empty_target is False), key=lambda one: (one.dice, one.name))
    absent = [one for one in own if one.score.empty_target]
    if not present and not absent:
        return Examples(missing=["No answer with a picture has a truth: there is no Dice to choose examples by."])
    other, why = _other_words(run, evaluation, present)
    missing = [] if present else ["No target is present in its image: none of these answers has a Dice."]
    missing += [] if absent else ["No target is known to be absent from its image."]
    which = ""
    if len(runs) > 1:
        told = evaluation.spec.told == "prompt"
        which = " (the run of the sentences above)" if first else " (the first run here that is told a sentence)" * told
    rule = _rule(run, evaluation, which)
    return Examples([*_extremes(present), *other, *_typical(absent)], rule, [*missing, *why])


def _preference(run: RunOnDisk, evaluation: EvaluationOnDisk) -> tuple[object, ...]:
    """Told a sentence; own prompts alone; the prompt and the data that it was trained with; the test split."""
    spec, record = evaluation.spec, run.record
    own_data = spec.dataset == record.dataset or spec.dataset in record.trained_on
    told = spec.told in ("prompt", "unknown")
    return not told, spec.condition != "clean", spec.prompt != record.prompt, not own_data, spec.split != "test"


def _rule(run: RunOnDisk, evaluation: EvaluationOnDisk, which: str) -> str:
    spec = evaluation.spec
    asked = f" to the prompts {spec.prompt}" if spec.told in ("prompt", "unknown") else ""
    answers = f"{run.record.id}{which}{asked} on {spec.dataset}, {spec.split}"
    return (
        f"Chosen by rule from the answers of {answers}: best, median and worst by Dice over present targets; "
        "nearest the median, one that was also asked for with other words, of which another target's go before another "
        "attribute and these before the rest; and an absent target that is answered as most are, or, where half are "
        "empty, with a mark. Ties go by name."
    )


def _answers(evaluation: EvaluationOnDisk) -> Iterator[_Answer]:
    """Those with a picture and an answer on it."""
    pictures = evaluation.pictures
    if pictures is None:
        return
    for score, outline in zip(evaluation.scores, pictures.outlines, strict=True):
        image = pictures.images.get((score.dataset, score.image_id))
        if image is not None and outline.answer is not None:
            yield _Answer(evaluation, score, image, outline.truth, outline.answer)


def _extremes(present: Sequence[_Answer]) -> list[Example]:
    """Best, median and worst of answers in rising order of Dice and, of the same Dice, by name."""
    if not present:
        return []
    if len(present) == 1:
        return [_example("The only present target", present[0])]
    # Of equal Dice the first by name, at the upper end as well.
    best = min(present, key=lambda one: (-one.dice, one.name))
    worst, middle = present[0], present[(len(present) - 1) // 2]
    samples = len({one.sample for one in present})
    of = (
        f"{len(present):,}"
        if samples == len(present)
        else f"{len(present):,} answers about {counted(samples, 'target')}"
    )
    chosen = (
        {"Best": best, "Median": middle, "Worst": worst}
        if len(present) > 2
        else {"Best": best, "Worst": present[1] if best is worst else worst}
    )
    return [_example(f"{title} of {of}{_ties(present, one)}", one) for title, one in chosen.items()]


def _ties(present: Sequence[_Answer], one: _Answer) -> str:
    """How many more have its Dice; floats of one computation are the same or not."""
    more = sum(other.dice == one.dice for other in present) - 1
    return f" ({more:,} more with the same Dice)" if more else ""


def _typical(absent: Sequence[_Answer]) -> list[Example]:
    """An absent target that is answered as most are."""
    if not absent:
        return []
    empty = [one for one in absent if one.score.empty_pred]
    alike_ones = empty if 2 * len(empty) > len(absent) else [one for one in absent if not one.score.empty_pred]
    alike_ones = sorted(alike_ones, key=lambda one: (one.score.area, one.name))
    samples = len({one.sample for one in absent})
    what = (
        "absent targets are answered"
        if samples == len(absent)
        else f"answers about {counted(samples, 'absent target')} are"
    )
    fact = f"{len(empty):,} of {len(absent):,} {what} empty, as they should be."
    return [_example("An absent target", alike_ones[(len(alike_ones) - 1) // 2], fact)]


def _example(title: str, one: _Answer, *facts: str) -> Example:
    sentences, told = _asked(one)
    panels = [
        Panel("image"),
        Panel("truth", one.truth, over="not in this image" if one.score.empty_target else ""),
        Panel("answer", None, one.answer, _over(one)),
    ]
    dice = [] if one.score.empty_target else [f"Dice {one.dice:.3f}"]
    return _row(title, one, sentences, told, [*dice, *facts], panels)


def _row(
    title: str, one: _Answer, sentences: list[Sentence], told: str, facts: list[str], panels: list[Panel]
) -> Example:
    score, image = one.score, one.image
    sample = [word for word in (score.target, score.sample_id, score.dataset) if word]
    return Example(
        title, sentences, told, facts, sample, data_uri("image/webp", image.content), image.width, image.height, panels
    )


def _over(one: _Answer) -> str:
    return "nothing marked" if one.score.empty_pred else ""


def _asked(one: _Answer) -> tuple[list[Sentence], str]:
    """Its sentence, or what it is told instead."""
    spec, score = one.evaluation.spec, one.score
    if spec.told == "nothing":
        return [], "told nothing beside the image"
    if spec.told == "target":
        return [], f"told the class alone: {score.target}" if score.target else "told the class alone"
    made_up = bool({score.dataset, spec.dataset} & set(spec.phantoms))
    sources = [source for source in score.prompt_sources.split(",") if source]
    return [Sentence(score.wording, origin(sources, made_up=made_up))], ""


def _other_words(
    run: RunOnDisk, evaluation: EvaluationOnDisk, present: Sequence[_Answer]
) -> tuple[list[Example], list[str]]:
    """One present target asked for with its own and with other words; else why there is none."""
    if not present:
        return [], []
    if evaluation.spec.told in ("target", "nothing"):
        return [], ["It is told no sentence: there are no other words to ask it with."]
    others = [
        other
        for one in run.evaluations
        if one.spec.condition in ("probe", "swapped") and alike(one.spec, evaluation.spec) and has_pictures(one)
        for other in _answers(one)
        if _kind(other.score.condition) is not None
    ]
    middle = (len(present) - 1) // 2
    # The first wording of each sample: the one that other words are compared with.
    first: dict[tuple[str, str], str] = {}
    for score in evaluation.scores:
        if score.condition == "clean":
            first.setdefault((score.dataset, score.sample_id), score.wording)
    ranks = {
        one.sample: (abs(rank - middle), one)
        for rank, one in enumerate(present)
        if one.score.wording == first[one.sample]
    }
    candidates = [other for other in others if other.sample in ranks and _against(other.score) != "named"]
    if not candidates:
        return [], ["Not asked with other words: vlseg probe does that."]
    chosen = min(
        candidates, key=lambda one: (_kind(one.score.condition), ranks[one.sample][0], one.name, one.score.condition)
    )
    named = next((one for one in others if _same_query(one, chosen) and _against(one.score) == "named"), None)
    return [_both(ranks[chosen.sample][1], chosen, named)], []


def _kind(condition: str) -> int | None:
    """Place in OTHER_WORDS."""
    return next((place for place, start in enumerate(OTHER_WORDS) if condition.startswith(start)), None)


def _against(score: SampleScore) -> str | None:
    against: str | None = json.loads(score.condition_arguments).get("against")
    return against


def _same_query(one: _Answer, other: _Answer) -> bool:
    """One answer, held against two truths: the rows name the sample asked about and the words."""
    same = one.evaluation is other.evaluation and one.sample == other.sample
    return same and (one.score.condition, one.score.wording, one.answer) == (
        other.score.condition,
        other.score.wording,
        other.answer,
    )


def _both(own: _Answer, other: _Answer, named: _Answer | None) -> Example:
    condition = other.score.condition
    changed = {
        "swapped": "the sentence of another target in this image",
        "wrong_": f"another {condition.removeprefix('wrong_').replace('_', ' ')}",
        "other_side": "the other side",
        "paraphrase": "the same said otherwise",
        "class_only": "the name alone",
    }[OTHER_WORDS[_kind(condition) or 0]]
    facts = [f"Dice {own.dice:.3f} with sentence 1."]
    if named is not None:
        facts += [f"With sentence 2: {named.dice:.3f} with what it names, {other.dice:.3f} with what sentence 1 names."]
    else:
        meant = "" if condition in ("paraphrase", "class_only") else "; no target of this image has that sentence"
        facts += [f"With sentence 2: {other.dice:.3f} with the same target{meant}."]
    if other.score.overlap is not None:
        facts += [f"IoU of the two answers: {other.score.overlap:.3f}."]
    sentences = [*_asked(own)[0], Sentence(other.score.wording, changed)]
    truth = named.truth if named is not None else other.truth
    whose = "what it names" if named is not None else "the same truth"
    panels = [
        Panel("image"),
        Panel("1: truth and answer", own.truth, own.answer, _over(own)),
        Panel(f"2: {whose} and answer", truth, other.answer, _over(other)),
    ]
    return _row("Asked with other words", own, sentences, "", facts, panels)


NO_PICTURES = "No pictures are kept with these scores: vlseg evaluate keeps them unless it is told --no-images."
