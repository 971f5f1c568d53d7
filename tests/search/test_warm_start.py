"""A study that begins with the front of an earlier one, and what keeps it from doing so."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from study.config import UserError
from study.disk.study_json import parse_study
from study.search import warm_start
from study.search.ledger import Ledger
from study.space import SearchSpace, load_space
from tests.helpers import made_summary
from tests.helpers_study import study_record
from tests.test_run import study_run

DIRECTIONS = {"val/reconstruction_mse": "minimize", "val/sample_fid": "minimize"}
OBJECTIVES = list(DIRECTIONS)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> optuna.Study:
    """Six trials of the joint space; the front is trials 1 and 2, trial 3 was stopped, trial 4 failed."""
    directory = tmp_path_factory.mktemp("earlier")
    ledger = Ledger(
        directory,
        load_space("method").space,
        made_summary(),
        directions=DIRECTIONS,
        set_values={"seed": 0},
        seed=0,
        sampler="random",
    )
    results = [(3.0, 3.0), (1.0, 2.0), (2.0, 1.0), (0.1, 0.1), None, (4.0, 4.0)]
    for number, values in enumerate(results):
        ledger.next(len(results))
        named = None if values is None else dict(zip(DIRECTIONS, values, strict=True))
        infeasible = {"budget": 0.5} if number == 3 else {}
        outcome = "failed" if values is None else "stopped" if infeasible else "completed"
        ledger.record(number, outcome, epochs=10, values=named, infeasible=infeasible)
    return optuna.load_study(study_name=directory.name, storage=f"sqlite:///{directory}/optuna.db")


def space(**changes: object) -> SearchSpace:
    """The joint space without first points of its own, changed."""
    base = load_space("method").space
    settings = {"question": "?", "suggest": base.suggest, "base": base.base, "baselines": base.baselines, **changes}
    return SearchSpace(**settings)  # type: ignore[arg-type]


def test_the_front_comes_first(earlier: optuna.Study, tmp_path: Path) -> None:
    points = warm_start.first_points(earlier, OBJECTIVES, space(), made_summary())
    assert points == [earlier.trials[number].params for number in (1, 2)]
    own = [{**points[0], "latent_dim": 2}, points[1]]  # the second is not trained twice
    new = space(baselines=lambda data: [{"latent_dim": 3}, {"latent_dim": 5}], first_points=lambda data: own)
    ledger = Ledger(
        tmp_path,
        new,
        made_summary(),
        directions=DIRECTIONS,
        set_values={"seed": 5},
        seed=5,
        sampler="random",
        first_points=points,
    )
    assignments = [ledger.next(6) for _ in range(6)]
    assert all(assignments)
    trials = [(trial.origin, trial.config.latent_dim) for trial in assignments if trial is not None]
    first, second = (("first", point["latent_dim"]) for point in points)
    assert trials[:5] == [("reference", 3), first, ("reference", 5), second, ("first", 2)]
    assert trials[5][0] == "search"
    assert {trial.config.seed for trial in assignments if trial is not None} == {5}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"suggest": lambda trial, data: {"latent_dim": trial.suggest_int("latent_dim", 1, 99)}}, "does not search"),
        ({"suggest": lambda trial, data: {"width": trial.suggest_int("width", 1, 99)}}, "width"),
        ({"objectives": ("reconstruction_mse", "coverage")}, "val/coverage"),
        ({"grid": True}, "grid"),
    ],
)
def test_another_space_is_refused(earlier: optuna.Study, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        warm_start.first_points(earlier, OBJECTIVES, space(**changes), made_summary())


def test_a_range_that_does_not_hold_the_points_is_refused(earlier: optuna.Study) -> None:
    with pytest.raises(UserError, match="outside this space"):
        warm_start.first_points(earlier, OBJECTIVES, space(), made_summary(total_variance=4700.0))


def test_a_study_without_a_completed_trial_is_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(UserError, match="none of its"):
        warm_start.first_points(study, OBJECTIVES, space(), made_summary())


def test_another_warm_start_than_the_first_is_refused() -> None:
    record = parse_study(study_record("b", warm_start={"study": "a", "points": []}), "study.json")
    warm_start.check_same(record, None, space(), made_summary())
    warm_start.check_same(record, "a", space(), made_summary())
    for begun in (record, record.replace(warm_start=None)):
        with pytest.raises(UserError, match="warm-start"):
            warm_start.check_same(begun, "c", space(), made_summary())


@pytest.mark.parametrize("point", [{}, {"latent_dim": "many"}, {"latent_dim": 10**9}, {"colour": 3}])
def test_recorded_points_that_are_not_of_the_space_are_refused(point: dict[str, object]) -> None:
    record = parse_study(study_record("b", warm_start={"study": "a", "points": [point]}), "study.json")
    with pytest.raises(UserError, match="a point of its warm start"):
        warm_start.check_same(record, None, space(), made_summary())


@pytest.mark.parametrize("name", ["../a", "/a", "..", "a/../../b", ""])
def test_security_a_warm_start_is_a_study_in_the_runs_folder(tmp_path: Path, capsys, name: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "study.json").write_text(json.dumps(study_record("a")))
    arguments = ["--space", "wae_weight", "--runs-dir", tmp_path / "runs", f"--warm-start={name}", "--dry-run"]
    assert study_run(*arguments) == 2
    assert "no such study" in capsys.readouterr().err
