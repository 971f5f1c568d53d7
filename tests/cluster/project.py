"""A checkout of this project whose compose files run on an Engine of the tests.

`python -m tests.cluster.project` makes all images beforehand, with nothing but Python's own library.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.compose import ROOT
from tests.cluster.engine import Engine, missing_for_engine

OVERRIDE = """
services:
  ray-head: {{build: {{network: host}}}}
  worker: {{build: {{network: host}}}}
  mlflow: {{build: {{network: host}}}}
volumes:
  runs: {{driver_opts: {{type: none, o: bind, device: {runs}}}}}
"""
"""Builds reach pip's registry as this machine does, and the tests can read the studies and fill their disk."""


BUILD = {"ACCELERATOR": "cuda"}
"""PyPI's torch: an index of PyTorch's own may be out of reach."""


class Project:
    """A copy of the working tree, with settings of its own.

    Args:
        engine: Runs its containers.
        base: A new folder; its name is the project's.
        settings: What `.env` holds.
        runs_size: Of the file system for `runs/`, as for tmpfs.
    """

    def __init__(self, engine: Engine, base: Path, settings: Mapping[str, str], runs_size: str) -> None:
        self.engine = engine
        self.name = base.name
        self.folder = base / base.name
        self.runs = base / "runs"
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
            if name and (ROOT / name).exists():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)
        self.runs.mkdir()
        options = f"size={runs_size},uid=10001,gid=10001,mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.runs], check=True)
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        (self.folder / "docker-compose.override.yml").write_text(OVERRIDE.format(runs=self.runs))

    @classmethod
    def temporary(cls, engine: Engine, settings: Mapping[str, str], runs_size: str) -> Project:
        """One in a new folder, which `remove` deletes."""
        base = Path(tempfile.mkdtemp(prefix="cluster-", dir="/var/tmp"))
        base.chmod(0o755)
        return cls(engine, base, settings, runs_size)

    def remove(self) -> None:
        """Ends the containers, and removes all but the images."""
        self.compose("down", "--volumes", "--timeout", "1", check=False)
        subprocess.run(["umount", "--lazy", self.runs], check=False)
        shutil.rmtree(self.folder.parent, ignore_errors=True)

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Starts a command in the checkout, as a person would."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.engine.environment, "GIT_DIR": str(ROOT / ".git")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, check: bool = True, timeout: float = 1200) -> str:
        """As `popen`, but waits; gives the output.

        Raises:
            RuntimeError: The command failed.
        """
        process = self.popen(*command)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        if check and process.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output[-4000:]}")
        return output

    def compose(self, *command: str, check: bool = True) -> str:
        """Runs `docker compose COMMAND`."""
        return self.run("docker", "compose", *command, check=check)

    def start(self, service: str, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts a command in a service's container: `worker-2` is the second of `worker`."""
        service, _, index = service.partition("-") if service[-1].isdigit() else (service, "", "1")
        variables = [word for item in (environment or {}).items() for word in ("--env", "=".join(item))]
        options = ["--no-TTY", "--index", index, *variables]
        return self.popen("docker", "compose", "exec", *options, service, *command)

    def execute(self, service: str, *command: str) -> tuple[int, str]:
        """As `start`, but waits; gives exit status and output."""
        process = self.start(service, *command)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def container(self, service: str) -> str:
        """The name of a service's container, as for `start`."""
        return f"{self.name}-{service}" if service[-1].isdigit() else f"{self.name}-{service}-1"

    def inspect(self, service: str) -> dict[str, Any]:
        """What the Engine knows of a container."""
        return json.loads(self.engine.docker("inspect", self.container(service)).stdout)[0]

    def crash(self, service: str) -> None:
        """Kills a container's first process, behind the Engine's back."""
        os.kill(self.inspect(service)["State"]["Pid"], signal.SIGKILL)

    def hosts(self) -> dict[str, str]:
        """What each container calls itself -> its service and number, as for `start`."""
        listed = self.compose("ps", "--all", "--format", "{{.ID}} {{.Name}}")
        pairs = (line.split() for line in listed.splitlines() if line.startswith(tuple("0123456789abcdef")))
        return {identifier[:12]: name.removeprefix(f"{self.name}-") for identifier, name in pairs}


def main() -> None:
    """Makes the images, so that the tests find them."""
    if reason := missing_for_engine():
        sys.exit(f"no images are made: {reason}")
    engine = Engine()
    engine.start()
    try:
        engine.make_stand_ins()
        project = Project.temporary(engine, BUILD, runs_size="1m")
        try:
            project.compose("build")
        finally:
            project.remove()
    finally:
        engine.stop()


if __name__ == "__main__":
    main()
