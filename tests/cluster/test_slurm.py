"""`study slurm` on a real Slurm of three nodes: sessions that end, nodes that die, and who ends the chain."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.audit import audit
from study.batch.session import epochs_of
from study.disk.slurm_job import SlurmSession, read_job, read_sessions
from study.disk.study_json import read_study
from study.disk.timestamp import milliseconds
from tests.cluster.compose import ROOT
from tests.cluster.slurm_cluster import SlurmCluster, missing, slurm_cluster

pytestmark = pytest.mark.cluster
EPOCHS = 40
BATCH_SECONDS = 0.1
"""A trial takes a minute and more, on a quick machine too: 17 batches an epoch."""
SPACE = f"""
import time
from typing import ClassVar

import study


class Slow(study.Regularizer):
    name: ClassVar[str] = "slow"
    methods: ClassVar[dict[str, str]] = {{"deterministic": "AE-slow"}}
    weight_range: ClassVar[tuple[float, float]] = (1e-3, 1.0)

    def forward(self, model, posterior, z, generator):
        if model.training:
            time.sleep({BATCH_SECONDS})
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
    """A study that is submitted from the login node; each node gives it two of its four cores."""

    def __init__(self, slurm: SlurmCluster, runs: Path, name: str) -> None:
        self.slurm, self.directory = slurm, runs / name

    def command(self, *words: object) -> str:
        """A command of ours on the login node; gives its output."""
        environment = {**self.slurm.environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return self.slurm.run(sys.executable, "-m", *words, env=environment)

    def submit(self, *options: object, nodes: int) -> None:
        """`study slurm`."""
        place = ["--study", self.directory.name, "--runs-dir", self.directory.parent, "--scheduler", "none"]
        wanted = ["--time", 15, "--nodes", nodes, "--cpus-per-node", 2, "--sbatch-option=--mem=1000"]
        self.command("study.slurm", *wanted, "--", *options, *place)

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

    def wait_for_epochs(self, more: int = 1) -> None:
        """Waits until the running session has trained new epochs, and gives trials the time for a checkpoint."""
        before = self.sessions[-1].epochs
        self.wait_for(lambda: epochs_of(self.directory) >= before + more, "new epochs")

    def wait_for_session(self, task: int, restart: int = 0) -> None:
        """Waits until a session has begun."""
        begun = lambda: [(s.task, s.restart) for s in self.sessions][-1:] == [(task, restart)]  # noqa: E731
        self.wait_for(begun, f"session {task}, restart {restart}")

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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared folder of studies, and the space beside it."""
    runs = tmp_path_factory.mktemp("slurm") / "my runs"
    runs.mkdir()
    (runs.parent / "slow.py").write_text(SPACE)
    return runs


def test_a_study_outlives_its_allocations_a_node_a_requeue_and_a_kill(slurm: SlurmCluster, runs: Path) -> None:
    options = ["--space", runs.parent / "slow.py", "--num-trials", 4, "--epochs", EPOCHS]
    study = Study(slurm, runs, "long")
    study.submit(*options, nodes=2)
    beside = Study(slurm, runs, "beside")  # another job's Ray on one of the same nodes
    beside.submit("--space", "wae_weight", "--num-trials", 2, "--epochs", 4, nodes=1)
    assert f"job {study.job}: " in study.command("study.status", "--study", "long", "--runs-dir", runs)
    study.wait_for(lambda: study.sessions, "a session")
    study.wait_for_epochs()
    elapsed = time.time() - milliseconds(study.sessions[0].begun) / 1000
    slurm.run("scontrol", "update", f"JobId={study.job}_1", f"TimeLimit={int(elapsed / 60) + 2}")
    study.wait_for_session(2)
    assert "the allocation is about to end" in study.logs and study.sessions[0].ended
    assert beside.wait_for_end() == "the study is complete", beside.logs
    beside.check_whole(2, 4)
    assert beside.sessions[0].host == study.sessions[0].host

    study.wait_for_epochs()
    slurm.run("pkill", "-KILL", "--full", "--", "raylet.*--node_ip_address=10.77.0.2")
    study.wait_for_epochs(4)
    slurm.run("scontrol", "requeue", f"{study.job}_2")
    study.wait_for(lambda: len(study.sessions) == 3, "a session after the requeue")
    study.wait_for_epochs()
    # The batch script and all that it has started, as a cluster's Slurm kills a job that has run out of memory.
    slurm.run("pkill", "-KILL", "--full", "--", "slurm_script|study.run --space|raylet|gcs_server")
    assert study.wait_for_end() == "the study is complete", study.logs
    study.check_whole(4, EPOCHS)
    assert len(study.sessions) == 4
    assert "does not see the locks" not in study.logs

    study.submit(*options, nodes=1)  # a study that is complete at once
    assert study.wait_for_end() == "the study is complete"
    assert len(study.sessions) == 1


def test_who_cancels_a_session_ends_the_chain(slurm: SlurmCluster, runs: Path) -> None:
    study = Study(slurm, runs, "ended")
    options = ["--space", runs.parent / "slow.py", "--num-trials", 2, "--epochs", EPOCHS]
    study.submit(*options, nodes=1)
    study.wait_for(lambda: study.sessions and epochs_of(study.directory), "an epoch")
    slurm.run("scancel", f"{study.job}_1")
    study.wait_for_end()
    assert [session.over for session in study.sessions] == ["it was cancelled"], study.logs
    assert not (study.directory / "driver.json").exists(), "the driver has not ended in order"
    study.submit(*options, nodes=1)
    study.command("study.slurm", "--cancel", "ended", "--runs-dir", runs)
    study.wait_for_end()


def test_jobs_leave_nothing_behind(slurm: SlurmCluster) -> None:
    assert slurm.run("pgrep", "--full", "--list-full", "raylet|gcs_server|study.run", check=False) == ""
