"""Each file of a study is damaged in each way: each command that reads it works, or says in one line what to do.

Files that studies share are elsewhere: the feature networks of the cache in `tests/measure/test_cache.py`, the images
of a data set in `tests/data/test_odd_folders.py`. `tests/search/test_ledger_file.py` has more on damaged ledgers.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import small_study_options
from tests.test_command import study

TRIAL, ATTEMPT = "small/trials/0001", "small/trials/0001/attempt-1"
READERS: dict[str, list[str]] = {
    "small/study.json": ["status", "run", "sync", "doctor", "export", "figure tradeoff"],
    "small/optuna.db": ["status", "run", "doctor"],
    "small/progress.jsonl": ["status", "run", "figure search_progress"],
    "small/driver.json": ["status", "run"],
    "small/code/mine.py": ["status", "run", "export"],
    "small/tradeoff.png": ["run"],
    "small/report/report.html": ["run", "sync"],
    f"{TRIAL}/trial.json": ["status", "run", "sync", "figure tradeoff"],
    f"{TRIAL}/outcome.json": ["status", "sync", "figure tradeoff"],
    f"{ATTEMPT}/metrics.jsonl": ["status", "sync", "figure learning_curves"],
    f"{ATTEMPT}/process.json": ["status", "sync"],
    f"{ATTEMPT}/checkpoint-000002.pt": ["doctor", "export", "sample"],
    f"{ATTEMPT}/arrays.npz": ["sync", "figure samples", "figure latent_scatter"],
    f"{ATTEMPT}/images/samples.png": ["sync"],
    f"{ATTEMPT}/history/000002.npy": ["sync", "figure reconstruction_history"],
    "mlflow.db": ["figure tradeoff", "doctor", "sync"],
}
"""File -> the commands that read it."""

REFUSED = {
    **{("small/study.json", command): "--restore-record" for command in READERS["small/study.json"]},
    ("small/optuna.db", "run"): "--rebuild-ledger",
    (f"{ATTEMPT}/checkpoint-000002.pt", "export"): "python -m study.retrain",
    (f"{ATTEMPT}/checkpoint-000002.pt", "sample"): "python -m study.retrain",
}
"""File and command -> the remedy that it names; only a file of a later version has another."""
OF_VERSIONS = (".db", ".json", ".jsonl", ".pt")
"""Kinds of files that tell their version, or hold fields."""

BROKEN: dict[str, Callable[[bytes], bytes | None]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "garbage": lambda content: b"\x00garbage\xff" * 999,
    "missing": lambda content: None,
}


def newer(path: Path) -> None:
    """As a later version might write it: another format, or fields that this one does not know."""
    if path.suffix == ".db":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
            connection.commit()
        return
    content = path.read_bytes() if path.exists() else b'{"pid": 1, "host": "x"}'
    content = content.replace(b'"format": 1', b'"format": 2').replace(b"AECKPT1", b"AECKPT2")
    if path.suffix in (".json", ".jsonl"):
        content = content.replace(b"{", b'{"of a later version": [1], ', 1)
    path.write_bytes(content)


def options(command: str, runs: Path, file: str) -> list[object]:
    """The command with what it needs."""
    name, _, figure = command.partition(" ")
    if name == "run":
        return [name, *small_study_options(runs, runs.parent / "mine.py"), "--resume"]
    more: list[object] = []
    if name in ("export", "sample"):
        more = ["--trial", 1, "--out", runs / ("out.png" if name == "sample" else "out")]
    elif figure:
        more = ["--out", runs / "out.png"]
        more += ["--tracking-uri", f"sqlite:///{runs}/{file}"] if file == "mlflow.db" else []
    return [*command.split(), "--study", "small", "--runs-dir", runs, *more]


@pytest.mark.parametrize(
    ("file", "damage"),
    [(file, damage) for file in READERS for damage in (*BROKEN, *(["newer"] if file.endswith(OF_VERSIONS) else []))],
)
def test_faults_met_every_command_copes_with_a_damaged_file(
    small_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, file: str, damage: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(small_study.parent / "mine.py", tmp_path)
    runs = Path(shutil.copytree(small_study, tmp_path / "my runs", ignore=shutil.ignore_patterns("*.lock")))
    path = runs / file
    if damage == "newer":
        newer(path)
    else:
        content = BROKEN[damage](path.read_bytes() if path.exists() else b'{"pid": 1, "host": "x"}')
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
    before = {found: found.read_bytes() for found in runs.glob("small/trials/*/outcome.json")}
    trials = sorted(runs.glob("small/trials/*"))
    for command in READERS[file]:
        capsys.readouterr()
        status = study(*options(command, runs, file))
        told = capsys.readouterr()
        assert status in ((0, 1, 2) if command == "doctor" else (0, 2)), command
        assert "Traceback" not in told.out + told.err
        if status == 2:
            [line] = [line for line in told.err.splitlines() if line.startswith("error: ")]
            assert len(line) > 30
        if (remedy := REFUSED.get((file, command))) and damage != "newer":
            assert status == (1 if command == "doctor" else 2) and remedy in told.out + told.err, command
    assert all(found.read_bytes() == content for found, content in before.items())  # nothing is trained again
    assert sorted(runs.glob("small/trials/*")) == trials
