"""Weights out of files as people save them, with nothing in them executed, and one line for what holds none."""

import contextlib
import errno
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from vlseg.models.folder import load_strictly
from vlseg.models.tensors import find_weights, network_in, read_tensors
from vlseg.records import InputError


class Net(nn.Module):
    """Two parts, a batch norm; `head.weight` tells it from others."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 1, 1)


ANCHOR = ("head.weight",)
WEIGHTS = {key: tensor.clone() for key, tensor in Net().state_dict().items()}


def named(prefix: str, weights: dict[str, Tensor] = WEIGHTS) -> dict[str, Tensor]:
    return {f"{prefix}{key}": tensor for key, tensor in weights.items()}


def loaded(path: Path) -> nn.Module:
    found = network_in(read_tensors(path), ANCHOR, str(path))
    assert found is not None
    net = Net()
    load_strictly(net, found.tensors, str(path))
    return net


def assert_same(net: nn.Module) -> None:
    for key, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, WEIGHTS[key], rtol=1e-2, atol=1e-2)


MOMENTS = {"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 1e-3}]}
BY_NAME = {"state": {"head.weight": {"exp_avg": torch.ones(4)}}}
LAYOUTS: dict[str, Any] = {
    "plain": WEIGHTS,
    "state_dict": {"epoch": 3, "state_dict": WEIGHTS},
    "model_state_dict": {"model_state_dict": WEIGHTS, "optimizer_state_dict": MOMENTS, "epoch": torch.tensor(3)},
    "model": {"model": WEIGHTS, "optimizer": BY_NAME, "lr_scheduler": {"head.weight": torch.ones(1)}},
    "net": {"net": WEIGHTS},
    "anything": {"my_segmenter": WEIGHTS, "rng_state": {"torch": torch.zeros(8, dtype=torch.uint8)}},
    "a trainer's": {"trainer": {"agent": {"model": named("module.")}, "optim": {"model": named("exp_avg.")}}},
    "in parts": {"body": {"0.weight": 0, **{k[5:]: t for k, t in WEIGHTS.items() if k.startswith("body.")}},
                 "head": {k[5:]: t for k, t in WEIGHTS.items() if k.startswith("head.")}},
    "parallel": named("module."),
    "lightning": {"state_dict": named("segmenter.net.")},
    "compiled": {"state_dict": named("net._orig_mod.")},
    "a compiled part": {key.replace("body.", "body._orig_mod."): tensor for key, tensor in WEIGHTS.items()},
    "averaged": {"n_averaged": torch.tensor(5), **named("module.")},
    "half": {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in WEIGHTS.items()},
    "bf16": {key: tensor.bfloat16() if tensor.is_floating_point() else tensor for key, tensor in WEIGHTS.items()},
    "double": {key: tensor.double() if tensor.is_floating_point() else tensor for key, tensor in WEIGHTS.items()},
    "no counters": {key: tensor for key, tensor in WEIGHTS.items() if "num_batches_tracked" not in key},
    "old positions": {**named("net."), "net.position_ids": torch.arange(77)[None]},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("new", [True, False], ids=["zip", "oldest"])
def test_weights_come_out_of_every_wrapping(layout: str, new: bool, tmp_path: Path) -> None:
    torch.save(LAYOUTS[layout], tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    assert_same(loaded(tmp_path / "a.pth"))


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ({"model": WEIGHTS, "ema": named("", {k: t + 1 for k, t in WEIGHTS.items()})}, r"8 tensors .*ema/body\.0"),
        ({"state_dict": {**named("teacher.", {k: t + 1 for k, t in WEIGHTS.items()}), **named("student.")}}, "teacher"),
        ({"state_dict": {**named("model."), "std": torch.ones(3), "mean": torch.zeros(3)}}, "not by these"),
        ({**WEIGHTS, "std": torch.ones(3), "mean": torch.zeros(3)}, "2 tensors .*not by these"),
        ({**named("model."), "loss.weight": torch.ones(2)}, r"1 tensors .*loss\.weight"),
    ],
    ids=["ema", "teacher", "normalisation", "bare normalisation", "loss"],
)
def test_what_lies_beside_the_network_is_counted(beside: dict[str, Any], words: str, tmp_path: Path) -> None:
    """The network that was trained itself, not its average; its images' mean and deviation are not applied."""
    torch.save(beside, tmp_path / "a.pth")
    with pytest.warns(UserWarning, match=words):
        net = loaded(tmp_path / "a.pth")
    assert_same(net)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"head.weight": torch.ones(2, 4, 1, 1)}, r"head\.weight is 2x4x1x1 in the file, 1x4x1x1 in the model"),
        ({"head.weight": torch.ones(1, 4, 1, 1, dtype=torch.int8)}, "torch.int8 in the file: quantised"),
        ({"body.1.bias": torch.tensor([1.0, float("nan"), 0, 0])}, r"body\.1\.bias holds values that are not finite"),
        ({"body.1.running_var": torch.full((4,), float("inf"))}, r"running_var holds .*not finite"),
        ({"head.bias": torch.full((1,), float("-inf"), dtype=torch.float16)}, r"head\.bias holds .*not finite"),
        ({"body.9.weight": torch.ones(1)}, r"1 left over \(body\.9\.weight\)"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Tensor], words: str, tmp_path: Path) -> None:
    torch.save({**WEIGHTS, **changed}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"a\.pth: .*{words}"):
        loaded(tmp_path / "a.pth")


def test_a_part_of_the_weights_is_refused(tmp_path: Path) -> None:
    """Nothing stays random silently."""
    torch.save({"head.weight": WEIGHTS["head.weight"]}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"7 missing \(body\.0\.weight, body\.0\.bias, .*, \.\.\.\)$"):
        loaded(tmp_path / "a.pth")


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


def write_cut(path: Path) -> None:
    torch.save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:700])


def write_cut_safetensors(path: Path) -> None:
    safetensors.torch.save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-8])


def write_archive(path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "x")


def write_program(path: Path) -> None:
    torch.jit.script(nn.Linear(2, 3)).save(str(path))  # type: ignore[no-untyped-call]


REFUSED: dict[str, tuple[Any, str]] = {
    "a model": (Net(), r"holds a pickled model \(.*Net\), not weights alone; load it .* save its state_dict"),
    "a library's model": (nn.DataParallel(nn.Linear(2, 2)), r"a pickled model \(torch\.nn.*DataParallel\)"),
    "a model inside": ({"epoch": torch.tensor(3), "model": Net()}, r"pickled objects \(model: .*Net\).*state_dict"),
    "a list": (list(WEIGHTS.values()), "of type list, not weights by name"),
    "a tensor": (torch.ones(3), "of type Tensor, not weights by name"),
    "a number": (3, "of type int"),
    "nothing": (None, "of type NoneType"),
    "no tensors": ({"epoch": 1, "optimizer": MOMENTS}, "holds no tensors$"),
    "an empty file": (write_nothing, "is empty"),
    "half a file": (write_cut, "is cut short"),
    "half of safetensors": (write_cut_safetensors, "cannot be read as weights"),
    "an archive": (write_archive, r"an archive of other files \(notes\.txt"),
    "a program": (write_program, "TorchScript archive, which is a program.*save its state_dict"),
    "a pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "a page": (lambda path: path.write_text("\n<!DOCTYPE html>"), "is a web page"),
    "hdf5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "HDF5"),
    "noise": (lambda path: path.write_bytes(b"not a file of torch"), "cannot be read as weights"),
}


def test_weights_that_may_not_be_read_are_no_broken_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "w.pt")

    (tmp_path / "w.pt").write_bytes(b"x")
    monkeypatch.setattr("vlseg.models.tensors._values", refuse)
    with pytest.raises(InputError, match=r"^w\.pt: cannot be opened \(Permission denied\); change its rights"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_weights_is_said_in_one_line(kind: str, tmp_path: Path) -> None:
    made, words = REFUSED[kind]
    if callable(made) and not isinstance(made, nn.Module):
        made(tmp_path / "a.pth")
    else:
        torch.save(made, tmp_path / "a.pth")
    with pytest.raises(InputError, match=words) as caught:
        read_tensors(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'a.pth'}: ")


def test_a_pickled_model_in_the_oldest_format(tmp_path: Path) -> None:
    torch.save(Net(), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"holds a pickled object \(.*Net\), not weights alone"):
        read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("new", [True, False], ids=["zip", "oldest"])
def test_flipped_bytes_are_an_error_or_other_numbers(cut: float, new: bool, tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    content = bytearray((tmp_path / "a.pth").read_bytes())
    content[int(cut * len(content)) : int(cut * len(content)) + 40] = b"\xff" * 40
    (tmp_path / "a.pth").write_bytes(content)
    with contextlib.suppress(InputError):
        assert read_tensors(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_the_published_program_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's files are TorchScript; they are known by their checksums, and no other is run."""
    import hashlib

    from vlseg.models.architecture import Published

    write_program(tmp_path / "RN50.pt")
    summed = hashlib.sha256((tmp_path / "RN50.pt").read_bytes()).hexdigest()
    known = (Published("somewhere", ("RN50.pt",), "", "corrected", sha256=summed),)
    monkeypatch.setattr("vlseg.models.tensors.published", lambda: known)
    assert read_tensors(tmp_path / "RN50.pt").keys() == {"weight", "bias"}


def save_shards(folder: Path, name: str, write: Callable[[dict[str, Tensor], Path], Any]) -> Path:
    folder.mkdir()
    stem, suffix = name.split(".")
    parts = [dict(list(WEIGHTS.items())[:4]), dict(list(WEIGHTS.items())[4:])]
    places = {}
    for number, part in enumerate(parts, 1):
        shard = f"{stem}-{number:05d}-of-00002.{suffix}"
        write(part, folder / shard)
        places |= dict.fromkeys(part, shard)
    index = folder / f"{name}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize(
    ("name", "write"), [("model.safetensors", safetensors.torch.save_file), ("pytorch_model.bin", torch.save)]
)
def test_sharded_folders(name: str, write: Any, tmp_path: Path) -> None:
    index = save_shards(tmp_path / "a", name, write)
    assert find_weights(tmp_path / "a", (name,)) == index
    assert_same(loaded(index))
    shard = sorted((tmp_path / "a").glob("*-00002-of-00002.*"))[0]
    shard.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"its shard {shard.name} is missing; put it into"):
        read_tensors(index)
    write({"other": torch.ones(1)}, shard)
    with pytest.raises(InputError, match=r"5 listed tensors are in no shard"):
        read_tensors(index)
    index.write_text(json.dumps({"weight_map": {"a": "../elsewhere"}}))
    with pytest.raises(InputError, match="not a file beside it"):
        read_tensors(index)
    index.write_text(json.dumps({"weight_map": 3}))
    with pytest.raises(InputError, match="no weight_map"):
        read_tensors(index)


def test_safetensors_whatever_the_file_is_called(tmp_path: Path) -> None:
    safetensors.torch.save_file(WEIGHTS, tmp_path / "a.bin")
    assert_same(loaded(tmp_path / "a.bin"))
    torch.save(WEIGHTS, tmp_path / "b.safetensors")
    assert_same(loaded(tmp_path / "b.safetensors"))


class DiceLoss(nn.Module):
    """As Lightning's save_hyperparameters keeps it: an object of a class that is not here when the file is read."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.CrossEntropyLoss()


class Calls:
    """A pickle that calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def test_lightnings_hyperparameters_are_left_out(tmp_path: Path) -> None:
    """MedVLSM's checkpoints keep partial optimisers, losses and paths beside the weights."""
    layer = nn.Linear(2, 3)
    layer(torch.ones(2)).sum().backward()
    optimizer = torch.optim.AdamW(layer.parameters())
    optimizer.step()
    kept = {
        "optimizer": functools.partial(torch.optim.AdamW, lr=1e-3),
        "scheduler": functools.partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=5),
        "loss_fn": DiceLoss(),
        "folder": Path("data"),
    }
    values = {"state_dict": layer.state_dict(), "hyper_parameters": kept, "optimizer_states": [optimizer.state_dict()]}
    torch.save(values, tmp_path / "best.ckpt")
    found = read_tensors(tmp_path / "best.ckpt")
    assert found.keys() == {"state_dict/weight", "state_dict/bias"}
    assert torch.equal(found["state_dict/weight"], layer.weight)


@pytest.mark.parametrize("function", [eval, exec, os.mkdir])
def test_nothing_in_a_file_is_executed(function: Any, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    argument = str(mark) if function is os.mkdir else f"__import__('os').mkdir({str(mark)!r})"
    torch.save({"state_dict": {"a": torch.ones(1)}, "trap": Calls(function, argument)}, tmp_path / "a.ckpt")
    if function is os.mkdir:  # torch refuses the operating system by name
        with pytest.raises(InputError, match=r"cannot be read as weights.*save its state_dict alone"):
            read_tensors(tmp_path / "a.ckpt")
    else:
        assert read_tensors(tmp_path / "a.ckpt").keys() == {"state_dict/a"}
    assert not mark.exists()
