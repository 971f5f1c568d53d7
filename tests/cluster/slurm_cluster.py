"""A real Slurm on this machine: a login node and three compute nodes, each with its own network and host name.

All of it lives in one namespace of processes: when its first process is killed, nothing of it is left, whatever jobs
have started. The nodes share the machine's disk, as a cluster's nodes share a file system.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

NODES = 3
CPUS = 4
"""Of each node, as Slurm is told."""
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "ip", "unshare", "nsenter", "pkill")
_CONFIGURATION = """
ClusterName=test
SlurmctldHost=login(10.77.0.254)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
KillWait=20
ReturnToService=2
NodeName=node[1-{nodes}] NodeAddr=10.77.0.[1-{nodes}] CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES OverSubscribe=NO State=UP
"""
_SUPERVISOR = """
set -e
mount --make-rprivate /
mkdir -p /run/netns
mount -t tmpfs netns /run/netns
mount --bind {folder}/hosts /etc/hosts
hostname login
ip link set lo up
ip link add slurm type bridge
ip address add 10.77.0.254/24 dev slurm
ip link set slurm up
for number in $(seq {nodes}); do
    ip netns add "node$number"
    ip link add "to$number" type veth peer name eth0 netns "node$number"
    ip link set "to$number" master slurm up
    ip -n "node$number" link set lo up
    ip -n "node$number" address add "10.77.0.$number/24" dev eth0
    ip -n "node$number" link set eth0 up
done
munged --foreground --force --num-threads=2 --socket={folder}/munge/socket --key-file={folder}/munge/key \\
    --pid-file={folder}/munge/pid --log-file={folder}/munge/log --seed-file={folder}/munge/seed &
while [ ! -S {folder}/munge/socket ]; do sleep 0.1; done
slurmctld -D -c &
for number in $(seq {nodes}); do
    nsenter --net="/run/netns/node$number" unshare --uts sh -c "hostname node$number; exec slurmd -D -N node$number" &
done
wait
"""


def missing() -> str | None:
    """Why there can be no Slurm here; None if there can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


class SlurmCluster:
    """Slurm's daemons, running.

    Attributes:
        folder: Their configuration, logs and state.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        quoted = shlex.quote(str(folder))
        (folder / "munge").mkdir(mode=0o755)
        (folder / "state").mkdir()
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        names = [("10.77.0.254", "login"), *((f"10.77.0.{number}", f"node{number}") for number in range(1, NODES + 1))]
        (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{ip} {name}\n" for ip, name in names))
        configuration = folder / "slurm.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, nodes=NODES, cpus=CPUS))
        self.environment = {**os.environ, "SLURM_CONF": str(configuration)}
        space = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
        script = _SUPERVISOR.format(folder=quoted, nodes=NODES)
        with (folder / "supervisor.log").open("w") as log:
            self._process = subprocess.Popen(
                [*space, "sh", "-c", script], stdout=log, stderr=log, env=self.environment, start_new_session=True
            )

    def wait_for_nodes(self) -> None:
        """Waits until all nodes can take jobs."""
        self.wait_for(lambda: self.run("sinfo", "-h", "-o", "%D %T", check=False) == f"{NODES} idle", "idle nodes", 60)

    def _command(self, words: Sequence[object], node: int | None = None) -> list[str]:
        """A command of the login node, or of a compute node's network."""
        [first] = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        inside = [] if node is None else ["nsenter", f"--net=/run/netns/node{node}"]
        enter = ["nsenter", f"--target={first}", "--net", "--mount", "--uts", "--pid", f"--wd={os.getcwd()}"]
        return [*enter, *inside, *map(str, words)]

    def run(self, *words: object, check: bool = True, node: int | None = None, **options: Any) -> str:
        """Runs a command within the cluster; gives its output, whitespace at its ends removed."""
        options = {"env": self.environment, **options}
        try:
            result = subprocess.run(
                self._command(words, node), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
            )
        except (OSError, ValueError):
            if check:
                raise
            return ""
        assert not check or result.returncode == 0, result.stdout
        return result.stdout.strip()

    def wait_for(self, condition: Callable[[], Any], what: str, patience: float = 240) -> Any:
        """Waits until a condition holds; gives its value."""
        deadline = time.monotonic() + patience
        while not (value := condition()):
            assert self._process.poll() is None, (self.folder / "supervisor.log").read_text()
            assert time.monotonic() < deadline, f"gave up waiting for {what}"
            time.sleep(0.2)
        return value

    def close(self) -> None:
        """Ends the daemons and everything that they have started."""
        self._process.kill()  # the first process of the namespace is killed with it, and so are all others
        self._process.wait()


@contextlib.contextmanager
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A cluster for the block. Its folder has a short path, for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    cluster = None
    try:
        cluster = SlurmCluster(folder)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        if cluster is not None:
            cluster.close()
        shutil.rmtree(folder, ignore_errors=True)
