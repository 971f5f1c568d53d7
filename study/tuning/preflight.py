"""Checks before trials run on a cluster; a failure is one line that says what to do.

Without them, Ray waits for ever for a large enough node, needs two minutes to notice that nobody answers, accepts a
token of three characters, and lets trials write where the driver never looks.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import socket
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.config import UserError

SHORTEST_TOKEN = 32
"""Characters; 32 random hexadecimal digits are 128 bits."""
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 90.0
_SHARED_SECONDS = 10.0
"""How long a file may take to appear on another node: NFS caches for a while that it was missing."""
_PACKAGES = ("torch", "torchvision", "ray", "numpy")


def check_token(environment: Mapping[str, str]) -> None:
    """Checks the token if Ray requires one, in the places where Ray looks, in its order.

    Args:
        environment: As `os.environ`.

    Raises:
        UserError: There is no token, or it is too short.
    """
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        return
    if "RAY_AUTH_TOKEN" in environment:
        place, token = "RAY_AUTH_TOKEN", environment["RAY_AUTH_TOKEN"]
    else:
        path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        place = str(path)
        try:
            token = path.read_text()
        except OSError as error:
            raise UserError(
                f"RAY_AUTH_MODE is token, and {path} cannot be read ({error.strerror}): make it with `make secrets` or "
                "`ray get-auth-token --generate`, or set RAY_AUTH_TOKEN_PATH"
            ) from None
    length = len(token.strip())
    if length < SHORTEST_TOKEN:
        raise UserError(
            f"the Ray token in {place} has {length} characters, it needs {SHORTEST_TOKEN}: make a random one"
        )


def check_address(address: str) -> None:
    """Checks that something listens at a cluster's address.

    Args:
        address: `HOST:PORT`, or `auto`, which only Ray can check.

    Raises:
        UserError: Nothing does, or the address is not valid.
    """
    if "://" in address:
        raise UserError(
            f"--address {address}: run this command on a node of the cluster, with --address HOST:6379 or auto"
        )
    host, separator, port = address.rpartition(":")
    if not separator and address in ("auto", "local"):
        return
    if not (host and port.isdecimal()):
        raise UserError(f"--address {address}: give HOST:PORT (ray start --head prints it) or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--address {address}: no Ray cluster answers there ({error})") from None


def check_nodes(directory: Path) -> list[str]:
    """Checks that every node sees the study's folder, can write to it, and has the same code and versions.

    Args:
        directory: The study's folder; it exists.

    Returns:
        The nodes that do not see the locks which this one sets on files there.

    Raises:
        UserError: A node fails a check or does not answer.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return []
    probe = directory / f".probe-{uuid.uuid4().hex}"
    probe.write_text(probe.name)
    try:
        with probe.open("r+") as held:
            with contextlib.suppress(OSError):  # without locks no node sees one either
                fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            look = ray.remote(num_cpus=0, max_retries=0)(_look)
            asked = {}
            for node in nodes:
                strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                asked[look.options(scheduling_strategy=strategy).remote(probe)] = node
            ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_SECONDS)
            ours = _versions()
            sees = {_name(node): _check_answer(_name(node), answer, ours, directory) for answer, node in asked.items()}
        return [name for name, locked in sees.items() if not locked]
    finally:
        for path in directory.glob(f"{probe.name}*"):
            path.unlink(missing_ok=True)


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _check_answer(name: str, answer: ray.ObjectRef, ours: Mapping[str, str], directory: Path) -> bool:
    """Refuses a node that cannot run trials; whether it sees that the probe is locked."""
    try:
        seen = ray.get(answer, timeout=1)
    except ray.exceptions.GetTimeoutError:
        raise UserError(
            f"node {name} did not answer within {_ANSWER_SECONDS:g} s: look at its log, or remove it"
        ) from None
    except (ray.exceptions.RayError, RuntimeError) as error:
        cause = str(error).strip().splitlines()[-1]
        raise UserError(
            f"node {name} cannot run a task ({cause}): is it alive, with the same code on its PYTHONPATH?"
        ) from None
    if seen["storage"] is not None:
        raise UserError(
            f"node {name} does not share {directory} ({seen['storage']}): choose a --runs-dir "
            "that every node can write, a volume or NFS"
        )
    for part, version in ours.items():
        if seen["versions"][part] != version:
            raise UserError(
                f"node {name} has {part} {seen['versions'][part]}, here it is {version}: use the same image or "
                "environment on every node"
            )
    return seen["locked"]


def _look(probe: Path) -> dict[str, Any]:
    """What a node sees; this runs on the node."""
    deadline = time.monotonic() + _SHARED_SECONDS
    while not probe.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    storage, locked = None, False
    try:
        if probe.read_text() != probe.name:
            storage = "another file is there"
        locked = _is_locked(probe)
        probe.with_name(f"{probe.name}-{uuid.uuid4().hex}").write_text("")
    except OSError as error:
        storage = error.strerror
    return {"storage": storage, "locked": locked, "versions": _versions()}


def _is_locked(path: Path) -> bool:
    with path.open("r+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _versions() -> dict[str, str]:
    """Versions that must agree. Builds of one release for other hardware (`2.15.0+cpu`) count as equal."""
    versions = {"Python": ".".join(map(str, sys.version_info[:2]))}
    for package in _PACKAGES:
        versions[package] = importlib.metadata.version(package).partition("+")[0]
    return {**versions, "code": _code_hash()}


def _code_hash() -> str:
    package = Path(__file__).parents[1]  # `study`, the only one that trials need
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
