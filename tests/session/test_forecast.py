"""How many trials memory allows, with made-up figures, and what is said of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from study.config import Origin, UserError
from study.session import forecast as module
from study.session.forecast import LEAST_WORK, forecast, is_wanted, known_candidates, within_memory
from study.session.plan import make_plan
from study.training.probe import Figures
from study.tuning.cluster import Cluster, Resources, room
from study.tuning.measuring import Asked, Measured, fitting
from tests.session.test_plan import request
from tests.test_run import ledger_states, study_run
from tests.tuning.test_cluster import HEAD, _set_nodes

GB = 1_000_000_000
NODES = [HEAD, {"CPU": 8.0, "memory": 7.0 * GB}, {"CPU": 4.0, "memory": 30.0 * GB}]


def measured(memory: int | None, resources: Resources) -> Measured:
    return Measured({0: Figures(1.0, 1.0, 1.0, memory)}, {"feature networks": 0.0}, 2, fitting(resources, memory))


@pytest.mark.parametrize(
    ("memory", "asked", "slots", "line"),
    [
        (1 * GB // 2, {}, 12, None),
        (None, {}, 12, None),
        # Three of 2 GB on the first node, four processors on the second.
        (2 * GB, {}, 7, "memory   7 trials at once instead of 12: each takes about 2 GB of memory; --max-concurrent"),
        (20 * GB, {}, 1, "memory   1 trial at once instead of 12"),
        (40 * GB, {}, 1, "warning: one trial at once, and each takes about 40 GB of memory, more than is free"),
        (2 * GB, {"max_concurrent": 5}, 5, None),
        (
            2 * GB,
            {"max_concurrent": 9},
            9,
            "warning: --max-concurrent 9: each takes about 2 GB of memory, and 7 at once",
        ),
        (
            40 * GB,
            {"max_concurrent": 2},
            2,
            "warning: --max-concurrent 2: each takes about 40 GB of memory, and none may",
        ),
    ],
)
def test_no_more_trials_begin_than_fit(
    monkeypatch: pytest.MonkeyPatch, memory: int | None, asked: dict[str, Any], slots: int, line: str | None
) -> None:
    _set_nodes(monkeypatch, NODES)
    resources = Resources(cpus=1, **asked)
    changed, said = within_memory(resources, measured(memory, resources))
    assert room(changed) == slots
    assert len(said) == (line is not None) and (line is None or said[0].startswith(line))


def test_ray_counts_the_memory_on_each_node() -> None:
    assert Resources(cpus=1, memory=GB).bundle == {"CPU": 1, "memory": GB}
    assert Resources(cpus=1, gpus=0.5).bundle == {"CPU": 1, "GPU": 0.5}


def test_the_known_trials_come_with_the_size_of_their_networks(tmp_path: Path) -> None:
    found = known_candidates(make_plan(request(tmp_path, num_trials=3)))
    assert [candidate.origin for candidate in found] == [Origin.BASELINE, Origin.FIRST, Origin.BASELINE]
    assert found[2].parameters - found[0].parameters == 128 * 8 + 8  # the Gaussian encoder's log variances


def _screened(
    monkeypatch: pytest.MonkeyPatch, runs: Path, found: Measured | UserError, done: int = 0, least_work: float = 0
) -> tuple[list[str], Any, Cluster, list[Asked]]:
    seen: list[Asked] = []

    def measure(asked: Asked, cluster: Cluster) -> Measured:
        seen.append(asked)
        if isinstance(found, UserError):
            raise found
        return found

    monkeypatch.setenv("STUDY_FORECAST", "")
    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0, "memory": 3.0 * GB}}])
    cluster, printed = Cluster(None, Resources(cpus=1)), io.StringIO()
    cost = forecast(make_plan(request(runs)), cluster, Console(file=printed, width=200), done, least_work)
    return printed.getvalue().splitlines(), cost, cluster, seen


def test_a_forecast_says_what_is_left_and_keeps_to_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {index: Figures(2.0, 0.5, 1.0, GB) for index in range(4)}
    found = Measured(figures, {"feature networks": 0.0}, 3, 3)
    said, cost, cluster, [asked] = _screened(monkeypatch, tmp_path, found, done=20)
    assert [line.split()[0] for line in said] == ["data", "network", "trial", "before", "study", "memory"]
    assert "4 trials, 3 at once" in said[4] and "3 trials at once instead of 4" in said[5]
    assert cost.trials == 4 and cost.whole > cost.usual and cluster.resources.memory == GB
    assert 2 <= len(asked.configs) <= 4 and asked.code is None and not asked.perceptual
    assert not any(tmp_path.iterdir())


def test_a_study_begins_without_a_forecast_if_nothing_can_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, cost, cluster, _ = _screened(monkeypatch, tmp_path, UserError("no node has room"))
    assert cost is None and cluster.resources == Resources(cpus=1)
    assert said[-1] == "trial    its cost could not be measured: no node has room"
    said, cost, _, seen = _screened(monkeypatch, tmp_path, UserError("?"), done=24)
    assert cost is None and not seen and len(said) == 2


def test_a_short_study_is_not_measured_at_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, cost, _, seen = _screened(monkeypatch, tmp_path, UserError("?"), least_work=LEAST_WORK)
    assert cost is None and not seen and [line.split()[0] for line in said] == ["data", "network"]


@pytest.mark.usefixtures("ray_session")
def test_a_study_begins_with_its_cost_and_runs_within_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {0: Figures(0.1, 0.1, 0.5, GB), 1: Figures(0.2, 0.1, 0.5, GB)}
    monkeypatch.setenv("STUDY_FORECAST", "")
    monkeypatch.setattr(module, "LEAST_WORK", 0.0)
    monkeypatch.setattr(module, "measure", lambda *_: Measured(figures, {"feature networks": 0.0}, 2, 1))
    arguments = ["--space", "latent_grid", "--num-trials", 2, "--epochs", 1, "--runs-dir", tmp_path]
    assert study_run(*arguments) == 0
    said = capsys.readouterr().out.splitlines()
    begun = [line.split()[0] for line in said].index("data")
    assert [line.split()[0] for line in said[begun : begun + 6]] == [
        "data", "network", "trial", "before", "study", "memory",
    ]  # fmt: skip
    assert "before   feature networks cached" in said and any(line.startswith("0/2 trials") for line in said)
    assert ledger_states(tmp_path / "latent_grid")["COMPLETE"] == 2


@pytest.mark.parametrize(("value", "wanted"), [("", True), ("on", True), ("off", False), ("0", False), ("No", False)])
def test_the_environment_leaves_it_out(monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool) -> None:
    monkeypatch.setenv("STUDY_FORECAST", value)
    assert is_wanted() == wanted
