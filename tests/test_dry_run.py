"""What `study.run` shows without training: `--list` and `--dry-run`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from study.cli import console
from study.dry_run import show_first
from study.space import builtin_spaces, load_space
from tests.test_run import ODD_SPACE, study_run


def test_list_fits_a_terminal_and_cuts_nothing_off(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert study_run("--list") == 0
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    text = " ".join(output.split())
    for name in builtin_spaces():
        space = load_space(name).space
        assert f"{name}: {space.num_trials} trials, {space.cost} {space.question}" in text


def test_dry_run_shows_the_first_trials_and_leaves_nothing(tmp_path: Path, capsys) -> None:
    assert study_run("--space", "wae_weight", "--num-trials", 5, "--dry-run", "--runs-dir", tmp_path / "runs") == 0
    assert "baseline" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("ray_session")
def test_dry_run_measures_what_the_study_will_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STUDY_FORECAST")
    arguments = ["--space", "latent_grid", "--num-trials", 3, "--epochs", 2, "--dry-run"]
    assert study_run(*arguments, "--runs-dir", tmp_path / "runs") == 0
    shown = capsys.readouterr().out.splitlines()[-6:]
    assert [line.split()[0] for line in shown] == ["data", "network", "training", "trial", "before", "study"]
    assert shown[0].startswith(
        "data     1x8x8, 8 bits a value; 1,077 to train, 360 to validate, 360 to test; 10 classes;"
    )
    assert shown[2] == "training 2 epochs of 16 steps, 32 steps in all"  # what --epochs says counts
    assert re.search(r"\d (s|min), 0\.\d+ GB of memory; measured with 2 at once in \d+ s", shown[3])
    assert re.fullmatch(r"study    3 trials, 2 at once: about [\d.]+ (s|min)", shown[5])  # of a grid none is stopped
    assert not (tmp_path / "runs").exists()


def test_dry_run_of_a_study_that_exists_says_what_is_left(
    small_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, space = tmp_path / "runs", small_study.parent / "mine.py"
    shutil.copytree(small_study, runs)
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    capsys.readouterr()
    assert study_run("--space", space, "--study", "small", "--runs-dir", runs, "--dry-run") == 0
    first, *cost = capsys.readouterr().out.splitlines()
    assert first == (
        f"study 'small' exists in {runs}: 2 of 2 trials have ended (2 completed, 0 stopped, 0 failed), 0 left; "
        "nothing to do"
    )
    assert [line.split()[0] for line in cost] == ["data", "network", "training"]
    assert study_run("--space", space, "--study", "small", "--runs-dir", runs, "--num-trials", 5, "--dry-run") == 0
    assert "2 of 5 trials have ended" in (out := capsys.readouterr().out) and "3 left; --resume continues it" in out
    assert study_run("--space", space, "--study", "small", "--runs-dir", runs, "--epochs", 9, "--dry-run") == 2
    assert "was begun with --epochs 2" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in runs.rglob("*")}


def test_dry_run_shows_names_in_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    both = [{"dataset": "folder:/[red]/a", "network": name} for name in ("[b]", "[/b]")]
    show_first(both, console())
    output = capsys.readouterr().out
    assert "folder:/[red]/a" in output and "[b]" in output and "[/b]" in output


@pytest.mark.parametrize(
    ("base", "choice"),
    [
        ({"network": "nope"}, "mlp"),
        ({"regularizer": "nope"}, "sliced_wasserstein"),
        ({"likelihood": "nope"}, "bernoulli"),
        ({"regularizer": "mmd", "kernel": "nope"}, "imq"),
        ({"regularizer": "kl"}, "encoder=gaussian"),
        ({"annealing": "nope", "annealing_fraction": 0.5}, "cyclical"),
        ({"learning_rate_schedule": "nope"}, "constant, linear, cosine"),
        ({"width": 2**31 - 1}, "cannot be built"),
    ],
)
def test_dry_run_finds_what_cannot_be_built(tmp_path: Path, capsys, base: dict[str, Any], choice: str) -> None:
    (tmp_path / "odd.py").write_text(ODD_SPACE.format(base=base))
    arguments = ["--space", tmp_path / "odd.py", "--dry-run", "--runs-dir", tmp_path / "runs"]
    assert study_run(*arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert any(word in line for word in ("nope", "kl", "overflow"))
    assert "trial 0" in line and choice in line


@pytest.mark.parametrize("name", builtin_spaces())
def test_dry_run_builds_every_space(name: str, tmp_path: Path) -> None:
    assert study_run("--space", name, "--dry-run", "--runs-dir", tmp_path / "runs") == 0


FOURTH = 'return {"weight": 1.0 / (3 - trial.number) * trial.suggest_float("weight", 1, 1)}'
WEIGHT = 'return {"weight": trial.suggest_float("weight", 1, 2)}'


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("body", "more", "message"),
    [
        (
            'return {"weight": trial.suggest_float("weight", 2, 1)}',
            "",
            "line 5: weight: ValueError: `low <= high` must hold",
        ),
        ("return 1 / 0", "", "line 5: ZeroDivisionError"),
        ("return None", "", "line 4: suggest returns None: return the trial's parameters as a dict"),
        ('return {"wieght": 1.0}', "", "line 5: unknown parameter wieght"),
        ('return {"weight": -1.0}', "", "line 5: weight=-1.0: it must be a finite number, at least 0"),
        (FOURTH, "", "line 5: weight: ZeroDivisionError"),
        (WEIGHT, "base={'network': 'nope'}", "line 8: trial 0: network='nope': choose from conv"),
        (WEIGHT, "base={'regularizer': 'mmd', 'kernel': 'nope'}", "line 8: trial 0: kernel='nope': regularizer mmd"),
        (WEIGHT, "grid=True", "line 8: grid=True, and first_points gives none"),
        (WEIGHT, "objectives=('nope',)", "line 8: objective 'nope': choose from"),
        (WEIGHT, "objectives=('sample_fid', 'sample_fid')", "line 8: SearchSpace(objectives=('sample_fid', 'sample_f"),
        (WEIGHT, "objectives='sample_fid'", "line 8: SearchSpace(objectives='sample_fid'): name at least one metric"),
        (WEIGHT, "num_trials=0", "line 8: SearchSpace(num_trials=0): it must be from 1 to 1000000"),
        (WEIGHT, "quesiton=1", "line 8: it does not run: TypeError"),
        (WEIGHT, "objectives=()", "line 8: SearchSpace(objectives=()): name at least one metric"),
        (WEIGHT, "first_points=lambda data: [{}['a']]", "KeyError: 'a'"),
        (WEIGHT, "baselines=lambda data: 1 / 0", "line 8: ZeroDivisionError"),
        (WEIGHT, "baselines=lambda data: None", "line 8: baselines returns None: return a list of dicts"),
        (WEIGHT, "first_points=lambda data: [3]", "line 8: first_points returns [3]: return a list of dicts"),
        (WEIGHT, "baselines=[{}]", "line 8: SearchSpace(baselines=[{}]): give a function"),
        (WEIGHT, "base=3", "line 8: SearchSpace(base=3): give parameters of every trial as a dict"),
        (WEIGHT, "base={'lerning_rate': 1}", "line 8: unknown parameter lerning_rate: choose from"),
        ("raise SystemExit(3)", "", "line 5: SystemExit: 3"),
        ("return [1]", "", "line 4: suggest returns [1]: return the trial's parameters as a dict"),
        (
            WEIGHT,
            'first_points=lambda data: [{"wieght": 1.0}]',
            "line 8: first point {'wieght': 1.0}: suggest does not ask for wieght",
        ),
    ],
)
def test_faults_met_a_mistake_in_a_space_is_one_line_that_says_where(
    tmp_path: Path, capsys, body: str, more: str, message: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"from study import SearchSpace\n\n\ndef suggest(trial, data):\n    {body}\n\n\n"
                    f'SPACE = SearchSpace(question="?", suggest=suggest, {more})\n')  # fmt: skip
    for arguments in (["--dry-run"], []):
        assert study_run("--space", path, *arguments, "--runs-dir", tmp_path / "runs") == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1 and message in error
        assert str(path) in error or "line" not in message
        assert not (tmp_path / "runs" / "mine").exists()  # the name is still free for the mended file


def test_a_sampler_is_found_beside_the_space_and_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "import optuna\n\n\nclass Mine(optuna.samplers.RandomSampler):\n    pass\n"
    for folder, module in (("space", "beside_it"), ("here", "in_it")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{module}.py").write_text(text)
    (tmp_path / "space" / "odd.py").write_text(ODD_SPACE.format(base={}))
    monkeypatch.chdir(tmp_path / "here")
    arguments = ["--space", "../space/odd.py", "--dry-run", "--runs-dir", tmp_path / "runs"]
    assert study_run(*arguments, "--sampler", "beside_it:Mine") == 0
    assert study_run(*arguments, "--sampler", "in_it:Mine") == 0
    assert study_run(*arguments, "--sampler", "in_none:Mine") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "no module in_none" in line and str(tmp_path / "here") in line
