"""The ledger's database on a server; a real PostgreSQL is in tests/cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.config import UserError
from study.tuning.storage import PASSWORD_FILE, open_storage, public_url
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


def test_a_missing_password_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_FILE, str(tmp_path / "none"))
    with pytest.raises(UserError, match=PASSWORD_FILE):
        open_storage("postgresql://study@127.0.0.1:1/study")


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
