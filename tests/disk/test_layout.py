"""Which study a name means, and which names are near it."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.config import UserError
from study.disk.layout import check_is_there, find_study, set_aside
from tests.helpers_study import make_study
from tests.test_run import study_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with three studies."""
    for name in ("wae_weight", "wae_weight-mnist", "method"):
        make_study(tmp_path, name, trials=0)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "near"), [("wae_wieght", "wae_weight, wae_weight-mnist"), ("zzz", "method, wae_weight, wae_weight-mnist")]
)
def test_faults_met_a_misspelt_name_is_told_with_the_near_ones(runs: Path, name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"no study '{name}' in .*, which has {near}: correct --study"):
        check_is_there(runs, name)
    with pytest.raises(UserError, match=f"no study '{name}' in .*: choose from {near}$"):
        find_study(runs, name)


def test_faults_met_resume_begins_no_study_by_accident(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--space", "wae_weight", "--study", "wae_wieght", "--num-trials", 2, "--runs-dir", runs, "--resume"]
    assert study_run(*arguments, "--dry-run") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "which has wae_weight, wae_weight-mnist: correct --study, or add --create" in line
    assert study_run(*arguments, "--dry-run", "--create") == 0
    assert study_run(*arguments[:-2], runs / "none", "--resume", "--dry-run") == 0  # as `make study` the first time
    assert not (runs / "wae_wieght").exists()


def test_faults_met_what_a_study_had_is_set_aside_and_nothing_is_lost(tmp_path: Path) -> None:
    directory = make_study(tmp_path, "a", trials=2)
    (directory / "optuna.db").write_bytes(b"1")
    (directory / "driver.json").write_text("{}")
    before = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()} - {"driver.json"}
    for number in (1, 2):
        past = set_aside(directory)
        assert past == directory / f"before-{number}"
        found = {str(path.relative_to(past)) for path in past.rglob("*") if path.is_file()}
        assert found == (before if number == 1 else {"study.json"})
    assert sorted(path.name for path in directory.iterdir()) == ["before-1", "before-2", "driver.json", "study.json"]


def test_many_names_are_cut_off(tmp_path: Path) -> None:
    for number in range(12):
        make_study(tmp_path, f"study-{number:02}", trials=0)
    with pytest.raises(UserError, match=r"study-09, \.\.\.: correct"):
        check_is_there(tmp_path, "x")
