"""What docs/models.md claims of the models and their recipes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import TINY, made
from torch import nn

from vlseg.jobs.settings import config_from_options
from vlseg.models import MODELS, architecture_of, as_module, build_model
from vlseg.models.cards import model_cards
from vlseg.models.device import check_precision
from vlseg.records import InputError, RunConfig
from vlseg.training.freezing import apply_regime, train_mode

TESTS = Path(__file__).resolve().parent
PAGE = (TESTS.parents[1] / "docs" / "models.md").read_text()


def rows(header: str) -> list[list[str]]:
    """Cells of the table that starts so."""
    table = PAGE[PAGE.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_tables_name_every_model() -> None:
    named = [name for row in rows("| name | what") for name in re.findall(r"`([\w-]+)`", row[0])]
    assert sorted(named) == sorted(MODELS)
    costed = [row[0].strip("`") for row in rows("| name | one prediction")]
    assert sorted(costed) == sorted(name for name in MODELS if not architecture_of(name).composed)


def test_every_model_says_what_it_is() -> None:
    said = [architecture_of(name).about for name in MODELS]
    assert all(said)
    assert len(set(said)) == len(said)


@pytest.mark.slow
def test_the_table_says_what_they_are_built_with() -> None:
    sizes = {card.name: card.image_size for card in model_cards()}
    for name, _, size, _ in rows("| name | what"):
        for one in re.findall(r"`([\w-]+)`", name):
            assert str(sizes[one]) == size or (sizes[one] is None and size == "largest member's")


def test_the_protocols_and_their_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each protocol that has a behaviour of its own; the threshold where it is not a half."""
    for room in ("clipseg", "cris"):  # it is built from CLIP's whole vocabulary
        monkeypatch.setattr(f"vlseg.models.{room}.build.clip_tokenizer", lambda: None)
    told: dict[str, dict[str, str]] = {}
    name = ""
    for model, protocol, text in rows("| model | protocol | what"):
        name = model or name
        told.setdefault(name, {})[protocol.strip("`")] = text
    for name, texts in told.items():
        assert set(texts) == set(architecture_of(name).protocols)
        for protocol, text in texts.items():
            spec = build_model(name, arguments=TINY[name], protocol=protocol).spec
            stands = float((re.findall(r"threshold (0\.\d+)", text) or ["0.35" if "medvlsm" in text else "0.5"])[0])
            assert spec.threshold == stands, (name, protocol)


def recipe(model: str, name: str | None = None) -> RunConfig:
    config = config_from_options({"model": model, "data": ["d"]}, [], recipe=name)
    assert config is not None
    return config


def test_the_published_recipe_is_what_the_page_says() -> None:
    for name, batch, rate in (("clipseg", 128, 2e-3), ("biomedclipseg-d", 128, 2e-3), ("cris", 32, 2e-5)):
        config = recipe(name, "published")
        assert (config.batch_size, config.learning_rate, config.optimizer) == (batch, rate, "adamw")
        assert (config.schedule, config.patience, config.precision, config.augment) == ("plateau", 20, "fp16", False)
    for name in ("smp-unet", "smp-unetplusplus", "smp-deeplabv3plus"):
        config = recipe(name, "published")
        assert (config.batch_size, config.learning_rate, config.optimizer) == (16, 1e-3, "adam")
        assert (config.loss, config.model_arguments) == ("present_dice", {"encoder_weights": "imagenet"})
    with pytest.raises(InputError, match="fp16 is not for the CPU"):
        check_precision("fp16", torch.device("cpu"))
    for name in ("clipseg", "clipseg-rd64", "cris", "biomedclipseg", "biomedclipseg-d"):
        assert 0 < recipe(name).encoder_rate < 1


def test_frozen_parts_drop_nothing_out_and_pubmedbert_does_where_it_trains() -> None:
    """PubMedBERT's 0.1 is there; frozen, as in the published recipe, a sentence gives the same features twice."""
    model = made("biomedclipseg")
    text = as_module(model).get_submodule("network.biomedclip.text")
    assert {module.p for module in text.modules() if isinstance(module, nn.Dropout)} == {0.1}
    tokens = model.tokenize(["one small round polyp"])
    for regime, same in (("decoder", True), ("freeze_encoders", True), ("full", False)):
        train_mode(model, apply_regime(model, regime))
        one, two = (model.encode_prompts(tokens) for _ in range(2))
        assert one is not None
        assert two is not None
        assert torch.equal(one.tensors["embedding"], two.tensors["embedding"]) == same, regime


def test_the_parity_that_the_page_gives_is_the_one_that_is_tested(golden: Path) -> None:
    said = re.search(r"within (\S+) of\s+logits .* about (\d+) \(CRIS\) and (\S+) of (\S+) \(", PAGE)
    assert said is not None
    cris, cris_spread, others, spread = (float(one) for one in said.groups())
    for name, page, tolerance, about in (
        ("cris_r50_416", "test_cris.py", cris, cris_spread),
        ("clipseg_352", "test_clipseg.py", others, spread),
        ("biomedclipseg_224", "test_biomedclipseg.py", others, spread),
    ):
        (tested,) = re.findall(r"assert_maps\(logits, \S+, (\S+)\)", (TESTS / page).read_text())
        assert float(tested) == tolerance
        stored = np.load(golden / f"{name}.npz")
        modes = [key for key in stored.files if re.fullmatch(r"(published|corrected|attention_mask)_stats", key)]
        deviations = np.concatenate([stored[key][:, 1] for key in modes])
        assert abs(float(deviations.mean()) - about) < 0.1 * about


def test_the_table_of_regimes_on_phantoms_is_what_was_measured() -> None:
    measured = json.loads((TESTS.parents[1] / "benchmarks" / "results" / "regimes.json").read_text())["rows"]
    told = rows("| regime | trained | processor")
    assert [row[0] for row in told[2:]] == [f"`{one['regime']}`" for one in measured[2:]]
    for cells, one in zip(told, measured, strict=True):
        low, high = one["dice_ci95"]
        index = one["selection_index_of_seeds"]
        assert cells[1] == f"{one['trained']:,}"
        assert cells[3] == f"{one['dice']:.3f} [{low:.3f}, {high:.3f}]"
        assert cells[4].split(" ")[0] == f"{sum(index) / len(index):.2f}"
