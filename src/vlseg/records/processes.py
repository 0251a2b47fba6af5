"""Which of the processes of one run this is, as srun or torchrun tell it in the environment."""

import os
import re
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from vlseg.records.errors import InputError


class Place(NamedTuple):
    """A process among those of a run.

    Attributes:
        rank, world: its number, from 0, of how many.
        local_rank, local_world: the same on its machine.
        address, port: where the processes find each other; process 0 listens there.
        kept: something else listens there already (torchrun).
        attempt: how often torchrun has started the processes anew.
    """

    rank: int
    world: int
    local_rank: int = 0
    local_world: int = 1
    address: str = "127.0.0.1"
    port: int = 0
    kept: bool = False
    attempt: int = 0


def started_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place among those that srun or torchrun started; None where it is alone.

    Raises:
        InputError: variables that are not numbers.
    """
    number = partial(_number, environment)
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        place = Place(
            rank=number("RANK"),
            world=number("WORLD_SIZE"),
            local_rank=number("LOCAL_RANK", 0),
            local_world=number("LOCAL_WORLD_SIZE", 1),
            address=environment["MASTER_ADDR"],
            port=number("MASTER_PORT"),
            kept=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=number("TORCHELASTIC_RESTART_COUNT", 0),
        )
    elif {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"} <= environment.keys():  # of srun's tasks, not of the batch script
        nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "127.0.0.1")
        # Between 10000 and 32767, below what systems hand out by themselves; other steps of a job get others.
        own_port = 10000 + (64 * number("SLURM_JOB_ID", 0) + number("SLURM_STEP_ID", 0)) % 22768
        place = Place(
            rank=number("SLURM_PROCID"),
            world=number("SLURM_STEP_NUM_TASKS"),
            local_rank=number("SLURM_LOCALID", 0),
            local_world=number("SLURM_STEP_TASKS_PER_NODE", 1),
            address=environment.get("MASTER_ADDR") or first_host(nodes),
            port=number("MASTER_PORT", own_port),
        )
    else:
        return None
    return place if place.world > 1 else None


def first_host(nodes: str) -> str:
    """The first of Slurm's hosts: gpu03 of "gpu[03-05,7],other"."""
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", nodes).split(",")[0]


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A number of the environment; Slurm's "4(x2),3" counts as 4."""
    text = environment.get(name, str(default))
    found = re.match(r"\d+", text)
    if found is None:
        raise InputError(f"{name}: '{text}' in the environment is no number; start the processes with srun or torchrun")
    return int(found[0])
