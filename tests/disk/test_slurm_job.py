"""The record of a study's Slurm job."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.disk.layout import set_aside, slurm_path
from study.disk.slurm_job import SlurmJob, append_session, job_path, read_job, read_sessions, sessions_path, write_job

JOB = SlurmJob(job=17, sessions=20, nodes=3, seconds=28_800, submitted="2026-11-30T15:00:00.000+00:00")
BEGUN = {"begun": "2026-11-30T15:01:00.000+00:00", "epochs": 4, "host": "node1", "nodes": "node[1-3]"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    slurm_path(tmp_path).mkdir()
    return tmp_path


def test_a_job_is_read_as_it_was_written(study: Path) -> None:
    assert read_job(study) is None
    write_job(study, JOB)
    assert read_job(study) == JOB


@pytest.mark.parametrize("content", ["", "[]", "{", '{"job": "17"}', '{"format": 2, "job": 17}'])
def test_faults_met_a_damaged_record_of_a_job_is_none(study: Path, content: str) -> None:
    job_path(study).write_text(content)
    assert read_job(study) is None


def test_the_lines_of_a_session_are_merged(study: Path) -> None:
    append_session(study, {"job": 16, "task": 1, "restart": 0, **BEGUN})
    append_session(study, {"job": 17, "task": 1, "restart": 0, **BEGUN})
    append_session(study, {"job": 17, "task": 1, "restart": 1, **BEGUN, "epochs": 9})
    append_session(study, {"job": 17, "task": 1, "restart": 1, "ended": "2026-11-30T16:00:00", "over": "complete"})
    first, second = read_sessions(study, 17)
    assert (first.restart, first.epochs, first.ended, first.over) == (0, 4, None, None)
    assert (second.restart, second.epochs, second.over) == (1, 9, "complete")


def test_faults_met_half_a_line_spoils_no_other(study: Path) -> None:
    append_session(study, {"job": 17, "task": 1, "restart": 0, **BEGUN})
    with sessions_path(study).open("a") as file:
        file.write('{"job": 17, "task": 2, "beg')  # killed while it wrote
    append_session(study, {"job": 17, "task": 3, "restart": 0, **BEGUN})
    append_session(study, {"job": 17, "task": 4, "ended": "2026-11-30T16:00:00"})  # its beginning is lost
    assert [session.task for session in read_sessions(study, 17)] == [1, 3]


def test_a_study_that_begins_anew_keeps_its_job(study: Path) -> None:
    (study / "study.json").write_text("{}")
    write_job(study, JOB)
    set_aside(study)
    assert read_job(study) == JOB
