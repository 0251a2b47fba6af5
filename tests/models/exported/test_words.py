"""The runner's tokenizer against the library's own."""

import random
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from transformers import AutoTokenizer
from weights_here import installed

from vlseg.models.biomedclipseg.tokenizer import spelling_tokenizer
from vlseg.models.clipseg.tokenizer import clip_tokenizer
from vlseg.models.clipseg_tiny.tokenizer import hash_prompts, portable_words
from vlseg.models.exported.words import tokenize, trimmed, widened
from vlseg.models.portable import library_words

SENTENCES = (
    *("a polyp", "", "   ", "Don't you'll we're I'D it's", "'s' ''t 'REVE", "café naïve Ünï", "e\u0301 combining"),
    *("腫瘍 in 左", "①②½² Ⅳ 12345", "a\tb\nc\x1cd\u00a0e\u3000f", "--__--!!??", "$5<6 ^`|~", "🙂🙃 emoji"),
    *("<|endoftext|> hi <|startoftext|>", "[SEP] hi [CLS][MASK] [mask]", "\u200bzero\u200d", "\x00\ufffd\x07 ctl"),
    *("x" * 150, "very long " * 100, "ﬁ ligature İstanbul ẞ", "ΑΣ ς Σ", "עברית العربية हिन्दी ไทย 한국어"),
)
NEWER = "\u166d\u1734\u1885\u1886"
"""Characters that Unicode put into other classes after version 3.2: the library's word pieces are of the old ones."""


class Reader(NamedTuple):
    """The library's tokenizer, and what the runner is told of it."""

    library: Any
    told: dict[str, Any]
    folder: Path

    def differing(self, prompts: list[str]) -> list[str]:
        """The prompts of which ids or mask are not the same."""
        length = self.told["length"]
        wanted = self.library(prompts, padding="max_length", truncation=True, max_length=length, return_tensors="np")
        found = tokenize(self.told, self.folder, prompts)
        same = (wanted["input_ids"] == found["input_ids"]) & (wanted["attention_mask"] == found["attention_mask"])
        return [prompt for prompt, alike in zip(prompts, same.all(axis=1), strict=True) if not alike]


@pytest.fixture(scope="module", params=["clip", "bert", "spelling"])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """CLIP's byte pairs, MiniLM's word pieces, and word pieces that keep case and accents' order."""
    if request.param == "clip":
        tokenizer: Any = clip_tokenizer()
    elif request.param == "bert":
        tokenizer = AutoTokenizer.from_pretrained(str(installed("minilm")), local_files_only=True)
    else:
        tokenizer = spelling_tokenizer()
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    kind = "clip" if request.param == "clip" else "bert"
    return Reader(tokenizer, library_words(tokenizer, 77, kind=kind), folder)


def old_characters() -> list[str]:
    """All that Unicode 3.2 knows, of its 90,000 ideographs and syllables a few."""
    old = (chr(code) for code in range(0x30000) if code not in range(0xD800, 0xE000))
    known = [one for one in old if unicodedata.ucd_3_2_0.category(one) not in ("Cn", "Co")]
    return [one for at, one in enumerate(known) if unicodedata.category(one) != "Lo" or at % 9 == 0 or one < "\u3000"]


def test_sentences_are_read_as_by_the_library(reader: Reader) -> None:
    assert reader.differing(list(SENTENCES)) == []


def test_mixed_signs_are_read_as_by_the_library(reader: Reader) -> None:
    rng, pool = random.Random(0), [one for one in old_characters() if one not in NEWER]
    prompts = [
        "".join(rng.choice(pool) if rng.random() < 0.4 else rng.choice("abc deF 's12.,-") for _ in range(30))
        for _ in range(400)
    ]
    assert reader.differing(prompts) == []


@pytest.mark.slow
def test_every_character_of_unicode_3_2_is_read_as_by_the_library(reader: Reader) -> None:
    """Inside a word and beside a digit; but for four, in word pieces."""
    characters = old_characters()
    assert len(characters) > 18000
    prompts = {f"a{one}b {one}1": one for one in characters}
    differing = {prompts[prompt] for prompt in reader.differing(list(prompts))}
    assert differing == (set() if reader.told["kind"] == "clip" else set(NEWER))


def test_hashed_words_are_those_of_the_model(tmp_path: Path) -> None:
    prompts = [*SENTENCES, "many words " * 90]
    found = tokenize(portable_words(), tmp_path, prompts)
    assert np.array_equal(found["buckets"], hash_prompts(prompts).tensors["buckets"].numpy())


def test_targets_are_numbers_and_unknown_ones_are_named(tmp_path: Path) -> None:
    told = {"kind": "targets", "targets": ["cyst", "polyp"]}
    assert tokenize(told, tmp_path, ["polyp", "cyst"])["target"].tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"'tumor' is no target of this model \(known: cyst, polyp\)"):
        tokenize(told, tmp_path, ["cyst", "tumor"])


def test_columns_that_nobody_reads_go_and_features_are_filled_up_again(tmp_path: Path) -> None:
    told = portable_words({"words": 0, "padding": 1})
    tokens = tokenize(told, tmp_path, ["a polyp", "one two three"])
    cut = trimmed(told, tokens)
    assert cut["buckets"].shape == (2, 4, 2)
    assert np.array_equal(cut["buckets"], tokens["buckets"][:, :4])
    features = {"words": np.ones((2, 4, 3), np.float32), "padding": np.zeros((2, 4), bool), "state": np.ones((2, 5))}
    wide = widened(told, features, 78)
    assert wide["words"].shape == (2, 78, 3)
    assert wide["words"][:, 4:].max() == 0
    assert wide["padding"].dtype == bool
    assert wide["padding"].sum(axis=1).tolist() == [74, 74]
    assert wide["state"] is features["state"]


def test_several_readers_stand_beside_each_other(tmp_path: Path) -> None:
    own = portable_words()
    told = {"kind": "beside", "parts": {"one": own, "two": {"kind": "targets", "targets": ["cyst"]}}}
    tokens = tokenize(told, tmp_path, ["cyst"])
    assert {name: one.shape for name, one in tokens.items()} == {"one.buckets": (1, 78, 2), "two.target": (1,)}
    assert {name: one.shape for name, one in trimmed(told, tokens).items()} == {
        "one.buckets": (1, 2, 2),
        "two.target": (1,),
    }
