"""A study is resumed only under the conditions that it began with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from study.config import TrialConfig, UserError
from study.disk.study_json import StudyRecord, parse_study
from study.session.resuming import (
    begins_anew,
    check_resumable,
    check_same_instrument,
    is_moved,
    kept_options,
    recorded_instrument,
)
from study.space import load_space
from tests.helpers_study import study_record, write_trial

CLASSES = {"instrument": {"name": "classes", "spec": "a", "hash": "1"}, "second_instrument": None}


def record(evaluation: dict[str, Any], **changes: Any) -> StudyRecord:
    return parse_study(study_record("b", references=evaluation, **changes), "study.json")


@pytest.mark.parametrize(
    ("evaluation", "is_same"),
    [
        (CLASSES, True),
        ({**CLASSES, "instrument": {"name": "classes", "spec": "a", "hash": "rounded otherwise"}}, True),
        ({**CLASSES, "instrument": {"name": "classes", "spec": "b", "hash": "1"}}, False),
        ({**CLASSES, "instrument": {"name": "contrast", "spec": "a", "hash": "1"}}, False),
        ({**CLASSES, "second_instrument": {"name": "contrast", "spec": "c"}}, False),
    ],
)
def test_scores_of_other_feature_networks_never_join_a_study(evaluation: dict[str, Any], is_same: bool) -> None:
    begun = record(CLASSES)
    assert recorded_instrument(begun) == "classes"
    if is_same:
        check_same_instrument(begun, evaluation)
    else:
        with pytest.raises(UserError, match="measured with another feature network"):
            check_same_instrument(begun, evaluation)


def test_a_study_that_has_measured_nothing_yet_takes_the_network_that_was_asked_for() -> None:
    begun = record({}, feature_network="contrast")
    check_same_instrument(begun, CLASSES)
    assert recorded_instrument(begun) == "contrast"


OLD, NEW = "folder:/mnt/old", "folder:/mnt/new"


@pytest.mark.parametrize(
    ("begun", "now", "hash", "message"),
    [
        (OLD, NEW, "1", None),
        ("npz:/mnt/old.npz", "npz:/mnt/new.npz", "1", None),
        ("npz:/mnt/old.npz", "npz:/mnt/new.npz", "2", "not npz:/mnt/new.npz, which holds other images: choose"),
        (OLD, NEW, "2", "begun with --dataset folder:/mnt/old, not folder:/mnt/new, which holds other images: choose"),
        (OLD, OLD, "2", "the path is the same, the content is not"),
        ("digits", NEW, "1", "begun with --dataset digits, not folder:/mnt/new: choose"),
    ],
)
def test_faults_met_data_that_were_moved_are_not_data_that_were_changed(
    tmp_path: Path, begun: str, now: str, hash: str, message: str | None
) -> None:
    loaded = load_space("wae_weight")
    old = record({}, space="wae_weight", space_hash=loaded.hash)
    old = old.replace(data=dataclasses.replace(old.data, name=begun, hash="1"))
    data = dataclasses.replace(old.data, name=now, hash=hash)
    assert is_moved(old, data) == (message is None)
    if message is None:
        check_resumable(old, loaded, data, old.objectives, {}, tmp_path)
    else:
        with pytest.raises(UserError, match=message):
            check_resumable(old, loaded, data, old.objectives, {}, tmp_path)


@pytest.mark.parametrize(
    ("outcomes", "changed", "expected"),
    [([], True, True), (["failed", "stopped"], True, True), (["failed", "completed"], True, False), ([], False, False)],
)
def test_faults_met_a_study_without_a_completed_trial_takes_a_mended_space(
    tmp_path: Path, outcomes: list[str], changed: bool, expected: bool
) -> None:
    loaded = load_space("wae_weight")
    for number, outcome in enumerate(outcomes):
        write_trial(tmp_path, number, TrialConfig(), [], outcome=outcome)
    begun = record({}, space="wae_weight", space_hash="0" if changed else loaded.hash)
    assert begins_anew(begun, loaded, tmp_path) == expected


def test_faults_met_a_study_that_begins_anew_keeps_its_options() -> None:
    begun = record({}, seed=3, epochs=5, num_trials=7, scheduler="asha", eta=4.0, sampler="random")
    kept = {"seed": 3, "epochs": 5, "sampler": "random", "num_trials": 7, "scheduler": "asha", "eta": 4.0}
    given = kept_options(begun, load_space("wae_weight"))
    assert {name: value for name, value in given.items() if value is not None} == kept
    own = dataclasses.replace(load_space("wae_weight").space, sampler="qmc")
    assert "sampler" not in kept_options(begun, dataclasses.replace(load_space("wae_weight"), space=own))
    of_grid = kept_options(begun, load_space("latent_dim"))
    assert {name: value for name, value in of_grid.items() if value is not None} == {
        name: kept[name] for name in ("seed", "epochs", "sampler")
    }


def test_a_study_of_version_0_1_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    loaded = load_space("wae_weight")
    old = record({"classifier": {"hash": "c1"}}, space="wae_weight", space_hash=loaded.hash)
    with pytest.raises(UserError, match="resume it with the code that began it"):
        check_resumable(old, loaded, old.data, old.objectives, {}, tmp_path)
    with pytest.raises(UserError, match="was begun with no --feature-network"):
        new = record(CLASSES, space="wae_weight", space_hash=loaded.hash)
        check_resumable(new, loaded, new.data, new.objectives, {"feature_network": "contrast"}, tmp_path)
