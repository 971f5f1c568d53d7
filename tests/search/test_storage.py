"""The ledger's database on a server; a real PostgreSQL is in tests/cluster."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy.exc

from benchmarks.postgresql import postgresql, programs
from study.config import UserError
from study.disk.study_json import parse_study
from study.search import storage as ledger_storage
from study.search.ledger import Ledger
from study.search.storage import PASSWORD_FILE, ledger_study, looking, lost_database, open_storage, public_url
from tests.helpers_study import study_record
from tests.test_run import study_run

SECRET = "hunter2"


def test_a_recorded_url_holds_no_password_and_names_the_client() -> None:
    assert public_url(f"postgresql://study:{SECRET}@db:5432/study") == "postgresql+psycopg2://study@db:5432/study"


@pytest.mark.parametrize(
    "url", ["", "nonsense", "gopher://x/y", "postgresql+nothing://u@h/d", f"postgresql://u@h/d?password={SECRET}"]
)
def test_what_is_no_database_is_bad_usage(url: str) -> None:
    with pytest.raises(UserError, match="postgresql") as caught:
        public_url(url)
    assert SECRET not in str(caught.value)


def test_a_dead_server_is_one_line_without_the_password() -> None:
    pytest.importorskip("psycopg2")
    with pytest.raises(UserError, match="refused") as caught:
        open_storage(f"postgresql://study:{SECRET}@127.0.0.1:1/study")
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value)


NAMED = "postgresql://study@127.0.0.1:1/study"


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_missing_password_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    monkeypatch.setenv(PASSWORD_FILE, str(tmp_path / "none"))
    if by == "environment":
        monkeypatch.setenv("STUDY_STORAGE", NAMED)
    with pytest.raises(UserError, match=f"{PASSWORD_FILE}=.*No such file"):
        open_storage(NAMED, NAMED if by == "argument" else None)


@pytest.mark.parametrize("url", [NAMED.replace("127.0.0.1", "localhost"), NAMED.replace("study@", "other@")])
@pytest.mark.parametrize("given", [None, NAMED])
def test_security_the_password_goes_to_no_server_that_the_user_did_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, given: str | None
) -> None:
    pytest.importorskip("psycopg2")
    monkeypatch.setenv(PASSWORD_FILE, str(tmp_path / "would be missed if it were opened"))
    with pytest.raises(UserError, match=f"refused.*{PASSWORD_FILE} is not used"):
        open_storage(url, given)


def test_two_studies_share_a_storage_and_resume_from_it(tmp_path: Path, ray_session: None, capsys) -> None:
    storage = f"sqlite:///{tmp_path}/ledgers.db"
    for runs in ("one", "two"):  # of the same name
        common = ["--space", "wae_weight", "--name", "same", "--epochs", 1, "--runs-dir", tmp_path / runs]
        assert study_run(*common, "--num-trials", 1, "--storage", storage) == 0
        assert not (tmp_path / runs / "same" / "optuna.db").exists()
    record = json.loads((tmp_path / "two" / "same" / "study.json").read_text())
    assert record["storage"] == storage
    resume = ["--space", "wae_weight", "--name", "same", "--runs-dir", tmp_path / "two", "--resume", "--num-trials", 2]
    capsys.readouterr()
    assert study_run(*resume, "--storage", f"sqlite:///{tmp_path}/other.db") == 2
    assert "storage it was begun with" in capsys.readouterr().err
    assert json.loads((tmp_path / "two" / "same" / "study.json").read_text())["storage"] == storage
    assert study_run(*resume) == 0
    trials = sorted(path.name for path in (tmp_path / "two" / "same" / "trials").iterdir())
    assert trials == ["0000", "0001"]


@pytest.fixture
def away(tmp_path: Path) -> tuple[optuna.Study, Path, Path]:
    """A study whose database was there and is not any more; where it was, and where it is now."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    storage = open_storage(f"sqlite:///{home}/ledger.db")
    study = optuna.create_study(storage=storage)
    storage.remove_session()
    storage.engine.dispose()
    home.rename(elsewhere)
    return study, home, elsewhere


def test_a_database_that_was_there_is_waited_for(
    away: tuple[optuna.Study, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    study, home, elsewhere = away
    timer = threading.Timer(0.5, elsewhere.rename, [home])
    timer.start()
    assert study.ask().number == 0
    timer.join()
    assert capsys.readouterr().err.count("waiting for it") == 1


def test_a_database_is_not_waited_for_for_ever(
    away: tuple[optuna.Study, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_storage, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
        away[0].ask()
    assert lost_database(caught.value) == "unable to open database file"


def test_a_look_at_a_server_that_has_gone_fails_at_once() -> None:
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql(folder) as server:
        study = optuna.create_study(study_name="a", storage=open_storage(server))
        look = looking(study)
        study.set_user_attr("b", 1)
        assert look.user_attrs == {"b": 1}
    begun = time.monotonic()
    with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
        look.user_attrs  # noqa: B018
    assert lost_database(caught.value) is not None and time.monotonic() - begun < ledger_storage.PATIENCE_SECONDS / 10


def test_a_statement_that_was_cut_off_is_the_databases() -> None:
    # psycopg2 raises its plain DatabaseError where a machine has vanished; SQLAlchemy knows it by its text.
    cut = sqlalchemy.exc.DatabaseError("commit", None, Exception("could not receive data from server: timed out\nmore"))
    error = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = cut
    assert lost_database(error) is None
    cut.connection_invalidated = True
    assert lost_database(error) == "could not receive data from server: timed out"


def test_other_errors_are_none_of_the_databases() -> None:
    assert lost_database(RuntimeError("another")) is None


@pytest.mark.fault
@pytest.mark.parametrize(
    ("operation", "table"),
    [
        ("_tell", "trial_user_attributes"),
        ("record_rung", "trial_user_attributes"),
        ("_assign", "trial_user_attributes"),
        ("_assign", "trial_params"),  # in the middle of the space's own `suggest`
    ],
)
def test_a_study_whose_database_breaks_ends_in_one_line_and_can_be_resumed(
    operation: str,
    table: str,
    tmp_path: Path,
    ray_session: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = tmp_path / "ledgers.db"
    options = ["--space", "wae_weight", "--name", "broken", "--runs-dir", tmp_path / "runs"]
    options += ["--storage", f"sqlite:///{database}"]
    original = getattr(Ledger, operation)

    def rename(old: str, new: str) -> None:
        with sqlite3.connect(database) as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.close()

    def in_trouble(ledger: Ledger, *arguments: Any) -> Any:
        if not database.exists():  # the rehearsal of the first trials keeps its ledger in memory
            return original(ledger, *arguments)
        rename(table, "hidden")
        try:
            return original(ledger, *arguments)
        finally:
            rename("hidden", table)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, operation, in_trouble)
        assert study_run(*options, "--num-trials", 2, "--epochs", 8) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and f"no such table: {table}" in error and "--resume" in error
    assert study_run(*options, "--resume") == 0
    outcomes = [
        json.loads(path.read_text())["outcome"] for path in (tmp_path / "runs").glob("broken/trials/*/outcome.json")
    ]
    assert len(outcomes) == 2 and "failed" not in outcomes


def test_a_ledger_that_a_driver_makes_just_now_is_left_alone(tmp_path: Path) -> None:
    """Optuna would make the tables that it misses, and the driver would fail."""
    record = parse_study(study_record("a"), "study.json")
    assert ledger_study(tmp_path, record) is None
    database = tmp_path / "optuna.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE other (a INTEGER)")
    connection.close()
    before = database.read_bytes()
    assert ledger_study(tmp_path, record) is None and database.read_bytes() == before
    database.unlink()
    optuna.create_study(study_name="b", storage=f"sqlite:///{database}")
    assert ledger_study(tmp_path, record) is None
    optuna.create_study(study_name="a", storage=f"sqlite:///{database}")
    found = ledger_study(tmp_path, record)
    assert found is not None and found.study_name == "a"
