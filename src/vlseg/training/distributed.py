"""Processes that train one run together: which one this is, what they tell each other, and what ends them all.

Alone, every function here does what it does for one process, and costs nothing. Small things travel over gloo, in main
memory; tensors on GPUs over NCCL. A process that has ended, or left, is noticed by the others at the next word.
"""

import atexit
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vlseg.models.device import take_gpu
from vlseg.records import InputError, LostProcessError, Place

T = TypeVar("T")
PATIENCE = timedelta(days=30)
"""How long a process waits for a word of another that lives: one may validate, or read a slow disk, for hours."""
GPU_PATIENCE = timedelta(minutes=10)
"""How long for tensors on GPUs, which are exchanged right after all have said that they are well."""
MEETING_SECONDS = 600.0
"""How long for all to come."""
GOODBYE_SECONDS = 3.0
"""How long the others may take to learn why the first one ends."""
BUCKET_BYTES = 32 * 2**20
"""Tensors are joined up to this size, so that small ones do not travel one by one."""


@dataclass
class _Team:
    """The processes of a run, as one of them knows them.

    Attributes:
        place: its own.
        store: words that outlast a group: who has come, and why one ended.
        lost: asked why another process may be gone; None where nobody knows.
        times: how often a group of them fell apart.
        formed: whether there is one now.
        gpus: its group for tensors on GPUs.
    """

    place: Place
    store: Any
    lost: Callable[[], str | None]
    times: int = 0
    formed: bool = False
    gpus: Any = None


_team: _Team | None = None


def rank() -> int:
    """This process's number, from 0."""
    return _team.place.rank if _team else 0


def world() -> int:
    """How many processes train the run."""
    return _team.place.world if _team else 1


def local_world() -> int:
    """How many of them are on this machine."""
    return _team.place.local_world if _team else 1


def is_first() -> bool:
    """Whether this is the process that writes, shows and says."""
    return rank() == 0


def join(
    place: Place, *, port: Callable[[int], None] | None = None, lost: Callable[[], str | None] | None = None
) -> None:
    """Be one of several processes from here on, until `leave`; does not wait for the others. Twice is once.

    Args:
        place: of this process.
        port: told the port that process 0 listens on, where `place` leaves the choice to it (port 0).
        lost: tells why another process is gone, where the caller can know.

    Raises:
        InputError: the place where they meet cannot be used or reached.
    """
    global _team
    if _team is not None:
        return
    listens = place.rank == 0 and not place.kept
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            place.address,
            place.port,
            is_master=listens,
            wait_for_workers=False,
            timeout=timedelta(seconds=MEETING_SECONDS),
        )
    except RuntimeError as error:
        raise InputError(
            f"processes: {place.address}, port {place.port}, where they meet, cannot be "
            f"{'opened' if listens else 'reached'}; set MASTER_ADDR and MASTER_PORT to others"
        ) from error
    if port is not None:
        port(store.port)
    take_gpu(place.local_rank)
    atexit.register(leave)
    _team = _Team(place, _part(store, f"attempt {place.attempt}"), lost or (lambda: None))


def _part(store: Any, name: str) -> Any:
    """Of a store, the words whose names begin so."""
    return dist.PrefixStore(name, store)  # type: ignore[attr-defined]


def leave() -> None:
    """Be alone again."""
    global _team
    if _team is not None and _team.formed:
        dist.destroy_process_group()
    _team = None
    take_gpu(None)
    atexit.unregister(leave)


def barrier() -> None:
    """Wait until all have come here."""
    if _team is not None:
        with _talking():
            dist.barrier()


def broadcast(value: T) -> T:
    """The value that process 0 gives, for all; it is pickled. What the others give is not looked at."""
    if _team is None:
        return value
    told = [value]
    with _talking():
        dist.broadcast_object_list(told, src=0)
    return told[0]


def add_up(values: Sequence[float]) -> list[float]:
    """Sums over the processes, in double precision; all give equally many values."""
    return _reduced(values, dist.ReduceOp.SUM)


def least(value: int) -> int:
    """The smallest that a process gives."""
    return int(_reduced([value], dist.ReduceOp.MIN)[0])


def _reduced(values: Sequence[float], how: "dist.ReduceOp.RedOpType") -> list[float]:
    if _team is None:
        return list(values)
    found = torch.tensor(values, dtype=torch.float64)
    with _talking():
        dist.all_reduce(found, how)
    return list(map(float, found))


def share_tensors(tensors: Sequence[Tensor]) -> None:
    """Overwrite tensors with those of process 0, bit by bit."""
    _exchange(tensors, lambda flat, group: dist.broadcast(flat, 0, group=group))


def average_tensors(tensors: Sequence[Tensor]) -> None:
    """Overwrite floating tensors with their means over the processes."""

    def mean(flat: Tensor, group: Any) -> None:
        dist.all_reduce(flat, group=group)
        flat.div_(world())

    _exchange(tensors, mean)


def add_gradients(parameters: Sequence[nn.Parameter], known: Sequence[float]) -> None:
    """Overwrite gradients with their sums over the processes.

    Args:
        parameters: the same in all.
        known: in how many processes each has a gradient. One that has none counts as 0; where none has one, none gets
            one, and an optimiser leaves the parameter alone.
    """
    gradients = []
    for parameter, count in zip(parameters, known, strict=True):
        if count and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.grad is not None:
            gradients.append(parameter.grad)
    _exchange(gradients, lambda flat, group: dist.all_reduce(flat, group=group))


def _exchange(tensors: Sequence[Tensor], work: Callable[[Tensor, Any], object]) -> None:
    """Let `work` overwrite tensors, many small ones at a time."""
    if _team is None:
        return
    with torch.no_grad(), _talking() as team:
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            work(flat, _group_for(team, flat.device))
            pieces = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, piece in zip(bucket, pieces, strict=True):
                tensor.copy_(piece.view(tensor.shape))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one kind together, up to a size."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for alike in kinds.values():
        bucket: list[Tensor] = []
        for tensor in alike:
            if bucket and sum(one.nbytes for one in bucket) + tensor.nbytes > BUCKET_BYTES:
                yield bucket
                bucket = []
            bucket.append(tensor)
        yield bucket


def _group_for(team: _Team, device: torch.device) -> Any:
    """The group that carries tensors of a device; None = the usual one."""
    if device.type != "cuda":
        return None
    if team.gpus is None:  # all come here at the same point
        team.gpus = dist.new_group(backend="nccl", timeout=GPU_PATIENCE)
    return team.gpus


@contextmanager
def shared_fate() -> Iterator[None]:
    """Whatever ends the block in one process ends it in all, with that reason.

    The others raise InputError or KeyboardInterrupt where that was the reason, else LostProcessError. Those that still
    live may go on with something else together.
    """
    try:
        yield
    except BaseException as error:
        _fall_apart(error)
        raise


def _fall_apart(error: BaseException) -> None:
    """Tell the others why, and end what they wait for."""
    team = _team
    if team is None:
        return
    with suppress(RuntimeError):  # where rank 0 and its store are gone, and with them who would read this
        team.store.compare_set(f"why {team.times}", "", json.dumps(_told(team, error)))
        team.store.set(f"knows {team.times} {team.place.rank}", "")
    if team.formed:
        team.formed, team.gpus = False, None
        dist.destroy_process_group()
    if team.place.rank == 0 and not team.place.kept:  # the store may go with this process
        _wait_for(team, "knows", GOODBYE_SECONDS)
    team.times += 1


def _wait_for(team: _Team, what: str, seconds: float, lost: Callable[[], object] = lambda: None) -> bool:
    """Whether all have said it within the time; in vain once `lost` raises."""
    names = [f"{what} {team.times} {number}" for number in range(team.place.world)]
    deadline = time.monotonic() + seconds
    while not team.store.check(names):
        lost()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _told(team: _Team, error: BaseException) -> tuple[str, str]:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, InputError | LostProcessError):
        return type(error).__name__, text
    who = f"rank {team.place.rank} of {team.place.world} on {socket.gethostname()}"
    return type(error).__name__, f"{who} has ended: {type(error).__name__}: {text}"


@contextmanager
def _talking() -> Iterator[_Team]:
    """Around everything that needs the others: forms the group, and says why it fell apart."""
    team = _team
    assert team is not None
    try:
        if not team.formed:
            _form(team)
        yield team
    except torch.OutOfMemoryError:  # of this process
        raise
    except RuntimeError as error:
        if os.environ.get("VLSEG_DEBUG"):
            raise
        raise _reason(team) from error


def _form(team: _Team) -> None:
    """A group of all, once all have come."""
    place = team.place
    team.store.set(f"here {team.times} {place.rank}", "")

    def lost() -> None:
        if (why := team.lost()) is not None:
            raise LostProcessError(why)

    if not _wait_for(team, "here", MEETING_SECONDS, lost):
        raise LostProcessError(f"not all of {place.world} processes have come in {MEETING_SECONDS:.0f} s", silent=True)
    dist.init_process_group(
        "gloo",
        store=_part(team.store, f"group {team.times}"),
        rank=place.rank,
        world_size=place.world,
        timeout=PATIENCE,
    )
    team.formed = True


def _reason(team: _Team) -> BaseException:
    """Why another process is gone, as an error of this one; who ended tells it before, unless it was killed."""
    deadline = time.monotonic() + 1
    key = f"why {team.times}"
    while time.monotonic() < deadline:
        try:
            told = json.loads(team.store.get(key)) if team.store.check([key]) else None
        except RuntimeError:
            return LostProcessError(
                f"rank 0 of {team.place.world} has ended without a word; go on with --resume", first=True, silent=True
            )
        if told is not None:
            kinds: dict[str, type[BaseException]] = {"InputError": InputError, "KeyboardInterrupt": KeyboardInterrupt}
            return kinds.get(told[0], LostProcessError)(told[1])
        if (why := team.lost()) is not None:
            return LostProcessError(why)
        time.sleep(0.02)
    return LostProcessError(
        f"one of the {team.place.world} processes was ended (by hand, or out of memory); go on with --resume",
        silent=True,
    )
