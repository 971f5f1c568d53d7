"""Slurm's commands, and what is made of their answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from study.batch.queue import Task, cancel, cancel_waiting, check_slurm, submit, tasks_of
from study.errors import UserError
from tests.batch.fake_slurm import FakeSlurm


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "job.sbatch"
    path.write_text("#!/bin/bash\n# A comment\n#SBATCH --time=10\n#SBATCH '--comment=my day'\n\necho '#SBATCH --x'\n")
    return path


def test_a_script_is_submitted_with_its_options_on_the_command_line(
    fake_slurm: Callable[..., FakeSlurm], script: Path
) -> None:
    slurm = fake_slurm()
    check_slurm()
    assert submit(script) == 17
    assert slurm.calls == [f"sbatch --parsable --time=10 --comment=my day {script}"]


def test_a_job_has_nothing_of_the_job_from_whose_shell_it_is_submitted(
    fake_slurm: Callable[..., FakeSlurm], script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_PARTITION": "long", "MINE": "1"}
    dropped = {"SLURM_JOB_ID": "5", "SLURM_MEM_PER_CPU": "1", "SLURM_ARRAY_JOB_ID": "4", "SBATCH_WAIT": "1"}
    for name, value in (kept | dropped).items():
        monkeypatch.setenv(name, value)
    fake_slurm(sbatch=f"env > {script.parent}/environment; echo 17")
    submit(script)
    found = (script.parent / "environment").read_text().splitlines()
    assert {f"{name}={value}" for name, value in kept.items()} <= set(found)
    assert not set(dropped) & {line.partition("=")[0] for line in found}


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (
            "sbatch: error: invalid partition specified: x\\nsbatch: error: Batch job submission failed",
            "invalid partition specified: x; Batch job submission failed",
        ),
        ("sbatch: error: Batch job submission failed: Invalid job array specification", "fewer --sessions"),
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\\nsbatch: error: Job violates policy (job submit limit)",
            "fewer --",
        ),
    ],
)
def test_why_slurm_refuses_a_script_is_told(
    fake_slurm: Callable[..., FakeSlurm], script: Path, reason: str, told: str
) -> None:
    fake_slurm(sbatch=f"printf '{reason}' >&2; exit 1")
    with pytest.raises(UserError, match=told) as raised:
        submit(script)
    assert ("--sessions" in str(raised.value)) == ("--" in told)


def test_the_queue_is_read(fake_slurm: Callable[..., FakeSlurm]) -> None:
    lines = ("3-20%1|PENDING|8:00:00||JobArrayTaskLimit|N/A", "2|RUNNING|1:20:11|node[1-3]|None|2026-11-30T15:00:00")
    slurm = fake_slurm(squeue=f"echo '{lines[0]}'; echo '{lines[1]}'")
    waiting, running = tasks_of(17) or []
    assert waiting == Task("3-20%1", "PENDING", "8:00:00", "", "JobArrayTaskLimit", "N/A")
    assert running == Task("2", "RUNNING", "1:20:11", "node[1-3]", "None", "2026-11-30T15:00:00")
    assert slurm.calls == ["squeue --noheader --jobs=17 --format=%K|%T|%L|%N|%r|%S"]
    fake_slurm(squeue="echo 'N/A|RUNNING|1:20:11|node1|None|2026-11-30T15:00:00'")  # a job that is no array
    assert [task.tasks for task in tasks_of(17) or []] == ["1"]


@pytest.mark.parametrize(
    ("answer", "tasks"),
    [
        ("true", []),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", []),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", None),
    ],
)
def test_a_job_that_is_gone_and_a_queue_that_does_not_answer(
    fake_slurm: Callable[..., FakeSlurm], answer: str, tasks: list[Task] | None
) -> None:
    fake_slurm(squeue=answer)
    assert tasks_of(17) == tasks


def test_a_job_is_cancelled_or_its_waiting_sessions_alone(fake_slurm: Callable[..., FakeSlurm]) -> None:
    slurm = fake_slurm()
    cancel(17)
    cancel_waiting(17)
    assert slurm.calls == ["scancel 17", "scancel --state=PENDING 17"]
    fake_slurm(scancel="echo 'scancel: error: Kill job error on job id 17: Access denied' >&2; exit 1")
    with pytest.raises(UserError, match="Access denied"):
        cancel(17)


def test_a_machine_without_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(UserError, match="sbatch, squeue, scancel: not on the PATH"):
        check_slurm()
    assert tasks_of(17) is None
