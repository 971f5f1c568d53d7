"""What `study status` says of a Slurm job."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from study.batch.shown import job_lines
from study.cli import command_status
from study.disk.layout import slurm_path
from study.disk.slurm_job import SlurmJob, append_session, write_job
from study.status import lines, main, read_status
from tests.batch.fake_slurm import FakeSlurm
from tests.helpers_study import make_study

BEGUN = {"job": 17, "task": 2, "restart": 0, "begun": "2026-11-30T15:01:00.000+00:00", "epochs": 4, "host": "node1"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    directory = tmp_path / "runs" / "new"
    slurm_path(directory).mkdir(parents=True)
    write_job(directory, SlurmJob(job=17, sessions=20, nodes=3, seconds=600, submitted="2026-11-30T15:00:00+00:00"))
    return directory


def test_a_study_that_was_not_submitted_has_no_line(tmp_path: Path) -> None:
    assert job_lines(tmp_path) == []


def test_a_job_that_runs_shows_what_is_left_and_what_waits(study: Path, fake_slurm: Callable[..., FakeSlurm]) -> None:
    fake_slurm(squeue="echo '3-20%1|PENDING|10:00||Priority|2026-12-01T08:00'; echo '2|RUNNING|7:11|node[1-3]|None|x'")
    append_session(study, BEGUN)
    waiting, running, end = job_lines(study)
    assert waiting == "slurm        job 17: sessions 3-20 of 20 wait (Priority), expected at 2026-12-01T08:00"
    assert running.split() == ["session", "2", "of", "20", "is", "running", "on", "node[1-3],", "7:11", "left"]
    assert end == f"to end it    study slurm --cancel new --runs-dir {study.parent}"


def test_a_job_that_is_over_says_why(study: Path, fake_slurm: Callable[..., FakeSlurm]) -> None:
    fake_slurm()
    append_session(study, {**BEGUN, "ended": "2026-11-30T15:09:00", "over": "the study is complete"})
    assert job_lines(study) == ["slurm        job 17: over after 1 of 20 sessions: the study is complete"]


def test_a_job_that_was_cancelled_is_not_in_the_queue(study: Path, fake_slurm: Callable[..., FakeSlurm]) -> None:
    fake_slurm()
    append_session(study, BEGUN)
    [line] = job_lines(study)
    assert "not in the queue any more, after 1 of 20 sessions; submit again to go on" in line


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "no session has begun"),
        ([BEGUN], "session 2 of 20 begun on node1 at 2026-11-30T15:01"),
        ([BEGUN, {**BEGUN, "ended": "2026-11-30T15:09:00"}], "session 2 of 20 ended at 2026-11-30T15:09"),
    ],
)
def test_without_slurm_the_jobs_own_record_is_shown(
    study: Path, monkeypatch: pytest.MonkeyPatch, more: list[dict[str, object]], words: str
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    for line in more:
        append_session(study, line)
    [shown] = job_lines(study)
    assert words in shown and "squeue is not here" in shown


def test_the_status_of_a_study_that_waits_for_its_first_session(
    study: Path, fake_slurm: Callable[..., FakeSlurm], capsys: pytest.CaptureFixture[str]
) -> None:
    fake_slurm(squeue="echo '1-20%1|PENDING|10:00||Resources|N/A'")
    assert command_status(main, ["--study", "new", "--runs-dir", str(study.parent)]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "study        new: submitted, not begun",
        "slurm        job 17: sessions 1-20 of 20 wait (Resources)",
    ]
    assert command_status(main, ["--study", "other", "--runs-dir", str(study.parent)]) == 2


def test_the_status_of_a_study_ends_with_its_job(study: Path, fake_slurm: Callable[..., FakeSlurm]) -> None:
    fake_slurm()
    make_study(study.parent)
    assert not any(line.startswith("slurm") for line in lines(read_status(study.parent, "toy"), "toy"))
    slurm_path(study).rename(slurm_path(study.parent / "toy"))
    assert lines(read_status(study.parent, "toy"), "toy")[-1].startswith("slurm        job 17: not in the queue")
