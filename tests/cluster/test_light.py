"""A study on a Ray cluster whose nodes are processes of this machine; the real one is in test_namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.frame import load_study
from tests.cluster.compose import ROOT

TRIALS, EPOCHS = 3, 40


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A cluster wants a token; this one has its own."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 4)
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    return {**os.environ, **ray, "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def nodes(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The nodes; a line to their process removes one."""
    command = [sys.executable, "-m", "tests.cluster.two_nodes"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


def test_a_study_outlives_a_node(tmp_path: Path, environment: dict[str, str], nodes: subprocess.Popen[str]) -> None:
    assert nodes.stdin is not None and nodes.stdout is not None
    address = nodes.stdout.readline().strip()
    command = [sys.executable, "-m", "study.run", "--space", "wae_weight", "--name", "two", "--address", address]
    options = ["--num-trials", TRIALS, "--epochs", EPOCHS, "--scheduler", "none", "--runs-dir", tmp_path / "runs"]
    driver = subprocess.Popen(
        [*command, *map(str, options)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        directory = tmp_path / "runs" / "two"
        deadline = time.monotonic() + 90
        while len({path.parent for path in directory.glob("trials/*/attempt-1/checkpoint-*")}) < 2:  # one on each node
            assert driver.poll() is None, driver.communicate()[0]
            assert time.monotonic() < deadline, "no trial began"
            time.sleep(0.05)
        nodes.stdin.write("remove\n")
        nodes.stdin.flush()
        output, _ = driver.communicate(timeout=120)
    finally:
        driver.kill()
    assert driver.returncode == 0, output
    frames = load_study(tmp_path / "runs", "two")
    assert set(frames.trials["outcome"]) == {"completed"} and len(frames.trials) == TRIALS
    for _, history in frames.history.groupby("number"):
        assert history["epoch"].tolist() == list(range(1, EPOCHS + 1))
    [taken_up] = directory.glob("trials/*/attempt-2/metrics.jsonl")  # the trial on the lost node, by the other one
    assert json.loads(taken_up.read_text().splitlines()[0])["epoch"] > 1
