"""A Docker Engine of the tests' own, with stand-ins for the two images that the compose files name.

Nothing is pulled: Debian's packages make both stand-ins. They, and the project's image, stay in a folder of this
machine for the next time.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.compose import compose_command

FOLDER = Path("/var/tmp/autoencoder-tradeoff-study-engine")
PYTHON_IMAGE, POSTGRES_IMAGE = "python:3.11.13-slim-bookworm", "postgres:17.6-bookworm"
_PACKAGES = "python3,python3-pip,python3-venv,ca-certificates,curl"
_SETTINGS = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/apt/sources.list.d", "/etc/apt/sources.list")
"""Files of this machine by which pip and apt find their registries."""


def missing_for_engine() -> str | None:
    """Why no Engine can be started here; None if one can."""
    if os.getuid() != 0:
        return "only root can start a Docker Engine"
    for program in ("dockerd", "docker", "debootstrap", "iptables"):
        if shutil.which(program) is None:
            return f"no {program} (.ci/cluster-tools installs it)"
    if compose_command() is None:
        return "no Docker Compose 2 (.ci/cluster-tools installs it)"
    if subprocess.run(["docker", "version"], capture_output=True).returncode == 0:
        return "a Docker Engine runs here, and one of the tests' own would share its networks"
    return None


class Engine:
    """A Docker Engine that listens on a socket in a folder, from `start` to `stop`.

    Args:
        folder: Where it keeps images and containers.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{folder}/socket"}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers.

        Raises:
            RuntimeError: It does not start.
        """
        if self.docker("version", check=False).returncode == 0:
            pid = (self.folder / "pid").read_text()
            raise RuntimeError(f"an Engine of earlier tests still runs: end process {pid}")
        self.folder.mkdir(parents=True, exist_ok=True)
        places = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "pid"}
        options = [word for option, name in places.items() for word in (option, str(self.folder / name))]
        options += ["--host", f"unix://{self.folder}/socket"]
        # Without it, runc refuses where this process may open fewer files than Docker's default.
        options += ["--default-ulimit", "nofile=4096:4096"]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "dockerd", *options],  # it ends with this process
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while self.docker("version", check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                lines = (self.folder / "log").read_text(errors="replace").splitlines()
                raise RuntimeError(f"dockerd does not start: {lines[-1] if lines else 'it says nothing'}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Ends it, with all its containers."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)

    def restart(self) -> None:
        """Ends it, and starts it again."""
        self.stop()
        self.start()

    def docker(self, *command: str, check: bool = True, text: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command of Docker's client."""
        return subprocess.run(
            ["docker", *command], env=self.environment, capture_output=True, text=text, check=check, timeout=600
        )

    def has_image(self, tag: str) -> bool:
        """Whether it holds an image."""
        return self.docker("image", "inspect", tag, check=False).returncode == 0

    def make_stand_ins(self) -> None:
        """Makes what the compose files would pull, unless it is there."""
        if not self.has_image(PYTHON_IMAGE):
            self._make_python()
        if not self.has_image(POSTGRES_IMAGE):
            self._build(
                POSTGRES_IMAGE,
                f"""
                FROM {PYTHON_IMAGE}
                RUN groupadd --gid 999 postgres && useradd --uid 999 --gid 999 postgres \\
                    && mkdir /etc/postgresql-common \\
                    && echo create_main_cluster = false > /etc/postgresql-common/createcluster.conf \\
                    && apt-get update -qq && apt-get install -qq --yes --no-install-recommends postgresql \\
                    && rm -rf /var/lib/apt/lists/* \\
                    && install -d -o 999 -g 999 /var/lib/postgresql/data && mkdir /docker-entrypoint-initdb.d \\
                    && chmod 3777 /run/postgresql
                COPY entry /entry
                ENTRYPOINT ["sh", "/entry"]
                """,
                {"entry": (Path(__file__).parent / "postgres-stand-in.sh").read_text()},
            )

    def _make_python(self) -> None:
        """Debian 12's own Python 3.11, with this machine's registries."""
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            root = Path(scratch, "root")
            subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", root, _debian_mirror()],
                check=True,
                capture_output=True,
            )
            for path in map(Path, _SETTINGS):
                if path.exists():
                    subprocess.run(["cp", "-aL", "-T", path, f"{root}{path}"], check=True)
            for path in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
                path.unlink()  # in the official image, pip installs into Python itself
            (root / "usr/bin/python").symlink_to("python3")
            archive = Path(scratch, "archive")
            subprocess.run(["tar", "--create", "--file", archive, "--directory", root, "."], check=True)
            self.docker("import", str(archive), PYTHON_IMAGE)

    def _build(self, tag: str, dockerfile: str, files: Mapping[str, str]) -> None:
        with tempfile.TemporaryDirectory() as context:
            for name, content in {"Dockerfile": dockerfile, **files}.items():
                Path(context, name).write_text(content)
            self.docker("build", "--quiet", "--network", "host", "--tag", tag, context)


def _debian_mirror() -> str:
    """The mirror of Debian 12 that this machine's apt uses."""
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"]
    printed = subprocess.run(targets, capture_output=True, text=True, check=True).stdout
    found = [uri for uri, _, name in (line.partition(" ") for line in printed.splitlines()) if name == "bookworm"]
    return found[0] if found else "http://deb.debian.org/debian"
