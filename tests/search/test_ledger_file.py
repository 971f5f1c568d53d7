"""A ledger that is lost or damaged is refused, and rebuilt from the trials' folders it is the same as before."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import FloatDistribution

from study import doctor
from study.checks.study import check_files, check_ledger
from study.cli import command_status
from study.config import UserError
from study.disk.layout import METRICS, ledger_path, new_attempt, progress_path, trial_folders, trial_path
from study.disk.study_json import BLIND_SHARE, parse_study, read_study, write_study
from study.results.frame import load_study
from study.search.asked_ranges import Interval, check_range, searched_parameters
from study.search.control import record_change
from study.search.ledger import Ledger
from study.search.ledger_file import check_ledger_file, rebuild
from study.search.rungs import rung_epochs
from study.search.trial_record import BY_HAND, RungResult
from study.space import load_space
from study.status import read_status
from study.tuning.trainable import _resume_from
from tests.helpers import made_summary
from tests.helpers_study import make_study, study_record
from tests.search.test_ledger import DIRECTIONS, open_ledger

EPOCHS, TRIALS = 8, 16
SPACE = load_space("wae_weight")
MEAN_IMAGE = 0.5
"""The error above which the study's trials do not beat the mean image: half of them."""


def opened(directory: Path, sampler: str = "tpe") -> Ledger:
    return open_ledger(directory, set_values={"seed": 0, "epochs": EPOCHS}, sampler=sampler)


@pytest.fixture(scope="module", params=["tpe", "random"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study with trials of every kind, and its sampler: completed, stopped, failed, running, replicates."""
    directory = tmp_path_factory.mktemp("runs") / "toy"
    ledger = opened(directory, request.param)
    write_record(directory, request.param)
    generator = np.random.default_rng(0)
    for number in range(TRIALS):
        assignment = ledger.next(TRIALS)
        assert assignment is not None and assignment.number == number
        last = {6: 1, 9: 2, 13: 4, 14: 3, 15: 2}.get(number, EPOCHS)
        attempt = new_attempt(trial_path(directory, number))
        for epoch in range(1, last + 1):
            values = dict(zip(DIRECTIONS, generator.uniform(0.01, 1, 2), strict=True))
            row = {"epoch": epoch, "time": 1.0, "train/weight": assignment.config.weight, **values}
            with (attempt / METRICS).open("a") as file:
                file.write(json.dumps(row) + "\n")
            by_hand = number == 13 and epoch == last  # which no rung decided
            if epoch in rung_epochs(EPOCHS) and not by_hand:
                goes_on, is_blind = epoch < last or number in (14, 15), next(iter(values.values())) > MEAN_IMAGE
                ledger.record_rung(RungResult(number, epoch, list(values.values()), goes_on, is_blind))
        if number == 14:
            ledger.record(number, "failed", epochs=last, reason="the loss became nan")
        elif last < EPOCHS and number != 15:
            budget = {"budget": 1 - last / EPOCHS, "weight": 0.0}
            reason = f"stopped {BY_HAND if number == 13 else ''}after {last} of {EPOCHS} epochs"
            ledger.record(number, "stopped", epochs=last, values=values, infeasible=budget, reason=reason)
        elif number != 15:
            whole = {"budget": 0.0, "weight": 0.0}
            ledger.record(number, "completed", epochs=EPOCHS, values=values, infeasible=whole)
    ledger.replicate(1, [5])
    replicate = ledger.next(TRIALS + 1)
    assert replicate is not None
    ledger.record(replicate.number, "failed", epochs=0, reason="killed")
    return directory, request.param


def write_record(directory: Path, sampler: str) -> None:
    data = dataclasses.asdict(made_summary())
    measured = {"pca": {"validation": {"0": MEAN_IMAGE / BLIND_SHARE}}}
    changes = {
        "data": data,
        "references": measured,
        "space": "wae_weight",
        "space_hash": SPACE.hash,
        "epochs": EPOCHS,
        "eta": 2.0,
    }
    record = study_record(directory.name, **changes, sampler=sampler, num_trials=TRIALS, outcome="interrupted")
    write_study(directory, parse_study(record, "study.json"))


def copied(study: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(study[0], tmp_path / "toy"))


def whole(ledger: Ledger) -> list[dict[str, Any]]:
    """All that matters of a ledger's trials."""
    return [
        {
            "state": trial.state.name,
            "params": trial.params,
            "distributions": trial.distributions,
            "values": trial.values,
            "constraints": trial.constraints,
            "attributes": {
                name: {**value, "order": None} if name.startswith("rung:") else value
                for name, value in trial.user_attrs.items()
                if name != "overrides"  # of a baseline trial; its params hold them
            },
        }
        for trial in ledger.trials()
    ]


def test_faults_met_a_rebuilt_ledger_is_the_one_that_was_lost(study: tuple[Path, str], tmp_path: Path) -> None:
    directory, sampler = copied(study, tmp_path), study[1]
    before = opened(shutil.copytree(directory, tmp_path / "before" / "toy"), sampler)
    ledger_path(directory).unlink()
    record = read_study(directory)
    assert record is not None
    progress = progress_path(directory).read_bytes()
    assert rebuild(directory, record, SPACE.space) == (TRIALS + 1, None)
    assert progress_path(directory).read_bytes() == progress != b""
    check_ledger_file(directory)
    after = opened(directory, sampler)
    assert whole(after) == whole(before)
    assert after.tally == before.tally and after.extra_tally == before.extra_tally
    assert after.hypervolume_reference == before.hypervolume_reference
    assert sorted(after.rung_results()) == sorted(before.rung_results())
    # Both go on alike: first with the trial that was running, then with what the sampler suggests.
    for _ in range(3):
        assert before.next(TRIALS + 3) == after.next(TRIALS + 3) is not None


def test_faults_met_a_rebuilt_ledger_knows_what_was_drawn_from_changed_ranges(tmp_path: Path) -> None:
    directory = tmp_path / "toy"
    ledger = opened(directory)
    kinds = searched_parameters(SPACE.space, made_summary())
    (own,) = kinds["weight"]
    assert isinstance(own, FloatDistribution)
    wide = check_range("weight", Interval(own.high * 2, own.high * 4), kinds)
    narrow = check_range("weight", Interval(own.low * 2, own.low * 4), kinds)
    for number, ranges in ((15, wide), (18, narrow), (20, {})):
        if ranges:
            record_change(ledger._study, "range", ranges, "weight")
        ledger.control.look()
        while len(ledger.trials()) < number and (assignment := ledger.next(number)) is not None:
            values = dict.fromkeys(DIRECTIONS, 0.1 + assignment.number)
            ledger.record(assignment.number, "completed", epochs=EPOCHS, values=values, infeasible={})
    write_record(directory, "tpe")
    record = read_study(directory)
    assert record is not None
    record = record.replace(changes=tuple(ledger.control.changes))
    before = opened(shutil.copytree(directory, tmp_path / "before" / "toy"))
    assert rebuild(directory, record, SPACE.space)[0] == 20
    after = opened(directory)
    weights = [trial.params.get("weight") for trial in after.trials()]
    assert weights == [trial.params.get("weight") for trial in before.trials()]
    assert sum(weight is not None and weight > own.high for weight in weights) == 3
    # Back to what the space says, samplers see the same trials in both.
    for each in (before, after):
        record_change(each._study, "range", None, "weight")
        each.control.look()
    shown = [[(t.number, t.params, t.distributions) for t in each._study._get_trials()] for each in (before, after)]
    assert shown[0] == shown[1] and {distributions["weight"] for _, _, distributions in shown[0]} == {own}


def test_faults_met_a_rung_s_decision_before_a_stop_by_hand_is_kept(study: tuple[Path, str], tmp_path: Path) -> None:
    directory = copied(study, tmp_path)
    record = read_study(directory)
    assert record is not None
    # Trial 13 came to this rung and went on; its driver was killed, and later the trial was stopped there.
    first = new_attempt(trial_path(directory, 13)).parent / "attempt-1"
    shutil.copy(first / METRICS, first.with_name("attempt-2") / METRICS)
    rebuild(directory, record, SPACE.space)
    found = [result for result in opened(directory, study[1]).rung_results() if result.number == 13]
    assert [(result.epoch, result.goes_on) for result in found] == [(1, True), (2, True), (4, True)]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"\x00garbage\xff" * 999,
    "a hole": lambda content: content[:20_000] + bytes(40_000) + content[60_000:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_faults_met_a_damaged_ledger_is_refused_and_rebuilt(
    study: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    directory = copied(study, tmp_path)
    content = DAMAGES[damage](ledger_path(directory).read_bytes())
    ledger_path(directory).unlink()
    if content is not None:
        ledger_path(directory).write_bytes(content)
    with pytest.raises(
        UserError, match=r"optuna.db is (missing|damaged).*rebuild it: python -m study.doctor"
    ) as caught:
        check_ledger_file(directory)
    assert "\n" not in str(caught.value)
    advice = str(caught.value).partition("rebuild it: ")[2].split()
    assert command_status(doctor.doctor, advice[3:]) == 0
    output = capsys.readouterr().out
    assert f"{TRIALS + 1} trials are in {ledger_path(directory)}" in output and "--resume" in output
    check_ledger_file(directory)
    aside = directory / "optuna.db.damaged-1"
    assert (aside.read_bytes() if aside.exists() else None) == content


def test_faults_met_a_ledger_that_is_older_than_the_folders_is_refused(study: tuple[Path, str], tmp_path: Path) -> None:
    directory = copied(study, tmp_path)
    check_ledger_file(directory)
    ledger_path(directory).unlink()
    opened(directory)
    with pytest.raises(UserError, match=r"does not list trials \[0, 1, 2, 3, 4\].*rebuild it"):
        check_ledger_file(directory)


def test_faults_met_a_renamed_study_is_not_trained_again(study: tuple[Path, str], tmp_path: Path) -> None:
    directory = copied(study, tmp_path).rename(tmp_path / "other")
    with pytest.raises(UserError, match="is of study toy: give the folder its name back"):
        check_ledger_file(directory)


def test_faults_met_a_ledger_of_a_later_version_is_refused(study: tuple[Path, str], tmp_path: Path) -> None:
    directory = copied(study, tmp_path)
    with closing(sqlite3.connect(ledger_path(directory))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        connection.commit()
    with pytest.raises(UserError, match=r"optuna.db cannot be used: ") as caught:
        check_ledger_file(directory)
    assert "\n" not in str(caught.value)


def test_a_study_that_has_begun_nothing_needs_no_ledger(tmp_path: Path) -> None:
    directory = make_study(tmp_path, "a", trials=0)
    check_ledger_file(directory)
    ledger_path(directory).write_bytes(b"")  # a driver died while it made the file
    check_ledger_file(directory)
    record = read_study(directory)
    assert record is not None
    ledger_path(directory).write_bytes(b"garbage" * 99)
    with pytest.raises(UserError, match="rebuild-ledger"):
        check_ledger_file(directory)
    record = record.model_copy(update={"sampler": "tpe"})
    count, aside = rebuild(directory, record, SPACE.space)  # what that line advises
    assert count == 0 and aside is not None and aside.read_bytes() == b"garbage" * 99
    check_ledger_file(directory)


def test_a_trial_without_a_record_keeps_its_number(study: tuple[Path, str], tmp_path: Path) -> None:
    directory = copied(study, tmp_path)
    for number in (3, TRIALS):
        (trial_path(directory, number) / "trial.json").write_bytes(b"")
    (trial_path(directory, 5) / "outcome.json").write_bytes(b"{")
    shutil.rmtree(trial_path(directory, 8))
    record = read_study(directory)
    assert record is not None
    count, aside = rebuild(directory, record, SPACE.space)
    assert count == TRIALS + 1 - 3 and aside == directory / "optuna.db.damaged-1"
    trials = optuna.load_study(study_name="toy", storage=f"sqlite:///{ledger_path(directory)}").trials
    assert [trials[number].state.name for number in (3, 5, 8, TRIALS)] == ["FAIL", "RUNNING", "FAIL", "FAIL"]
    assert len(trials) == TRIALS + 1 == len(trial_folders(directory)) + 1


FILES = ["study.json", "progress.jsonl", "driver.json", "trials/0001/trial.json", "trials/0001/outcome.json"]
FILES += ["trials/0001/attempt-1/metrics.jsonl", "trials/0015/attempt-1/metrics.jsonl"]
FILES += ["trials/0015/attempt-1/checkpoint-000001.pt", "trials/0015/attempt-1/process.json"]


@pytest.mark.parametrize("damage", [*(name for name in DAMAGES if name != "a hole"), "newer"])
@pytest.mark.parametrize("file", FILES)
def test_faults_met_any_damaged_file_leaves_a_study_or_one_line(
    study: tuple[Path, str], tmp_path: Path, file: str, damage: str
) -> None:
    directory = copied(study, tmp_path)
    content = (directory / file).read_bytes() if (directory / file).exists() else b'{"pid": 1, "host": "x"}'
    if damage == "newer":
        found = content.replace(b"{", b'{"of a later version": [1], ', 1).replace(b'"format": 1', b'"format": 2')
    else:
        found = DAMAGES[damage](content)
    (directory / file).unlink(missing_ok=True)
    if found is not None:
        (directory / file).write_bytes(found)
    try:
        record = read_study(directory)
        assert record is not None
        frames = load_study(tmp_path, "toy")
        assert read_status(tmp_path, "toy").wanted == TRIALS
        check_ledger_file(directory)
        ledger = opened(directory, study[1])
        ledger.reconcile()
        assert len(ledger.trials()) == TRIALS + 1 >= len(frames.trials)
        assert ledger.tally.done == TRIALS - 1  # nothing that has ended is trained again
        for finding in itertools.chain(check_ledger(directory, None, None), check_files(directory)):
            assert finding.seen
        _resume_from(trial_path(directory, 15), EPOCHS, torch.device("cpu"))
    except UserError as error:
        assert file == "study.json" and "\n" not in str(error)
