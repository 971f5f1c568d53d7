"""`study slurm` without Slurm; tests/cluster/test_slurm.py runs a real one."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from study.cli import USAGE, command_status
from study.disk.slurm_job import read_job, script_path, token_path
from study.slurm import slurm
from tests.batch.fake_slurm import FakeSlurm

OPTIONS = ["--space", "wae_weight", "--num-trials", "2", "--epochs", "2", "--scheduler", "none", "--study", "new"]


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeSlurm]:
    """Puts programs in the place of Slurm's onto the PATH."""
    return functools.partial(FakeSlurm, tmp_path / "slurm-programs", monkeypatch)


def slurm_command(runs: Path, *options: str) -> int:
    wanted = ["--time", "1:00:00", "--nodes", "3", *options]
    return command_status(slurm, [*wanted, "--", *OPTIONS, "--runs-dir", str(runs)])


def test_a_study_is_submitted_once(
    tmp_path: Path,
    fake_slurm: Callable[..., FakeSlurm],
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs, programs = tmp_path / "my runs", fake_slurm()
    assert slurm_command(runs, "--sessions", "4", "--partition", "gpu", "--account", "lab", "--gpus-per-node", "2") == 0
    told, warned = capsys.readouterr()
    [call] = programs.calls
    assert call.startswith("sbatch --parsable --job-name=study-new --array=1-4%1 ")
    assert call.endswith(f" --partition=gpu --account=lab {script_path(runs / 'new')}")
    assert told.splitlines()[0] == "job          17: at most 4 sessions, one after another, 1:00:00 each on 3 nodes"
    assert f"study status --study new --runs-dir '{runs}'" in told
    assert f"study slurm --cancel new --runs-dir '{runs}', or scancel 17" in told
    assert "add --gpus-per-trial" in warned
    script = script_path(runs / "new").read_text()
    assert (
        "#SBATCH --partition=gpu\n#SBATCH --account=lab\n" in script
        and token_path(runs / "new").read_text() not in script
    )
    assert stat.S_IMODE(token_path(runs / "new").stat().st_mode) == 0o600
    job = read_job(runs / "new")
    assert job is not None and (job.job, job.sessions, job.nodes, job.seconds) == (17, 4, 3, 3600)

    fake_slurm(squeue="echo '2|RUNNING|7:11|node[1-3]|None|x'")
    assert slurm_command(runs) == USAGE
    assert "job 17 of study 'new' is in the queue already" in capsys.readouterr().err
    assert command_status(slurm, ["--cancel", "new", "--runs-dir", str(runs)]) == 0
    assert programs.calls[-1] == "scancel 17"
    fake_slurm(squeue="exit 1")
    assert slurm_command(runs) == USAGE
    assert "still in the queue: try again" in capsys.readouterr().err
    fake_slurm()
    assert command_status(slurm, ["--cancel", "new", "--runs-dir", str(runs)]) == 0
    assert "there is nothing to cancel" in capsys.readouterr().out


def test_a_script_is_printed_without_slurm_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    for option in ("--print", "--dry-run"):
        assert slurm_command(tmp_path / "runs", option) == 0
        assert capsys.readouterr().out.startswith("#!/bin/bash\n# One session of study new on 3 nodes")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--", *OPTIONS], "--time is missing"),
        (["--time", "8h", "--", *OPTIONS], "--time 8h: write it as Slurm does"),
        (["--time", "10", "--nodes", "0", "--", *OPTIONS], "--nodes"),
        (["--time", "10", "--", *OPTIONS, "--epochs", "0"], "--epochs"),
        (["--time", "10", "--", *OPTIONS, "--nope"], "--nope"),
        (["--time", "10", *OPTIONS], "No such option"),
        (["--cancel", "../new"], "no study of this name"),
        (["--cancel", "other"], "no study of this name"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_submitted(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fake_slurm: Callable[..., FakeSlurm],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    programs = fake_slurm()
    assert command_status(slurm, arguments) == USAGE
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error and programs.calls == []
    assert not (tmp_path / "runs").exists()


def test_what_slurm_refuses_is_one_line(
    tmp_path: Path,
    fake_slurm: Callable[..., FakeSlurm],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_slurm(sbatch="echo 'sbatch: error: Invalid qos specification' >&2; exit 1")
    assert slurm_command(tmp_path / "runs") == USAGE
    assert "Invalid qos specification" in capsys.readouterr().err and read_job(tmp_path / "runs" / "new") is None
