"""Every model, in a tiny size, against everything that the segmenter's contract promises: one table."""

from pathlib import Path

import pytest
import torch
from tiny_models import IMAGE_ONLY, NAMES, READING, TARGETS, TINY, made
from torch import Tensor, nn

from vlseg.models import MODELS, Segmenter, as_module, build_model, load_model
from vlseg.training.freezing import REGIMES, apply_regime, train_mode


def pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator) for size in sizes]


def test_the_table_is_complete() -> None:
    assert list(MODELS) == NAMES


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_steps_in_a_row_are_forward_and_rows_stand_alone(name: str) -> None:
    model = made(name)
    assert isinstance(model, Segmenter)
    inputs, tokens = model.prepare(pictures((32, 32), (40, 21))), model.tokenize(TARGETS)
    output = model.forward(inputs, tokens)
    channels = len(TARGETS) if name in IMAGE_ONLY else 1
    assert output.logits.shape == (2, channels, *model.spec.image_size)
    both = model.decode(model.encode_image(inputs), model.encode_prompts(tokens))
    assert torch.equal(both.logits, output.logits)
    alone = model.forward(inputs[1:], tokens[1:] if tokens else None)
    scale = float(output.logits.std())
    torch.testing.assert_close(alone.logits, output.logits[1:], rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (37, 91), (200, 3)])
@torch.no_grad()
def test_images_of_any_size_come_back_at_their_size(name: str, size: tuple[int, int]) -> None:
    model = made(name)
    inputs = model.prepare(pictures(size))
    logits = model.forward(inputs, model.tokenize(TARGETS[:1])).logits
    restored = model.restore(logits, inputs)
    assert [tuple(row.shape) for row in restored] == [(logits.shape[1], *size)]
    assert torch.isfinite(restored[0]).all()
    masks = model.prepare_masks([torch.ones(size)])
    assert masks.shape == (1, 1, *model.spec.image_size)
    torch.testing.assert_close(masks.max(), torch.tensor(1.0))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_many_prompts_on_one_image_equal_one_at_a_time(name: str) -> None:
    model = made(name)
    prompts = list(TARGETS) * 3
    image = model.encode_image(model.prepare(pictures((50, 60))))
    rows = torch.zeros(len(prompts), dtype=torch.long)
    together = model.decode(image[rows], model.encode_prompts(model.tokenize(prompts))).logits
    scale = float(together.std())
    for row, prompt in enumerate(prompts):
        alone = model.decode(image, model.encode_prompts(model.tokenize([prompt]))).logits
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("name", READING)
@torch.no_grad()
def test_empty_and_endless_prompts(name: str) -> None:
    model = made(name)
    image = model.encode_image(model.prepare(pictures((32, 32))))
    empty, endless = model.decode(
        image[[0, 0]], model.encode_prompts(model.tokenize(["", "word " * 400]))
    ).logits.unbind()
    assert torch.isfinite(empty).all()
    assert torch.isfinite(endless).all()
    assert not torch.equal(empty, endless)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_words_steer_the_mask_or_are_not_read(name: str) -> None:
    model = made(name)
    image = model.encode_image(model.prepare(pictures((32, 32))))
    if name in IMAGE_ONLY:
        assert model.tokenize(["anything"]) is None
        assert model.encode_prompts(None) is None
        first, second = model.decode(image, None).logits[0]
        assert not torch.equal(first, second)  # a channel for each target, in the order of spec.targets
        assert model.spec.targets == TARGETS
        return
    first, second = model.decode(image[[0, 0]], model.encode_prompts(model.tokenize(TARGETS))).logits
    assert (first - second).abs().max() > 1e-3 * first.std()


@pytest.mark.parametrize("name", NAMES)
def test_the_image_keeps_its_gradient(name: str) -> None:
    model = made(name)
    picture = pictures((20, 30))[0].requires_grad_()
    model.forward(model.prepare([picture]), model.tokenize(TARGETS[:1])).logits.square().sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("regime", REGIMES)
def test_gradient_reaches_exactly_what_trains_and_a_batch_of_one_trains(name: str, regime: str) -> None:
    model = made(name)
    training = apply_regime(model, regime)
    train_mode(model, training)
    network = as_module(model)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    prompt = "large dark cyst" if name in READING else TARGETS[0]
    model.forward(model.prepare(pictures((32, 32))), model.tokenize([prompt])).logits.square().mean().backward()
    trained = {id(p) for module in training for p in module.parameters()}
    for key, parameter in network.named_parameters():
        if id(parameter) not in trained:
            assert parameter.grad is None, key
        elif parameter.grad is None:
            assert "token_type" in key or "position_embeddings" in key, key
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    optimizer.step()
    frozen = {key for key, p in network.named_parameters() if id(p) not in trained}
    buffers = {key for key, _ in network.named_buffers()}
    statistics = {
        f"{key}.{own}" for key, m in network.named_modules() if m.training for own, _ in m.named_buffers(recurse=False)
    }
    for key, value in network.state_dict().items():
        if key in frozen or (key in buffers and key not in statistics):
            assert torch.equal(value, before[key]), key  # frozen batch norm keeps its statistics, too


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_saved_and_loaded_gives_the_same(name: str, tmp_path: Path) -> None:
    model = made(name)
    model.save(tmp_path)
    again = load_model(str(tmp_path))
    as_module(again).eval()
    assert again.spec == model.spec
    inputs, tokens = model.prepare(pictures((32, 32), (40, 25))), model.tokenize(TARGETS)
    assert torch.equal(again.forward(inputs, again.tokenize(TARGETS)).logits, model.forward(inputs, tokens).logits)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_bf16_on_the_cpu_is_close(name: str) -> None:
    model = made(name)
    inputs, tokens = model.prepare(pictures((32, 32))), model.tokenize(TARGETS[:1])
    exact = model.forward(inputs, tokens).logits
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.forward(inputs, tokens).logits.float()
    assert (exact - rough).abs().mean() < 0.1 * exact.std() + 0.02


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_features_are_rows_of_plain_tensors(name: str, tmp_path: Path) -> None:
    """They can be written to disk and read back: what a cache of features needs."""
    import safetensors.torch

    model = made(name)
    features = model.encode_image(model.prepare(pictures((32, 32), (16, 40))))
    assert len(features) == 2
    safetensors.torch.save_file({k: t.contiguous() for k, t in features.tensors.items()}, tmp_path / "f")
    again = type(features)(safetensors.torch.load_file(tmp_path / "f"))
    prompts = model.encode_prompts(model.tokenize(TARGETS))
    assert torch.equal(model.decode(again, prompts).logits, model.decode(features, prompts).logits)
    assert isinstance(as_module(model), nn.Module)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ensemble"])
def test_bad_arguments_are_named(name: str) -> None:
    from vlseg.records import InputError

    with pytest.raises(InputError, match="image_size: 9 is"):
        build_model(name, arguments={**TINY[name], "image_size": 9})
    with pytest.raises(InputError, match="protocol"):
        build_model(name, arguments=TINY[name], protocol="improved")
    with pytest.raises(InputError, match="model_arguments of"):
        build_model(name, arguments={"colour": "blue"})
