"""The services of the compose file as processes in Linux namespaces, where there is no Docker engine.

Commands, environments, users, networks, volumes, secrets and health checks are those of `docker compose config`. The
image is imitated: its `ENV` and `COPY` lines are read from the Dockerfile, and Python comes from the environment that
runs the tests. Each container has its own network, mounts, processes, host name and shared memory. It sees no file but
the image's, its volumes and its secrets. User, dropped capabilities, privileges and a read-only root are the file's;
what it does not drop stays. Memory and CPU limits are not imitated, nor is PostgreSQL's image: the machine's own
PostgreSQL runs, set up as it would.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.compose import ROOT

PROGRAMS = ("ip", "unshare", "nsenter", "setpriv", "chroot", "mount", "hostname")
_PREFIX = "study"
_WORKDIR = "/srv/study"
_POSTGRES = """
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-host=scram-sha-256
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options "-c listen_addresses=''" start
    createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    for script in /docker-entrypoint-initdb.d/*.sh; do sh "$script"; done
    pg_ctl --wait --mode fast stop
fi
exec postgres -c listen_addresses='*'
"""
"""What the entry point of the postgres image does."""


def missing_for_namespaces() -> str | None:
    """Why containers cannot be imitated here; None where they can."""
    if os.geteuid() != 0:
        return "needs root"
    lacking = [name for name in PROGRAMS if not shutil.which(name)]
    if not postgres_programs():
        lacking.append("postgresql")
    if lacking:
        return f"needs {', '.join(lacking)} (.ci/cluster-tools installs them)"
    name = f"{_PREFIX}-{os.getpid()}-probe"
    commands = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", _link("probe"), "type", "bridge"],
        ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
    ]
    try:
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                return f"namespaces are not allowed here: {done.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        subprocess.run(["ip", "link", "delete", _link("probe")], capture_output=True)
    return None


def postgres_programs() -> str | None:
    """The folder of the newest PostgreSQL's programs."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return str(folders[-1].parent) if folders else None


def _link(name: str) -> str:
    """The name of a network interface, of the 15 characters that Linux allows; it tells whose it is."""
    return f"st{os.getpid()}{name[:5]}"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


def remove_leftovers() -> None:
    """Removes what a test run that was killed has left: namespaces and bridges named after a process that is gone."""
    for line in _run("ip", "netns", "list").splitlines():
        match = re.match(rf"{_PREFIX}-(\d+)-", line)
        if match and not Path("/proc", match[1]).exists():
            _run("ip", "netns", "delete", line.split()[0])
    for line in _run("ip", "-oneline", "link", "show", "type", "bridge").splitlines():
        match = re.match(r"\d+: (st(\d+)[a-z]{2,5}):", line)
        if match and not Path("/proc", match[2]).exists():
            _run("ip", "link", "delete", match[1])


class Container:
    """One service's process tree.

    Attributes:
        name: Its host name.
        addresses: Its address on each of its networks.
        log: Where its output goes.
    """

    def __init__(self, host: Host, service: str, name: str, addresses: Mapping[str, str]) -> None:
        self.name = name
        self.addresses = dict(addresses)
        self.log = host.base / "logs" / f"{name}.log"
        self.service_name = service
        self.service: dict[str, Any] = host.config["services"][service]
        self.secrets = host.base / "secrets"
        self.namespace = f"{_PREFIX}-{os.getpid()}-{name}"
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None
        self._is_postgres = self.service["image"].startswith("postgres:")

    @property
    def environment(self) -> dict[str, str]:
        """What the container's processes find in their environment."""
        path = "/usr/local/bin:/usr/bin:/bin"
        image = dict(self._host.image_environment)
        if self._is_postgres:
            path = f"{postgres_programs()}:{path}"
            image = {"PGDATA": "/var/lib/postgresql/data"}
        return {"PATH": path, "LANG": "C.UTF-8", **image, **self.service.get("environment", {})}

    def start(self, command: Sequence[str] | None = None) -> None:
        """Starts the service's command, or another in its place."""
        own = ["sh", "-c", _POSTGRES] if self._is_postgres else self.service["command"]
        script = "\n".join([*self._mounts(), f"exec chroot {self._root} {shlex.join(self._as_user(command or own))}"])
        path = self._host.base / "roots" / f"{self.name}.sh"
        path.write_text(script)
        enter = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{self.namespace}"]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*enter, *unshare, "sh", "-e", str(path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def _root(self) -> str:
        return str(self._host.base / "roots" / self.name)

    def _as_user(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
        user, group = self.service["user"].split(":")
        drop = ["--clear-groups"]
        if dropped := ",".join(f"-{name.lower()}" for name in self.service.get("cap_drop", [])):
            drop += [f"--inh-caps={dropped}", f"--bounding-set={dropped}"]
        if "no-new-privileges:true" in self.service.get("security_opt", []):
            drop.append("--no-new-privs")
        variables = [f"{name}={value}" for name, value in {**self.environment, **(environment or {})}.items()]
        folder = "/tmp" if self._is_postgres else _WORKDIR
        return [
            *("setpriv", "--reuid", user, "--regid", group, *drop),
            *("env", "--ignore-environment", f"--chdir={folder}", *variables, *command),
        ]

    def _mounts(self) -> Iterator[str]:
        """Shell lines that build the container's file system; they run in its own mount namespace."""
        root = self._root
        Path(root).mkdir(parents=True, exist_ok=True)

        def bind(source: Path | str, target: str, *, writable: bool = False) -> Iterator[str]:
            make = "mkdir -p" if Path(source).is_dir() else "touch"
            yield f"mkdir -p {shlex.quote(root + str(Path(target).parent))}"
            yield f"[ -e {shlex.quote(root + target)} ] || {make} {shlex.quote(root + target)}"
            options = "bind" if writable else "bind,ro"
            yield f"mount -o {options} {shlex.quote(str(source))} {shlex.quote(root + target)}"

        yield f"hostname {self.name}"
        yield f"mount -t tmpfs -o mode=755,size=16m tmpfs {root}"
        for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            path = Path("/", name)
            if path.is_symlink():
                yield f"ln -s {path.readlink()} {root}/{name}"
            elif path.is_dir():
                yield from bind(path, f"/{name}")
        yield from bind(self._host.base / "bin", "/usr/local/bin")
        yield f"cp -r {self._host.base}/etc/{self.name} {root}/etc"
        for name in ("ld.so.cache", "alternatives", "ssl"):
            if Path("/etc", name).exists():
                yield from bind(f"/etc/{name}", f"/etc/{name}")
        yield f"mkdir -p {root}/proc {root}/dev/shm {root}{_WORKDIR}"
        yield f"mount -t proc proc {root}/proc"
        yield from bind("/sys", "/sys")
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            yield from bind(f"/dev/{name}", f"/dev/{name}", writable=True)
        yield f"ln -s /proc/self/fd {root}/dev/fd"
        yield f"mount -t tmpfs -o mode=1777,size={self.service.get('shm_size', '64m')} tmpfs {root}/dev/shm"
        for entry in self.service.get("tmpfs", []):
            target, _, options = entry.partition(":")
            yield f"mkdir -p {root}{target}"
            yield f"mount -t tmpfs -o {options} tmpfs {root}{target}"
        if not self._is_postgres:
            for path in _python_folders():
                yield from bind(path, path)
            for source, target in self._host.image_files:
                yield from bind(ROOT / source, f"/app/{target}")
        for volume in self.service.get("volumes", []):
            if volume["type"] == "volume":
                source = self._host.base / "volumes" / volume["source"]
                if not source.exists():  # Docker gives a new volume the owner that the folder has in the image
                    source.mkdir(parents=True)
                    os.chown(source, *map(int, self.service["user"].split(":")))
                    source.chmod(0o700)
            else:
                source = Path(volume["source"])
                if not source.exists():
                    source = self._host.base / "empty"
            yield from bind(source, volume["target"], writable=not volume.get("read_only"))
        for secret in self.service.get("secrets", []):
            yield from bind(self.secrets / secret["source"], secret["target"])
        if self.service.get("read_only"):
            yield f"mount -o remount,ro {root}"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process that is number 1 in the container."""
        assert self._process is not None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            if children.exists() and (pids := children.read_text().split()):
                return int(pids[0])
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} has ended:\n{self.output()[-2000:]}")

    def popen(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Runs a command in the container, as `docker compose exec` would."""
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root"]
        return subprocess.Popen(
            ["nsenter", "--target", str(self.pid), *spaces, *self._as_user(command, environment)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def execute(
        self, *command: str, timeout: float = 120, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """As `popen`, but waits; gives exit status and output."""
        process = self.popen(*command, environment=environment)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return process.returncode, output

    def wait_healthy(self, timeout: float = 600) -> None:
        """Waits until the service's own health check succeeds."""
        kind, *command = self.service["healthcheck"]["test"]
        assert kind == "CMD"
        deadline = time.monotonic() + timeout
        while True:
            status, output = self.execute(*command)
            if status == 0:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not healthy: {output[-500:]}\n{self.output()[-2000:]}")
            time.sleep(1)

    def kill(self) -> None:
        """Kills everything in the container at once: the kernel ends a namespace with its first process."""
        if self._process is not None and self.running:
            os.kill(self.pid, signal.SIGKILL)
            self._process.wait(30)

    def wait(self, timeout: float) -> int:
        """Waits until the container has ended by itself; gives its exit status."""
        assert self._process is not None
        return self._process.wait(timeout)

    def output(self) -> str:
        """What it has written."""
        return self.log.read_text(errors="replace")


class Host:
    """A machine with Docker's networks, volumes and secrets, imitated.

    Args:
        config: The parsed compose file.
        base: A folder for volumes, secrets and logs; it is not under /tmp, which the containers' own hides.
        scale: Containers by service, 1 where it is not named.
    """

    def __init__(self, config: dict[str, Any], base: Path, scale: Mapping[str, int]) -> None:
        self.config = config
        self.base = base
        dockerfile = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
        pairs = [part for line in re.findall(r"^ENV (.*)", dockerfile, re.MULTILINE) for part in shlex.split(line)]
        self.image_environment = dict(part.split("=", 1) for part in pairs if "$" not in part)
        copies = re.findall(r"^COPY (.*) (\S+)$", dockerfile, re.MULTILINE)
        self.image_files = [
            (source, f"{target.removeprefix('./')}{Path(source).name}" if target.endswith("/") else target)
            for sources, target in copies
            for source in sources.split()
        ]
        self._prepare_files()
        self._networks = list(config["networks"])
        names = {
            service: [service] if scale.get(service, 1) == 1 else [f"{service}-{i + 1}" for i in range(scale[service])]
            for service in config["services"]
        }
        self.containers: dict[str, Container] = {}
        for service, members in names.items():
            for name in members:
                self.add(service, name)

    def _prepare_files(self) -> None:
        for name in ("logs", "volumes", "roots", "bin", "empty"):
            (self.base / name).mkdir(parents=True)
        modules = {"python": "", "ray": "-m ray.scripts.scripts", "mlflow": "-m mlflow"}
        for name, module in modules.items():
            path = self.base / "bin" / name
            path.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
            path.chmod(0o755)
        subprocess.run(
            ["make", "--silent", "--file", ROOT / "Makefile", "secrets", f"PYTHON={sys.executable}"],
            cwd=self.base,
            check=True,
        )

    def add(self, service: str, name: str) -> Container:
        """Adds a container, not yet started."""
        number = len(self.containers) + 10
        networks = [network for network in self._networks if network in self.config["services"][service]["networks"]]
        addresses = {network: f"10.231.{self._networks.index(network)}.{number}" for network in networks}
        container = self.containers[name] = Container(self, service, name, addresses)
        return container

    def open(self) -> None:
        """Makes networks and name tables."""
        for index, network in enumerate(self._networks):
            bridge = _link(network)
            _run("ip", "link", "add", bridge, "type", "bridge")
            if not self.config["networks"][network].get("internal"):
                _run("ip", "address", "add", f"10.231.{index}.1/24", "dev", bridge)
            _run("ip", "link", "set", bridge, "up")
        for container in self.containers.values():
            self.connect(container)

    def connect(self, container: Container) -> None:
        """Plugs a container into its networks, and tells it the names of the others there."""
        space = container.namespace
        _run("ip", "netns", "add", space)
        _run("ip", "-netns", space, "link", "set", "lo", "up")
        for index, (network, address) in enumerate(container.addresses.items()):
            outer = f"{_link('')}v{address.split('.')[2]}{address.split('.')[3]}"
            inside = ["type", "veth", "peer", "name", f"eth{index}", "netns", space]
            _run("ip", "link", "add", outer, *inside)
            _run("ip", "link", "set", outer, "master", _link(network), "up")
            _run("ip", "-netns", space, "address", "add", f"{address}/24", "dev", f"eth{index}")
            _run("ip", "-netns", space, "link", "set", f"eth{index}", "up")
        folder = self.base / "etc" / container.name
        folder.mkdir(parents=True)
        (folder / "hosts").write_text("\n".join(self._names(container)) + "\n")
        (folder / "resolv.conf").write_text("")
        (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        users = "root:x:0:0::/root:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\nstudy:x:10001:10001::/tmp:/bin/sh\n"
        (folder / "passwd").write_text(users)

    def _names(self, container: Container) -> Iterator[str]:
        yield "127.0.0.1 localhost"
        for network, address in container.addresses.items():
            yield f"{address} {container.name}"
            for other in self.containers.values():
                if network in other.addresses:
                    options = other.service["networks"][network] or {}
                    yield " ".join([other.addresses[network], other.name, *options.get("aliases", [])])

    def up(self, *names: str) -> None:
        """Starts containers in the order of their dependencies, each once those it needs are healthy."""
        waiting = [self.containers[name] for name in names or self.containers]
        while waiting:
            services = {container.service_name for container in waiting}
            ready = [container for container in waiting if not services & set(container.service.get("depends_on", {}))]
            for container in ready:
                container.start()
            for container in ready:
                container.wait_healthy()
            waiting = [container for container in waiting if container not in ready]

    def close(self) -> None:
        """Ends every container and removes the networks."""
        for container in self.containers.values():
            container.kill()
        for container in self.containers.values():
            subprocess.run(["ip", "netns", "delete", container.namespace], capture_output=True)
        for network in self._networks:
            subprocess.run(["ip", "link", "delete", _link(network)], capture_output=True)


def _python_folders() -> list[str]:
    """Where Python and its packages lie, outside of what every container sees."""
    folders = {sys.base_prefix, sys.prefix, *(entry for entry in sys.path if entry.endswith("site-packages"))}
    paths = [str(Path(folder).absolute()) for folder in folders]
    return [
        path
        for path in sorted(paths)
        if not path.startswith("/usr/") and not any(path != other and path.startswith(f"{other}/") for other in paths)
    ]
