"""`study slurm` on a real Slurm of three nodes: sessions that end or are cancelled, and nodes that die."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.audit import audit
from study.disk.files import read_lines
from study.disk.slurm_job import SlurmSession, read_job, read_sessions
from study.disk.study_json import read_study
from study.disk.timestamp import milliseconds
from tests.cluster.compose import ROOT
from tests.cluster.slurm_cluster import SlurmCluster, missing, slurm_cluster

pytestmark = pytest.mark.cluster
EPOCHS = 120
"""A checkpoint is made at each eighth of them."""
SPACE = """
import time
from pathlib import Path
from typing import ClassVar

import study

PACE = Path({pace!r})


class Slow(study.Regularizer):
    name: ClassVar[str] = "slow"
    methods: ClassVar[dict[str, str]] = {{"deterministic": "AE-slow"}}
    weight_range: ClassVar[tuple[float, float]] = (1e-3, 1.0)

    def forward(self, model, posterior, z, generator):
        if model.training and PACE.exists():
            time.sleep(0.08)  # an epoch has 17 batches
        return z.pow(2).mean()


SPACE = study.SearchSpace(
    question="?",
    suggest=lambda trial, data: {{"weight": trial.suggest_float("weight", 0.01, 1.0)}},
    base={{"regularizer": "slow", "latent_dim": 4}},
    components=(Slow,),
)
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with slurm_cluster() as cluster:
        yield cluster


class Study:
    """A study that is submitted from the login node; each node gives it one of its four cores."""

    def __init__(self, slurm: SlurmCluster, runs: Path, name: str) -> None:
        self.slurm, self.directory = slurm, runs / name

    def command(self, *words: object) -> str:
        """A command of ours on the login node, in a shell that has settings for other jobs; gives its output."""
        other = {"SBATCH_TIMELIMIT": "1", "SLURM_MEM_PER_CPU": "1", "TMPDIR": "/scratch/of/the/login/node"}
        environment = {**self.slurm.environment, **other, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return self.slurm.run(sys.executable, "-m", *words, env=environment)

    def submit(self, *options: object, nodes: int, sessions: int = 20) -> None:
        """`study slurm`."""
        place = ["--study", self.directory.name, "--runs-dir", self.directory.parent, "--scheduler", "none"]
        wanted = ["--time", 5, "--nodes", nodes, "--cpus-per-node", 1, "--sbatch-option=--mem=1000"]
        self.command("study.slurm", *wanted, "--sessions", sessions, "--", *options, *place)

    @property
    def job(self) -> int:
        """Slurm's number of the array."""
        job = read_job(self.directory)
        assert job is not None
        return job.job

    @property
    def sessions(self) -> list[SlurmSession]:
        """Those of the newest job."""
        return read_sessions(self.directory, self.job)

    @property
    def logs(self) -> str:
        """What the job has said."""
        return "\n".join(f"{path}:\n{path.read_text()}" for path in sorted(self.directory.glob("slurm/*.log")))

    def queue(self) -> str:
        """State of each line of `squeue`."""
        return self.slurm.run("squeue", "--noheader", "--format=%i %T", f"--jobs={self.job}", check=False)

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        """Waits until a condition holds."""
        try:
            self.slurm.wait_for(condition, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.queue()}\n{self.logs}") from None

    def last_epochs(self) -> list[int]:
        """The newest epoch of each trial, of those that have one."""
        return [max(map(max, attempts)) for attempts in epochs_of_attempts(self.directory) if attempts]

    def wait_for_epochs(self, trials: int, more: int = 1) -> None:
        """Waits until so many trials have trained so many epochs from now on."""
        before = self.last_epochs() or [0] * trials
        self.wait_for(
            lambda: sum(new >= old + more for new, old in zip(self.last_epochs(), before, strict=False)) >= trials,
            "new epochs",
        )

    def wait_for_session(self, task: int) -> None:
        """Waits until a session has begun."""
        self.wait_for(lambda: [session.task for session in self.sessions][-1:] == [task], f"session {task}")

    def wait_for_end(self) -> str | None:
        """Waits until nothing of the job is in the queue; gives why the chain has ended."""
        self.wait_for(lambda: str(self.job) not in self.queue(), "the end of the job")
        return self.sessions[-1].over if self.sessions else None

    def check_whole(self, trials: int, epochs: int) -> None:
        """Asserts that ledger, folder and MLflow hold the same finished trials, each epoch once."""
        record = read_study(self.directory)
        assert record is not None and record.outcome == "completed", self.logs
        found = audit(self.directory, epochs, trials=trials)
        assert (found.lost, found.duplicated, found.left_running) == ([], [], [])


def epochs_of_attempts(study: Path) -> list[list[list[int]]]:
    """The epochs on record of each attempt of each trial, of those attempts that have any."""
    trials = sorted((study / "trials").glob("*"))
    files = [sorted(trial.glob("attempt-*/metrics.jsonl"), key=lambda file: file.parent.name) for trial in trials]
    attempts = [[[line["epoch"] for line in read_lines(file)] for file in found] for found in files]
    return [[epochs for epochs in found if epochs] for found in attempts]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared folder of studies; beside it the space, and a file that keeps trials slow."""
    runs = tmp_path_factory.mktemp("slurm") / "my runs"
    runs.mkdir()
    (runs.parent / "pace").touch()
    (runs.parent / "slow.py").write_text(SPACE.format(pace=str(runs.parent / "pace")))
    return runs


def test_a_study_outlives_its_allocations_a_node_and_a_kill(slurm: SlurmCluster, runs: Path) -> None:
    study, beside = Study(slurm, runs, "long"), Study(slurm, runs, "beside")
    options = ["--space", runs.parent / "slow.py", "--epochs", EPOCHS, "--num-trials"]
    study.submit(*options, 2, nodes=2)  # a trial on each
    study.wait_for_epochs(trials=2)
    elapsed = time.time() - milliseconds(study.sessions[0].begun) / 1000
    slurm.run("scontrol", "update", f"JobId={study.job}_1", f"TimeLimit={int(elapsed / 60) + 2}")

    # Meanwhile a session of another study, whose Ray shares a node with this one's, is cancelled, and then all of them.
    beside.submit(*options, 1, nodes=1)
    assert "session 1 of 20 is running" in study.command("study.status", "--study", "long", "--runs-dir", runs)
    beside.wait_for_epochs(trials=1)
    assert beside.sessions[0].host == study.sessions[0].host
    slurm.run("scancel", f"{beside.job}_1")
    beside.wait_for_session(2)
    assert beside.sessions[0].ended is None and "Slurm ends the job" in beside.logs
    beside.command("study.slurm", "--cancel", "beside", "--runs-dir", runs)
    assert beside.wait_for_end() is None

    study.wait_for_session(2)
    assert "the allocation is about to end" in study.logs and study.sessions[0].ended
    at_the_limit = study.last_epochs()
    study.wait_for_epochs(trials=2)
    slurm.run("pkill", "-KILL", "--full", "--", "raylet.*--node_ip_address=10.77.0.2")
    study.wait_for_epochs(trials=1, more=3)
    # The batch script and all that it has started, as a cluster's Slurm kills a job that has run out of memory.
    slurm.run("pkill", "-KILL", "--full", "--", "slurm_script|study.run --space|raylet|gcs_server")
    study.wait_for_session(3)
    (runs.parent / "pace").unlink()
    assert study.wait_for_end() == "the study is complete", study.logs
    study.check_whole(2, EPOCHS)
    attempts = epochs_of_attempts(study.directory)
    assert [first[-1] for first, *_ in attempts] == at_the_limit
    assert [second[0] for _, second, *_ in attempts] == [epoch + 1 for epoch in at_the_limit]
    assert len(study.sessions) == 3 and "does not see the locks" not in study.logs

    study.submit(*options, 2, nodes=1, sessions=1)  # a study that is complete, in a job that is no array
    assert study.wait_for_end() == "the study is complete", study.logs
    assert len(study.sessions) == 1


def test_jobs_leave_nothing_behind(slurm: SlurmCluster) -> None:
    assert slurm.run("pgrep", "--full", "--list-full", "raylet|gcs_server|study.run", check=False) == ""
