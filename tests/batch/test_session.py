"""When a session of a Slurm job is to run, and when another one follows."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest

from study.batch import session
from study.batch.session import begin, end, epochs_of, main
from study.disk.layout import driver_path, lock_path, slurm_path
from study.disk.slurm_job import SlurmJob, read_sessions, write_job
from tests.batch.fake_slurm import FakeSlurm
from tests.helpers_study import make_study

SOON, LONG_AGO = 4e9, 1e9


def job_environment(task: int, restart: int = 0, job: int = 17) -> dict[str, str]:
    restarts = {"SLURM_RESTART_COUNT": str(restart)} if restart else {}
    place = {"SLURM_ARRAY_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": str(task)}
    return {**place, **restarts, "SLURM_JOB_NODELIST": "node[1-3]"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of two dozen trials, said to be interrupted, that was submitted for five sessions."""
    make_study(tmp_path / "runs")
    directory = tmp_path / "runs" / "toy"
    slurm_path(directory).mkdir()
    write_job(directory, SlurmJob(job=17, sessions=5, nodes=3, seconds=600, submitted="2026-11-30T15:00:00+00:00"))
    set_outcome(directory, "interrupted")
    return directory


def set_outcome(directory: Path, outcome: str) -> None:
    record = json.loads((directory / "study.json").read_text())
    (directory / "study.json").write_text(json.dumps({**record, "outcome": outcome}))


def add_epoch(directory: Path) -> None:
    """Adds an epoch to a trial that has not ended."""
    trial = sorted((directory / "trials").iterdir())[-1]
    (trial / "outcome.json").unlink(missing_ok=True)
    records = trial / "attempt-1" / "metrics.jsonl"
    last = json.loads(records.read_text().splitlines()[-1])
    with records.open("a") as file:
        file.write(json.dumps({**last, "epoch": last["epoch"] + 1}) + "\n")


def test_epochs_are_counted_once_however_often_they_were_trained(study: Path) -> None:
    def by_hand() -> int:
        trials = sorted((study / "trials").iterdir())
        lines = [[json.loads(line)["epoch"] for p in t.glob("*/metrics.jsonl") for line in p.open()] for t in trials]
        return sum(max(epochs) for epochs in lines if epochs)

    before = epochs_of(study)
    assert before == by_hand() > 0
    add_epoch(study)
    assert epochs_of(study) == by_hand() == before + 1
    records = next(study.glob("trials/0000/attempt-1/metrics.jsonl"))
    again = study / "trials" / "0000" / "attempt-2"
    again.mkdir()
    (again / "metrics.jsonl").write_text(records.read_text())  # a trial that went back to its first epoch
    assert epochs_of(study) == before + 1


def test_a_session_is_recorded_and_another_follows(study: Path, fake_slurm: Callable[..., FakeSlurm]) -> None:
    slurm = fake_slurm()
    assert begin(study, job_environment(1)) is None
    add_epoch(study)
    assert end(study, job_environment(1), status=130, deadline=SOON, asked=True) is None
    [found] = read_sessions(study, 17)
    assert (found.nodes, found.epochs) == ("node[1-3]", epochs_of(study) - 1) and found.ended is not None
    assert slurm.calls == []


def test_a_complete_study_ends_the_chain(study: Path, fake_slurm: Callable[..., FakeSlurm]) -> None:
    slurm = fake_slurm()
    begin(study, job_environment(1))
    set_outcome(study, "completed")
    assert end(study, job_environment(1), status=0, deadline=SOON, asked=False) == "the study is complete"
    assert slurm.calls == ["scancel --state=PENDING 17"]
    assert begin(study, job_environment(2)) == "the study is complete"  # if Slurm could not be asked


@pytest.mark.parametrize(("outcome", "status"), [("stopped", 0), ("failed", 1)])
def test_a_study_that_has_ended_before_its_time_ends_the_chain(
    study: Path, fake_slurm: Callable[..., FakeSlurm], outcome: str, status: int
) -> None:
    slurm = fake_slurm()
    begin(study, job_environment(1))
    set_outcome(study, outcome)
    add_epoch(study)
    assert end(study, job_environment(1), status=status, deadline=LONG_AGO, asked=False) is None  # the time budget
    assert end(study, job_environment(1), status=status, deadline=SOON, asked=True) is None
    assert outcome in (end(study, job_environment(1), status=status, deadline=SOON, asked=False) or "")
    assert slurm.calls == ["scancel --state=PENDING 17"]


def test_two_sessions_without_a_new_epoch_end_the_chain(study: Path, fake_slurm: Callable[..., FakeSlurm]) -> None:
    slurm = fake_slurm()
    for task in (1, 2):
        assert begin(study, job_environment(task)) is None
        over = end(study, job_environment(task), status=2, deadline=SOON, asked=False)
        assert (over is not None) == (task == 2)
    assert over is not None and "2 sessions in a row trained no new epoch" in over and str(slurm_path(study)) in over
    assert slurm.calls == ["scancel --state=PENDING 17"]


def test_sessions_that_were_cut_off_are_given_more_tries(
    study: Path, fake_slurm: Callable[..., FakeSlurm], capsys: pytest.CaptureFixture[str]
) -> None:
    slurm = fake_slurm()
    assert begin(study, job_environment(1)) is None
    for restart in range(1, 5):  # put back into the queue
        assert begin(study, job_environment(1, restart)) is None
    assert main(["begin", str(study)], job_environment(2)) == session.NOTHING_TO_DO
    assert "5 sessions in a row trained no new epoch" in capsys.readouterr().out
    assert slurm.calls == ["scancel --state=PENDING 17"]


def test_a_session_that_was_cut_off_does_not_excuse_those_that_were_not(
    study: Path, fake_slurm: Callable[..., FakeSlurm]
) -> None:
    fake_slurm()
    begin(study, job_environment(1))
    assert end(study, job_environment(1), status=2, deadline=SOON, asked=False) is None
    begin(study, job_environment(2))
    begin(study, job_environment(3))
    assert "3 sessions" in (end(study, job_environment(3), status=2, deadline=SOON, asked=False) or "")


def test_the_only_session_is_no_task_of_an_array(
    study: Path, fake_slurm: Callable[..., FakeSlurm], capsys: pytest.CaptureFixture[str]
) -> None:
    slurm, environment = fake_slurm(), {"SLURM_JOB_ID": "17"}
    assert main(["begin", str(study)], environment) == 0
    set_outcome(study, "completed")
    assert main(["end", str(study), "--status=0", f"--deadline={SOON}", "--asked="], environment) == 0
    assert capsys.readouterr().out == "no session follows: the study is complete\n"
    assert [found.task for found in read_sessions(study, 17)] == [1] and len(slurm.calls) == 1


def test_a_new_epoch_between_useless_sessions_keeps_the_chain(
    study: Path, fake_slurm: Callable[..., FakeSlurm]
) -> None:
    fake_slurm()
    for task in (1, 2, 3):
        begin(study, job_environment(task))
        if task == 2:
            add_epoch(study)
        assert end(study, job_environment(task), status=130, deadline=SOON, asked=True) is None


def test_a_new_job_does_not_inherit_useless_sessions(study: Path, fake_slurm: Callable[..., FakeSlurm]) -> None:
    fake_slurm()
    for task in (1, 2):
        begin(study, job_environment(task))
        end(study, job_environment(task), status=2, deadline=SOON, asked=False)
    assert begin(study, job_environment(1, job=18)) is None


def test_the_last_session_says_that_it_was_the_last(study: Path, fake_slurm: Callable[..., FakeSlurm]) -> None:
    fake_slurm()
    begin(study, job_environment(5))
    add_epoch(study)
    over = end(study, job_environment(5), status=130, deadline=SOON, asked=False)
    assert over is not None and "the last of 5 sessions" in over


def test_faults_met_the_mark_of_a_driver_that_died_on_another_node_blocks_nothing(
    study: Path, fake_slurm: Callable[..., FakeSlurm]
) -> None:
    fake_slurm()
    driver_path(study).write_text(json.dumps({"host": "node9", "pid": 1, "begun": time.time()}))
    begun = time.monotonic()
    assert begin(study, job_environment(1), patience=1000) is None
    assert time.monotonic() - begun < 100


def test_a_driver_that_holds_the_lock_is_waited_for_and_told(
    study: Path, fake_slurm: Callable[..., FakeSlurm], capsys: pytest.CaptureFixture[str]
) -> None:
    fake_slurm()
    driver_path(study).write_text(json.dumps({"host": "node9", "pid": 5, "begun": time.time()}))
    with filelock.FileLock(lock_path(study)):
        assert begin(study, job_environment(1), patience=0.2) is None  # study.run then refuses, with its own line
    assert "process 5 on node9 still runs the study" in capsys.readouterr().out


def test_faults_met_without_slurm_a_session_still_ends(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    begin(study, job_environment(1))
    set_outcome(study, "completed")
    assert main(["end", str(study), "--status=0", f"--deadline={SOON}"], job_environment(1)) == 0
