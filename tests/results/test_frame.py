from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from study.config import TrialConfig, UserError
from study.results.frame import join_studies, load_study
from study.results.selection import select
from tests.helpers_study import make_study, write_trial


def test_one_row_per_trial_and_per_epoch(tmp_path: Path) -> None:
    make_study(tmp_path, trials=24, epochs=12)
    frames = load_study(tmp_path, "toy")
    assert frames.trials["number"].tolist() == list(range(24))
    assert frames.trials["outcome"].value_counts().to_dict() == {
        "completed": 19, "stopped": 3, "failed": 1, "interrupted": 1,
    }  # fmt: skip
    expected = {6: 6, 9: 3, 13: 6, 20: 6, 23: 4}
    for number, group in frames.history.groupby("number"):
        assert group["epoch"].tolist() == list(range(1, expected.get(int(str(number)), 12) + 1))
    assert set(TrialConfig().to_params()) <= set(frames.trials)
    assert frames.objectives == {"val/reconstruction_mse": "minimize", "val/sample_fid": "minimize"}


def test_values_are_those_of_the_last_epoch_not_the_best(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    rows = [{"epoch": e, "seconds": 0.5, "val/sample_fid": fid} for e, fid in ((1, 9.0), (2, 3.0), (3, 7.0))]
    write_trial(directory, 0, TrialConfig(epochs=3), rows)
    trial = load_study(tmp_path, "toy").trials.iloc[0]
    assert trial["val/sample_fid"] == 7.0
    assert (trial["epochs"], trial["epochs_done"], trial["seconds"]) == (3, 3, 1.5)


def test_a_metric_the_last_epoch_did_not_measure_is_nan(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    rows = [{"epoch": 1, "train/loss": 2.0, "val/sample_fid": 9.0}, {"epoch": 2, "train/loss": 1.0}]
    write_trial(directory, 0, TrialConfig(), rows, outcome="running")
    trial = load_study(tmp_path, "toy").trials.iloc[0]
    assert trial["train/loss"] == 1.0
    assert np.isnan(trial["val/sample_fid"])


def test_the_newest_attempt_wins_and_epochs_past_the_end_are_ignored(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    folder = write_trial(directory, 3, TrialConfig(), [{"epoch": e, "train/loss": 1.0} for e in (1, 2, 3)])
    for attempt, epochs in ((2, (2, 3)), (10, (3,))):
        (folder / f"attempt-{attempt}").mkdir()
        lines = [json.dumps({"epoch": epoch, "train/loss": float(attempt)}) for epoch in epochs]
        (folder / f"attempt-{attempt}" / "metrics.jsonl").write_text("\n".join(lines))
    orphan = folder / "attempt-2" / "metrics.jsonl"
    orphan.write_text(orphan.read_text() + "\n" + json.dumps({"epoch": 4, "train/loss": 99.0}))
    history = load_study(tmp_path, "toy").history
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["train/loss"].tolist() == [1.0, 2.0, 10.0]


@pytest.mark.parametrize("tail", ['{"epoch": 3, "train/lo', "\x00\x00\x00", "null", '{"epoch": null}', "{}", "\udcff"])
def test_a_torn_last_line_is_ignored(tmp_path: Path, tail: str) -> None:
    directory = make_study(tmp_path, trials=0)
    rows = [{"epoch": epoch, "train/loss": 1.0} for epoch in (1, 2)]
    folder = write_trial(directory, 0, TrialConfig(), rows, outcome="running")
    with (folder / "attempt-1" / "metrics.jsonl").open("ab") as file:
        file.write(tail.encode(errors="surrogateescape"))
    assert load_study(tmp_path, "toy").history["epoch"].tolist() == [1, 2]


def test_nan_and_infinity_become_nan(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    write_trial(directory, 0, TrialConfig(), [{"epoch": 1, "train/loss": float("nan"), "val/kl": float("inf")}])
    trial = load_study(tmp_path, "toy").trials.iloc[0]
    assert np.isnan(trial["train/loss"])
    assert np.isnan(trial["val/kl"])


def test_a_trial_without_an_outcome_is_running_if_its_study_is(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0, outcome="running")
    write_trial(directory, 0, TrialConfig(), [], outcome="running")
    (directory / "trials" / "0001").mkdir()  # its driver was killed before it wrote anything
    frames = load_study(tmp_path, "toy")
    assert frames.trials["outcome"].tolist() == ["running"]
    assert frames.trials["epochs_done"].tolist() == [0]


def test_empty_and_full_studies_have_the_same_dtypes(tmp_path: Path) -> None:
    make_study(tmp_path, "full")
    make_study(tmp_path, "empty", trials=0)
    full, empty = load_study(tmp_path, "full"), load_study(tmp_path, "empty")
    for frame in ("trials", "history"):
        shared = list(getattr(empty, frame).columns)
        assert getattr(full, frame)[shared].dtypes.to_dict() == getattr(empty, frame).dtypes.to_dict()
    assert np.isnan(full.column("no such column")).all()


@pytest.mark.parametrize("name", ["target_error", "learning_rate_schedule", "weight_decay", "precision"])
def test_trials_recorded_before_a_parameter_existed_have_its_default(tmp_path: Path, name: str) -> None:
    directory = make_study(tmp_path, trials=3)
    path = directory / "trials" / "0001" / "trial.json"
    record = json.loads(path.read_text())
    del record["params"][name]
    path.write_text(json.dumps(record))
    default = getattr(TrialConfig(), name)
    frames = load_study(tmp_path, "toy")
    assert frames.trials[name].tolist() == [default] * 3 and len(set(frames.text(name))) == 1
    assert getattr(select(tmp_path, "toy", trial=1).config, name) == default


def test_a_built_in_hyperparameter_that_some_trials_leave_out_has_its_default(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=0)
    swae = TrialConfig(regularizer="sliced_wasserstein", weight=1.0)
    for number, config in enumerate((swae.replace(**{"sliced_wasserstein.slices": 7}), swae, TrialConfig())):
        write_trial(directory, number, config, [{"epoch": 1, "val/sample_fid": 9.0}])
    trials = load_study(tmp_path, "toy").trials
    assert trials["sliced_wasserstein.slices"].tolist()[:2] == [7, 50]
    assert np.isnan(trials["sliced_wasserstein.slices"].iloc[2])
    assert dict(select(tmp_path, "toy", trial=0).config.own) == {"sliced_wasserstein.slices": 7}
    assert select(tmp_path, "toy", trial=1).config == swae
    assert not select(tmp_path, "toy", trial=2).config.own


def test_unknown_and_damaged_studies_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is none in"):
        load_study(tmp_path, "toy")
    directory = make_study(tmp_path, trials=0)
    with pytest.raises(UserError, match="choose from toy"):
        load_study(tmp_path, "nope")
    (directory / "study.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        load_study(tmp_path, "toy")


def test_only_studies_with_equal_objectives_data_and_feature_networks_join(tmp_path: Path) -> None:
    make_study(tmp_path, "a", trials=3)
    make_study(tmp_path, "b", trials=4, seed=1)
    make_study(tmp_path, "other", trials=1, objectives={"val/kl": "minimize"})
    make_study(tmp_path, "mnist", trials=1, data={"hash": "another"})
    make_study(tmp_path, "contrast", trials=1, references={"instrument": {"name": "contrast", "spec": "x"}})
    a, b = load_study(tmp_path, "a"), load_study(tmp_path, "b")
    both = join_studies([a, b])
    assert both.name == "a + b"
    assert both.trials.groupby("study").size().to_dict() == {"a": 3, "b": 4}
    assert set(both.sources) == {"a", "b"}
    assert join_studies([a]) is a
    for name, word in (("other", "objectives"), ("mnist", "data"), ("contrast", "feature networks")):
        with pytest.raises(UserError, match=word):
            join_studies([a, load_study(tmp_path, name)])


def test_loading_costs_little_more_than_reading_the_files(tmp_path: Path) -> None:
    directory = make_study(tmp_path, trials=200, epochs=50)

    def bare() -> float:
        start = time.process_time()
        for path in directory.glob("trials/*/attempt-1/metrics.jsonl"):
            for line in path.read_text().splitlines():
                json.loads(line)
        return time.process_time() - start

    def ours() -> float:
        start = time.process_time()
        load_study(tmp_path, "toy")
        return time.process_time() - start

    # Interleaved, so that a busy machine slows both.
    pairs = [(bare(), ours()) for _ in range(3)]
    assert min(ours_s / bare_s for bare_s, ours_s in pairs) < 6
