"""Measuring must never show the search a test image, measure a stopped trial on the test split, or hide a NaN."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from typing import Any

import pytest

from study.config import TrialConfig
from study.data.datasets import ImageData
from study.measure import evaluate
from study.measure.context import EvaluationContext, prepare_context
from study.measure.evaluate import Evaluator
from study.measure.metrics import METRICS
from study.search.ledger import Ledger
from study.space import builtin_spaces, load_space
from study.training.loop import evaluation_epochs
from study.tuning import trainable
from study.tuning.searcher import LedgerSearcher
from tests.helpers import Session, made_summary

ROOT = Path(__file__).parents[2]
OBJECTIVES = {"val/reconstruction_mse": "minimize", "val/sample_fid": "minimize"}
CONFIG = TrialConfig(encoder="gaussian", regularizer="kl", weight=0.05, latent_dim=2, width=16, epochs=4)


@pytest.fixture(scope="module")
def context(few_digits: ImageData, cache: Path) -> EvaluationContext:
    return prepare_context(few_digits, cache)


@pytest.fixture
def trial(few_digits: ImageData, context: EvaluationContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs one trial as a worker does. Returns its reports and the lines it wrote."""

    def run(
        stop_after: int | None = None, config: TrialConfig = CONFIG, rungs: bool = True
    ) -> tuple[list[dict], list[dict]]:
        session = Session(stop_after)
        monkeypatch.setattr(trainable.tune, "report", session.report)
        monkeypatch.setattr(trainable, "process_info", lambda: {"device": "cpu"})  # Ray would start itself when asked
        directory = tmp_path / "trial"
        directory.mkdir(exist_ok=True)
        work = {"directory": str(directory), "params": config.to_params()}
        shared = {"data": trainable.pack(few_digits), "context": context, "cache": tmp_path / "cache"}
        if stop_after is None:
            trainable.run_trial(work, **shared, threads=1, rungs=rungs)
        else:
            with pytest.raises(SystemExit):
                trainable.run_trial(work, **shared, threads=1, rungs=rungs)
        lines = (directory / "attempt-1" / "metrics.jsonl").read_text().splitlines()
        return session.reports, [json.loads(line) for line in lines]

    return run


def test_search_is_told_validation_metrics_alone(trial: Any) -> None:
    reports, lines = trial()
    assert [report["epoch"] for report in reports] == [1, 2, 4]
    measured = [line["epoch"] for line in lines if "val/sample_fid" in line]
    assert measured == sorted(evaluation_epochs(CONFIG.epochs)) == [1, 2, 3, 4]
    for report in reports:
        assert set(OBJECTIVES) <= set(report)
        assert all(name in ("epoch", "multiplier") or name.startswith("val/") for name in report)
        assert set(report) < {"val/latent_mmd", "multiplier", *lines[-1]}  # without the final metrics
        assert "val/sample_kid" not in report


def test_test_metrics_are_measured_once_at_the_end(trial: Any) -> None:
    _, lines = trial()
    assert [any(name.startswith("test/") for name in line) for line in lines] == [False, False, False, True]
    for split in ("val", "test"):
        assert {name.removeprefix(f"{split}/") for name in lines[-1] if name.startswith(f"{split}/")} == set(METRICS)


@pytest.mark.parametrize("after", [1, 2])
def test_stopped_trials_have_no_test_metrics(trial: Any, after: int) -> None:
    _, lines = trial(stop_after=after)
    assert len(lines) == after
    assert not any(name.startswith("test/") or name == "final_seconds" for line in lines for name in line)


@pytest.mark.parametrize(("when", "name"), [("search", "sample_fid"), ("search", "kl"), ("final", "interpolation_fid")])
def test_a_metric_that_is_nan_fails_the_trial_by_name(
    trial: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, name: str
) -> None:
    search, final = Evaluator._measure, evaluate.random_midpoints

    def broken_search(self: Evaluator, *arguments: Any, **options: Any) -> Any:
        result = search(self, *arguments, **options)
        result.metrics[name] = math.nan
        return result

    if when == "search":
        monkeypatch.setattr(Evaluator, "_measure", broken_search)
    else:
        monkeypatch.setattr(evaluate, "random_midpoints", lambda *arguments: final(*arguments) * math.nan)
    reports, lines = trial()
    assert reports[-1] == {"failure": f"not a finite metric: {name} is nan"}
    assert len(lines) == (0 if when == "search" else CONFIG.epochs - 1)  # nothing for the epoch that failed
    assert f"{name} is nan" in trainable.last_error(tmp_path / "trial")

    ledger = _ledger(tmp_path)
    searcher = LedgerSearcher(ledger, 1)
    searcher.suggest("a")
    searcher.on_trial_complete("a", {**reports[-1], "epoch": len(lines)})
    outcome = json.loads((tmp_path / "study" / "trials" / "0000" / "outcome.json").read_text())
    assert outcome["outcome"] == "failed" and f"{name} is nan" in outcome["reason"]
    assert outcome["values"] is None
    assert ledger.trials()[0].values is None


def _ledger(tmp_path: Path) -> Ledger:
    directory = tmp_path / "study"
    directory.mkdir()
    space = load_space("wae_weight").space
    return Ledger(
        directory, space, made_summary(), directions=OBJECTIVES, set_values={"seed": 0}, seed=0, sampler="random"
    )


@pytest.mark.parametrize("name", builtin_spaces())
def test_objectives_of_every_space_are_metrics_with_a_direction(name: str) -> None:
    for objective in load_space(name).space.objectives:
        assert METRICS[objective].direction in ("minimize", "maximize")


def test_directions_of_metrics_are_declared_in_one_place() -> None:
    """No other module pairs a metric's name with a direction."""
    for room in ("study", "analysis", "search_spaces"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Dict) or path.name == "metrics.py":
                    continue
                pairs = zip(node.keys, node.values, strict=True)
                texts = [tuple(getattr(part, "value", None) for part in pair) for pair in pairs]
                wrong = [key for key, value in texts if value in ("minimize", "maximize") and _is_metric(key)]
                assert not wrong, f"{path.relative_to(ROOT)} declares the direction of {wrong}"


def _is_metric(key: Any) -> bool:
    return isinstance(key, str) and key.rpartition("/")[2] in METRICS


def test_a_trial_without_rungs_reports_only_its_end(trial: Any) -> None:
    reports, lines = trial(rungs=False)
    assert [report["epoch"] for report in reports] == [4]
    assert len(lines) == 4
