"""What a command accepts is recorded, read back and resumed; what it refuses is one line."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study import run
from study.cli import build_command
from study.config import UserError
from study.disk.study_json import read_study, write_study
from study.ranges import RANGES
from study.session.plan import Request, make_plan
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
    sampler=st.sampled_from([None, "tpe", "nsga2", "random"]),
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
