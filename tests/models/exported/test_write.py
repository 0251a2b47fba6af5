"""What is refused before anything is exported."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from vlseg.models.exported.write import _check_words
from vlseg.models.portable import TOKENIZER, Portable, library_words
from vlseg.models.protocol import Rows
from vlseg.records import InputError


def of_another_make(*, whole: bool) -> PreTrainedTokenizerFast:
    """Byte pairs without a mark at a word's end, as RoBERTa has them; `whole`: words by blanks in word pieces."""
    known = {"<s>": 0, "</s>": 1, "<unk>": 2, "a": 3, "b": 4}
    if whole:
        tokenizer = Tokenizer(models.WordPiece(known, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        tokenizer = Tokenizer(models.BPE(known, [], unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<unk>", model_max_length=20)


@pytest.mark.parametrize(("kind", "whole"), [("clip", False), ("bert", True)])
def test_a_tokenizer_that_the_runner_cannot_read_is_refused(kind: str, whole: bool, tmp_path: Path) -> None:
    tokenizer = of_another_make(whole=whole)

    def tokenize(prompts: list[str]) -> Rows:
        found = tokenizer(list(prompts), padding="max_length", truncation=True, max_length=20, return_tensors="pt")
        return Rows({name: found[name] for name in ("input_ids", "attention_mask")})

    model: Any = SimpleNamespace(spec=SimpleNamespace(name="guide"), tokenize=tokenize)
    portable = Portable((0, 0, 0), (1, 1, 1), words=library_words(tokenizer, 20, kind=kind))
    (tmp_path / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str())
    with pytest.raises(InputError, match=r"^'guide': the runner (cannot read its tokenizer|reads sentences otherwise)"):
        _check_words(model, tmp_path, portable)
