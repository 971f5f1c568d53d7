from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import filelock
import optuna
import pytest

from benchmarks.servers import free_port
from study import doctor
from study.checks import installation
from study.cli import command_status
from tests.helpers_study import make_study


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up study with a ledger of as many trials."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    directory = make_study(tmp_path, trials=3, epochs=2)
    (directory / "study.json").write_text((directory / "study.json").read_text().replace('"running"', '"completed"'))
    ledger = optuna.create_study(
        study_name="toy", storage=f"sqlite:///{directory}/optuna.db", directions=["minimize", "minimize"]
    )
    for _ in range(3):
        ledger.tell(ledger.ask(), [1.0, 2.0])
    return directory


def lines_of(capsys: pytest.CaptureFixture[str], study: Path, *arguments: str) -> tuple[int, dict[str, str]]:
    uri = f"http://user:hunter2@127.0.0.1:{free_port()}"
    options = ["--runs-dir", str(study.parent), "--tracking-uri", uri, *arguments]
    status = command_status(doctor.doctor, options)
    output = capsys.readouterr().out
    assert "hunter2" not in output
    return status, {line.split()[0]: line for line in output.splitlines()}


def test_each_line_is_ok_or_says_what_to_do(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = lines_of(capsys, study, "--study", "toy")
    assert status == 1  # nobody answers at the store's address
    assert "start the server" in lines["MLflow"]
    assert all(line.endswith("  ok") or "-> " in line for line in lines.values())
    for subject in ("Python", "torch", "ray", "optuna", "runs", "ledger", "folder", "checkpoints", "driver"):
        assert lines[subject].endswith("  ok"), lines[subject]
    assert "3 complete" in lines["ledger"]


def test_a_damaged_study_is_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = study / "optuna.db"
    content = bytearray(database.read_bytes())
    content[20_000:60_000] = bytes(40_000)
    database.write_bytes(content)
    (study / "trials" / "0000" / "attempt-1" / "checkpoint-000002.pt").write_bytes(b"AECKPT1\nrubbish")
    record = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**record, "outcome": "running"}))
    _, lines = lines_of(capsys, study, "--study", "toy")
    assert "-> " in lines["ledger"]
    assert "1 damaged" in lines["checkpoints"] and "-> delete" in lines["checkpoints"]
    assert "its driver died" in lines["driver"] and "--resume" in lines["driver"]


def test_a_ledger_whose_driver_died_in_the_middle_of_a_write_is_sound(study: Path, capsys) -> None:
    database, journal = study / "optuna.db", study / "optuna.db-journal"
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as driver:
        driver.execute("PRAGMA cache_size = 1")  # pages reach the file before the transaction ends
        driver.execute("BEGIN")
        driver.execute("CREATE TABLE rubbish AS SELECT randomblob(200000) AS content")
        driver.execute("DELETE FROM trials")
        half_written = database.read_bytes(), journal.read_bytes()
    database.write_bytes(half_written[0])
    journal.write_bytes(half_written[1])
    reader = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    with contextlib.closing(reader), pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("SELECT COUNT(*) FROM trials")
    _, lines = lines_of(capsys, study, "--study", "toy")
    assert lines["ledger"].endswith("  ok") and "3 complete" in lines["ledger"]


def test_a_record_that_lacks_a_field_is_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "study.json").write_text('{"format": 1}')
    _, lines = lines_of(capsys, study, "--study", "toy")
    assert "-> restore it" in lines["study.json"]


def test_a_ledger_and_folders_that_differ(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "trials" / "0002").rename(study / "trials" / "0007")
    _, lines = lines_of(capsys, study, "--study", "toy")
    assert "[7]" in lines["folders"]


def test_a_driver_at_work_is_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "driver.json").write_text('{"host": "there", "pid": 42}')
    with filelock.FileLock(study / ".driver.lock"):
        _, lines = lines_of(capsys, study, "--study", "toy")
    assert "process 42 on there" in lines["driver"]


def test_no_such_study(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_status(doctor.doctor, ["--runs-dir", str(study.parent), "--study", "nope"]) == 2
    assert "toy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("requirement", "installed", "remedy"),
    [
        ("torch>=2.11", "2.15.0+cu130", ""),
        ("optuna>=5,<6", "6.0.0", "pip install --upgrade 'optuna<6,>=5'"),
        ("ray[tune]>=2.60", "2.59.1", "pip install --upgrade 'ray>=2.60'"),
        ("mlflow>=3.17", "3.17.2", ""),
    ],
)
def test_a_version_that_does_not_fit_comes_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, requirement: str, installed: str, remedy: str
) -> None:
    monkeypatch.setattr(installation, "_requirements", lambda: [requirement, "psycopg2-binary; extra == 'postgres'"])
    monkeypatch.setattr(installation.importlib.metadata, "version", lambda name: installed)
    python, *found = installation.check_versions()
    assert python.subject == "Python"
    assert [(finding.seen, finding.remedy) for finding in found] == [(installed, remedy)]


def test_packages_are_known_where_the_project_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> list[str]:
        raise installation.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(installation.importlib.metadata, "requires", not_installed)
    subjects = [finding.subject for finding in installation.check_versions()]
    assert {"torch", "ray", "optuna"} <= set(subjects) and "packages" not in subjects


@pytest.mark.parametrize(("storage", "good"), [(None, False), ("postgresql://study@db/study", True)])
def test_a_network_file_system_is_no_place_for_sqlite_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str | None, good: bool
) -> None:
    monkeypatch.setattr(installation, "_filesystem", lambda path: "nfs4")
    [finding] = [
        finding for finding in installation.check_folders(tmp_path, storage) if finding.subject == "shared storage"
    ]
    assert "nfs4" in finding.seen and (finding.remedy == "") == good


def test_a_ledger_on_a_server_is_asked(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = study.parent / "ledgers.db"
    storage = f"sqlite:///{database}"
    _, lines = lines_of(capsys, study, "--storage", storage)
    assert "0 studies  ok" in lines["ledger"]
    record = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**record, "storage": storage}))
    _, lines = lines_of(capsys, study, "--study", "toy")
    assert "nothing of this study  -> " in lines["ledger"]
    ledger = optuna.create_study(study_name=f"{record['name']}-{record['id']}", storage=storage)
    ledger.tell(ledger.ask(), 1.0)
    _, lines = lines_of(capsys, study, "--study", "toy")
    assert lines["ledger"].endswith("trials: 1 complete  ok")
    _, lines = lines_of(capsys, study, "--storage", "postgresql://study:hunter2@127.0.0.1:1/study")
    assert "-> " in lines["ledger"]


def test_a_cluster_that_does_not_answer_is_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = lines_of(capsys, study, "--address", f"127.0.0.1:{free_port()}")
    assert "no Ray cluster answers" in lines["Ray"]
