"""Which process this is, told from what torchrun and srun set."""

import pytest

from vlseg.records import InputError, Place, started_place
from vlseg.records.processes import first_host

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "gpu01",
            "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True"}  # fmt: skip
SRUN = {"SLURM_JOB_ID": "123456", "SLURM_STEP_ID": "2", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8",
        "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
        "SLURM_STEP_NODELIST": "gpu[03-04]"}  # fmt: skip


def test_alone() -> None:
    assert started_place({}) is None
    assert started_place(TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}) is None
    batch_script = {name: value for name, value in SRUN.items() if "STEP" not in name} | {"SLURM_PROCID": "0"}
    assert started_place(batch_script) is None  # no srun: its seven other tasks are nowhere
    assert started_place(SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None


def test_started_by_torchrun() -> None:
    assert started_place(TORCHRUN) == Place(5, 8, 1, 4, "gpu01", 29500, kept=True)
    assert started_place(SRUN | TORCHRUN) == started_place(TORCHRUN)  # torchrun inside a job


def test_started_by_srun() -> None:
    place = started_place(SRUN)
    assert place is not None
    assert place[:5] == (5, 8, 1, 4, "gpu03")
    assert 10000 <= place.port < 32768
    other = started_place(SRUN | {"SLURM_STEP_ID": "3"})
    assert other is not None
    assert other.port != place.port
    told = started_place(SRUN | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4000"})
    assert told is not None
    assert (told.address, told.port) == ("10.0.0.1", 4000)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu03", "gpu03"),
        ("gpu[03-05,7],other", "gpu03"),
        ("a1,b[2-3]", "a1"),
        ("rack[1-2]node[08,10]", "rack1node08"),
        ("n[7].cluster,m", "n7.cluster"),
    ],
)
def test_first_of_slurms_hosts(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_what_is_no_number_is_named() -> None:
    with pytest.raises(InputError, match="RANK: 'first'"):
        started_place(TORCHRUN | {"RANK": "first"})
