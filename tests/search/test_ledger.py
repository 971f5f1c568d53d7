from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from study.config import UserError
from study.disk.files import read_lines
from study.disk.layout import new_attempt, progress_path, trial_path
from study.disk.study_json import parse_study, write_study
from study.results.choice import choose
from study.results.frame import load_study
from study.search.control import record_change
from study.search.ledger import Assignment, Ledger
from study.search.samplers import SAMPLERS
from study.space import SearchSpace, load_space
from tests.helpers import made_summary
from tests.helpers_study import study_record

DIRECTIONS = {"val/reconstruction_mse": "minimize", "val/sample_fid": "minimize"}
VALUES = {"val/reconstruction_mse": 0.01, "val/sample_fid": 7.0}


def open_ledger(directory: Path, space: SearchSpace | None = None, **changes: Any) -> Ledger:
    directory.mkdir(exist_ok=True)
    space = space or load_space("wae_weight").space
    settings = {"directions": DIRECTIONS, "set_values": {"seed": 0}, "seed": 0, "sampler": "random", **changes}
    return Ledger(directory, space, made_summary(), **settings)


def _next(ledger: Ledger, num_trials: int = 20) -> Assignment:
    assignment = ledger.next(num_trials)
    assert assignment is not None
    return assignment


def _finish(ledger: Ledger, number: int, **values: float) -> None:
    ledger.record(number, "completed", epochs=60, values={**VALUES, **values})


def _run(ledger: Ledger, num_trials: int, limit: int = 1000) -> list[dict[str, Any]]:
    configs = []
    while len(configs) < limit and (assignment := ledger.next(num_trials)):
        configs.append(assignment.config.to_params())
        _finish(ledger, assignment.number)
    return configs


def _states(ledger: Ledger) -> list[str]:
    return [trial.state.name for trial in ledger.trials()]


def test_baselines_and_first_points_come_first_by_turns(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    origins = [_next(ledger).origin for _ in range(14)]
    assert origins == ["reference", "first"] * 6 + ["search"] * 2


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_has_as_many_trials_as_asked(tmp_path: Path, sampler: str) -> None:
    ledger = open_ledger(tmp_path, sampler=sampler)
    assert len(_run(ledger, 15)) == 15
    assert ledger.next(15) is None
    assert ledger.tally.completed == 15 and ledger.unfinished == 0


def test_a_study_shorter_than_its_first_points_leaves_nothing_waiting(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _run(ledger, 3)
    assert _states(ledger) == ["COMPLETE"] * 3


def test_a_trial_cut_off_with_its_driver_is_handed_out_again_unchanged(tmp_path: Path) -> None:
    first = open_ledger(tmp_path)
    cut_off = [_next(first) for _ in range(15)]
    _finish(first, 3)
    second = open_ledger(tmp_path)
    adopted = [_next(second) for _ in range(14)]
    assert adopted == [assignment for assignment in cut_off if assignment.number != 3]
    assert _next(second).number == 15


def test_extending_goes_on_where_the_study_ended_and_repeats_nothing(tmp_path: Path) -> None:
    first = _run(open_ledger(tmp_path), 20)
    more = _run(open_ledger(tmp_path), 30)
    assert len(more) == 10
    weights = [config["weight"] for config in first[12:] + more]
    assert len(set(weights)) == len(weights)


def test_equal_seeds_suggest_equally_and_other_seeds_otherwise(tmp_path: Path) -> None:
    one, two, other = (
        _run(open_ledger(tmp_path / name, seed=seed), 16) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == two != other


def test_nsga2_breeds_from_the_trials_that_ended(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, sampler="nsga2", num_trials=40)
    weights: list[float] = []
    while assignment := ledger.next(40):
        weights.append(assignment.config.weight)
        values = {"val/reconstruction_mse": 1.0 + assignment.number, "val/sample_fid": 100.0 - assignment.number}
        if assignment.number % 5 == 4:
            ledger.record(assignment.number, "stopped", epochs=30, values=values, infeasible={"budget": 0.5})
        else:
            ledger.record(assignment.number, "completed", epochs=60, values=values)
    # A weight drawn anew is never seen twice; a child has most of its parameters from its parents.
    bred = sum(weight in weights[:number] for number, weight in enumerate(weights[25:], start=25))
    assert bred >= 5


def test_samplers_do_not_see_baselines_and_everybody_else_does(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _run(ledger, 14)
    ledger.replicate(3, [1])
    ledger.retrain(3, 80)
    _run(ledger, 14)
    seen = ledger._study._get_trials(deepcopy=False)
    assert [trial.number for trial in seen] == [1, 3, 5, 7, 9, 11, 12, 13]
    assert len(ledger.trials()) == 16
    study = optuna.load_study(study_name=tmp_path.name, storage=f"sqlite:///{tmp_path}/optuna.db")
    assert [trial.number for trial in study.best_trials] == list(range(14))  # all alike; none beyond the search


def test_fixed_configs_are_those_that_the_first_trials_train(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    told = [config.to_params() for config in ledger.fixed_configs()]
    assert ledger.trials() == []
    assert told == _run(ledger, 12)


def test_a_stopped_trial_is_infeasible_by_the_share_of_its_budget_it_misses(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for _ in range(3):
        ledger.next(3)
    _finish(ledger, 0)
    ledger.record(
        1, "stopped", epochs=15, values={name: 0.0 for name in VALUES}, infeasible={"budget": 0.75, "weight": 0.0}
    )
    ledger.record(2, "failed", epochs=2, reason="the loss became nan")
    study = optuna.load_study(study_name=tmp_path.name, storage=f"sqlite:///{tmp_path}/optuna.db")
    assert [trial.number for trial in study.best_trials] == [0]
    assert study.trials[1].constraints == {"budget": 0.75}
    assert _states(ledger) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert (ledger.tally.completed, ledger.tally.stopped, ledger.tally.failed) == (1, 1, 1)
    assert ledger.tally.best == VALUES


def test_ledger_optuna_and_results_agree_who_joins_the_front(tmp_path: Path) -> None:
    space = SearchSpace(question="?", suggest=lambda trial, data: {"weight": trial.suggest_float("weight", 1.0, 2.0)})
    ledger = open_ledger(tmp_path, space)
    ended = [("completed", 0.0, 9.0), ("completed", 5e-4, 8.0), ("completed", 2e-3, 7.0), ("stopped", 0.0, 6.0)]
    for outcome, missing_weight, fid in ended:
        number, config = (trial := _next(ledger)).number, trial.config
        infeasible = {"budget": 0.5 if outcome == "stopped" else 0.0, "weight": missing_weight}
        row = {"val/reconstruction_mse": 0.01, "val/sample_fid": fid}
        ledger.record(number, outcome, epochs=60, values=row, infeasible=infeasible)
        attempt = new_attempt(trial_path(tmp_path, number))
        row |= {"epoch": 60, "train/weight": config.weight * (1 - missing_weight)}
        (attempt / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "study.json").write_text(json.dumps(study_record(tmp_path.name)))
    choice = choose(load_study(tmp_path.parent, tmp_path.name))
    study = optuna.load_study(study_name=tmp_path.name, storage=f"sqlite:///{tmp_path}/optuna.db")
    stale = [line["stale"] for line in read_lines(progress_path(tmp_path))]
    assert choice.eligible.tolist() == [True, True, False, False]
    assert choice.front.tolist() == [trial.number for trial in study.best_trials] == [1]
    assert [list(trial.constraints) for trial in study.trials] == [[], [], ["weight"], ["budget"]]
    assert stale == [0] * 4  # there is no hypervolume yet


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_objective_that_is_not_finite_fails_the_trial(tmp_path: Path, bad: float) -> None:
    ledger = open_ledger(tmp_path)
    ledger.next(1)
    _finish(ledger, 0, **{"val/sample_fid": bad})
    assert _states(ledger) == ["FAIL"]
    outcome = json.loads((trial_path(tmp_path, 0) / "outcome.json").read_text())
    assert outcome["outcome"] == "failed" and "not finite" in outcome["reason"]


def test_a_missing_objective_fails_the_trial(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.next(1)
    ledger.record(0, "completed", epochs=60, values={"val/sample_fid": 1.0})
    assert _states(ledger) == ["FAIL"]


def test_a_result_recorded_but_not_told_is_told_and_not_trained_again(tmp_path: Path, monkeypatch) -> None:
    first = open_ledger(tmp_path)
    first.next(1)

    def die(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(first._study, "tell", die)
    with pytest.raises(KeyboardInterrupt):
        _finish(first, 0)
    second = open_ledger(tmp_path)
    assert second.next(1) is None
    assert _states(second) == ["COMPLETE"]
    assert json.loads((trial_path(tmp_path, 0) / "outcome.json").read_text())["values"] == VALUES


def test_reconcile_writes_what_an_earlier_driver_did_not(tmp_path: Path) -> None:
    first = open_ledger(tmp_path)
    _run(first, 2)
    folder = trial_path(tmp_path, 1)
    before = {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
    shutil.rmtree(folder)
    open_ledger(tmp_path).reconcile()
    after = {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
    begun = [datetime.fromisoformat(files["trial.json"].pop("created")) for files in (before, after)]
    assert abs(begun[1] - begun[0]) < timedelta(minutes=1)
    assert after == before and set(before) == {"trial.json", "outcome.json"}


def test_a_grid_is_trained_once_each_however_many_trials_are_asked(tmp_path: Path) -> None:
    points = [{"latent_dim": size} for size in (2, 3, 5)]
    space = SearchSpace(
        question="?",
        suggest=lambda trial, data: {"latent_dim": trial.suggest_categorical("latent_dim", [2, 3, 5])},
        first_points=lambda data: points,
        grid=True,
    )
    configs = _run(open_ledger(tmp_path, space), 100)
    assert [config["latent_dim"] for config in configs] == [2, 3, 5]
    assert _run(open_ledger(tmp_path, space), 100) == []


def test_trial_json_says_what_the_trial_is(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assignment = _next(ledger, 1)
    record = json.loads((trial_path(tmp_path, 0) / "trial.json").read_text())
    assert record["number"] == 0 and record["origin"] == "reference"
    assert record["params"] == assignment.config.to_params()


def test_an_unknown_sampler_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tpe, gp, nsga2, nsga3, qmc, random"):
        open_ledger(tmp_path, sampler="nope")


def test_trials_still_waiting_to_be_adopted_are_handed_out_once_when_all_are_taken_back(tmp_path: Path) -> None:
    first = open_ledger(tmp_path)
    begun = [_next(first).number for _ in range(3)]
    again = open_ledger(tmp_path)
    assert _next(again).number == begun[0]  # the other two wait
    again.requeue_running()
    assert [_next(again).number for _ in range(4)] == [*begun, 3]


@pytest.mark.parametrize("outcome", ["stopped", "failed", "completed"])
def test_a_replicate_counts_once_it_is_trained_to_its_end(tmp_path: Path, outcome: str) -> None:
    ledger = open_ledger(tmp_path)
    _finish(ledger, _next(ledger, 1).number)
    ledger.replicate(0, [5])
    ledger.replicate(0, [5, 6])
    assert ledger.unfinished == 2
    values = None if outcome == "failed" else VALUES
    ledger.record(_next(ledger, 1).number, outcome, epochs=30, values=values, infeasible={})
    ledger.replicate(0, [5, 6])
    assert ledger.unfinished == 1 + (outcome != "completed")


def _choosy(trial: optuna.trial.BaseTrial, data: Any) -> dict[str, Any]:
    """Latent sizes above 20 are refused by the study, those above 24 by the space itself."""
    size = trial.suggest_int("latent_dim", 2, 32)
    if size > 24:
        raise ValueError("too many")
    return {"latent_dim": size, "weight": -1.0 if size > 20 else 1.0}


def test_a_suggestion_that_the_space_refuses_within_changed_ranges_has_failed(tmp_path: Path) -> None:
    space = SearchSpace(question="?", suggest=_choosy, base={"encoder": "gaussian", "regularizer": "kl"})
    directory = tmp_path / "toy"
    with pytest.raises(UserError, match=r"too many|weight"):  # the space's own fault
        _run(open_ledger(directory, space, seed=2), 40)
    left = [trial.number for trial in open_ledger(directory, space).trials() if trial.state == TrialState.RUNNING]
    assert len(left) == 1
    ledger = open_ledger(directory, space)
    record_change(ledger._study, "range", {"low": 12, "high": 32}, "latent_dim")
    ledger.control.look()
    found = _run(ledger, 40)
    assert len(ledger.trials()) == 40 and ledger.unfinished == 0
    assert ledger.tally.failed > 4 and ledger.tally.completed == 40 - ledger.tally.failed >= len(found) > 9
    reasons = {trial.user_attrs["reason"] for trial in ledger.trials() if trial.state == TrialState.FAIL}
    assert all(reason.startswith("the search space refuses it: ") and "\n" not in reason for reason in reasons)
    assert any("too many" in reason for reason in reasons) and any("weight" in reason for reason in reasons)
    write_study(directory, parse_study(study_record("toy"), "study.json"))
    frames = load_study(tmp_path, "toy")
    failed = frames.text("outcome") == "failed"
    assert len(frames.trials) == 40 and set(frames.text("reason")[failed]) == reasons
    assert frames.column("latent_dim")[failed].min() > 20
    # If nothing but refusals come, the study ends, and nothing is left that would end it again.
    record_change(ledger._study, "range", {"low": 25, "high": 32}, "latent_dim")
    ledger.control.look()
    with pytest.raises(UserError, match="too many"):
        ledger.next(99)
    assert len(ledger.trials()) in range(41, 51) and ledger.unfinished == 0  # the last of the 40 may be of the ten
    drawn = len(ledger.trials())
    record_change(ledger._study, "range", {"low": 2, "high": 20}, "latent_dim")
    assert len(_run(open_ledger(directory, space), drawn + 5)) == 5
