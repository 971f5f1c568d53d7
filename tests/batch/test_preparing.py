"""What is checked before a study is submitted."""

from __future__ import annotations

import errno
import fcntl
import stat
from pathlib import Path
from typing import Any

import pytest

from study.batch.preparing import check_locks, ensure_token, file_system, prepare
from study.batch.script import Allocation
from study.disk.layout import slurm_path
from study.errors import UserError

ALLOCATION = Allocation(time="10", nodes=2)
SMALL = ["--space", "wae_weight", "--num-trials", "2", "--epochs", "2", "--scheduler", "none"]
MOUNTS = """overlay / overlay rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
scratch@o2ib:/lustre /home/my\\040scratch lustre rw,flock 0 0
tmpfs /tmp tmpfs rw 0 0
"""


def test_what_depends_on_the_place_is_made_explicit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = prepare([*SMALL, "--resume", "--create", "--replicates"], ALLOCATION)
    assert found.directory == tmp_path / "runs" / "wae_weight"
    assert found.arguments == [*SMALL, "--replicates", "5", "--study", "wae_weight", "--runs-dir", f"{tmp_path}/runs"]
    assert not (tmp_path / "runs").exists()


def test_what_is_explicit_stays_as_it_was_typed(tmp_path: Path) -> None:
    typed = [*SMALL, "--study", "mine", "--runs-dir", str(tmp_path), "--dataset", "digits"]
    assert prepare(typed, ALLOCATION) == (tmp_path / "mine", typed, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "auto"], "--address: leave it out"),
        (["--time-budget", "60"], "--time-budget: leave it out"),
        (["--dry-run"], "--dry-run: leave it out"),
        (["--list"], "--list: leave it out"),
        (["--storage", "sqlite:////scratch/ledger.db"], "the first node changes from session to session"),
        (["--storage", "postgresql://me:secret@host/db"], "STUDY_STORAGE_PASSWORD_FILE"),
        (["--gpus-per-trial", "1"], "without --gpus-per-node"),
        (["--sampler", "nope"], "nope"),
        (["--dataset", "nope"], "nope"),
        (["wae_weight"], "name one search space"),
    ],
)
def test_options_that_a_job_cannot_have_are_refused(options: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as raised:
        prepare([*SMALL, "--runs-dir", str(tmp_path), *options], ALLOCATION)
    assert "secret" not in str(raised.value)


def test_without_a_space_there_is_no_study() -> None:
    with pytest.raises(UserError, match="after `--`"):
        prepare([], ALLOCATION)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"cpus": 2}, ["--cpus-per-trial", "3"], "a node has --cpus-per-node 2"),
        ({"gpus": 2}, ["--gpus-per-trial", "3"], "a node has --gpus-per-node 2"),
    ],
)
def test_a_trial_must_fit_into_a_node(changes: dict[str, Any], options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare([*SMALL, *options], Allocation(time="10", nodes=2, **changes))


def test_gpus_that_no_trial_asks_for_are_told(tmp_path: Path) -> None:
    typed = [*SMALL, "--runs-dir", str(tmp_path)]
    idle, whole = prepare(typed, Allocation(time="10", nodes=1, gpus=4)).warnings
    assert "add --gpus-per-trial" in idle and "whole nodes" in whole
    assert prepare(typed, Allocation(time="10", nodes=1, gpus=4, cpus=8)).warnings == [idle]


def test_a_file_ledger_on_a_network_file_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.batch.preparing.file_system", lambda runs: "nfs4")
    [warning] = prepare([*SMALL, "--runs-dir", str(tmp_path)], ALLOCATION).warnings
    assert "SQLite file on nfs4" in warning
    storage = ["--storage", "postgresql+psycopg2://me@host/db"]
    assert prepare([*SMALL, "--runs-dir", str(tmp_path), *storage], ALLOCATION).warnings == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/runs", "nfs4"),
        ("/home/my scratch/runs", "lustre"),
        ("/homes/me", "overlay"),
        ("/tmp", "tmpfs"),
        ("/", "overlay"),
    ],
)
def test_the_kind_of_a_file_system(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_faults_met_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_locks(tmp_path)

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(UserError, match="-o flock"):
        check_locks(tmp_path)


def test_security_the_token_is_random_and_its_owners_alone(tmp_path: Path) -> None:
    tokens = set()
    for name in ("a", "b"):
        slurm_path(tmp_path / name).mkdir(parents=True)
        path = ensure_token(tmp_path / name)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and len(bytes.fromhex(path.read_text())) == 32
        tokens.add(path.read_text())
    assert len(tokens) == 2


def test_security_a_token_is_kept_and_closed_to_others(tmp_path: Path) -> None:
    slurm_path(tmp_path).mkdir()
    path = ensure_token(tmp_path)
    token = path.read_text()
    path.chmod(0o644)
    assert ensure_token(tmp_path).read_text() == token and stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("short")
    with pytest.raises(UserError, match="5 characters"):
        ensure_token(tmp_path)
