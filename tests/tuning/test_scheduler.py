"""Who goes on at a rung, and that the ledger keeps the rungs over any number of interruptions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
import sqlalchemy.event
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler

from study.config import UserError
from study.disk.files import read_lines
from study.disk.layout import progress_path
from study.search.control import record_change
from study.search.ledger import Ledger
from study.search.rungs import Rung, Rungs, expected_completions, expected_share, rung_epochs, suitable_eta
from study.space import SearchSpace
from study.training.loop import evaluation_epochs
from study.tuning.leaving import LEAVING
from study.tuning.scheduler import RungScheduler
from study.tuning.searcher import LedgerSearcher
from tests.helpers import made_summary

MINIMISE = ("minimize", "minimize")
DIRECTIONS = {"val/reconstruction_mse": "minimize", "val/sample_fid": "minimize"}

points = st.tuples(*[st.integers(0, 12).map(float)] * 2)
histories = st.lists(points, max_size=40)


def decisions_of(
    history: list[tuple[float, ...]], directions: tuple[str, ...] = MINIMISE, eta: float = 2.0
) -> list[bool]:
    """The decision on each result of a history at one rung."""
    rungs = Rungs(directions, eta)
    return [rungs.decide(1, values) for values in history]


def ranks(values: np.ndarray) -> np.ndarray:
    """Non-dominated rank of each row by peeling fronts off, the slow way."""
    result, left, rank = np.full(len(values), -1), list(range(len(values))), 0
    while left:
        front = [
            i for i in left if not any((values[j] <= values[i]).all() and (values[j] < values[i]).any() for j in left)
        ]
        result[front] = rank
        left = [i for i in left if i not in front]
        rank += 1
    return result


# --- the rule ------------------------------------------------------------------------------------------------------


@given(histories)
def test_fronts_kept_up_to_date_are_those_of_peeling(history: list[tuple[float, float]]) -> None:
    rung = Rung(2)
    for values in history:
        rung.add(np.array(values))
    expected = ranks(rung.values)
    assert [sorted(front) for front in rung._fronts] == [
        np.flatnonzero(expected == rank).tolist() for rank in range(max(expected, default=-1) + 1)
    ]


@given(histories, st.sampled_from([1.5, 2.0, 3.0, 4.0]))
def test_rank_decides_and_ties_never_let_more_than_the_share_through(
    history: list[tuple[float, float]], eta: float
) -> None:
    decisions = decisions_of(history, eta=eta)
    for n, goes_on in enumerate(decisions, start=1):
        before = ranks(np.array(history[: n - 1]).reshape(-1, 2))
        rank = ranks(np.array(history[:n]))[-1]
        better, with_ties = (before < rank).sum(), (before <= rank).sum()
        slots = math.ceil(n / eta)
        if rank == 0 or with_ties < slots:
            assert goes_on
        elif better >= slots:
            assert not goes_on


@given(histories, points, st.tuples(st.integers(0, 12), st.integers(0, 12)), st.sampled_from([1.5, 2.0, 3.0]))
def test_a_trial_that_dominates_one_that_goes_on_goes_on(
    history: list[tuple[float, float]], values: tuple[float, float], better: tuple[int, int], eta: float
) -> None:
    improved = (values[0] - better[0], values[1] - better[1])
    if decisions_of([*history, values], eta=eta)[-1]:
        assert decisions_of([*history, improved], eta=eta)[-1]


@given(histories, st.sampled_from([1e-6, 0.3, 7.0, 1e9]), st.sampled_from([1e-3, 1.0, 250.0]))
def test_units_do_not_matter(history: list[tuple[float, float]], first: float, second: float) -> None:
    assert decisions_of([(x * first, y * second) for x, y in history]) == decisions_of(history)


@given(histories)
def test_the_order_of_the_objectives_does_not_matter(history: list[tuple[float, float]]) -> None:
    assert decisions_of([(y, x) for x, y in history]) == decisions_of(history)


@given(histories)
def test_a_maximised_objective_is_its_negative_minimised(history: list[tuple[float, float]]) -> None:
    assert decisions_of([(x, -y) for x, y in history], ("minimize", "maximize")) == decisions_of(history)


@given(histories, st.lists(st.tuples(st.integers(0, 40), st.sampled_from([math.nan, math.inf, -math.inf])), max_size=5))
def test_what_is_not_finite_stops_and_leaves_no_trace(
    history: list[tuple[float, float]], bad: list[tuple[int, float]]
) -> None:
    rungs, clean = Rungs(MINIMISE), decisions_of(history)
    decisions = []
    for index, values in enumerate(history):
        for at, value in bad:
            if at == index:
                assert not rungs.decide(1, (value, 0.0)) and not rungs.decide(1, (0.0, value))
        decisions.append(rungs.decide(1, values))
    assert decisions == clean


@given(st.lists(st.tuples(points, st.booleans()), max_size=40))
def test_nobody_stops_where_none_has_beaten_the_mean_image(history: list[tuple[tuple[float, float], bool]]) -> None:
    rungs, usual = Rungs(MINIMISE), decisions_of([values for values, _ in history])
    for n, (values, is_blind) in enumerate(history):
        one_sees = not all(blind for _, blind in history[: n + 1])
        assert rungs.decide(1, values, is_blind=is_blind) == (usual[n] if one_sees else True)
        assert rungs.decide(2, values, is_blind=True)  # another rung is another question


@given(st.lists(st.integers(0, 100).map(float), max_size=60))
def test_one_objective_gives_plain_successive_halving(values: list[float]) -> None:
    for n, goes_on in enumerate(decisions_of([(value,) for value in values], ("minimize",)), start=1):
        earlier = values[: n - 1]
        better = sum(value < values[n - 1] for value in earlier)
        if goes_on:
            assert better == 0 or better < math.ceil(n / 2)
        else:
            assert sum(value <= values[n - 1] for value in earlier) >= math.ceil(n / 2)


def test_ties_are_broken_for_spread() -> None:
    front = [(0.0, 10.0), (5.0, 5.0), (10.0, 0.0)]
    second = [(1.0, 11.0), (1.1, 10.9), (1.2, 10.8), (1.3, 10.7)]  # with eta = 1.6 two of five go on
    crowded, lonely = (1.15, 10.85), (11.0, 1.0)
    history = [*front, *second]
    assert decisions_of([*history, crowded], eta=1.6)[-1] is False
    assert decisions_of([*history, lonely], eta=1.6)[-1] is True


@pytest.mark.parametrize("epochs", range(1, 101))
def test_rungs_are_evaluation_epochs_before_the_last(epochs: int) -> None:
    rungs = rung_epochs(epochs)
    assert set(rungs) <= evaluation_epochs(epochs) - {epochs}
    if epochs % 8 == 0:
        assert rungs == (epochs // 8, epochs // 4, epochs // 2)


def test_expected_completions_are_about_right() -> None:
    random = np.random.RandomState(0)
    for trials in (24, 100):
        counts = []
        for _ in range(20):
            values, rungs = random.uniform(size=(trials, 2)), Rungs(MINIMISE)
            counts.append(sum(all(rungs.decide(level, row) for level in range(3)) for row in values))
        assert expected_completions(trials, 3, 2, 2.0) == pytest.approx(np.mean(counts), rel=0.35)


def test_the_count_of_a_study_without_end_is_the_sum_of_its_terms() -> None:
    short, long = (expected_completions(trials, 3, 2, 2.0) for trials in (1000, 10**12))
    assert long - short == pytest.approx((10**12 - 1000) / 2**3)


@pytest.mark.parametrize("trials", [1, 2, 4, 24, 500])
def test_ordinary_settings_are_allowed(trials: int) -> None:
    assert suitable_eta(trials, 60, 2, 2.0) == suitable_eta(trials, 60, 2) == 2.0


@pytest.mark.parametrize(
    ("trials", "objectives", "eta", "words"),
    [
        (8, 1, 30.0, r"about 2\.7 of 8 trials"),
        (20_000, 2, 50.0, "of 20000 trials"),
        (24, 2, 1.0, "above 1"),
        (24, 2, math.nan, "above 1"),
    ],
)
def test_settings_that_finish_almost_nothing_are_refused(trials: int, objectives: int, eta: float, words: str) -> None:
    with pytest.raises(UserError, match=words):
        suitable_eta(trials, 64, objectives, eta)


def test_with_too_few_trials_none_stops_unless_that_was_asked_for() -> None:
    assert suitable_eta(6, 60, 1) is None  # 1 + 1/2 + ... + 1/6 = 2.45 of 6
    with pytest.raises(UserError, match=r"--scheduler asha: about 2\.4 of 6 trials .* choose a smaller --eta than 2"):
        suitable_eta(6, 60, 1, is_chosen=True)
    with pytest.raises(UserError, match=r"--eta 2: about 2\.4 of 6 trials"):
        suitable_eta(6, 60, 1, 2.0)


def test_the_expected_share_is_about_what_random_trials_train() -> None:
    random, trials, epochs = np.random.RandomState(0), 40, 16
    rungs = rung_epochs(epochs)
    trained = np.zeros(trials)
    for _ in range(40):
        values, decided = random.uniform(size=(trials, 2)), Rungs(MINIMISE)
        for n, row in enumerate(values):
            stopped = next((rung for rung in rungs if not decided.decide(rung, row)), epochs)
            trained[n] += stopped / epochs / 40
    expected = [expected_share(n, epochs, 2, 2.0)[0] for n in range(1, trials + 1)]
    assert sum(expected) == pytest.approx(trained.sum(), rel=0.2)
    assert expected_share(40, epochs, 2, None) == (1.0, 1.0)
    # By hand: 1/8 of the epochs, then half of them 1/8, a quarter 1/4, an eighth 1/2.
    assert expected_share(10**7, epochs, 2, 2.0) == pytest.approx((1 / 8 + 1 / 16 + 1 / 16 + 1 / 16, 1 / 8))


# --- the rule, the searcher and the ledger together ----------------------------------------------------------------

EPOCHS = 16
MARKS = sorted(evaluation_epochs(EPOCHS))
CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


def _space(grid: bool = False, trials: int = 8) -> SearchSpace:
    return SearchSpace(
        question="?",
        suggest=lambda trial, data: {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1)},
        baselines=lambda data: () if grid else [{"latent_dim": 3, "learning_rate": 0.09}],
        first_points=lambda data: [{"learning_rate": 0.09 - 0.01 * i} for i in range(trials if grid else 2)],
        grid=grid,
    )


class Driver:
    """A study's driver without Ray: workers that train made-up curves, checkpoint, report and obey."""

    def __init__(
        self,
        directory: Path,
        space: SearchSpace,
        num_trials: int,
        eta: float | None = 2.0,
        sampler: str = "random",
        commits: int | None = None,
        mean_image: float = math.inf,
    ) -> None:
        directory.mkdir(exist_ok=True)
        storage = None if commits is None else dying_storage(directory, commits)
        self.ledger = Ledger(
            directory,
            space,
            made_summary(),
            directions=DIRECTIONS,
            set_values={"seed": 0, "epochs": EPOCHS},
            seed=0,
            sampler=sampler,
            storage=storage,
        )
        self.searcher = LedgerSearcher(self.ledger, num_trials)
        self.scheduler = RungScheduler(self.ledger, self.searcher, eta, lambda error: error > mean_image)

    def report(self, trial_id: str, epoch: int, values: tuple[float, float]) -> str:
        """What Ray does with a report; returns the decision."""
        result = {"epoch": epoch, "multiplier": 1.0, **dict(zip(DIRECTIONS, values, strict=True))}
        decision = self.scheduler.on_trial_result(None, SimpleNamespace(trial_id=trial_id), result)  # type: ignore[arg-type]
        if decision == STOP or epoch == EPOCHS:
            self.searcher.on_trial_complete(trial_id, result)
        return decision

    def steps(self, checkpoints: dict[int, int], random: np.random.RandomState, workers: int = 3) -> Iterator[None]:
        """Runs to the end; yields at every moment at which a kill makes a difference."""
        running: dict[str, Any] = {}
        ids = iter(f"ray{i}" for i in range(10_000))
        while True:
            while len(running) < workers:
                trial_id = next(ids)
                if self.searcher.suggest(trial_id) == "FINISHED":
                    break
                assignment = running[trial_id] = self.searcher.assignment(trial_id)
                yield
                epoch = checkpoints.get(assignment.number)
                if epoch is not None and self.report(trial_id, epoch, curve(assignment.config, epoch)) == STOP:
                    del running[trial_id]
            if not running:
                return
            trial_id = sorted(running)[random.randint(len(running))]
            config, number = running[trial_id].config, running[trial_id].number
            epoch = MARKS[MARKS.index(checkpoints[number]) + 1 if number in checkpoints else 0]
            if epoch < EPOCHS:
                checkpoints[number] = epoch
            yield  # killed between checkpoint and report
            decision = self.report(trial_id, epoch, curve(config, epoch))
            yield
            if decision == STOP or epoch == EPOCHS:
                del running[trial_id]


class Killed(BaseException):
    """What SIGKILL would be, if it could be caught."""


def dying_storage(directory: Path, commits: int) -> optuna.storages.RDBStorage:
    """The ledger's SQLite file, whose process is killed in place of a commit, after so many of them."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{directory / 'optuna.db'}")
    left = iter(range(commits))

    def die(connection: sqlalchemy.Connection) -> None:
        if next(left, None) is None:
            connection.connection.rollback()  # SQLite does it for a process that is gone
            raise Killed

    sqlalchemy.event.listen(storage.engine, "commit", die)
    return storage


def curve(config: Any, epoch: int) -> tuple[float, float]:
    """Objectives of a made-up training; NaN for some configurations."""
    x = math.log(config.learning_rate / 1e-4) / math.log(1e3)
    noise = math.sin(1e5 * x)
    if noise > 0.7:
        return math.nan, 1.0
    fall = 1 + (0.5 + 0.4 * noise) * EPOCHS / epoch
    return (0.01 + 0.05 * x) * fall, (5 + 60 * (1 - x) ** 2) * fall * (1 + 0.5 * noise)


def check_ended(ledger: Ledger, num_trials: int) -> None:
    """Every trial ended, once, and no suggestion was made twice."""
    trials = ledger.trials()
    assert len(trials) == num_trials
    assert all(trial.state.is_finished() for trial in trials)
    searched = [trial.params["learning_rate"] for trial in trials if "origin" not in trial.user_attrs]
    assert len(set(searched)) == len(searched)


def check_best(ledger: Ledger) -> None:
    """Optuna's front holds trials of the full budget only."""
    study = optuna.load_study(study_name=ledger.directory.name, storage=f"sqlite:///{ledger.directory}/optuna.db")
    assert study.best_trials
    assert {trial.user_attrs["outcome"] for trial in study.best_trials} == {"completed"}


def check_volume(ledger: Ledger) -> None:
    """The hypervolume on record is that of Optuna's front, by adding up rectangles."""
    study = optuna.load_study(study_name=ledger.directory.name, storage=f"sqlite:///{ledger.directory}/optuna.db")
    reference = np.array(study.user_attrs["hypervolume_reference"])
    front = np.log(sorted(trial.values for trial in study.best_trials))
    front = front[(front < reference).all(axis=1)]
    steps = np.append(front[1:, 0], reference[0]) - front[:, 0]
    recorded = list(read_lines(progress_path(ledger.directory)))[-1]["hypervolume"]
    assert recorded == pytest.approx(float((steps * (reference[1] - front[:, 1])).sum()))


def check_rungs(scheduler: RungScheduler, ledger: Ledger) -> None:
    """The scheduler's rungs equal those of an uninterrupted replay of the same results, and so do its decisions."""
    never_stopped = {trial.number for trial in ledger.trials() if "origin" in trial.user_attrs}
    replayed = Rungs(list(DIRECTIONS.values()))
    for result in ledger.rung_results():
        goes_on = replayed.decide(result.epoch, result.values, is_blind=result.is_blind)
        assert (goes_on or result.number in never_stopped) == result.goes_on
    assert scheduler.rungs.snapshot() == replayed.snapshot()


def test_a_search_stops_some_and_ends_whole(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "s", _space(), 30)
    for _ in driver.steps({}, np.random.RandomState(0)):
        pass
    check_ended(driver.ledger, 30)
    check_best(driver.ledger)
    check_volume(driver.ledger)
    check_rungs(driver.scheduler, driver.ledger)
    tally = driver.ledger.tally
    assert tally.completed >= 5 and tally.stopped >= 5 and tally.failed >= 1
    outcomes = {trial.number: trial.user_attrs["outcome"] for trial in driver.ledger.trials()}
    assert outcomes[0] == "completed"  # the baseline, however bad
    for trial in driver.ledger.trials():
        if trial.user_attrs["outcome"] == "stopped":
            assert trial.constraints == {"budget": 1 - trial.user_attrs["epochs"] / EPOCHS}


@pytest.mark.parametrize("mean_image", [math.inf, 0.15])  # the second is beaten by some at the first rung
@settings(max_examples=3)
@given(seed=st.integers(0, 10**6))
def test_killed_five_times_at_random_moments(
    tmp_path_factory: pytest.TempPathFactory, mean_image: float, seed: int
) -> None:
    directory = tmp_path_factory.mktemp("killed") / "s"
    random, checkpoints = np.random.RandomState(seed), {}
    for _ in range(5):
        driver = Driver(directory, _space(), 12, mean_image=mean_image)
        for _, _ in zip(range(random.randint(1, 20)), driver.steps(checkpoints, random), strict=False):
            pass
    driver = Driver(directory, _space(), 12, mean_image=mean_image)
    for _ in driver.steps(checkpoints, random):
        pass
    assert all(result.is_blind == (result.values[0] > mean_image) for result in driver.ledger.rung_results())
    check_ended(driver.ledger, 12)
    check_rungs(driver.scheduler, driver.ledger)
    again = Driver(directory, _space(), 12)
    assert again.scheduler.rungs.snapshot() == driver.scheduler.rungs.snapshot()


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@settings(max_examples=4)
@given(seed=st.integers(0, 10**6))
def test_killed_five_times_within_the_ledger_s_writes(
    tmp_path_factory: pytest.TempPathFactory, sampler: str, seed: int
) -> None:
    directory = tmp_path_factory.mktemp("killed") / "s"
    random, checkpoints = np.random.RandomState(seed), {}
    for _ in range(5):
        with pytest.raises(Killed):  # the whole study takes about 280 commits
            driver = Driver(directory, _space(), 16, sampler=sampler, commits=random.randint(5, 50))
            for _ in driver.steps(checkpoints, random):
                pass
    driver = Driver(directory, _space(), 16, sampler=sampler)
    for _ in driver.steps(checkpoints, random):
        pass
    check_ended(driver.ledger, 16)
    check_best(driver.ledger)
    check_rungs(driver.scheduler, driver.ledger)
    check_volume(driver.ledger)
    again = Driver(directory, _space(), 16)
    assert again.scheduler.rungs.snapshot() == driver.scheduler.rungs.snapshot()


def test_a_driver_killed_before_it_stopped_a_trial_stops_it_when_it_reports_again(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "s", _space(), 30)
    ids = ["a", "b", "c", "d"]
    for trial_id in ids:
        driver.searcher.suggest(trial_id)
    for trial_id in ids[:-1]:
        assert driver.report(trial_id, 2, (1.0, 1.0)) == CONTINUE
    driver.searcher.on_trial_complete = lambda *args: None  # type: ignore[method-assign]
    assert driver.report("d", 2, (2.0, 2.0)) == STOP
    resumed = Driver(tmp_path / "s", _space(), 30)
    for trial_id in ids:
        resumed.searcher.suggest(trial_id)
    assert [resumed.report(trial_id, 2, (5.0, 5.0)) for trial_id in ids] == [CONTINUE, CONTINUE, CONTINUE, STOP]
    assert resumed.scheduler.rungs.snapshot() == driver.scheduler.rungs.snapshot()


def test_a_trial_whose_node_leaves_may_fail_once_more(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "s", _space(), 1)
    assert driver.searcher.suggest("a") != "FINISHED"
    trial = SimpleNamespace(trial_id="a", max_failures=0)
    for leaves in (1, 2):
        assert driver.scheduler.on_trial_result(None, trial, {LEAVING: True}) == CONTINUE  # type: ignore[arg-type]
        assert trial.max_failures == leaves
    assert driver.ledger.rung_results() == []
    driver.searcher.on_trial_complete("a", {LEAVING: True})  # the study is interrupted before the node ends
    assert driver.ledger.tally.done == 0


def test_a_resumed_study_knows_whether_the_mean_image_was_beaten(tmp_path: Path) -> None:
    ids = ["a", "b", "c", "d", "e", "f", "g"]

    def opened() -> Driver:
        driver = Driver(tmp_path / "s", _space(), 30, mean_image=1.0)
        for trial_id in ids:
            driver.searcher.suggest(trial_id)
        return driver

    driver = opened()
    bad = [("a", (2.0, 2.0)), ("b", (3.0, 3.0)), ("c", (4.0, 4.0)), ("d", (5.0, 5.0))]
    assert [driver.report(trial_id, 2, values) for trial_id, values in bad[:3]] == [CONTINUE] * 3
    driver = opened()
    assert driver.report("d", 2, bad[3][1]) == CONTINUE  # the worst of four, all of them blind
    assert driver.report("e", 2, (0.5, 1.0)) == CONTINUE
    driver = opened()
    assert driver.report("f", 2, (6.0, 6.0)) == STOP  # one has beaten it now
    assert driver.report("g", 4, (9.0, 9.0)) == CONTINUE  # but none at this rung
    assert [result.is_blind for result in driver.ledger.rung_results()] == [True] * 4 + [False, True, True]


@pytest.mark.parametrize("eta", [None, 2.0])
def test_a_grid_is_never_stopped(tmp_path: Path, eta: float | None) -> None:
    driver = Driver(tmp_path / "s", _space(grid=True), 8, eta)
    for index in range(8):
        driver.searcher.suggest(str(index))
        for epoch in MARKS:
            assert driver.report(str(index), epoch, (1.0 + index, 1.0 + index)) == CONTINUE
    assert driver.ledger.tally.completed == 8


def test_replicates_are_never_stopped_nor_compared_with(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "s", _space(), 1)
    for _ in driver.steps({}, np.random.RandomState(0)):
        pass
    before = driver.scheduler.rungs.snapshot()
    driver.ledger.replicate(0, [1])
    driver.searcher.suggest("replicate")
    for epoch in MARKS:
        assert driver.report("replicate", epoch, (1e3, 1e3)) == CONTINUE
    assert driver.scheduler.rungs.snapshot() == before


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_trial_that_is_not_finite_is_stopped_at_once_and_fails(tmp_path: Path, grid: bool, value: float) -> None:
    driver = Driver(tmp_path / "s", _space(grid), 3)
    driver.searcher.suggest("x")
    assert driver.report("x", 6, (value, 1.0)) == STOP  # at no rung
    assert [trial.state.name for trial in driver.ledger.trials()] == ["FAIL"]


# --- patience ------------------------------------------------------------------------------------------------------


def ended_by(searcher: LedgerSearcher, results: Sequence[tuple[float, float] | None]) -> int:
    """Trials that end with these objectives (None fails), one after the other, until none begins; their number."""
    for index, pair in enumerate(results):
        if searcher.suggest(str(index)) == "FINISHED":
            return index
        values = {} if pair is None else dict(zip(DIRECTIONS, pair, strict=True))
        result = {"epoch": EPOCHS, "multiplier": 1.0, **values} if values else {"failure": "the loss became nan"}
        searcher.on_trial_complete(str(index), result)
    return len(results)


def test_no_trial_begins_when_the_hypervolume_has_not_moved(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "s", _space(), 100)
    driver.searcher = LedgerSearcher(driver.ledger, 100, patience=6)
    values = [(1.0 - 0.01 * i, 1.0) for i in range(8)] + [(1.0, 1.0)] * 92
    assert ended_by(driver.searcher, values) == 8 + 6
    assert driver.searcher.limit == "--patience"
    again = LedgerSearcher(Driver(tmp_path / "s", _space(), 100).ledger, 100, patience=6)
    assert again.suggest("later") == "FINISHED"


def test_patience_counts_new_front_members_wherever_they_lie_and_no_failure_before_there_is_a_front(
    tmp_path: Path,
) -> None:
    driver = Driver(tmp_path / "s", _space(), 100)
    driver.searcher = LedgerSearcher(driver.ledger, 100, patience=2)
    settling = [(1.0, 1.0), None, None, None, *[(1.0, 1.0)] * 4]
    beyond = [(1.0 - 0.1 * i, 50.0) for i in range(1, 6)]  # the reference point is (log 2, log 2)
    assert ended_by(driver.searcher, [*settling, *beyond, *[(1.0, 50.0)] * 20]) == 8 + 5 + 2
    volumes = [line["hypervolume"] for line in read_lines(progress_path(tmp_path / "s"))]
    assert volumes[:7] == [None] * 7 and set(volumes[7:]) == {volumes[7]}


@pytest.mark.parametrize("eta", [2.0, None])
def test_a_trial_stopped_by_hand_leaves_no_decision_of_a_rung(tmp_path: Path, eta: float | None) -> None:
    driver = Driver(tmp_path / "a", _space(), 8, eta=eta)
    for trial_id in ("one", "two", "three"):
        assert driver.searcher.suggest(trial_id) != "FINISHED"
    rung = rung_epochs(EPOCHS)[0]
    assert driver.report("two", rung, (0.1, 5.0)) == TrialScheduler.CONTINUE
    before, results = driver.scheduler.rungs.snapshot(), driver.ledger.rung_results()
    for number in (0, 2):  # a baseline, and a first point or suggestion
        record_change(driver.ledger._study, "stop_trial", number)
    driver.searcher.look()
    assert driver.report("one", rung, (0.01, 1.0)) == STOP  # at a rung, where it would have gone on
    assert driver.report("three", rung + 1, (0.01, 1.0)) == STOP  # between rungs
    assert driver.scheduler.rungs.snapshot() == before and driver.ledger.rung_results() == results
    reasons = {trial.number: trial.user_attrs.get("reason") for trial in driver.ledger.trials()}
    assert reasons == {
        0: f"stopped by hand after {rung} of {EPOCHS} epochs",
        1: None,
        2: f"stopped by hand after {rung + 1} of {EPOCHS} epochs",
    }
    again = Driver(tmp_path / "a", _space(), 8, eta=eta)
    assert again.scheduler.rungs.snapshot() == before
