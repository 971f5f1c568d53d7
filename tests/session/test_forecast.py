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
from study.session.forecast import facts, forecast, is_wanted, known_candidates, memory_lines
from study.session.plan import make_plan
from study.training.probe import Figures
from study.tuning.cluster import Cluster, Resources
from study.tuning.measuring import Asked, Measured, fitting
from tests.session.test_plan import request
from tests.tuning.test_cluster import HEAD, _set_nodes

GB = 1_000_000_000
NODES = [HEAD, {"CPU": 8.0, "memory": 7.0 * GB}, {"CPU": 4.0, "memory": 30.0 * GB}]


def measured(memory: int | None, resources: Resources) -> Measured:
    return Measured({0: Figures(1.0, 1.0, 1.0, memory)}, {"feature networks": 0.0}, 2, fitting(resources, memory))


@pytest.mark.parametrize(
    ("memory", "wanted", "line"),
    [
        (1 * GB // 2, 12, None),
        (None, 12, None),
        # Three of 2 GB on the first node, four processors on the second.
        (2 * GB, 12, "memory   7 of the 12 trials fit into it at once, at 2 GB each: add --max-concurrent 7"),
        (2 * GB, 5, None),
        (40 * GB, 2, "memory   not even one trial fits into it at once, at 40 GB each: add --max-concurrent 1"),
    ],
)
def test_advice_if_more_trials_would_begin_than_fit(
    monkeypatch: pytest.MonkeyPatch, memory: int | None, wanted: int, line: str | None
) -> None:
    _set_nodes(monkeypatch, NODES)
    assert memory_lines(wanted, measured(memory, Resources(cpus=1))) == ([] if line is None else [line])


def test_the_known_trials_come_with_the_size_of_their_networks(tmp_path: Path) -> None:
    found = known_candidates(make_plan(request(tmp_path, num_trials=3)))
    assert [candidate.origin for candidate in found] == [Origin.BASELINE, Origin.FIRST, Origin.BASELINE]
    assert found[2].parameters - found[0].parameters == 128 * 8 + 8  # the Gaussian encoder's log variances


def test_what_needs_no_measuring_is_said_even_if_a_later_trial_cannot_be_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(request(tmp_path, num_trials=3))
    data, network, training = facts(plan)
    assert data.startswith("data     1x8x8, 8 bits") and "total variance 4.65" in data
    assert network.startswith("network  mlp: ") and training.startswith("training ")

    def refuse(plan: Any) -> Any:
        raise UserError("no such layer")

    monkeypatch.setattr(module, "known_candidates", refuse)
    assert facts(plan) == [data]


def _screened(
    monkeypatch: pytest.MonkeyPatch, runs: Path, found: Measured | UserError, done: int = 0
) -> tuple[list[str], Any, list[Asked]]:
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
    cost = forecast(make_plan(request(runs)), cluster, Console(file=printed, width=200), done)
    return printed.getvalue().splitlines(), cost, seen


def test_a_forecast_says_what_is_left_and_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {index: Figures(2.0, 0.5, 1.0, GB) for index in range(4)}
    found = Measured(figures, {"feature networks": 0.0}, 3, 3)
    said, cost, [asked] = _screened(monkeypatch, tmp_path, found, done=20)
    assert [line.split()[0] for line in said] == ["data", "network", "training", "trial", "before", "study", "memory"]
    assert "4 trials, 4 at once" in said[5] and "3 of the 4 trials fit" in said[6]
    assert cost.trials == 4 and cost.whole >= cost.usual
    assert 2 <= len(asked.configs) <= 4 and asked.code is None and not asked.perceptual
    assert not any(tmp_path.iterdir())


def test_a_forecast_says_why_nothing_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, cost, _ = _screened(monkeypatch, tmp_path, UserError("no node has room"))
    assert cost is None
    assert said[-1] == "trial    its cost could not be measured: no node has room"
    said, cost, seen = _screened(monkeypatch, tmp_path, UserError("?"), done=24)
    assert cost is None and not seen and len(said) == 3


@pytest.mark.parametrize(("value", "wanted"), [("", True), ("on", True), ("off", False), ("0", False), ("No", False)])
def test_the_environment_leaves_it_out(monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool) -> None:
    monkeypatch.setenv("STUDY_FORECAST", value)
    assert is_wanted() == wanted
