"""Which labelled sample's mask an answer is held against."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from tiny_models import READING, made
from torch import Tensor

from vlseg.models import Rows
from vlseg.prompts import Prompted
from vlseg.records import Sample
from vlseg.training.references import References, _sentences, text_vectors

VECTORS = {"left lung": (1.0, 0.0, 0.0), "right lung": (0.0, 1.0, 0.0), "both lungs": (0.8, 0.6, 0.0)}
VECTORS |= {"a left lung": (0.9, 0.1, 0.0), "heart": (0.0, 0.0, 1.0), "a heart": (0.0, 0.1, 1.0)}


def vectors(texts: object) -> Tensor:
    found = torch.tensor([VECTORS[text] for text in texts])  # type: ignore[attr-defined]
    return found / found.norm(dim=1, keepdim=True)


def item(number: int, text: str, target: str | None = "lung", *, mask: bool = True) -> Prompted:
    masks = (Path(f"{number}_mask.png"),) if mask else ()
    sample = Sample(f"s{number}", f"i{number}", Path(f"{number}.png"), masks, target, {}, "chest", "train")
    return Prompted(sample, (text, "another wording"), "p1", frozenset())


def test_the_closest_text_by_cosine_is_taken() -> None:
    labelled = [item(0, "right lung"), item(1, "both lungs"), item(2, "left lung")]
    asked = item(9, "a left lung", mask=False)
    found = References(labelled, [asked], vectors, 0).of(asked, 0)
    cosines = {i.wordings[0]: float(vectors([i.wordings[0]])[0] @ vectors(["a left lung"])[0]) for i in labelled}
    assert found.wordings[0] == max(cosines, key=lambda text: cosines[text]) == "left lung"


def test_samples_of_the_same_target_come_first() -> None:
    labelled = [item(0, "right lung"), item(1, "heart", "heart")]
    asked = [item(8, "a heart", mask=False), item(9, "a heart", "aorta", mask=False)]
    references = References(labelled, asked, vectors, 0)
    assert references.of(asked[0], 0).sample.target == "lung"
    assert references.of(asked[1], 0).sample.target == "heart"  # nobody has its target


def test_of_several_with_the_closest_text_each_has_its_turn() -> None:
    labelled = [item(number, "left lung") for number in range(4)] + [item(4, "right lung")]
    asked = item(9, "a left lung", mask=False)
    references = References(labelled, [asked], vectors, 3)
    drawn = Counter(references.of(asked, epoch).sample.id for epoch in range(400))
    assert drawn.keys() == {"s0", "s1", "s2", "s3"}
    assert min(drawn.values()) > 70
    again = References(labelled, [asked], vectors, 3)
    assert [references.of(asked, epoch) for epoch in range(20)] == [again.of(asked, epoch) for epoch in range(20)]


def test_a_sentence_is_the_mean_of_its_words_or_its_own_vector() -> None:
    words = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    flags = torch.tensor([[True, True, False]])
    expected = torch.tensor([[0.6, 0.8]])
    assert torch.allclose(_sentences(Rows({"vectors": words, "words": flags})), expected)
    state = torch.tensor([[0.0, 2.0]])
    assert torch.allclose(_sentences(Rows({"words": words, "state": state})), torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize("name", READING)
def test_every_model_that_reads_has_vectors_that_tell_texts_apart(name: str) -> None:
    texts = ["bright nodule", "bright nodule on the left", "dark cyst"]
    found = text_vectors(made(name), texts, torch.device("cpu"), "fp32")
    assert found.shape[0] == 3
    assert torch.allclose(found.norm(dim=1), torch.ones(3))
    alone = text_vectors(made(name), texts[1:2], torch.device("cpu"), "fp32")
    rounding = float((alone - found[1:2]).abs().max())  # of being encoded with others
    assert rounding < 1e-5
    assert float((found[0] - found[1]).abs().max()) > 10 * rounding  # random towers tell them apart a little
    assert float((found[0] - found[2]).abs().max()) > 10 * rounding
