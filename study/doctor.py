"""Checks the installation and a study; each line ends in ok or says what to do.

    python -m study.doctor --study wae_weight

The exit status is 1 if there is something to do. --rebuild-ledger writes a study's lost or damaged optuna.db again from
the folders of its trials, and --restore-record its study.json from MLflow. Both keep the old file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from study.checks.finding import Finding, check_database
from study.checks.installation import check_cluster, check_devices, check_folders, check_mlflow, check_versions
from study.checks.study import check_driver, check_files, check_ledger, sound_record
from study.cli import DONE, FAILED, RunsOption, TrackingOption, run_command
from study.config import UserError
from study.disk.files import set_aside_file
from study.disk.layout import find_study, ledger_path, restore_command, study_path
from study.disk.lock import driving
from study.disk.study_json import read_study, write_study
from study.session.resuming import recorded_space, resume_command
from study.space import load_space
from study.tracking import default_tracking_uri


def doctor(
    study: Annotated[str | None, typer.Option("--study", "--name", help="Name of a study to check as well.")] = None,
    runs_dir: RunsOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", help="A running Ray cluster to check, HOST:PORT or auto.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(envvar="STUDY_STORAGE", help="PostgreSQL URL of the database that lists the trials.")
    ] = None,
    rebuild_ledger: Annotated[
        bool, typer.Option("--rebuild-ledger", help="Write the study's optuna.db again from its trials' folders.")
    ] = False,
    restore_record: Annotated[
        bool, typer.Option("--restore-record", help="Get the study's study.json back from MLflow.")
    ] = False,
) -> int:
    """The command, see the module."""
    runs = runs_dir.expanduser().absolute()
    directory = None if study is None else find_study(runs, study)
    if restore_record:
        return _restore(directory, tracking_uri or default_tracking_uri(runs))
    if rebuild_ledger:
        return _rebuild(directory)
    given = storage
    record = None if directory is None else sound_record(directory)
    storage = storage or (None if record is None else record.storage)
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_versions,
        check_devices,
        lambda: check_folders(runs, storage),
        lambda: check_mlflow(tracking_uri or default_tracking_uri(runs)),
    ]
    if address is not None:
        checks.append(lambda: check_cluster(address, runs))
    if storage is not None and directory is None:
        checks.append(lambda: check_database(storage, given))
    if directory is not None:
        checks += [
            lambda: check_driver(directory),
            lambda: check_ledger(directory, storage, given),
            lambda: check_files(directory),
        ]
    failed = False
    for check in checks:
        for finding in check():
            verdict = f"-> {finding.remedy}" if finding.remedy else "ok"
            print(f"{finding.subject:<14} {finding.seen}  {verdict}", flush=True)
            failed |= bool(finding.remedy)
    return FAILED if failed else DONE


def _restore(directory: Path | None, uri: str) -> int:
    """Gets the record of a study that nobody runs from MLflow."""
    from study.tracking.reader import record_from_mlflow  # imports pandas

    if directory is None:
        raise UserError("--restore-record: name the study with --study")
    try:
        read_study(directory)
    except UserError as error:
        if restore_command(directory) not in str(error):  # it is of a later version
            raise
    else:
        raise UserError(f"{study_path(directory)} is sound: there is nothing to restore")
    record = record_from_mlflow(uri, directory)
    with driving(directory):
        aside = set_aside_file(study_path(directory))
        write_study(directory, record)
    kept = f"; the old file is {aside}" if aside else ""
    found = f"{study_path(directory)} is that of the study begun {record.created}, as MLflow has it{kept}"
    print(f"{found}; next: {resume_command(record, directory.parent)}")
    return DONE


def _rebuild(directory: Path | None) -> int:
    """Rebuilds the ledger of a study that nobody runs."""
    from study.search.ledger_file import rebuild  # imports Optuna

    record = None if directory is None else read_study(directory)
    if directory is None or record is None:
        raise UserError("--rebuild-ledger: name the study with --study")
    if record.storage is not None:
        raise UserError(f"the ledger of study {record.name!r} lies in {record.storage}: restore it there")
    loaded = load_space(recorded_space(record, directory))
    if not loaded.is_same(record.space_hash, record.data):
        raise UserError(f"{loaded.path} is not the space that study {record.name!r} began with: restore it first")
    with driving(directory):
        count, aside = rebuild(directory, record, loaded.space)
    kept = f"; the old file is {aside}" if aside else ""
    print(f"{count} trials are in {ledger_path(directory)}{kept}; next: {resume_command(record, directory.parent)}")
    return DONE


if __name__ == "__main__":
    run_command(doctor)
