"""`python -m study.doctor [--study NAME]`: checks the installation and a study; each line is ok or says what to do."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import sqlite3
import sys
import tempfile
import tomllib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import filelock
import typer
from packaging.requirements import Requirement

from study.cli import DONE, FAILED, run_command
from study.config import UserError
from study.disk.files import disk_error_reason, read_json
from study.disk.layout import attempt_folders, driver_path, find_study, ledger_path, trial_folders
from study.disk.study_json import StudyRecord, read_study
from study.tracking import check_uri, default_tracking_uri, redact
from study.tracking.store import connect, one_line

_DISTRIBUTION = "autoencoder-tradeoff-study"
_LEAST_PYTHON = (3, 11)
_LEAST_FREE = 2 * 2**30
_NETWORK_FILESYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "fuse.sshfs",
    "lustre",
    "beegfs",
    "ceph",
    "9p",
    "glusterfs",
}


class Finding(NamedTuple):
    """One line: what was looked at, what was seen, and what to do about it ("" where all is well)."""

    subject: str
    seen: str
    remedy: str = ""


def doctor(
    study: Annotated[str | None, typer.Option("--study", "--name", help="A study to look at as well.")] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where studies lie.")] = Path("runs"),
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow; default: MLFLOW_TRACKING_URI, then runs/.")] = None,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="A running Ray cluster, HOST:PORT or auto.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(envvar="STUDY_STORAGE", help="The database of the ledgers; default: the studies' own files."),
    ] = None,
) -> int:
    """Checks the installation, a cluster and a study where named; exits with 1 when something is to be done."""
    runs = runs_dir.expanduser().absolute()
    directory = None if study is None else find_study(runs, study)
    given = storage
    record = None if directory is None else _sound_record(directory)
    storage = storage or (None if record is None else record.storage)
    checks: list[Callable[[], Iterator[Finding]]] = [
        _versions,
        _devices,
        lambda: _places(runs, storage),
        lambda: _store(tracking_uri or default_tracking_uri(runs)),
    ]
    if address is not None:
        checks.append(lambda: _cluster(address, runs))
    if storage is not None and directory is None:
        checks.append(lambda: _database(storage, given))
    if directory is not None:
        checks += [lambda: _driver(directory), lambda: _ledger(directory, storage, given), lambda: _folder(directory)]
    failed = False
    for check in checks:
        for finding in check():
            verdict = f"-> {finding.remedy}" if finding.remedy else "ok"
            print(f"{finding.subject:<14} {finding.seen}  {verdict}", flush=True)
            failed |= bool(finding.remedy)
    return FAILED if failed else DONE


# --- the installation ------------------------------------------------------------------------------------------------


def _versions() -> Iterator[Finding]:
    here = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= _LEAST_PYTHON
    yield Finding("Python", here, "" if good else "install Python 3.11 or later, then run make study")
    try:
        requirements = _requirements()
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "this project is not installed", "run make study, or pip install --editable .")
        return
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate():  # of an optional extra
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(requirement.name, "not installed", "run make study, or pip install --editable .")
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        remedy = f"pip install --upgrade '{requirement.name}{requirement.specifier}'"
        yield Finding(requirement.name, version, "" if fits else remedy)


def _requirements() -> list[str]:
    """What the project depends on; an image has its files, and does not install it."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    if project.is_file():
        return tomllib.loads(project.read_text())["project"]["dependencies"]
    return importlib.metadata.requires(_DISTRIBUTION) or []


def _devices() -> Iterator[Finding]:
    try:
        import torch
        import torchvision  # noqa: F401 - a pair that does not fit together fails here
    except (ImportError, RuntimeError, OSError) as error:
        yield Finding("torch", one_line(error), "install torch and torchvision together, from one index")
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        yield Finding("devices", f"{cores} CPU cores; {names} (give --gpus-per-trial)")
    elif shutil.which("nvidia-smi"):
        remedy = f"torch {torch.__version__} does not see the GPU: install a CUDA build, look at nvidia-smi"
        yield Finding("devices", f"{cores} CPU cores", remedy)
    else:
        yield Finding("devices", f"{cores} CPU cores, no GPU")


def _places(runs: Path, storage: str | None) -> Iterator[Finding]:
    temporary = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir())
    for subject, path, remedy in (
        ("runs", runs, "choose another --runs-dir"),
        ("temporary", temporary, "set RAY_TMPDIR and TMPDIR to a folder you may write"),
    ):
        why = _unwritable(path)
        if why is not None:
            yield Finding(subject, f"{path}: {why}", remedy)
            continue
        free = shutil.disk_usage(_nearest(path)).free
        scarce = f"free some room, or {remedy}" if free < _LEAST_FREE else ""
        yield Finding(subject, f"{path}: writable, {free / 2**30:.1f} GB free", scarce)
    filesystem = _filesystem(_nearest(runs))
    if filesystem in _NETWORK_FILESYSTEMS and storage is not None:
        yield Finding("shared storage", f"{runs} is on {filesystem}, the ledger is not, as a cluster needs it")
    elif filesystem in _NETWORK_FILESYSTEMS:
        remedy = (
            "SQLite breaks there: keep the ledger elsewhere with --storage postgresql://… or use a local --runs-dir"
        )
        yield Finding("shared storage", f"{runs} is on {filesystem}", remedy)
    else:
        yield Finding("shared storage", f"{runs} is on {filesystem}: of this machine alone, as one machine needs it")
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        remedy = "give the container more, --shm-size=2g, or Ray is slow" if free < 2**28 else ""
        yield Finding("shared memory", f"{free / 2**30:.1f} GB free", remedy)


def _nearest(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _unwritable(path: Path) -> str | None:
    """Why nothing can be written in a folder, or in the nearest one above it that exists; found by writing."""
    nearest = _nearest(path)
    probe = nearest / f".doctor-{uuid.uuid4().hex}"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return disk_error_reason(error) or error.strerror or str(error)
    return None


def _filesystem(path: Path) -> str:
    """The type of the file system that holds an existing path, from the longest mount point above it."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "a file system of unknown type"
    above = [(len(Path(fields[1]).parts), fields[2]) for fields in mounts if path.resolve().is_relative_to(fields[1])]
    return max(above)[1] if above else "a file system of unknown type"


def _store(uri: str) -> Iterator[Finding]:
    where = redact(uri)
    try:
        check_uri(uri)
        experiments = connect(uri).search_experiments(max_results=1000)
    except UserError as error:
        yield Finding("MLflow", where, str(error))
    except Exception as error:  # MLflow, SQLAlchemy and requests each have their own
        remedy = "start the server or correct MLFLOW_TRACKING_URI; studies run without, then: python -m study.sync"
        yield Finding("MLflow", f"{where}: {one_line(error)}", remedy)
    else:
        yield Finding("MLflow", f"{where}: answers, {len(experiments)} experiments")


def _cluster(address: str, runs: Path) -> Iterator[Finding]:
    from study.tuning.diagnosis import look_at_cluster  # imports Ray

    yield Finding("Ray", *look_at_cluster(address, _nearest(runs)))


def _database(url: str, given: str | None, study: str | None = None) -> Iterator[Finding]:
    from study.tuning.diagnosis import look_at_storage  # imports Ray

    yield Finding("ledger", *look_at_storage(url, given, study))


# --- a study ---------------------------------------------------------------------------------------------------------


def _sound_record(directory: Path) -> StudyRecord | None:
    with contextlib.suppress(UserError):  # `_ledger` tells what is wrong with it
        return read_study(directory)
    return None


def _driver(directory: Path) -> Iterator[Finding]:
    lock = filelock.FileLock(directory / ".driver.lock", timeout=0)
    try:
        with lock:
            record = _sound_record(directory)
    except filelock.Timeout:
        owner = read_json(driver_path(directory)) or {}
        yield Finding("driver", f"process {owner.get('pid', '?')} on {owner.get('host', '?')} runs it")
        return
    except OSError as error:
        yield Finding(
            "driver", disk_error_reason(error) or str(error), "give yourself permission to write in the study's folder"
        )
        return
    outcome = None if record is None else record.outcome
    unfinished = outcome in ("running", "interrupted")
    remedy = "go on with it: python -m study.run with its --space and --name, and --resume" if unfinished else ""
    seen = {"running": "its driver died", "interrupted": "interrupted"}.get(str(outcome), str(outcome))
    yield Finding("driver", f"none; the study is {seen}" if outcome != "running" else f"none; {seen}", remedy)


def _ledger(directory: Path, storage: str | None, given: str | None) -> Iterator[Finding]:
    try:
        record = read_study(directory)
    except UserError as error:
        remedy = "restore it from MLflow's artifacts of the study's parent run"
        yield Finding("study.json", str(error).partition(": ")[0], remedy)
        return
    if storage is not None and record is not None:
        yield from _database(storage, given, f"{record.name}-{record.id}")
        return
    database = ledger_path(directory)
    try:
        # Not mode=ro: what a driver that died had half written is in a journal, and only who may write can roll it
        # back. SQLite's locks keep this from a driver at work.
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            complaints = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            states = dict(connection.execute("SELECT state, COUNT(*) FROM trials GROUP BY state").fetchall())
            numbers = {row[0] for row in connection.execute("SELECT number FROM trials WHERE state != 'WAITING'")}
    except sqlite3.Error as error:
        lost = "restore optuna.db from a copy; the trials' folders stay as they are"
        remedy = "give yourself permission to write there, and make room" if disk_error_reason(error) else lost
        yield Finding("ledger", f"{database}: {error}", remedy)
        return
    if complaints != ["ok"]:
        remedy = f"sqlite3 {database} .recover | sqlite3 new.db, then put new.db in its place"
        yield Finding("ledger", f"{len(complaints)} complaints, first: {complaints[0]}", remedy)
    else:
        counted = ", ".join(f"{count} {state.lower()}" for state, count in sorted(states.items()))
        yield Finding("ledger", f"sound; trials: {counted or 'none'}")
    folders = {number for number, _ in trial_folders(directory)}
    missing, strange = sorted(numbers - folders), sorted(folders - numbers)
    if missing:
        yield Finding("folders", f"trials {missing[:5]} have none", "restore them: the ledger knows of these trials")
    if strange:
        yield Finding(
            "folders", f"the ledger does not know {strange[:5]}", "remove them, or restore the ledger they are of"
        )


def _folder(directory: Path) -> Iterator[Finding]:
    why = _unwritable(directory)
    yield Finding(
        "folder", f"{directory}: {why or 'writable'}", "give yourself permission to write there" if why else ""
    )
    from study.training import checkpoint  # imports torch

    damaged = []
    attempts = (attempt for _, trial in trial_folders(directory) for _, attempt in attempt_folders(trial))
    for path in (path for attempt in attempts for path in sorted(attempt.glob("*.pt"))):
        try:
            checkpoint.verify(path)
        except checkpoint.CheckpointError as error:
            damaged.append(str(error))
    seen = f"{len(damaged)} damaged, first: {damaged[0]}" if damaged else "all sound"
    remedy = "delete them: an unfinished trial goes on from the one before" if damaged else ""
    yield Finding("checkpoints", seen, remedy)


if __name__ == "__main__":
    run_command(doctor)
