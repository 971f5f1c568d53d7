"""A local store is made in one step, and replaced where it is broken; in a store that is whole nothing is touched."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from study.config import UserError
from study.tracking import store
from study.tracking.local_store import make_store, why_broken
from study.tracking.mirror import sync_study
from study.tracking.store import connect, sqlite_uri
from tests.helpers_study import make_study

ROOT = Path(__file__).parents[2]


def half_made(path: Path) -> None:
    """As a disk leaves a store that filled up while MLflow made it: a table of the next step is there already."""
    with closing(sqlite3.connect(path)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'trace_%'").fetchall():
            if name != "trace_info":
                connection.execute(f"DROP {'INDEX' if name.startswith('index') else 'TABLE'} {name}")
        connection.execute("UPDATE alembic_version SET version_num = 'acf3f17fdcc7'")
        connection.commit()


def change(edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(edit(path.read_bytes()))


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_LOOK_AGAIN_S", 0.0)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "made in part": (half_made, "was made only in part"),
    "truncated": (change(lambda content: content[: len(content) // 2]), "is damaged"),
    "garbage": (change(lambda content: b"garbage" * 999), "is not a SQLite database"),
    "garbage within": (change(lambda content: content[:8192] + b"\xff" * 65536 + content[73728:]), "is damaged"),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_faults_met_a_broken_store_is_told_and_replaced(tmp_path: Path, empty_store: Path, damage: str) -> None:
    path = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    break_it, why = BROKEN[damage]
    break_it(path)
    content = path.read_bytes()
    assert (why_broken(path) or "").startswith(why)
    with pytest.raises(UserError, match=r"python -m study\.sync --all --runs-dir") as caught:
        connect(sqlite_uri(path))
    assert "\n" not in str(caught.value) and path.read_bytes() == content
    told: list[str] = []
    assert len(connect(sqlite_uri(path), told.append).search_experiments()) == 1
    [line] = told
    aside = tmp_path / "mlflow.db.damaged-1"
    assert why in line and str(aside) in line and aside.read_bytes() == content
    assert why_broken(path) is None
    connect(sqlite_uri(path), told.append)
    assert len(told) == 1 and sorted(p.name for p in tmp_path.iterdir()) == [path.name, aside.name, "mlflow.db.lock"]


def test_faults_met_mlflow_itself_cannot_complete_a_store_made_in_part(tmp_path: Path, empty_store: Path) -> None:
    from mlflow import MlflowClient

    path = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    half_made(path)
    with pytest.raises(Exception, match="table trace_info already exists"):
        MlflowClient(sqlite_uri(path)).search_experiments()


def test_a_store_that_only_mlflow_can_judge_is_left_alone(tmp_path: Path, empty_store: Path) -> None:
    path = tmp_path / "mlflow.db"
    assert why_broken(path) is None
    path.write_bytes(b"")
    assert why_broken(path) is None
    shutil.copy(empty_store, path)
    assert why_broken(path) is None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO runs (run_uuid) VALUES ('r')")
        connection.execute("DROP TABLE trace_info")
        connection.commit()
    assert why_broken(path) is None  # of an earlier version, which had no such table


def test_looking_at_a_store_keeps_the_locks_of_its_writer(tmp_path: Path, empty_store: Path) -> None:
    """To open and close a SQLite file drops this process's locks on it: another could write in between."""
    path = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert why_broken(path) is None
        code = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN IMMEDIATE')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "database is locked" in done.stderr


def test_a_store_that_is_not_the_studies_own_is_never_replaced(tmp_path: Path, empty_store: Path) -> None:
    path = tmp_path / "team.db"
    path.write_bytes(b"another program's" * 999)
    with pytest.raises(UserError, match="is not a SQLite database: restore it from a backup"):
        connect(sqlite_uri(path))
    runs = tmp_path / "runs"
    study = make_study(runs, trials=1)
    with pytest.raises(UserError, match="restore it from a backup"):
        sync_study(study, sqlite_uri(path))
    assert path.read_bytes() == b"another program's" * 999


def test_a_store_that_breaks_while_it_is_open_is_replaced_and_written(tmp_path: Path, empty_store: Path) -> None:
    path = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    connect(sqlite_uri(path))
    path.write_bytes(b"garbage" * 999)
    told: list[str] = []
    client = connect(sqlite_uri(path), told.append)
    client.create_experiment("after")
    with closing(sqlite3.connect(path)) as connection:
        assert ("after",) in connection.execute("SELECT name FROM experiments").fetchall()
    assert len(told) == 1


def test_a_store_that_another_process_makes_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"

    def fill(new: Path) -> None:
        new.write_bytes(b"ours")
        path.write_bytes(b"theirs")

    assert make_store(path, fill, replace=False) is None
    assert path.read_bytes() == b"theirs" and list(tmp_path.iterdir()) == [path]


def test_faults_met_a_disk_that_fills_up_leaves_no_store(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk. MLflow needs more than 200 kB for its tables."""
    code = (
        "import resource, sys\n"
        "from study.tracking.store import connect\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, -1))\n"
        "connect(sys.argv[1])\n"
    )
    uri = sqlite_uri(tmp_path / "mlflow.db")
    done = subprocess.run(
        [sys.executable, "-c", code, uri], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode and ("disk" in done.stderr or "File too large" in done.stderr), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db.lock"]
    assert len(connect(uri).search_experiments()) == 1  # as soon as there is room


def test_a_store_that_cannot_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    path, left = tmp_path / "mlflow.db", tmp_path / ".mlflow.db.0.new"
    path.write_bytes(b"old")
    left.write_bytes(b"")

    def fail(new: Path) -> None:
        new.write_bytes(b"half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        make_store(path, fail, replace=True)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
