"""What a command accepts is recorded, read back and resumed; what it refuses is one line."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import optuna
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from study import run
from study.cli import build_command
from study.config import UserError
from study.disk.study_json import StudyRecord, read_study, write_study
from study.ranges import RANGES
from study.session.plan import Request, first_configs, make_plan
from study.session.resuming import resume_command
from study.space import load_space
from tests.data.test_folder import write_images

COMMAND = build_command(run.run)
_EDGES = [2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**20]


def request(runs: Path, **changes: Any) -> Request:
    """A request for the default study on digits."""
    nothing = dict.fromkeys(("data_dir", "num_trials", "epochs", "seed", "sampler", "scheduler", "eta"))
    settings = {"name": "a", "dataset": "digits", "resume": False, "command": "python -m study.run", **nothing}
    return Request(**{"loaded": load_space("wae_weight"), "runs": runs, **settings, **changes})


def texts(name: str) -> st.SearchStrategy[str | None]:
    """What a user may type for a number, in its range and far beyond it."""
    ends = [*_EDGES, int(RANGES[name].low), int(RANGES[name].high)]
    near = st.builds(lambda end, step: str(end + step), st.sampled_from(ends), st.integers(-2, 2))
    return st.one_of(st.none(), near, st.integers(-3, 200).map(str), st.floats().map(str), st.just("nan"))


NUMBERS = ("seed", "epochs", "num_trials", "eta")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given=st.fixed_dictionaries({name: texts(name) for name in NUMBERS}),
    sampler=st.sampled_from([None, *run.SAMPLERS]),
    scheduler=st.sampled_from([None, "asha", "none"]),
    feature_network=st.one_of(st.none(), st.just("classes"), st.text(max_size=9)),
    text=st.text(max_size=9),
)
def test_roundtrip_of_every_option(
    tmp_path: Path,
    given: dict[str, str | None],
    sampler: str | None,
    scheduler: str | None,
    feature_network: str | None,
    text: str,
) -> None:
    typed = [part for name, value in given.items() if value for part in (f"--{name.replace('_', '-')}", value)]
    try:
        parsed = COMMAND.make_context("run", typed).params
    except typer.TyperException:
        return
    chosen = {name: parsed[name] for name in NUMBERS}
    chosen |= {"sampler": sampler, "scheduler": scheduler, "feature_network": feature_network}
    try:
        plan = make_plan(request(tmp_path, **chosen, command=f"python -m study.run {text}"))
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert [getattr(plan.record, name) for name in NUMBERS[:2]] == [chosen["seed"] or 0, chosen["epochs"]]
    directory = tmp_path / "a"
    directory.mkdir(exist_ok=True)
    try:
        write_study(directory, plan.record)
        assert read_study(directory) == plan.record
        resumed = make_plan(request(tmp_path, **chosen, resume=True))
        assert not resumed.is_new and resumed.record == plan.record
    finally:
        (directory / "study.json").unlink()


@pytest.mark.parametrize("name", [name for name in RANGES if name in run.run.__annotations__])
@pytest.mark.parametrize("outside", ["low", "high", "nan"])
def test_faults_met_no_option_takes_what_its_range_does_not_hold(name: str, outside: str) -> None:
    ends = {"low": RANGES[name].low - 1, "high": RANGES[name].high * 2 + 1, "nan": float("nan")}
    value = f"{ends[outside]:.0f}"
    with pytest.raises(typer.TyperException) as raised:
        COMMAND.make_context("run", [f"--{name.replace('_', '-')}", value])
    assert f"--{name.replace('_', '-')}" in raised.value.format_message()


def test_faults_met_a_moved_folder_of_images_resumes(tmp_path: Path) -> None:
    write_images(tmp_path / "old" / "imgs")
    plan = make_plan(request(tmp_path / "runs", dataset=f"folder:{tmp_path / 'old' / 'imgs'}", num_trials=2))
    plan.request.directory.mkdir(parents=True)
    write_study(plan.request.directory, plan.record)
    (tmp_path / "old").rename(tmp_path / "new")
    new = f"folder:{tmp_path / 'new' / 'imgs'}"
    resumed = make_plan(request(tmp_path / "runs", dataset=new, resume=True))
    assert not resumed.is_new and resumed.record == plan.record.replace(data=resumed.data.summary)
    assert f"--dataset {new} " in resume_command(resumed.record, tmp_path / "runs")


def test_a_study_keeps_the_defaults_with_which_it_began(tmp_path: Path) -> None:
    """An earlier version chose other epochs for such data."""
    plan = make_plan(request(tmp_path))
    earlier = dataclasses.replace(plan.record.data, defaults={**plan.record.data.defaults, "epochs": 7})
    plan.request.directory.mkdir()
    write_study(plan.request.directory, plan.record.replace(data=earlier))
    resumed = make_plan(request(tmp_path, resume=True))
    assert resumed.record.data == earlier
    assert {trial["epochs"] for trial in first_configs(resumed, 3)} == {7}
    assert {trial["epochs"] for trial in first_configs(plan, 3)} == {60}


def test_the_size_of_a_folders_images_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(12):
        Image.new("L", (40, 30), 20 * index).save(folder / f"{index}.png")
    given = request(tmp_path / "runs", dataset=f"folder:{folder}", image_size=24)
    plan = make_plan(given)
    assert plan.data.summary.shape == (1, 24, 24)
    given.directory.mkdir(parents=True)
    write_study(given.directory, plan.record)
    resumed = dataclasses.replace(given, image_size=None, resume=True)
    assert make_plan(resumed).data.summary == plan.data.summary
    with pytest.raises(UserError, match="--image-size 24"):
        make_plan(dataclasses.replace(resumed, image_size=32))


def test_faults_met_a_file_in_the_place_of_the_study_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match="is a file: choose another --study"):
        make_plan(request(tmp_path))


@pytest.mark.parametrize("option", ["dataset", "data_dir", "runs"])
def test_faults_met_a_path_that_is_not_text_is_refused(tmp_path: Path, option: str) -> None:
    path = os.fsdecode(b"/images/b\xe9te")
    value = {"dataset": f"folder:{path}", "data_dir": Path(path), "runs": Path(path)}[option]
    with pytest.raises(UserError, match=f"^--{option.replace('_', '-')}.*b.udce9te.* is not UTF-8"):
        make_plan(dataclasses.replace(request(tmp_path), **{option: value}))


SPACE_WITH_SAMPLER = """
import optuna
from study import SearchSpace


class Mine(optuna.samplers.RandomSampler):
    pass


SPACE = SearchSpace(
    question="?",
    suggest=lambda trial, data: {"weight": trial.suggest_float("weight", 0.1, 1.0)},
    sampler=Mine,
)
"""


def _begun(given: Request) -> StudyRecord:
    """A study with this request's `study.json`, and nothing more."""
    plan = make_plan(given)
    plan.request.directory.mkdir(parents=True)
    write_study(plan.request.directory, plan.record)
    return plan.record


def _suggested(given: Request, tmp_path: Path) -> str:
    """The sampler that a plan's ledger has."""
    return type(make_plan(given).scratch_ledger(tmp_path)._study.sampler).__name__


def test_a_space_brings_its_sampler_and_options_go_before_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SPACE_WITH_SAMPLER)
    loaded = load_space(str(tmp_path / "mine.py"))
    own = request(tmp_path / "runs", loaded=loaded)
    assert _begun(own).sampler == "mine:Mine"
    loaded_again = load_space(str(tmp_path / "mine.py"))  # another class of the same name
    resumed = dataclasses.replace(own, loaded=loaded_again, resume=True)
    assert _suggested(resumed, tmp_path) == "Mine"
    with pytest.raises(UserError, match="was begun with --sampler mine:Mine: leave it out"):
        make_plan(dataclasses.replace(resumed, sampler="tpe"))
    other = dataclasses.replace(own, name="b", sampler="qmc")
    assert (
        _begun(other).sampler == "qmc" and _suggested(dataclasses.replace(other, resume=True), tmp_path) == "QMCSampler"
    )


def test_a_sampler_is_found_again_by_its_name_or_must_be_given_again(tmp_path: Path) -> None:
    by_class = request(tmp_path, sampler=optuna.samplers.TPESampler)
    assert _begun(by_class).sampler == "optuna.samplers:TPESampler"
    resumed = dataclasses.replace(by_class, resume=True)
    for again in (None, "optuna.samplers:TPESampler", optuna.samplers.TPESampler):
        assert _suggested(dataclasses.replace(resumed, sampler=again), tmp_path) == "TPESampler"
    startup = functools.partial(optuna.samplers.TPESampler, n_startup_trials=3)
    command = "study.run_study('wae_weight', sampler=sampler)"
    record = _begun(request(tmp_path, name="b", sampler=startup, command=command))
    assert record.sampler == "optuna.samplers:TPESampler(n_startup_trials=3)"
    resumed = request(tmp_path, name="b", resume=True)
    assert _suggested(dataclasses.replace(resumed, sampler=startup), tmp_path) == "TPESampler"
    with pytest.raises(UserError, match="is of a script or notebook: give it again"):
        make_plan(resumed)
    assert resume_command(record, Path("runs")) == (
        "study.run_study('wae_weight', data='digits', name='b', runs_dir='runs', sampler=sampler, resume=True)"
    )


def test_a_sampler_that_cannot_search_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--sampler optuna.samplers:CmaEsSampler: .*cannot be used"):
        make_plan(request(tmp_path / "runs", sampler="optuna.samplers:CmaEsSampler"))
    assert not (tmp_path / "runs").exists()
