"""The processes that train one run: those that srun or torchrun started, or those that are started here."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vlseg.records import InputError, Place, RunConfig, started_place

LEAVE_SECONDS = 20.0
"""A helper that has not ended so long after its run is ended."""


def check_devices(config: RunConfig, *, resumed: bool = False) -> None:
    """Refuse devices that are not there, as far as this process can tell.

    Raises:
        InputError: other processes than asked for were started (those of a `resumed` run may differ), several machines
            without a launcher, more devices than this machine has.
    """
    wanted, place = config.devices * config.nodes, started_place()
    if place is not None:
        if wanted not in (1, place.world) and not resumed:
            raise InputError(
                f"devices: {config.devices} on {config.nodes} nodes were asked for, and {place.world} processes were "
                "started; leave devices and nodes out, or start as many"
            )
    elif config.nodes > 1:
        raise InputError(
            f"nodes: {config.nodes} machines need srun or torchrun, which starts vlseg on each (docs/speed.md); "
            "leave nodes out to train on this one"
        )
    elif config.devices > 1:
        _check_here(config.devices, config.device)


def _check_here(devices: int, name: str) -> None:
    import torch

    from vlseg.models.device import resolve_device

    kind = resolve_device(name).type
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind, devices)
    if devices > there:
        raise InputError(
            f"devices: {devices} were asked for, and {there} ({kind}) are here; take --set devices={there}"
        )


@contextmanager
def helpers(devices: int) -> Iterator[None]:
    """Within the block this process is the first of `devices` on this machine; the others run `vlseg.jobs.helper`.

    They are in a session of their own: Ctrl-C reaches this one, which agrees with them where to stop. They end with it,
    however it ends.
    """
    from vlseg.training.distributed import join, leave

    started: list[subprocess.Popen[bytes]] = []

    def start(port: int) -> None:
        # What is wrong the first process tells; torch's own lines on a broken connection would stand between.
        environment = {"TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ}
        for rank in range(1, devices):
            command = [sys.executable, "-m", "vlseg.jobs.helper", str(rank), str(devices), str(port)]
            with _deaf():
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, env=environment)
            started.append(process)

    def lost() -> str | None:
        ends = {rank: process.poll() for rank, process in enumerate(started, 1)}
        return next((_end(rank, devices, code) for rank, code in ends.items() if code is not None), None)

    with _on_loopback():
        try:
            join(Place(0, devices, 0, devices), port=start, lost=lost)
            yield
        finally:
            leave()
            for process in started:
                _ended(process)


@contextmanager
def _deaf() -> Iterator[None]:
    """A process that is started within the block does not hear SIGUSR1 and SIGUSR2, which would end it.

    Slurm sends one to every process before a time limit. This one, if it knows what to do, agrees with the others.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(rank: int, world: int, code: int) -> str:
    if code < 0:
        how = f"was ended by {signal.Signals(-code).name} (by hand, or out of memory)"
    else:
        how = f"has ended with exit code {code}"
    return f"rank {rank} of {world} {how}; go on with --resume"


def _ended(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Processes of one machine need no network, whatever the machine calls itself; helpers inherit that."""
    inside = {name for _, name in socket.if_nameindex()} & {"lo", "lo0"} if hasattr(socket, "if_nameindex") else set()
    added: Mapping[str, str] = {"GLOO_SOCKET_IFNAME": inside.pop()} if inside else {}
    added = {name: value for name, value in added.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
