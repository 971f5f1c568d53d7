"""The benchmark of the recommendation: reading its tables, and what it counts in studies whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import record_trials
from benchmarks.recommendation import Trials, left_out_rows, outcome, read_curves, read_trials, recommendation_rows
from benchmarks.replay import TABLE
from study.data.datasets import ImageData


def trials(scores: list[list[float]], reconstruction: list[float], coverage: list[float] | None = None) -> Trials:
    score = np.array(scores)
    unknown = np.full(score.shape, np.nan)
    covered = unknown if coverage is None else np.repeat(np.array(coverage)[:, None], score.shape[1], axis=1)
    size = np.full(len(score), 8.0)
    return Trials(np.array(["VAE"] * len(score)), size, np.array(reconstruction), score, unknown, covered)


def test_a_pick_that_another_seed_changes_is_counted() -> None:
    # The second seed takes the knee off the front, the third agrees with the first.
    one = trials([[9, 9, 9], [1.2, 9.5, 1.2], [1, 1, 1]], [1.0, 1.1, 9.0])
    found = outcome(one)
    assert (found.clear, found.changed) == (True, 0.5)
    assert found.factor == pytest.approx(1.2)


def test_the_rows_of_studies_without_noise_have_no_changes() -> None:
    generator = np.random.default_rng(0)
    reconstruction = np.exp(generator.uniform(0, 2, 40))
    score = np.repeat((30 / reconstruction * np.exp(generator.uniform(0, 1, 40)))[:, None], 3, axis=1)
    rows = {row.name: row.value for row in recommendation_rows("x", trials(score.tolist(), reconstruction.tolist()), 5)}
    assert rows["x: changes, all"] == rows["x: changes, clear"] == 0
    assert rows["x: recorded trials"] == 40 and rows["x: score / best, median"] >= 1


def test_copies_that_cover_little_are_left_out_of_every_study() -> None:
    generator = np.random.default_rng(0)
    score, reconstruction = generator.uniform(1, 1.4, (30, 1)), generator.uniform(1, 2, 30)
    good = trials(score.tolist(), reconstruction.tolist(), [0.9] * 30)
    copies = trials([[0.5]], [np.nan], [0.1])._replace(method=np.array([record_trials.COPIES]))
    rows = {row.name: row.value for row in left_out_rows("x", good, copies, 5)}
    assert (rows["x: left out, copies"], rows["x: left out, good"]) == (1, 0)


def test_the_recorded_curves_give_trials_with_scores_of_several_seeds() -> None:
    found = read_curves(TABLE)
    assert len(found.method) >= 150
    spread = np.log(found.score[:, 1:] / found.score[:, :1]).std()
    assert spread == pytest.approx(0.03 * np.sqrt(2), rel=0.1)


def test_a_recording_goes_on_where_it_ended(tmp_path: Path) -> None:
    table = tmp_path / "new" / "trials.csv"
    assert record_trials._recorded(table) == 0
    cells = ",".join(["0.5"] * (len(record_trials.COLUMNS) - 2))
    with open(table, "a") as file:
        file.write(f"0,VAE,{cells}\n1,copies,{cells}\n2,VAE,0.5")  # the last was cut off
    assert record_trials._recorded(table) == 2
    found = read_trials(table)
    assert found.method.tolist() == ["VAE", "copies"]
    assert found.score.shape == (2, record_trials.SEEDS)


def test_configurations_follow_from_their_number(digits: ImageData) -> None:
    drawn = [record_trials.configuration(number, digits) for number in range(60)]
    assert drawn[:5] == [record_trials.configuration(number, digits) for number in range(5)]
    assert {config.method for config in drawn} >= {"AE", "VAE", "WAE-MMD", "SWAE", "RAE-L2", "InfoVAE"}
    weights = [config.weight for config in drawn if config.method == "WAE-MMD"]
    assert max(weights) / min(weights) > 100
