"""Parts of a step: their weighted losses and gradients are the whole's; several processes that talk and fall apart."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vlseg.models import device
from vlseg.records import InputError, RunConfig
from vlseg.training import distributed
from vlseg.training.batches import Draw, ImageGroup, part_of
from vlseg.training.step import configured_loss, counted_rows
from vlseg.training.weights import running_statistics

LOSSES: list[dict[str, Any]] = [
    {"loss": "dice_bce"},
    {"loss": "dice_bce", "presence_weight": 0.3, "positive_weight": 3.0, "bce_weight": 0.5},
    {"loss": "published"},
    {"loss": "present_dice"},
]


def rows(count: int, empty: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    masks = (torch.rand(count, 1, 6, 5, generator=generator) > 0.6).double()
    masks[list(empty)] = 0
    return torch.randn(count, 1, 6, 5, generator=generator).double(), masks


@pytest.mark.parametrize("settings", LOSSES, ids=str)
@pytest.mark.parametrize("cuts", [[3, 5], [1, 1, 6], [8], [7, 1]])
@pytest.mark.parametrize("empty", [[], [0, 1, 2, 7], list(range(8))], ids=["full", "some empty", "all empty"])
def test_parts_weighted_by_their_counted_rows_are_the_whole(
    settings: dict[str, Any], cuts: list[int], empty: list[int]
) -> None:
    config = RunConfig(model="m", data=["d"], **settings)
    logits, masks = rows(8, empty)
    whole = configured_loss(config, logits.requires_grad_(), masks)
    (wanted,) = torch.autograd.grad(whole, logits)
    total = counted_rows(config, masks)
    parts = list(zip(logits.split(cuts), masks.split(cuts), strict=True))
    shares = [counted_rows(config, truth) / total if total else 1.0 for _, truth in parts]
    summed = sum(
        configured_loss(config, part, truth) * share for (part, truth), share in zip(parts, shares, strict=True)
    )
    assert isinstance(summed, torch.Tensor)
    torch.testing.assert_close(summed, whole)
    torch.testing.assert_close(torch.autograd.grad(summed, logits)[0], wanted)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("images", [1, 2, 5, 8])
def test_each_image_counts_in_one_process(world: int, images: int) -> None:
    draws = [Draw(ImageGroup(str(index), ()), ()) for index in range(images)]
    parts = [part_of(draws, rank, world) for rank in range(world)]
    assert all(parts)  # a process without an image would have no step to take
    counted = [draw for rank, part in enumerate(parts) if rank < images for draw in part]
    assert sorted(draw.group.image_id for draw in counted) == sorted(draw.group.image_id for draw in draws)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_running_statistics_are_those_of_norms_that_keep_some() -> None:
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(nn.Conv2d(3, 3, 1), norm, nn.GroupNorm(1, 3), nn.BatchNorm2d(3, track_running_stats=False))
    found = running_statistics([network, norm])  # a module of two parts counts once
    assert [id(tensor) for tensor in found] == [id(norm.running_mean), id(norm.running_var)]


def test_alone_everything_is_as_it_is() -> None:
    assert (distributed.rank(), distributed.world(), distributed.local_world()) == (0, 1, 1)
    assert distributed.is_first()
    value = object()
    assert distributed.broadcast(value) is value
    assert distributed.add_up([1.5, 2]) == [1.5, 2]
    assert distributed.least(7) == 7
    distributed.barrier()
    with distributed.shared_fate(), pytest.raises(KeyError):
        raise KeyError


def test_buckets_hold_one_kind_and_no_more_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "BUCKET_BYTES", 40)
    tensors = [torch.zeros(size, dtype=dtype) for size in (4, 5, 30, 1) for dtype in (torch.float32, torch.int64)]
    buckets = list(distributed._buckets(tensors))
    assert sorted(id(one) for bucket in buckets for one in bucket) == sorted(map(id, tensors))
    assert all(len({one.dtype for one in bucket}) == 1 for bucket in buckets)
    assert all(sum(one.nbytes for one in bucket) <= 40 or len(bucket) == 1 for bucket in buckets)


def test_processes_of_a_machine_share_its_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert [device.shared_threads(processes) for processes in (1, 3, 20)] == [8, 2, 1]
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(device, "_gpu", 1)
    for count, name in ((2, "cuda:1"), (1, "cuda")):  # a launcher that lets each process see its own GPU alone
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert str(device.resolve_device("auto")) == name
    assert taken == [1]
    monkeypatch.setattr(device, "_gpu", 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="whose GPUs are 2"):
        device.resolve_device("cuda")


TALK = """
import sys, time, torch
from vlseg.records import InputError, LostProcessError, Place
from vlseg.training.distributed import *
from vlseg.training.distributed import add_gradients, average_tensors, least, share_tensors
rank, port = int(sys.argv[1]), int(sys.argv[2])
join(Place(rank, 3, rank, 3, port=port), port=lambda found: print(found, flush=True))
assert broadcast("a" if rank == 0 else None) == "a"
assert add_up([rank, 1]) == [3, 3] and least(5 - rank) == 3
shared = [torch.full((2, 3), float(rank)).T, torch.tensor([rank], dtype=torch.int64)]
share_tensors(shared)
assert float(shared[0].abs().sum()) == 0 and int(shared[1]) == 0
mean = torch.tensor([float(rank)])
average_tensors([mean])
assert float(mean) == 1
weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(3)]
for weight, mine in zip(weights, (True, rank == 1, False)):
    weight.grad = torch.tensor([1.0, rank]) if mine else None
add_gradients(weights, add_up([float(weight.grad is not None) for weight in weights]))
assert weights[0].grad.tolist() == [3, 3] and weights[1].grad.tolist() == [1, 1] and weights[2].grad is None
for error, seen in ((InputError("bad row"), InputError), (ValueError("a bug"), LostProcessError)):
    try:
        with shared_fate():
            if rank == 1:
                raise error
            barrier()
    except Exception as found:
        assert isinstance(found, type(error) if rank == 1 else seen), repr(found)
        assert str(error) in str(found), found
        assert rank == 1 or seen is InputError or "rank 1 of 3" in str(found)
    assert add_up([1]) == [3]  # those that are still there go on
barrier()
leave()
assert world() == 1
"""


@pytest.mark.slow
def test_processes_talk_and_one_that_fails_tells_the_others(tmp_path: Path) -> None:
    (tmp_path / "talk.py").write_text(TALK)

    def start(rank: int, port: int) -> "subprocess.Popen[str]":
        command = [sys.executable, str(tmp_path / "talk.py"), str(rank), str(port)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = start(0, 0)
    assert first.stdout is not None
    port = int(first.stdout.readline())
    ended = [
        (process.communicate(timeout=120), process.returncode) for process in (first, start(1, port), start(2, port))
    ]
    assert [code for _, code in ended] == [0, 0, 0], ended
