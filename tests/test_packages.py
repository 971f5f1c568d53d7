"""Packages of others that hide this project's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.config import UserError
from study.packages import check_packages, check_working_directory

ROOT = Path(__file__).parents[1]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_packages_are_found() -> None:
    check_packages()


@pytest.mark.parametrize("name", ["analysis", "search_spaces"])
def test_a_folder_of_that_name_is_told_in_one_line_and_does_not_disturb_the_command(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    for module in (["study.run", "--list"], ["study.run", "--space", "wae_weight", "--dry-run"], ["study", "spaces"]):
        told = run(tmp_path, "-m", *module)
        assert told.returncode == 2 and not told.stdout
        assert told.stderr.startswith(f"error: {tmp_path / name} hides this project's package {name!r}")
        assert len(told.stderr.splitlines()) == 1 and "command `study`" in told.stderr
    # What the console script runs: -P leaves the working directory off the path, as for any script in bin/.
    command = "import sys; sys.argv = ['study', 'spaces']; from study.command import main; main()"
    listed = run(tmp_path, "-P", "-c", command)
    assert listed.returncode == 0 and "wae_weight: " in listed.stdout


def test_a_package_study_beside_the_user_is_refused_since_trials_would_import_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    check_working_directory()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study").mkdir()  # a plain folder hides nothing
    check_working_directory()
    (tmp_path / "study" / "__init__.py").write_text("")
    with pytest.raises(UserError, match="would hide this project's package 'study' from the trials"):
        check_working_directory()
