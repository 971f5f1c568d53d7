"""A study on a Ray cluster whose nodes are processes of this machine; the containers are in test_engine."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from study.disk.files import read_json
from study.results.frame import load_study
from study.tuning.execute import NO_ROOM
from tests.cluster.compose import ROOT

EPOCHS = 40
GONE = {
    "own.py": """
from pathlib import Path

import study
from parts import Linear, Spread, ink, shapes


def once():
    data = shapes()
    folder = Path(__file__).parent
    folder.rename(folder.with_name("away"))
    return data


SPACE = study.SearchSpace(
    question="?",
    suggest=lambda trial, data: {"spread.power": trial.suggest_float("spread.power", 1.0, 2.0)},
    base={"network": "affine", "regularizer": "spread", "weight": 0.1, "latent_dim": 2},
    components=(
        Linear,
        Spread,
        study.Metric(name="ink", direction="minimize", function=ink, sees="images"),
        study.DataSource(name="shapes", load=once),
    ),
)
""",
    "parts.py": """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import nn

import study


@dataclass(frozen=True)
class Linear(study.Network):
    name: ClassVar[str] = "affine"
    bias: bool = True

    def build(self, size):
        pixels = size.height * size.width
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, size.encoder_outputs, bias=self.bias))
        decoder = nn.Sequential(nn.Linear(size.latent_dim, pixels), nn.Unflatten(1, (1, size.height, size.width)))
        return encoder, decoder


class Spread(study.Regularizer):
    name: ClassVar[str] = "spread"
    methods: ClassVar[dict[str, str]] = {"deterministic": "AE-spread"}
    weight_range: ClassVar[tuple[float, float]] = (1e-3, 1.0)

    def __init__(self, config, power: float = 2.0):
        super().__init__()
        self.power = power

    def forward(self, model, posterior, z, generator):
        return z.abs().pow(self.power).mean()


def ink(real, generated):
    return float((real.mean() - generated.mean()).abs())


def shapes():
    random = np.random.default_rng(0)
    images = np.zeros((400, 8, 8), np.uint8)
    for image in images:
        top, left = random.integers(0, 5, 2)
        image[top : top + 3, left : left + 3] = 255
    return study.from_arrays(images)
""",
}
"""A space and the module that it imports. Its data move the folder of both away before there is a study."""


class Nodes:
    """A cluster of nodes of the kinds of `tests.cluster.nodes`, and a head without CPUs."""

    def __init__(self, kinds: Sequence[str], environment: dict[str, str]) -> None:
        self.environment = environment
        command = [sys.executable, "-m", "tests.cluster.nodes", *kinds]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self.address = self._output.readline().strip()

    def change(self, what: str, kind: str = "cpu") -> str:
        """`add` or `remove` one; gives its id."""
        self._input.write(f"{what} {kind}\n")
        self._input.flush()
        return self._output.readline().strip()

    def close(self) -> None:
        """Ends all of them."""
        self._input.close()
        self._process.wait(60)
        self._output.close()


@pytest.fixture
def start_nodes(tmp_path: Path) -> Iterator[Callable[..., Nodes]]:
    """Starts a cluster; a cluster wants a token, and this one has its own."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 4)
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    started = []

    def start(*kinds: str) -> Nodes:
        started.append(Nodes(kinds, {**os.environ, **ray, "PYTHONUNBUFFERED": "1"}))
        return started[-1]

    yield start
    for nodes in started:
        nodes.close()


class Driver:
    """`python -m study.run` on a cluster."""

    def __init__(
        self,
        nodes: Nodes,
        directory: Path,
        trials: int,
        epochs: int = EPOCHS,
        space: str = "wae_weight",
        gpus: float = 0,
    ) -> None:
        self.directory = directory
        self.epochs = epochs
        self.log = directory.parent / f"{directory.name}.log"
        command = [sys.executable, "-m", "study.run", "--space", space, "--address", nodes.address]
        options = ["--num-trials", trials, "--epochs", epochs, "--scheduler", "none", "--gpus-per-trial", gpus]
        place = ["--name", directory.name, "--runs-dir", directory.parent]
        directory.parent.mkdir()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *map(str, [*options, *place])], cwd=ROOT, env=nodes.environment, stdout=log, stderr=log
            )

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until a condition holds."""
        deadline = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"gave up waiting for {what}"
            time.sleep(0.05)

    def trials_with_checkpoint(self) -> set[Path]:
        """Folders of the trials that could be taken up by another node."""
        return {path.parents[1] for path in self.directory.glob("trials/*/attempt-*/checkpoint-*")}

    def attempts(self) -> list[tuple[bool, str]]:
        """Whether Ray gave a GPU, and the id of the node, of each attempt so far, in the order of the trials."""
        processes = (read_json(path) for path in sorted(self.directory.glob("trials/*/attempt-*/process.json")))
        return [(bool(process["gpus"]), process["node"]) for process in processes if process is not None]

    def finish(self, trials: int) -> None:
        """Asserts that the study ends well, with every epoch of its trials once."""
        try:
            assert self.process.wait(240) == 0, self.log.read_text()
        finally:
            self.process.kill()
        frames = load_study(self.directory.parent, self.directory.name)
        assert set(frames.trials["outcome"]) == {"completed"} and len(frames.trials) == trials
        for _, history in frames.history.groupby("number"):
            assert history["epoch"].tolist() == list(range(1, self.epochs + 1))


def test_a_study_outlives_a_node(tmp_path: Path, start_nodes: Callable[..., Nodes]) -> None:
    nodes = start_nodes("cpu", "cpu")
    driver = Driver(nodes, tmp_path / "runs" / "two", trials=3)
    driver.wait_for(lambda: len(driver.trials_with_checkpoint()) == 2, "a trial on each node")
    nodes.change("remove")
    driver.finish(trials=3)
    [taken_up] = driver.directory.glob("trials/*/attempt-2/metrics.jsonl")  # the trial on the lost node, by the other
    assert json.loads(taken_up.read_text().splitlines()[0])["epoch"] > 1


@pytest.mark.fault
def test_a_study_waits_for_a_node_and_uses_those_that_join(tmp_path: Path, start_nodes: Callable[..., Nodes]) -> None:
    nodes = start_nodes("cpu")
    # Long enough that the second node has joined, and been counted, before the first has trained everything.
    driver = Driver(nodes, tmp_path / "runs" / "waiting", trials=4, epochs=8 * EPOCHS)
    driver.wait_for(lambda: len(driver.trials_with_checkpoint()) == 1, "a trial")
    nodes.change("remove")
    driver.wait_for(lambda: NO_ROOM in driver.log.read_text(), "a word about it")
    nodes.change("add")
    nodes.change("add")
    driver.finish(trials=4)
    assert driver.log.read_text().count(NO_ROOM) == 1
    attempts = list(driver.directory.glob("trials/*/attempt-*/metrics.jsonl"))
    times = [[json.loads(line)["time"] for line in path.read_text().splitlines()] for path in attempts]
    spans = sorted((min(of_one), max(of_one)) for of_one in times if of_one)
    assert any(begin < end for (_, end), (begin, _) in itertools.pairwise(spans))  # two at once


def test_trials_of_a_gpu_study_stay_on_nodes_with_gpus(tmp_path: Path, start_nodes: Callable[..., Nodes]) -> None:
    nodes = start_nodes("gpu", "cpu")
    driver = Driver(nodes, tmp_path / "runs" / "gpus", trials=4, gpus=0.5)
    driver.finish(trials=4)
    assert [gpu for gpu, _ in driver.attempts()] == [True] * 4


def test_a_trial_with_two_gpus_is_trained_by_two_processes_and_outlives_a_lost_one(
    tmp_path: Path, start_nodes: Callable[..., Nodes]
) -> None:
    nodes = start_nodes("gpus")
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in GONE.items():
        (folder / name).write_text(text)
    # The second process, too, loads the user's own network from the study's folder.
    driver = Driver(nodes, tmp_path / "runs" / "two", trials=2, epochs=8, space=str(folder / "own.py"), gpus=2)
    driver.wait_for(lambda: len(_processes_of_devices(driver.directory)) == 1, "a second process")
    os.kill(_processes_of_devices(driver.directory)[0], signal.SIGKILL)
    driver.finish(trials=2)
    [error] = driver.directory.glob("trials/*/attempt-1/error.txt")
    assert error.read_text().splitlines()[-1].endswith("LostDevice: the trial's process on cpu ended: status -9")
    assert len(list(driver.directory.glob("trials/*/attempt-2/metrics.jsonl"))) == 1
    assert not _processes_of_devices(driver.directory)
    [process, *_] = (read_json(path) for path in driver.directory.glob("trials/*/attempt-*/process.json"))
    assert process is not None and len(process["gpus"]) == 2


def _processes_of_devices(study: Path) -> list[int]:
    """The processes that the processes of a study's trials have started for other devices."""
    records = filter(None, map(read_json, study.glob("trials/*/attempt-*/process.json")))
    trials = {str(record["pid"]) for record in records}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            if parent in trials and b"multiprocessing.spawn" in process.joinpath("cmdline").read_bytes():
                found.append(int(process.name))
    return found


def test_a_space_of_ones_own_runs_on_nodes_that_never_see_its_folder(
    tmp_path: Path, start_nodes: Callable[..., Nodes]
) -> None:
    nodes = start_nodes("cpu", "cpu")
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in GONE.items():
        (folder / name).write_text(text)
    driver = Driver(nodes, tmp_path / "runs" / "own", trials=4, epochs=8 * EPOCHS, space=str(folder / "own.py"))
    driver.finish(trials=4)
    assert not folder.exists()
    assert len({node for _, node in driver.attempts()}) == 2
    trials: Any = load_study(driver.directory.parent, "own").trials
    assert set(trials["network"]) == {"affine"} and set(trials["method"]) == {"AE-spread"}
    assert set(trials["dataset"]) == {"shapes"} and trials["spread.power"].nunique() == 4
    assert trials["val/ink"].between(0, 1).all() and trials["test/ink"].notna().all()
