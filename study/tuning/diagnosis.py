"""Examines a cluster, and a ledger on a server, for `study.doctor`."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import ray

from study.config import UserError
from study.disk.layout import rebuild_command
from study.disk.study_json import StudyRecord
from study.search.control import recorded_changes
from study.search.storage import ledger_study, open_storage, public_url
from study.tuning.cluster import Cluster, Resources
from study.tuning.preflight import check_nodes


def look_at_cluster(address: str, folder: Path) -> tuple[str, str]:
    """Joins a Ray cluster and runs the checks that precede a study's first trial.

    Args:
        address: As `--address`.
        folder: An existing folder that every node should share.

    Returns:
        What was seen, and what to do about it, "" if nothing.
    """
    try:
        with Cluster(address, Resources()) as cluster:
            cluster.join()
            check_nodes(folder)
            total, nodes = ray.cluster_resources(), sum(node["Alive"] for node in ray.nodes())
    except UserError as error:
        return address, str(error)
    token = "with" if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" else "without"
    seen = (
        f"{nodes} nodes that share {folder} and run this code, {total.get('CPU', 0):g} CPU, {total.get('GPU', 0):g} GPU"
    )
    return f"{address}: {seen}, {token} a token", ""


def look_at_changes(directory: Path, record: StudyRecord, given: str | None = None) -> tuple[str, str] | None:
    """Reads what `study control` has recorded in a sound ledger.

    Args:
        directory: The study's folder.
        record: What its `study.json` says.
        given: The database that the user named.

    Returns:
        As `look_at_cluster`; None if there is nothing, or the ledger cannot be opened.
    """
    try:
        study = ledger_study(directory, record, given)
    except UserError:
        return None
    try:
        changes = [] if study is None else recorded_changes(study)
    except UserError as error:
        seen, _, remedy = str(error).rpartition(": ")
        return seen, remedy.partition(", or ")[0] + (f", or {rebuild_command(directory)}" if not record.storage else "")
    return (f"{len(changes)} of study control", "") if changes else None


def look_at_storage(url: str, given: str | None = None, study: str | None = None) -> tuple[str, str]:
    """Connects to a database of ledgers, and looks for one of them.

    Args:
        url: As `--storage`.
        given: The database that the user named; None if a study's record named it.
        study: The study's name in the database.

    Returns:
        As `look_at_cluster`.
    """
    try:
        where = public_url(url)
        storage = open_storage(url, given)
    except UserError as error:
        return "--storage", str(error)
    if study is None:
        return f"{where}: answers, {len(storage.get_all_studies())} studies", ""
    try:
        trials = storage.get_all_trials(storage.get_study_id_from_name(study), deepcopy=False)
    except KeyError:
        return f"{where} holds nothing of this study", "give the --storage it was begun with"
    states = Counter(trial.state.name.lower() for trial in trials)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{where}: answers; trials: {counted or 'none'}", ""
