"""What every regime that adds weights promises, on every model it is for."""

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from extended_models import CASES, IDS, extended
from safetensors.torch import load_file
from tiny_models import TARGETS, made
from torch import Tensor

from vlseg.models import Segmenter, as_module, load_model
from vlseg.models.additions import ADDITIONS, suits_cache
from vlseg.models.additions.extended import Extended
from vlseg.training.freezing import apply_regime, parameter_groups, train_mode

Row = tuple[str, str, Mapping[str, Any]]


def pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator) for size in sizes]


def answers(model: Segmenter) -> Tensor:
    # torch's attention rounds otherwise where weights could train.
    as_module(model).eval().requires_grad_(False)
    with torch.no_grad():
        inputs = model.prepare(pictures((32, 40), (50, 21)))
        return model.forward(inputs, model.tokenize([TARGETS[0], f"one small {TARGETS[1]} there"])).logits


def one_step(model: Extended, rate: float = 1.0) -> None:
    train_mode(model, apply_regime(model, model.regime))
    model.forward(model.prepare(pictures((32, 32))), model.tokenize(TARGETS[:1])).logits.square().mean().backward()
    torch.optim.SGD(trained(model), lr=rate).step()
    as_module(model).zero_grad()


def trained(model: Extended) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def test_the_table_is_complete() -> None:
    assert {regime for regime, _, _ in CASES} == set(ADDITIONS)


@pytest.fixture(params=CASES, ids=IDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Extended:
    torch.manual_seed(3)
    model = extended(tmp_path / "base", *request.param)
    model.eval()
    return model


def test_a_gradient_reaches_all_that_is_added_and_nothing_else(case: Extended) -> None:
    train_mode(case, apply_regime(case, case.regime))
    reached: dict[str, bool] = {}
    # A zero that starts another one's gradient (LoRA's B) hides it for one step.
    for _ in range(2):
        case.zero_grad()
        inputs, tokens = case.prepare(pictures((32, 32), (20, 30))), case.tokenize(["large dark cyst", "cyst"])
        case.forward(inputs, tokens).logits.square().mean().backward()
        torch.optim.SGD(trained(case), lr=1e-3).step()
        for name, parameter in case.named_parameters():
            reached[name] = reached.get(name, False) or (parameter.grad is not None and bool(parameter.grad.any()))
    inside = {id(p) for modules in case.parts().values() for module in modules for p in module.parameters()}
    assert [name for name, parameter in case.named_parameters() if reached[name] != (id(parameter) in inside)] == []
    assert sum(group["share"] * len(group["params"]) for group in parameter_groups(case, 0.1)) == len(trained(case))


def test_a_step_leaves_the_base_as_it_was_and_only_what_was_added_is_stored(case: Extended, tmp_path: Path) -> None:
    before = answers(case)
    plain = load_model(str(tmp_path / "base"))
    one_step(case, 5.0)
    assert not torch.equal(answers(case), before)
    case.save(tmp_path / "saved")
    held = sum(path.stat().st_size for path in (tmp_path / "saved").rglob("*") if path.is_file())
    wanted = sum(tensor.numel() * tensor.element_size() for tensor in case.stored().values())
    assert wanted < held < wanted + 60_000
    assert not (tmp_path / "saved" / "base").exists()
    added = {tensor.data_ptr() for tensor in case.stored().values()} | {case.settings.data_ptr()}
    rest = {tensor.data_ptr(): tensor for tensor in case.state_dict().values() if tensor.data_ptr() not in added}
    own = plain.parts()["mask_decoder"] if case.trains_decoder else []
    trained = {tensor.data_ptr() for module in own for tensor in module.state_dict().values()}
    base = {one.data_ptr(): one for one in as_module(plain).state_dict().values() if one.data_ptr() not in trained}
    assert sorted(map(digest, rest.values())) == sorted(map(digest, base.values()))


def digest(tensor: Tensor) -> str:
    return hashlib.sha256(repr(tensor.shape).encode() + tensor.contiguous().numpy().tobytes()).hexdigest()


def test_saved_and_loaded_it_answers_the_same(case: Extended, tmp_path: Path) -> None:
    one_step(case)
    wanted = answers(case)
    case.save(tmp_path / "saved")
    again = load_model(str(tmp_path / "saved"))
    assert isinstance(again, Extended)
    assert torch.equal(answers(again), wanted)
    assert again.spec == case.spec
    again.save(tmp_path / "twice")
    for file in (path for path in (tmp_path / "saved").iterdir() if path.suffix == ".safetensors"):
        one, other = load_file(file), load_file(tmp_path / "twice" / file.name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_copy_stands_on_its_own(case: Extended) -> None:
    wanted = answers(case)
    copy = deepcopy(case)
    assert torch.equal(answers(copy), wanted)
    one_step(copy, 5.0)
    assert torch.equal(answers(case), wanted)
    assert not torch.equal(answers(copy), wanted)


def steered(model: Segmenter, prompts: list[str]) -> float:
    """The largest difference between the logits of two prompts on one image, in deviations."""
    image = model.encode_image(model.prepare(pictures((32, 40))))
    first, second = model.decode(image[[0, 0]], model.encode_prompts(model.tokenize(prompts))).logits
    return float((first - second).abs().max() / first.std())


@torch.no_grad()
def test_rows_stand_alone_and_words_steer(case: Extended, tmp_path: Path) -> None:
    inputs = case.prepare(pictures((32, 40), (50, 21)))
    prompts = [TARGETS[0], f"one small {TARGETS[1]} there"]
    together = case.forward(inputs, case.tokenize(prompts)).logits
    scale = float(together.std())
    for row, prompt in enumerate(prompts):
        alone = case.forward(case.prepare(pictures((32, 40), (50, 21))[row : row + 1]), case.tokenize([prompt])).logits
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-4 * scale)
    plain = load_model(str(tmp_path / "base"))
    as_module(plain).eval()
    # Random words of BERT's are much alike, and an untrained adapter behind each block makes them more so.
    share = 0.05 if (case.regime, case.spec.name) == ("dense_vlc", "biomedclipseg") else 0.3
    assert steered(case, prompts) > share * steered(plain, prompts) > 1e-4


@torch.no_grad()
def test_empty_and_endless_prompts(case: Extended) -> None:
    image = case.encode_image(case.prepare(pictures((32, 32))))
    logits = case.decode(image[[0, 0]], case.encode_prompts(case.tokenize(["", "word " * 400]))).logits
    assert torch.isfinite(logits).all()


@torch.no_grad()
def test_what_leaves_the_images_leaves_them_bit_by_bit(case: Extended, tmp_path: Path) -> None:
    inputs = case.prepare(pictures((32, 32)))
    base = load_model(str(tmp_path / "base"))
    as_module(base).eval()
    plain = base.encode_image(inputs).tensors
    mine = case.encode_image(inputs).tensors
    if case.leaves_images:
        assert all(torch.equal(mine[name], plain[name]) for name in plain)
    assert suits_cache(case.regime) <= case.leaves_images


def test_it_goes_onto_the_very_same_base_alone(case: Extended, tmp_path: Path) -> None:
    case.save(tmp_path / "saved")
    other = made(case.spec.name)
    with torch.no_grad():
        next(iter(p for p in as_module(other).parameters() if p.dim() > 1)).add_(1e-3)
    other.save(tmp_path / "other")
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(Exception, match=r"not there any more.*model_arguments=\{base: FOLDER\}"):
        load_model(str(tmp_path / "saved"))
    moved = load_model(str(tmp_path / "saved"), arguments={"base": str(tmp_path / "moved")})
    assert torch.equal(answers(moved), answers(case))
    with pytest.raises(Exception, match="another model than"):
        load_model(str(tmp_path / "saved"), arguments={"base": str(tmp_path / "other")})
