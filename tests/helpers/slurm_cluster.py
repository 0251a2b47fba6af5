"""A real Slurm cluster of one node on this machine's loopback, in a temporary folder and on ports of its own.

Nothing is installed and nothing outside that folder is changed: `.ci/slurm` prepares a machine.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

START_SECONDS = 30
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "setpriv")


class NoClusterError(Exception):
    """Why no cluster can be had here, in one line."""


class Cluster(NamedTuple):
    """A running cluster."""

    folder: Path
    """Configuration, state and logs."""

    @property
    def conf(self) -> Path:
        """What SLURM_CONF must be set to."""
        return self.folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """In which Slurm's commands speak to this cluster."""
        return {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.conf)}

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()


@contextmanager
def one_node_cluster(cpus: int = 2) -> Iterator[Cluster]:
    """Start munged, slurmctld and slurmd; on leaving, end them with all they started, and remove their folder.

    Args:
        cpus: of the node, whatever the machine has.

    Raises:
        NoClusterError: something is missing here, or does not start.
    """
    if reason := _missing():
        raise NoClusterError(reason)
    # Not below pytest's folders: they are root's alone, and munged runs as its own user.
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="slurm-")))
    with ExitStack() as at_the_end:
        at_the_end.callback(shutil.rmtree, cluster.folder, ignore_errors=True)
        daemons: list[subprocess.Popen[bytes]] = []
        at_the_end.callback(_kill_all, cluster, daemons)
        _lay_out(cluster, cpus)
        munge = cluster.folder / "munge"
        files = [f"--{name}-file={munge / name}" for name in ("key", "log", "pid", "seed")]
        as_munge = ("--reuid=munge", "--regid=munge", "--clear-groups")
        daemons += _start(cluster, as_munge, "munged", "--foreground", f"--socket={munge / 'socket'}", *files)
        _wait_for("munged", (munge / "socket").exists)
        daemons += _start(cluster, (), "slurmctld", "-D", "-f", str(cluster.conf))
        daemons += _start(cluster, (), "slurmd", "-D", "-f", str(cluster.conf))
        _wait_for("slurmd", lambda: _node_state(cluster) == "idle")
        yield cluster


def _missing() -> str | None:
    """What a cluster needs and this machine lacks; None where nothing is."""
    if os.geteuid() != 0:
        return "only root can start one"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurm-wlm, munge)"
    try:
        pwd.getpwnam("munge")
        socket.gethostbyname(_short_name())
    except KeyError:
        return "there is no user munge"
    except OSError:
        return f"/etc/hosts lacks this machine's name, {_short_name()}"
    return None


def _short_name() -> str:
    return socket.gethostname().partition(".")[0]


def _lay_out(cluster: Cluster, cpus: int) -> None:
    """Folders, a key, slurm.conf."""
    folder = cluster.folder
    folder.chmod(0o755)
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for path in (folder / "munge", key):
        shutil.chown(path, "munge", "munge")
    (folder / "slurm.conf").write_text(_configuration(folder, cpus))


def _configuration(folder: Path, cpus: int) -> str:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        controller_port, node_port = one.getsockname()[1], other.getsockname()[1]
    name = _short_name()
    return f"""
ClusterName=test
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
# The node has what stands below, not what the machine has.
SlurmdParameters=config_overrides
# What a test would wait for: freed places are given at once, and who does not go when asked is killed soon.
SchedulerParameters=sched_interval=2,batch_sched_delay=0
KillWait=5
NodeName={name} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={name} Default=YES MaxTime=INFINITE State=UP
"""


def _start(cluster: Cluster, as_user: tuple[str, ...], program: str, *arguments: str) -> list[subprocess.Popen[bytes]]:
    """A daemon in the foreground, which the kernel kills when this process ends, however it ends."""
    out = cluster.folder / f"{program}.out"
    with out.open("w") as file:
        process = subprocess.Popen(
            ["setpriv", *as_user, "--pdeathsig=KILL", str(shutil.which(program, path=PATH)), *arguments],
            env=cluster.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        process.wait(0.3)
    except subprocess.TimeoutExpired:
        return [process]
    said = out.read_text().strip().splitlines() or [f"exit code {process.returncode}"]
    raise NoClusterError(f"{program} ended at once: {said[-1]}")


def _wait_for(what: str, is_up: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not is_up():
        if time.monotonic() > end:
            raise NoClusterError(f"{what} is not up after {START_SECONDS} seconds")
        time.sleep(0.2)


def _node_state(cluster: Cluster) -> str:
    try:
        return cluster.ask("sinfo", "--noheader", "--format=%T")
    except RuntimeError:
        return "no answer"


def _kill_all(cluster: Cluster, daemons: list[subprocess.Popen[bytes]]) -> None:
    """Daemons, steps and jobs: every process that was started with this cluster's SLURM_CONF."""
    mine = [process for process in psutil.process_iter() if _belongs(process, cluster)]
    for process in mine:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(mine, timeout=10)
    for daemon in daemons:
        daemon.wait(10)


def _belongs(process: psutil.Process, cluster: Cluster) -> bool:
    try:
        conf = process.environ().get("SLURM_CONF")
    except psutil.Error:
        return False
    return process.pid != os.getpid() and str(conf) == str(cluster.conf)
