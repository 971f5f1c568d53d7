"""The checks before a cluster's first trial; those that need several nodes are in tests/cluster."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.config import UserError
from study.tuning import preflight
from study.tuning.preflight import check_address, check_token

GOOD = "0123456789abcdef" * 2


def test_a_token_is_wanted_only_where_ray_wants_one() -> None:
    check_token({})
    check_token({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "abc"})
    check_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": GOOD})


def test_a_token_file_may_end_in_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(GOOD + "\n")
    check_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")})


@pytest.mark.parametrize("token", ["", "abc", GOOD[1:], GOOD[1:] + "\n"])
def test_a_short_token_is_refused_without_being_shown(tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token)
    with pytest.raises(UserError, match="32") as caught:
        check_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")})
    assert GOOD[1:] not in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_token_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="make secrets"):
        check_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", "head:port", ":6379", "127.0.0.1:99999"])
def test_an_address_of_no_use_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="--address"):
        check_address(address)


def test_an_address_where_nobody_listens_is_refused_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        start = time.monotonic()
        with pytest.raises(UserError, match="no Ray cluster answers"):
            check_address(f"127.0.0.1:{unused.getsockname()[1]}")
    assert time.monotonic() - start < 10


def test_an_address_where_somebody_listens_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_address(f"127.0.0.1:{server.getsockname()[1]}")
    check_address("auto")


def test_a_node_sees_the_folder_and_the_versions(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.write_text(probe.name)
    seen = preflight._look(probe)
    assert seen["storage"] is None and seen["locked"] is False
    assert {"Python", "torch", "ray", "code"} <= set(seen["versions"])
    assert not any("+" in version for version in seen["versions"].values())


def test_a_node_sees_a_lock_that_another_process_holds(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.write_text(probe.name)
    code = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print('held'); input()"
    command = [sys.executable, "-uc", code, str(probe)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        assert preflight._look(probe)["locked"] is True
        other.communicate("\n")


def test_a_node_without_the_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_SHARED_SECONDS", 0.0)
    assert preflight._look(tmp_path / "elsewhere" / "probe")["storage"] == "No such file or directory"


class _Answered:
    """Stands in for Ray where a node has answered."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def get(self, reference: object, timeout: float) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


VERSIONS = {"Python": "3.11", "torch": "2.15.0", "code": "abc"}
BREACHES = {
    "other torch": ({"storage": None, "versions": {**VERSIONS, "torch": "2.14.0"}}, "torch 2.14.0"),
    "other code": ({"storage": None, "versions": {**VERSIONS, "code": "xyz"}}, "same image"),
    "folder not shared": ({"storage": "No such file or directory", "versions": VERSIONS}, "does not share"),
    "no answer": (preflight.ray.exceptions.GetTimeoutError("late"), "did not answer"),
    "no code": (preflight.ray.exceptions.RaySystemError("No module named 'study'"), "cannot run a task"),
}


@pytest.mark.parametrize(("answer", "word"), BREACHES.values(), ids=list(BREACHES))
def test_a_breach_names_the_node_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object, word: str
) -> None:
    monkeypatch.setattr(preflight.ray, "get", _Answered(answer).get)
    with pytest.raises(UserError, match=word) as caught:
        preflight._check_answer("worker-2 (10.0.0.3)", None, VERSIONS, tmp_path)  # type: ignore[arg-type]
    assert "worker-2" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("locked", [True, False])
def test_a_node_like_ours_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool) -> None:
    answer = {"storage": None, "versions": dict(VERSIONS), "locked": locked}
    monkeypatch.setattr(preflight.ray, "get", _Answered(answer).get)
    assert preflight._check_answer("worker-2 (10.0.0.3)", None, VERSIONS, tmp_path) is locked  # type: ignore[arg-type]
