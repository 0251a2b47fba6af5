"""Graphs against the models that they were made of: model, engine, batch, size; and docs/export-parity.md."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting import ENGINES, apart, exported, opened
from extended_models import CASES as ADDED
from extended_models import IDS, extended
from tiny_models import NAMES, TARGETS, TINY, made
from torch import Tensor, nn
from torch.nn import functional as F
from weights_here import installed

from vlseg.models import Segmenter, architecture_of, as_module, build_model, load_model
from vlseg.models.additions import ADDITIONS
from vlseg.models.cris.neck import _each_with_its_kernel
from vlseg.models.exported.write import portable_of, write_exported
from vlseg.records import InputError

BOUND = 1e-4
"""Of the logits' standard deviation: what the docs promise."""
FIXED = ("vlsm-ensemble-a", "vlsm-ensemble-b", "vlsm-ensemble-c")
"""Models whose weights are bound to the size of their input."""
ANY_SIZE = ("clipseg-tiny", "unet", "unet-target", "unet-d", "smp-unet", "smp-unetplusplus", "smp-deeplabv3plus")


@dataclass(frozen=True)
class Case:
    """A model in one of its settings; `arguments` over those of the tiny one."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = "corrected"

    def __str__(self) -> str:
        told = [self.protocol] * (self.protocol != "corrected") + [str(one) for one in self.arguments.values()]
        return " ".join([self.name, *told])

    def made(self, **more: Any) -> Segmenter:
        torch.manual_seed(0)
        arguments = {**TINY[self.name], **self.arguments, **more}
        model = build_model(self.name, arguments=arguments, targets=TARGETS, protocol=self.protocol)
        shake(as_module(model))
        return model


def shake(network: nn.Module) -> None:
    """Nothing stays at a value that a layer starts with and that hides what is done to it: 0, 1, or all alike."""
    network.eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.2 * torch.rand_like(tensor))
                tensor.add_(0.02 * torch.rand_like(tensor) if name.endswith(("bias", "running_mean")) else 0)


CASES = [
    *(Case(name) for name in NAMES if name != "ensemble"),
    Case("smp-deeplabv3plus", {"image_size": 64}),
    Case("smp-unet", {"encoder": "timm-tf_efficientnet_lite0", "encoder_weights": "lite0"}),
    *(Case("cris", protocol=protocol) for protocol in ("original", "medvlsm", "attention_mask")),
    *(Case(name, protocol="published") for name in ("clipseg", "biomedclipseg", "vlsm-ensemble-a")),
    *(Case("guide", {"text": text}) for text in ("none", "target")),
]


SOME = ("clipseg", "cris", "biomedclipseg", "guide", "smp-unet", "clipseg-tiny")
"""Of these what the slow tests can bear; the others are with the long ones."""


def often(cases: Sequence[Case]) -> list[Any]:
    """All of them, but for some marked as long."""
    return [pytest.param(case, marks=() if str(case) in SOME else pytest.mark.long, id=str(case)) for case in cases]


@pytest.mark.slow
@pytest.mark.parametrize("case", often(CASES))
def test_graphs_answer_as_the_model_in_every_batch_and_at_two_sizes(case: Case, tmp_path: Path) -> None:
    model = case.made()
    folder = exported(model, tmp_path / "graphs")
    for engine in ENGINES:
        assert apart(model, opened(folder, engine)) < BOUND, engine
    side = model.spec.image_size[0] + 32
    padded = model.spec.image_size[0] % 32 or "lite0" in case.arguments.values()
    if case.name in ANY_SIZE and not padded:
        model.save(tmp_path / "saved")
        other = load_model(str(tmp_path / "saved"), arguments={"image_size": side})
        for engine in ENGINES:
            assert apart(other, opened(folder, engine, image_size=side)) < BOUND, engine
        with pytest.raises(InputError, match=r"image_size: 33 is not a multiple of (16|32); take"):
            opened(folder, "onnx", image_size=33)
        return
    with pytest.raises(InputError, match=f"image_size: the graphs are of {side - 32} px alone, not {side}; export"):
        opened(folder, "onnx", image_size=side)


@pytest.mark.long
@pytest.mark.parametrize("case", [one for one in CASES if one.name not in (*FIXED, *ANY_SIZE)], ids=str)
def test_graphs_of_a_model_at_another_size(case: Case, tmp_path: Path) -> None:
    """Exported anew, where its own graphs serve one size."""
    other = case.made(image_size=case.made().spec.image_size[0] + 32)
    assert apart(other, opened(exported(other, tmp_path / "other"), "onnx")) < BOUND


def test_a_small_model_answers_alike_on_both_engines_and_at_another_size(folder: Path, tmp_path: Path) -> None:
    """Of the table above what every run of the tests can bear."""
    model = made("clipseg-tiny")
    model.save(tmp_path / "saved")
    other = load_model(str(tmp_path / "saved"), arguments={"image_size": 80})
    for engine in ENGINES:
        assert apart(model, opened(folder, engine)) < BOUND
        assert apart(other, opened(folder, engine, image_size=80)) < BOUND
    with pytest.raises(InputError, match="image_size: 33 is not a multiple of 16; take 32"):
        opened(folder, "onnx", image_size=33)


ADDED_OFTEN = ("cocoop-cris", "lora-clipseg")
"""Of the additions what the slow tests can bear."""


def some_of_each() -> list[Any]:
    """Of the table of additions the first row of each regime and of each model, and words that wait on CRIS."""
    seen: set[str] = set()
    rows = []
    for row, name in zip(ADDED, IDS, strict=True):
        if not {row[0], row[1]} <= seen or name == "cocoop-cris":
            rows.append(pytest.param(*row, id=name, marks=() if name in ADDED_OFTEN else pytest.mark.long))
        seen |= {row[0], row[1]}
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(("regime", "model", "arguments"), some_of_each())
def test_what_a_regime_added_is_in_the_graphs(
    regime: str, model: str, arguments: Mapping[str, Any], tmp_path: Path
) -> None:
    """After a training, so that what was added counts."""
    whole = extended(tmp_path / "base", regime, model, arguments)
    before = made(model)
    with torch.no_grad():
        for tensor in whole.stored().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.randn_like(tensor))
        inputs, tokens = whole.prepare([torch.rand(3, 40, 50)]), whole.tokenize(TARGETS[:1])
        changed = whole.forward(inputs, tokens).logits - before.forward(inputs, before.tokenize(TARGETS[:1])).logits
    assert changed.abs().max() > 1e-3
    folder = exported(whole, tmp_path / "graphs")
    for engine in ENGINES:
        assert apart(whole, opened(folder, engine)) < BOUND, engine


FULL = {
    **{
        name: Case(name)
        for name in (
            *("clipseg", "clipseg-rd64", "cris", "biomedclipseg", "smp-unet", "unet-d", "vlsm-ensemble-a", "lvit"),
            *("clipseg-tiny", "unet"),
        )
    },
    "cris original": Case("cris", protocol="original"),
    "guide": Case("guide", {"encoder": "tf_efficientnet_lite0", "text": "minilm"}),
}
"""At their own sizes, as the docs list them."""
OFTEN = ("clipseg-tiny",)
"""Of these what is tested with the slow tests: the large ones take up to a minute each."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=() if row in OFTEN else pytest.mark.long, id=row) for row in FULL]
)
def test_full_sizes_are_as_near_as_the_docs_say(row: str, tmp_path: Path) -> None:
    """Their figures are of one machine; other processors round otherwise, not ten times worse."""
    case = FULL[row]
    if "minilm" in case.arguments.values():
        installed("minilm")
    torch.manual_seed(0)
    model = build_model(case.name, arguments=case.arguments, targets=TARGETS, protocol=case.protocol)
    as_module(model).eval()
    folder = exported(model, tmp_path / "graphs")
    side, *figures = written()[row]
    assert model.spec.image_size == (side, side)
    for engine, figure in zip(ENGINES, figures, strict=True):
        found = apart(model, opened(folder, engine))
        assert found < BOUND, engine
        assert found < 10 * figure * 1e-6, engine


def written() -> dict[str, list[int]]:
    """The table of docs/export-parity.md: side of the input, and how far apart on each engine in millionths."""
    text = (Path(__file__).parents[3] / "docs" / "export-parity.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)`(?:, `([a-z]+)`)? \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    return {f"{name} {protocol}".strip(): [int(one) for one in figures] for name, protocol, *figures in rows}


def test_the_docs_list_every_model_within_the_bound() -> None:
    table = written()
    assert table.keys() == FULL.keys()
    assert all(1 <= figure < BOUND * 1e6 for _, *figures in table.values() for figure in figures)
    text = (Path(__file__).parents[3] / "docs" / "export-parity.md").read_text()
    assert [name for name in [*NAMES, *ADDITIONS] if f"`{name}`" not in text] == []
    sizes = text.partition("## What is exported")[2].partition("Where the graphs serve")[0]
    every = {name for line in sizes.splitlines() if "every multiple" in line for name in re.findall(r"`([^`]+)`", line)}
    assert every - {"lite0"} == set(ANY_SIZE)
    assert all(f"`{name}`" in sizes for name in NAMES if name != "ensemble")


@pytest.mark.parametrize("name", NAMES)
def test_every_model_exports_or_says_why_not(name: str) -> None:
    model = made(name)
    if name == "ensemble":
        with pytest.raises(InputError, match=r"^an ensemble is not exported as graphs: .*; export each of them$"):
            portable_of(model)
        return
    portable = portable_of(model)
    assert bool(portable.words) == (model.spec.uses_text or model.spec.uses_target)
    whole = name in ANY_SIZE and model.spec.image_size[0] % 32 == 0
    assert bool(portable.any_size) == whole
    if "published" in architecture_of(name).protocols and name.startswith("lvit"):
        published = build_model(name, arguments=TINY[name], targets=TARGETS, protocol="published")
        with pytest.raises(InputError, match=f"^'{name}' under 'published' cannot be exported as graphs: .* hf keeps"):
            portable_of(published)


@pytest.mark.slow
def test_a_size_that_is_fixed_inside_is_found_and_the_graphs_serve_their_own(tmp_path: Path) -> None:
    """torch writes a count that it had to know as a number, and says nothing."""

    class Grid(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.linspace(1, 2, x.shape[-1])

    model = made("unet")
    as_module(model).get_submodule("encoder.stages.0").append(Grid())
    write_exported(model, tmp_path)
    graphs = opened(tmp_path, "onnx")
    assert apart(model, graphs) < BOUND
    with pytest.raises(InputError, match="image_size: the graphs are of 32 px alone, not 64; export the model at that"):
        opened(tmp_path, "onnx", image_size=64)


@pytest.mark.parametrize("size", [(3, 5), (1, 1), (104, 104)])
def test_kernels_of_each_row_are_those_of_grouped_convolution(size: tuple[int, int]) -> None:
    """CRIS, in graphs."""
    x, weight, bias = torch.randn(3, 4, *size), torch.randn(3, 4, 3, 3), torch.randn(3)
    wanted = torch.cat([F.conv2d(x[[row]], weight[[row]], bias[[row]], padding=1) for row in range(3)])
    torch.testing.assert_close(_each_with_its_kernel(x, weight, bias), wanted, rtol=1e-4, atol=1e-4)
