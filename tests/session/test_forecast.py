"""How many trials memory allows, with made-up figures, and what is said of it."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from benchmarks.studies import trial_intervals
from study.cli import command_status
from study.config import Origin, TrialConfig, UserError
from study.run import run
from study.session import forecast as module
from study.session.forecast import at_start, forecast, is_wanted, known_candidates, memory_lines, multiply_adds
from study.session.plan import Plan, make_plan
from study.training.probe import Figures
from study.tuning.cluster import Cluster, Resources, room
from study.tuning.measuring import Asked, Measured
from tests.conftest import OWN_SPACE, small_study_options
from tests.helpers import made_summary
from tests.session.test_plan import request
from tests.tuning.test_cluster import HEAD, _set_nodes

GB = 1_000_000_000
NODES = [HEAD, {"CPU": 8.0, "memory": 7.0 * GB}, {"CPU": 4.0, "memory": 30.0 * GB}]


FACTS = ("data", "network", "training")


@pytest.mark.parametrize(
    ("memory", "asked", "fit", "line"),
    [
        (GB // 2, 12, 12, None),
        (0, 12, 12, None),
        # Three of 2 GB on the first node, four processors on the second.
        (2 * GB, None, 7, "memory   7 of the 12 trials fit at once, at 2 GB each: no more are begun"),
        (2 * GB, 5, 5, None),
        (40 * GB, 2, 0, "memory   not even one trial fits, at 40 GB: make networks or batches smaller"),
    ],
)
def test_no_more_trials_begin_than_fit(
    monkeypatch: pytest.MonkeyPatch, memory: int, asked: int | None, fit: int, line: str | None
) -> None:
    _set_nodes(monkeypatch, NODES)
    resources = Resources(cpus=1, max_concurrent=asked)
    known = dataclasses.replace(resources, memory=memory)
    assert room(known) == fit
    assert memory_lines(room(resources), fit, memory) == ([] if line is None else [line])


def test_the_known_trials_come_with_the_size_of_their_networks(tmp_path: Path) -> None:
    found = known_candidates(make_plan(request(tmp_path, num_trials=3)))
    assert [candidate.origin for candidate in found] == [Origin.BASELINE, Origin.FIRST, Origin.BASELINE]
    assert found[2].parameters - found[0].parameters == 128 * 8 + 8  # the Gaussian encoder's log variances


def _begun(plan: Plan, done: int = 0) -> tuple[list[str], Resources]:
    said: list[str] = []
    return said, at_start(plan, Cluster(None, Resources(cpus=1)), done, said.append)


def test_what_needs_no_measuring_is_said_even_if_a_later_trial_cannot_be_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(request(tmp_path, num_trials=3))
    (data, network, training), _ = _begun(plan)
    assert data.startswith("data     1x8x8, 8 bits") and "total variance 4.65" in data
    assert network.startswith("network  mlp: ") and training.startswith("training ")

    def refuse(plan: Any) -> Any:
        raise UserError("no such layer")

    monkeypatch.setattr(module, "known_candidates", refuse)
    assert _begun(plan)[0] == [data]


def _measuring(monkeypatch: pytest.MonkeyPatch, found: Measured | UserError) -> list[Asked]:
    """Puts made-up figures in place of measuring, on a node of four processors and 3 GB; collects what was asked."""
    seen: list[Asked] = []

    def measure(asked: Asked, cluster: Cluster) -> Measured:
        seen.append(asked)
        if isinstance(found, UserError):
            raise found
        return found

    monkeypatch.setenv("STUDY_FORECAST", "")
    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0, "memory": 3.0 * GB}}])
    return seen


def figures(memory: int) -> Measured:
    return Measured({index: Figures(2.0, 0.5, 1.0, memory) for index in range(4)}, {"feature networks": 0.0}, 3)


def test_a_large_study_says_its_hours_and_keeps_to_the_memory_when_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGE", 0)
    seen = _measuring(monkeypatch, figures(GB))
    plan = make_plan(request(tmp_path, num_trials=24))
    said, resources = _begun(plan)
    assert [line.split()[0] for line in said] == [*FACTS, "measuring", "trial", "before", "study", "memory"]
    assert "24 trials, 3 at once" in said[6]
    assert resources.memory == GB and room(resources) == 3
    said, _ = _begun(dataclasses.replace(plan, is_new=False), done=20)
    assert [line.split()[0] for line in said] == ["measuring", "trial", "before", "study", "memory"]
    assert "4 trials" in said[3]
    assert len(seen) == 2


@pytest.mark.parametrize("found", [figures(4 * GB), UserError("no node has room")])
def test_what_cannot_be_kept_to_does_not_hold_a_study_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Measured | UserError
) -> None:
    monkeypatch.setattr(module, "LARGE", 0)
    _measuring(monkeypatch, found)
    said, resources = _begun(make_plan(request(tmp_path)))
    assert resources == Resources(cpus=1, max_concurrent=1 if isinstance(found, Measured) else None)
    assert "not even one trial fits" in said[-1] or "could not be measured: no node has room" in said[-1]


def test_a_study_of_minutes_is_not_measured_at_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _measuring(monkeypatch, figures(GB))
    plan = make_plan(request(tmp_path, num_trials=60))
    said, resources = _begun(plan)
    assert not seen and len(said) == 3 and resources == Resources(cpus=1)


def _screened(
    monkeypatch: pytest.MonkeyPatch, runs: Path, found: Measured | UserError, done: int = 0
) -> tuple[list[str], Any, list[Asked]]:
    seen = _measuring(monkeypatch, found)
    cluster, printed = Cluster(None, Resources(cpus=1)), io.StringIO()
    cost = forecast(make_plan(request(runs)), cluster, Console(file=printed, width=200), done)
    return printed.getvalue().splitlines(), cost, seen


def test_a_forecast_says_what_is_left_and_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, cost, [asked] = _screened(monkeypatch, tmp_path, figures(GB), done=20)
    assert [line.split()[0] for line in said] == [*FACTS, "trial", "before", "study", "memory"]
    assert "4 trials, 3 at once" in said[5] and "3 of the 4 trials fit" in said[6]
    assert cost.trials == 4 and cost.whole >= cost.usual
    assert 2 <= len(asked.configs) <= 4 and asked.code is None and not asked.perceptual
    assert not any(tmp_path.iterdir())


def test_a_forecast_says_why_nothing_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, cost, _ = _screened(monkeypatch, tmp_path, UserError("no node has room"))
    assert cost is None
    assert said[-1] == "trial    its cost could not be measured: no node has room"
    said, cost, seen = _screened(monkeypatch, tmp_path, UserError("?"), done=24)
    assert cost is None and not seen and len(said) == 3


def test_the_cost_of_a_trial_on_several_gpus_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 0)
    seen, said = _measuring(monkeypatch, figures(GB)), []
    resources = Resources(cpus=1, gpus=2)
    plan = make_plan(request(tmp_path))
    assert at_start(plan, Cluster(None, resources), 0, said.append) == resources
    assert said[-1] == "trial    its cost on 2 GPUs is not known: it is measured on one" and not seen


@pytest.mark.parametrize(
    ("network", "side", "expected"),
    [
        # 64-64-64, mean and log variance of 4 units, and back.
        ("mlp", 8, 64 * 64 + 64 * 64 + 64 * 8 + 4 * 64 + 64 * 64 + 64 * 64),
        # Convolutions of 4x4 with stride 2: 64 channels on 14x14 and 7x7 pixels, 256 units; and back.
        ("conv_64", 28, 2 * (16 * 64 * 14 * 14 + 16 * 64 * 64 * 7 * 7 + 64 * 49 * 256) + 256 * 8 + 4 * 256),
    ],
)
def test_the_work_of_a_network_is_counted_by_its_layers(network: str, side: int, expected: int) -> None:
    config = TrialConfig(network=network, width=64, latent_dim=4, encoder="gaussian", regularizer="kl", weight=1.0)
    assert multiply_adds(config, made_summary(height=side, width=side)) == expected


@pytest.mark.parametrize(("value", "wanted"), [("", True), ("on", True), ("off", False), ("0", False), ("No", False)])
def test_the_environment_leaves_it_out(monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool) -> None:
    monkeypatch.setenv("STUDY_FORECAST", value)
    assert is_wanted() == wanted


def test_a_study_trains_one_trial_after_the_other_where_two_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_session: None, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUDY_FORECAST", "")
    monkeypatch.setattr(module, "LARGE", 0)
    if room(Resources(max_concurrent=2)) < 2:
        pytest.skip("needs two processors")
    [node] = [each["Resources"]["memory"] for each in ray.nodes() if each["Alive"]]
    monkeypatch.setattr(module, "_memory", lambda found: int(0.6 * node))
    (space := tmp_path / "mine.py").write_text(OWN_SPACE)
    options = [*small_study_options(tmp_path / "runs", space), "--max-concurrent", 2]
    assert command_status(run, [str(part) for part in options]) == 0
    said = capfd.readouterr().out
    assert "memory   1 of the 2 trials fit at once" in said and "study    2 trials, 1 at once: about " in said
    first, second = trial_intervals(tmp_path / "runs" / "small")
    assert first.end <= second.start
