"""Whether this machine can run studies: versions, devices, disk space, MLflow and the Ray cluster."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from study.checks.finding import Finding, nearest, unwritable
from study.cli import DISTRIBUTION, PROJECT_FILE
from study.config import UserError
from study.tracking import check_uri, redact
from study.tracking.store import connect, one_line

_LEAST_PYTHON = (3, 11)
_LEAST_FREE = 2**30
_LEAST_SHARED = 2**28
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
_INSTALL = "run make study, or pip install --editable ."


def check_versions() -> Iterator[Finding]:
    """Python and the packages that the project requires."""
    here = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= _LEAST_PYTHON
    yield Finding("Python", here, "" if good else "install Python 3.11 or later, then run make study")
    try:
        requirements = _requirements()
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "this project is not installed", _INSTALL)
        return
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate():  # of an optional extra
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(requirement.name, "not installed", _INSTALL)
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        remedy = f"pip install --upgrade '{requirement.name}{requirement.specifier}'"
        yield Finding(requirement.name, version, "" if fits else remedy)


def _requirements() -> list[str]:
    """The project's dependencies; an image has the project's files without installing it."""
    if PROJECT_FILE.is_file():
        return tomllib.loads(PROJECT_FILE.read_text())["project"]["dependencies"]
    return importlib.metadata.requires(DISTRIBUTION) or []


def check_devices() -> Iterator[Finding]:
    """CPU cores, GPUs, and whether torch works with them."""
    try:
        import torch
        import torchvision  # noqa: F401 - the import fails if it does not fit torch
    except (ImportError, RuntimeError, OSError) as error:
        yield Finding("torch", one_line(error), "install torch and torchvision together, from the same index")
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        yield Finding("devices", f"{cores} CPU cores; {names} (use them with --gpus-per-trial)")
    elif shutil.which("nvidia-smi"):
        remedy = f"torch {torch.__version__} does not see the GPU: install a CUDA build of torch and check nvidia-smi"
        yield Finding("devices", f"{cores} CPU cores", remedy)
    else:
        yield Finding("devices", f"{cores} CPU cores, no GPU")


def check_folders(runs: Path, storage: str | None) -> Iterator[Finding]:
    """Whether the folders are writable and large enough, and whether the ledgers may lie there."""
    temporary = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir())
    for subject, path, remedy in (
        ("runs", runs, "choose another --runs-dir"),
        ("temporary", temporary, "set RAY_TMPDIR and TMPDIR to a folder that you may write"),
    ):
        why = unwritable(path)
        if why is not None:
            yield Finding(subject, f"{path}: {why}", remedy)
            continue
        free = shutil.disk_usage(nearest(path)).free
        scarce = f"make room, or {remedy}" if free < _LEAST_FREE else ""
        yield Finding(subject, f"{path}: writable, {free / 2**30:.1f} GB free", scarce)
    filesystem = _filesystem(nearest(runs))
    if filesystem in _NETWORK_FILESYSTEMS and storage is not None:
        yield Finding("shared storage", f"{runs} is on {filesystem}, the ledger is in a database")
    elif filesystem in _NETWORK_FILESYSTEMS:
        remedy = "SQLite breaks there: use --storage postgresql://... for the ledger, or a local --runs-dir"
        yield Finding("shared storage", f"{runs} is on {filesystem}", remedy)
    else:
        yield Finding("shared storage", f"{runs} is on {filesystem}, which is fine for one machine")
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        remedy = "Ray will be slow: give the container more with --shm-size=2g" if free < _LEAST_SHARED else ""
        yield Finding("shared memory", f"{free / 2**30:.1f} GB free", remedy)


def _filesystem(path: Path) -> str:
    """The type of the file system that an existing path is on: that of the longest mount point above it."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "a file system of unknown type"
    above = [(len(Path(fields[1]).parts), fields[2]) for fields in mounts if path.resolve().is_relative_to(fields[1])]
    return max(above)[1] if above else "a file system of unknown type"


def check_mlflow(uri: str) -> Iterator[Finding]:
    """Whether MLflow answers."""
    where = redact(uri)
    try:
        check_uri(uri)
        experiments = connect(uri).search_experiments(max_results=1000)
    except UserError as error:
        yield Finding("MLflow", where, str(error))
    except Exception as error:  # MLflow, SQLAlchemy and requests raise their own
        remedy = "start the server or correct MLFLOW_TRACKING_URI; until then studies run without it"
        yield Finding("MLflow", f"{where}: {one_line(error)}", remedy)
    else:
        yield Finding("MLflow", f"{where}: answers, {len(experiments)} experiments")


def check_cluster(address: str, runs: Path) -> Iterator[Finding]:
    """Whether the Ray cluster answers, and what it has."""
    from study.tuning.diagnosis import look_at_cluster  # imports Ray

    yield Finding("Ray", *look_at_cluster(address, nearest(runs)))
