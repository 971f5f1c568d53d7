"""The compose files as Docker Compose itself understands them; its `config` command needs no Docker engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BASE, GPU = "docker-compose.yml", "docker-compose.gpu.yml"


def compose_command() -> list[str] | None:
    """Docker Compose 2 or later, as a plugin or a program of its own; None where there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            version = subprocess.run([*command, "version", "--short"], capture_output=True, text=True)
            if version.returncode == 0 and not version.stdout.startswith("1."):
                return command
    return None


def compose_config(*files: str, settings: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The parsed files, with the settings that `.env` would hold.

    Args:
        files: Names under the project's root; the base file where there is none.
        settings: Overrides of the files' defaults.
    """
    command = compose_command()
    assert command is not None
    options = [option for name in files or (BASE,) for option in ("--file", name)]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(settings or {})}
    printed = subprocess.run(
        [*command, "--env-file", "/dev/null", *options, "config", "--format", "json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return _without_escapes(json.loads(printed))


def _without_escapes(value: Any) -> Any:
    """Compose prints a dollar sign as two, so that what it prints can be read in again."""
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, list):
        return [_without_escapes(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _without_escapes(entry) for key, entry in value.items()}
    return value
