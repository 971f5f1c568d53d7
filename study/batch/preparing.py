"""What is checked and made before a study is submitted to Slurm: its options, its folder, the token of its Ray."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from study.batch.script import Allocation
from study.disk.slurm_job import token_path
from study.errors import UserError

_NETWORK = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "fuse.sshfs", "9p", "glusterfs", "panfs"}
_OURS = {
    "address": "the job starts a Ray cluster of its own",
    "time_budget": "the job sets it from --time",
    "dry_run": "give it to study run",
    "list_spaces": "give it to study run",
}
"""Options of `study run` that the job sets itself, and why."""


class Prepared(NamedTuple):
    """A study that can be submitted.

    Attributes:
        directory: Its folder.
        arguments: Of `python -m study.run`, for the job.
        warnings: What may not go well, a line each.
    """

    directory: Path
    arguments: list[str]
    warnings: list[str]


def prepare(arguments: Sequence[str], allocation: Allocation) -> Prepared:
    """Checks the options of a study as `study run` does, up to the models of its first trials. Writes nothing.

    Args:
        arguments: As of `python -m study.run`.
        allocation: What each session asks for.

    Raises:
        UserError: They allow no study, or none on this allocation.
    """
    from study.dry_run import preview
    from study.launch import Options, default_name
    from study.space import load_space

    filled, given = _parsed(arguments)
    for option, why in _OURS.items():
        if given[option]:
            raise UserError(f"--{'list' if option == 'list_spaces' else option.replace('_', '-')}: leave it out, {why}")
    space = given["given"] or given["space"]
    if space is None or None not in (given["given"], given["space"]):
        raise UserError("name one search space after `--`, such as `-- --space method`")
    runs = given["runs_dir"].expanduser().absolute()
    fields = {field.name for field in dataclasses.fields(Options)} - {"space", "data"}
    values = {name: given[name] for name in fields} | {"runs_dir": runs, "resume": True, "create": True}
    options = Options(**values, space=space, data=given["dataset"])
    loaded = load_space(space)
    name = options.name or default_name(loaded, str(options.data or loaded.space.default_data))
    _check_storage(options.storage)
    _check_resources(options.cpus_per_trial, options.gpus_per_trial, allocation)
    warnings = [*preview(options).warnings, *_ledger_warnings(options.storage, runs)]
    if allocation.gpus and not options.gpus_per_trial:
        warnings.append("--gpus-per-node: trials run on CPUs; add --gpus-per-trial to the study's options")
    if allocation.gpus and allocation.cpus is None:
        warnings.append(
            "--gpus-per-node without --cpus-per-node: each session waits for whole nodes, and is charged them"
        )
    kept = [argument for argument in filled if argument not in ("--resume", "--create")]
    return Prepared(runs / name, [*kept, *_made_explicit(given, name, runs, filled)], warnings)


def _made_explicit(given: dict[str, Any], name: str, runs: Path, typed: Sequence[str]) -> list[str]:
    """What depends on the place where the command was typed, for a job that runs elsewhere."""
    explicit = [] if given["name"] else ["--study", name]
    explicit += [] if given["runs_dir"] == runs else ["--runs-dir", str(runs)]
    if given["data_dir"] is not None and not given["data_dir"].is_absolute():
        explicit += ["--data-dir", str(given["data_dir"].expanduser().absolute())]
    is_typed = any(argument.partition("=")[0] == "--storage" for argument in typed)
    return explicit + (["--storage", given["storage"]] if given["storage"] and not is_typed else [])


def _parsed(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The options with defaults filled in where `study run` does so, and the values of all of them by name."""
    from study.cli import build_command
    from study.run import run, with_default_replicates

    filled = with_default_replicates([*arguments])
    return filled, build_command(run).make_context("study run", [*filled]).params


def _check_storage(storage: str | None) -> None:
    from study.search.storage import public_url

    if storage is None:
        return
    if storage.startswith("sqlite"):
        raise UserError(
            "--storage: the first node changes from session to session; leave it out, so that the ledger lies in the "
            "study's folder, or give PostgreSQL"
        )
    if public_url(storage) != storage.replace("postgresql://", "postgresql+psycopg2://", 1):
        raise UserError(
            "--storage: its password would stand in the batch script: put it into a file and set "
            "STUDY_STORAGE_PASSWORD_FILE"
        )


def _check_resources(cpus: float, gpus: float, allocation: Allocation) -> None:
    if gpus and not allocation.gpus:
        raise UserError(f"--gpus-per-trial {gpus:g}: the nodes have no GPU without --gpus-per-node")
    if gpus > (allocation.gpus or 0):
        raise UserError(f"--gpus-per-trial {gpus:g}: a node has --gpus-per-node {allocation.gpus}")
    if allocation.cpus is not None and cpus > allocation.cpus:
        raise UserError(f"--cpus-per-trial {cpus:g}: a node has --cpus-per-node {allocation.cpus}")


def _ledger_warnings(storage: str | None, runs: Path) -> list[str]:
    kind = file_system(runs)
    if storage is not None or kind not in _NETWORK:
        return []
    return [
        f"the ledger is a SQLite file on {kind}: the driver alone writes it, and `study control`; if the locks of this "
        "file system do not work between nodes, use `study control` on the first node alone, or PostgreSQL"
    ]


def file_system(path: Path, mounts: str | None = None) -> str:
    """The kind of the file system that a path is on, such as `ext4` or `nfs4`; "" if it is not known.

    Args:
        path: Need not exist.
        mounts: The content of /proc/self/mounts.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text()
        except OSError:
            return ""
    found = ("", "")
    for line in mounts.splitlines():
        words = line.split()
        place = words[1].encode().decode("unicode_escape")  # a blank is \040
        if path.is_relative_to(place) and len(place) >= len(found[0]):
            found = (place, words[2])
    return found[1]


def check_locks(directory: Path) -> None:
    """Checks that files can be locked in a folder: some mounts of Lustre do without, and then no driver would be alone.

    Raises:
        UserError: They cannot.
    """
    with tempfile.TemporaryFile(dir=directory) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            raise UserError(
                f"{directory}: files cannot be locked there ({error.strerror}): choose another --runs-dir, or have it "
                "mounted with locks (Lustre: -o flock)"
            ) from None


def ensure_token(directory: Path) -> Path:
    """The file with the token of the study's Ray, which is made if there is none. Its owner alone may read it.

    Raises:
        UserError: There is one that Ray's nodes must not use.
    """
    from study.tuning.preflight import check_token

    path = token_path(directory)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
    else:
        with open(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    check_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)})
    return path
