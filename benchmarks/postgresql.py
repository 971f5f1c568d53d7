"""A PostgreSQL server of one's own, from the system's programs, for as long as a benchmark lasts."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def programs() -> Path | None:
    """The folder of the newest PostgreSQL programs; None where they, or its driver for Python, are not installed."""
    if importlib.util.find_spec("psycopg2") is None:
        return None
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A fresh server that listens at a socket in a private folder alone; gives the URL of its empty database.

    Args:
        folder: Where its programs lie.
    """
    with tempfile.TemporaryDirectory(prefix="postgresql-") as home:
        as_owner: list[str] = []
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            shutil.chown(home, "postgres")
            as_owner = ["runuser", "-u", "postgres", "--"]

        def call(program: str, *arguments: str) -> None:
            command = [*as_owner, str(folder / program), *arguments]
            subprocess.run(command, check=True, cwd=home, stdout=subprocess.DEVNULL)

        call("initdb", "--pgdata", f"{home}/data", "--username", "study", "--auth", "trust", "--no-sync")
        server = ["--pgdata", f"{home}/data", "--log", f"{home}/log", "--wait"]
        call("pg_ctl", *server, "--options", f"-c listen_addresses='' -c unix_socket_directories='{home}'", "start")
        try:
            yield f"postgresql+psycopg2://study@/postgres?host={home}"
        finally:
            call("pg_ctl", *server, "--mode", "fast", "stop")
