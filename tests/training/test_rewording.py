"""Other words in training: how many, whose, always the same, and never with another truth."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import straight_and_resumed
from tiny_models import TINY

from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo, RunConfig, Sample
from vlseg.training.rewording import Rewording

TEXT = "One small round tumor at the left in the breast ultrasound image"
ALIASES = {"p1": "class", "p2": "class+number", "p3": "class+number+location"}
TEXTS = {
    "p1": ("tumor in the breast ultrasound image",),
    "p2": ("One tumor in the breast ultrasound image",),
    "p3": ("One tumor at the left in the breast ultrasound image",),
}


def prompted(number: int, target: str | None = "breast tumor", **changes: Any) -> Prompted:
    sample = Sample(
        id=f"s{number}",
        image_id=f"i{number}",
        image_path=Path("i.png"),
        mask_paths=(Path("m.png"),),
        target=target,
        dataset="d",
        split="train",
        prompts=TEXTS,
    )
    return Prompted(replace(sample, **changes), TEXTS["p3"], "p3", frozenset({"class", "mask"}))


def rewording(**changes: Any) -> Rewording:
    infos = {"d": DatasetInfo("d", Path(), Path(), aliases=ALIASES)}
    return Rewording(**{"seed": 0, "epoch": 0, "class_share": 0.0, "dropout": 0.0, "infos": infos, **changes})


def told(items: list[Prompted], **changes: Any) -> list[str]:
    return [rewording(**changes).text(item, item.wordings[0], [item]) for item in items]


def test_shares_are_the_ones_asked_for_and_choices_are_the_samples_own() -> None:
    items = [prompted(number) for number in range(2000)]
    some = told(items, class_share=0.3)
    assert set(some) == {"breast tumor", TEXTS["p3"][0]}
    assert abs(some.count("breast tumor") / 2000 - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5
    assert told(items[::-1], class_share=0.3) == some[::-1]  # of the sample, not of its place
    assert told(items, class_share=0.3, epoch=1) != some
    assert told(items, class_share=0.3, seed=1) != some
    assert set(told(items[:50], class_share=1.0)) == {"breast tumor"}
    assert set(told(items[:50])) == {TEXTS["p3"][0]}


def test_each_attribute_is_left_out_for_itself() -> None:
    some = told([prompted(number) for number in range(1000)], dropout=0.5)
    kept = {words: sum(words in text for text in some) / 1000 for words in ("One", "left")}
    assert all(abs(share - 0.5) < 4 * 0.5 / 1000**0.5 for share in kept.values()), kept
    both = sum("One" in text and "left" in text for text in some) / 1000
    assert abs(both - 0.25) < 0.06
    assert all("umor" in text and text.endswith("in the breast ultrasound image") for text in some)
    assert set(told([prompted(0)], dropout=1.0)) == {"Tumor in the breast ultrasound image"}


def test_the_class_takes_no_prompts_place_whose_truth_is_less_than_the_class() -> None:
    """Of two tumours of an image each sentence names one; the class would name both."""
    one, two, other = prompted(1), prompted(2), prompted(3, "lymph node")
    always = rewording(class_share=1.0)
    assert always.text(one, TEXT, [one, two]) == TEXT
    assert always.text(one, TEXT, [one, other]) == "breast tumor"
    assert always.text(one, TEXT, [one, replace(two, sample=replace(two.sample, reader="b"))]) == "breast tumor"
    assert always.text(prompted(4, None), TEXT, [prompted(4, None)]) == TEXT
    assert always.text(one, "", [one]) == ""


@pytest.mark.slow
def test_a_run_with_other_words_is_resumed_exactly_and_is_another_run(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset(counts=(6, 0, 1))
    values: dict[str, Any] = {
        "model": "clipseg-tiny",
        "model_arguments": dict(TINY["clipseg-tiny"]),
        "data": [str(data)],
        "prompt": "p2",
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "max_steps": 4,
    }
    mixed = RunConfig(**values, class_prompt_share=0.5)
    straight, resumed = straight_and_resumed(mixed, tmp_path / "mixed", monkeypatch)
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    plain, _ = straight_and_resumed(RunConfig(**values), tmp_path / "plain", monkeypatch)
    assert not all(torch.equal(straight[key], plain[key]) for key in straight)
