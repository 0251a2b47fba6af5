"""Does the model read the prompt? On one image, and what `vlseg probe` stored with the run."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np

from vlseg.evaluation import Predictor
from vlseg.metrics import dice_score
from vlseg.prompts import FOREIGN, chooser, misspelt, negated, paraphrased, shuffled
from vlseg.prompts.meaning import split_words
from vlseg.records import InputError
from vlseg.serve.agent_schemas import Asked, StoredProbe
from vlseg.serve.engine import Found

OTHERS = 3
"""Names of other things that are asked for, of the model's own."""
ON_IMAGE = (
    "One image asked in other words: it shows how this answer changes with the words, not whether it is right, and "
    "not how the model does on other images."
)
ON_SPLIT = "A stored result of vlseg probe: many test images with their true masks."
SAID = {
    "the same": "asked for the same in other words",
    "something else": "asked for something else",
    "given": "asked for what was given",
    "nothing": "without words",
}
Means = Literal["the same", "something else", "nothing", "given"]


def other_wordings(predictor: Predictor, prompt: str, given: Sequence[str]) -> list[tuple[str, Means, str]]:
    """What is asked beside the prompt itself: how, what it means, and the words; each words once.

    A model that reads no text has names of targets only.
    """
    spec = predictor.model.spec
    known = predictor.vocabulary.targets if predictor.vocabulary else ()
    names = [name for name in known or spec.targets if not _may_be_meant(name, prompt)][:OTHERS]
    rng = chooser("probe", prompt)
    said: list[tuple[str, Means, str | None]] = []
    if spec.uses_text:
        said += [
            ("paraphrase", "the same", paraphrased(prompt, rng)),
            ("letters swapped", "the same", misspelt(prompt, rng)),
            ("words in another order", "the same", shuffled(prompt, rng)),
            ("negation", "something else", negated(prompt)),
            ("what no medical image holds", "something else", rng.choice(FOREIGN)),
        ]
    said += [("another target of the model", "something else", name) for name in names]
    said += [("given", "given", text) for text in given]
    if spec.uses_text:
        said.append(("empty", "nothing", ""))
    found: dict[str, tuple[str, Means, str]] = {}
    for how, means, text in said:
        if text is not None and text != prompt:
            found.setdefault(text, (how, means, text))
    return list(found.values())


def _may_be_meant(name: str, prompt: str) -> bool:
    """Whether a target may be what the prompt asks for: one has all words of the other (tumor, large breast tumor)."""
    one, other = set(split_words(name)), set(split_words(prompt))
    return one <= other or other <= one


def compared(own: Found, others: Sequence[Found], wordings: Sequence[tuple[str, Means, str]]) -> list[Asked]:
    """Each other answer beside the own one."""
    found = []
    for one, (how, means, text) in zip(others, wordings, strict=True):
        area = int(np.count_nonzero(one.mask))
        empty = area == 0 and not own.mask.any()
        found.append(
            Asked(
                how=how,
                means=means,
                prompt=text,
                area_px=area,
                presence=one.presence,
                dice_with_own=None if empty else dice_score(one.mask, own.mask),
                changed_px=int(np.count_nonzero(one.mask != own.mask)),
            )
        )
    return found


def in_words(own_area: int, asked: Sequence[Asked], *, reads_text: bool) -> str:
    """The comparison in a sentence of its numbers."""
    if not reads_text:
        start = "This model reads no text: a prompt is the name of a target. "
    elif own_area == 0:
        start = "The prompt's own mask is empty, so there is little to compare. "
    else:
        start = ""
    told = [
        f"{named}, the Dice with the prompt's own mask is {_range(values)}"
        for means, named in SAID.items()
        if (values := [one.dice_with_own for one in asked if one.means == means and one.dice_with_own is not None])
    ]
    if not told:
        return f"{start}No other words gave a mask to compare."
    line = "; ".join(told)
    return f"{start}{line[0].upper()}{line[1:]}."


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def stored_probes(source: str, digest: str) -> tuple[list[StoredProbe], str | None]:
    """The results of `vlseg probe` in the run's folder, or why there is none.

    Args:
        source: as the model was loaded from.
        digest: of its weights.
    """
    from vlseg.reports.load import load_run  # with what draws reports, which is slow to import
    from vlseg.reports.words import about_language

    folder = next((place for place in (Path(source), Path(source).parent) if (place / "run.json").is_file()), None)
    if folder is None:
        return [], f"{source} is no run; vlseg probe {source} --data DATA --out FOLDER measures it on a test split"
    try:
        evaluations = load_run(folder).under("probe")
    except InputError as error:
        return [], f"The run's evaluations cannot be read: {error}"
    if not evaluations:
        return [], f"Nobody has probed this run; vlseg probe {folder} --data DATA does"
    return [
        StoredProbe(
            what=ON_SPLIT,
            says=about_language(one.scores, one.spec, use=one.use),
            dataset=one.spec.dataset,
            split=one.spec.split,
            prompt=one.spec.prompt,
            same_weights=one.spec.answers == digest,
            selection_index=asdict(one.use.selection),
            chose_none=asdict(one.use.chose_none),
            presence_index=asdict(one.use.presence),
            folder=str(one.folder),
        )
        for one in evaluations
    ], None
