"""The batch script: what it asks Slurm for, and that a shell can read it."""

from __future__ import annotations

import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import study.batch.script
from study.batch.script import Allocation, render, seconds_of
from study.batch.session import NOTHING_TO_DO
from study.errors import UserError
from tests.test_architecture import ROOT


def rendered(directory: Path = Path("/shared/runs/toy"), **changes: Any) -> str:
    allocation = Allocation(**{"time": "8:00:00", "nodes": 3, **changes})
    return render(
        allocation,
        directory,
        ["--space", "method", "--study", directory.name],
        python="/shared/env/bin/python",
        code=Path("/shared/code"),
        token=directory / "slurm" / "ray_token",
        folder=Path("/shared"),
    )


def directives(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [  # the formats of sbatch's manual
        ("30", 30 * 60),
        ("30:15", 30 * 60 + 15),
        ("8:00:00", 8 * 3600),
        ("1-12", 36 * 3600),
        ("1-12:30", 36 * 3600 + 30 * 60),
        ("2-00:00:01", 2 * 86400 + 1),
    ],
)
def test_a_time_limit_is_read_as_slurm_reads_it(time: str, seconds: int) -> None:
    assert seconds_of(time) == seconds


@pytest.mark.parametrize("time", ["", "8h", "1:2:3:4", "-5", "0", "0:30", "400-0", "8:00:00\n#SBATCH --wrap=x"])
def test_a_time_that_is_no_limit_is_refused(time: str) -> None:
    with pytest.raises(UserError, match="--time"):
        Allocation(time=time, nodes=1)


@pytest.mark.parametrize(("time", "reserve"), [("1", 10), ("10", 60), ("8:00:00", 180), ("7-0", 180)])
def test_the_driver_ends_before_the_allocation(time: str, reserve: int) -> None:
    assert Allocation(time=time, nodes=1).reserve == reserve
    assert f"--signal=B:USR1@{reserve}" in directives(rendered(time=time))


def test_whole_nodes_or_cores_and_gpus() -> None:
    whole = directives(rendered())
    assert {"--nodes=3", "--ntasks-per-node=1", "--exclusive", "--mem=0", "--time=8:00:00"} <= set(whole)
    assert not any(line.startswith(("--cpus", "--gpus")) for line in whole)
    part = rendered(cpus=16, gpus=4)
    assert {"--cpus-per-task=16", "--gpus-per-node=4"} <= set(directives(part))
    assert "--exclusive" not in directives(part) and "--num-gpus=4" in part and "--num-gpus=0" in rendered()


def test_sessions_are_tasks_of_an_array_one_at_a_time_and_the_users_options_come_last() -> None:
    lines = directives(rendered(sessions=7, options=("--constraint=a100", "--reservation=lab day")))
    assert "--array=1-7%1" in lines and "--requeue" in lines
    assert lines[-2:] == ["--constraint=a100", "'--reservation=lab day'"]


def test_one_session_is_no_array() -> None:
    lines = directives(rendered(sessions=1))
    assert "--output=/shared/runs/toy/slurm/%j_1.log" in lines and not any("--array" in line for line in lines)


def test_the_script_knows_the_status_that_says_nothing_to_do() -> None:
    assert f'[ "$begun" != {NOTHING_TO_DO} ] || exit 0' in rendered()


@pytest.mark.parametrize(
    "option",
    [
        *("constraint=a100", "--mem 64G", "-a 5", "--x=1\n#SBATCH --wrap=rm", "-", "--", ""),
        *("--array=1-5", "--error=x", "--export=NONE", "--output=x", "--wait", "--wrap=x"),
    ],
)
def test_an_option_of_sbatch_is_one_option_and_none_of_ours(option: str) -> None:
    with pytest.raises(UserError, match="--sbatch-option"):
        Allocation(time="10", nodes=1, options=(option,))


@pytest.mark.parametrize("name", ["toy", "my runs/a-1", "100%/x", "it's $(touch oops)/`b`", "{# jinja #} {{ x }}/y"])
def test_a_shell_reads_any_path_as_it_is(name: str, tmp_path: Path) -> None:
    directory = tmp_path / name
    script = rendered(directory)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    [line] = [line for line in script.splitlines() if line.startswith("study=")]
    shown = subprocess.run(["bash", "-c", f'{line}\nprintf %s "$study"'], capture_output=True, text=True, check=True)
    assert shown.stdout == str(directory)
    [output] = [line for line in directives(script) if line.startswith("--output=")]
    assert shlex.split(output) == [f"--output={str(directory).replace('%', '%%')}/slurm/%A_%a.log"]


def test_a_path_that_would_end_a_line_is_refused() -> None:
    with pytest.raises(UserError, match="rename it"):
        rendered(Path("/shared/a\n#SBATCH --wrap=x"))


def test_the_template_is_installed_with_the_package() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["study.batch"]
    folder = Path(study.batch.script.__file__).parent
    assert {path.name for pattern in data for path in folder.glob(pattern)} == {"job.sbatch.jinja"}


def test_ray_wants_the_token_and_nothing_of_another_cluster() -> None:
    script = rendered()
    assert "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/shared/runs/toy/slurm/ray_token" in script
    assert "unset RAY_ADDRESS RAY_AUTH_TOKEN " in script
