"""Nothing untrusted is executed, leaves its folder, or exhausts the machine; no secret is written down."""

from __future__ import annotations

import ast
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.cli import command_status
from study.config import TrialConfig, UserError
from study.data.datasets import load_dataset
from study.disk.files import disk_error_reason, read_json, read_lines
from study.disk.layout import find_study
from study.disk.study_json import new_study
from study.measure.metrics import METRICS
from study.results.frame import load_study
from study.run import run
from study.space import load_space
from tests.helpers_study import configs, make_study, write_trial

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for room in ("study", "analysis", "search_spaces") for path in (ROOT / room).rglob("*.py"))
UNPICKLERS = {"cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
REQUIRED = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
EXECUTORS = {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler"}


def _calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_security_nothing_is_unpickled_or_executed(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & UNPICKLERS
    for name, call in _calls(tree):
        assert name not in EXECUTORS, name
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        if name in REQUIRED:
            argument, value = REQUIRED[name]
            given_value = keywords.get(argument)
            assert isinstance(given_value, ast.Constant) and given_value.value is value, ast.unparse(call)
        shell = keywords.get("shell")
        assert shell is None or (isinstance(shell, ast.Constant) and shell.value is False), ast.unparse(call)


NAMES = ["../x", "..", ".", "/etc", "a/b", "a\\..\\b", "", "a\n", "\x00", ".hidden", "-x", "x" * 101, "ü"]


@pytest.mark.parametrize("name", NAMES)
def test_security_a_study_cannot_leave_the_runs_folder(tmp_path: Path, capsys, name: str) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    arguments = ["--space", "wae_weight", f"--name={name}", "--runs-dir", str(runs), "--dry-run"]
    assert command_status(run, arguments) == (2 if name else 0)
    with pytest.raises(UserError):
        find_study(runs, name)
    assert [*tmp_path.iterdir(), *runs.iterdir()] == [runs]


@pytest.mark.parametrize("space", ["../../etc/passwd", "/etc/passwd", "..", "search_spaces/../x", "x\x00.py", "a b.py"])
def test_security_a_space_is_a_known_name_or_a_python_file(tmp_path: Path, capsys, space: str) -> None:
    assert command_status(run, ["--space", space, "--runs-dir", str(tmp_path / "runs")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("folder", ["../0009", "0001/../../x", "00a1", "-001", "0001 "])
def test_security_a_trial_folder_is_a_number(tmp_path: Path, folder: str) -> None:
    study = make_study(tmp_path, trials=1, epochs=1)
    stray = study / "trials" / folder
    stray.mkdir(parents=True, exist_ok=True)
    (stray / "trial.json").write_text(
        json.dumps({"number": 7, "origin": "search", "params": TrialConfig().to_params()})
    )
    assert 7 not in load_study(tmp_path, "toy").trials["number"].tolist()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
EPOCH = st.dictionaries(st.sampled_from(["epoch", "time", "seconds", "train/loss", "val/sample_fid", "x"]), JSON)
LINES = st.lists(st.binary(max_size=40) | (EPOCH | JSON).map(lambda value: json.dumps(value).encode()), max_size=6)
fuzzed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzzed
@given(lines=LINES)
def test_fuzz_any_metrics_file_is_read(tmp_path: Path, lines: list[bytes]) -> None:
    study = tmp_path / "toy"
    if not study.exists():
        make_study(tmp_path, trials=0)
        write_trial(study, 0, configs(1, 3, 0)[0][1], [], outcome="running")
    (study / "trials" / "0000" / "attempt-1" / "metrics.jsonl").write_bytes(b"\n".join(lines))
    frames = load_study(tmp_path, "toy")
    assert len(frames.trials) == 1
    assert frames.history["epoch"].is_unique


@fuzzed
@given(content=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_fuzz_any_json_file_is_an_object_or_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    assert isinstance(read_json(path), dict | None)
    assert all(isinstance(value, dict) for value in read_lines(path))


def test_security_deeply_nested_json_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("[" * 200_000)
    assert read_json(path) is None
    assert list(read_lines(path)) == []


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """The record of a study that can be taken up."""
    loaded = load_space("wae_weight")
    data = load_dataset("digits").summary
    directions = {f"val/{name}": METRICS[name].direction for name in loaded.space.objectives}
    settings = {"seed": 0, "epochs": 2, "sampler": "random", "scheduler": "none", "eta": None, "num_trials": 2}
    points = [dict(point) for point in loaded.space.first_points(data)]
    settings |= {"command": "x", "storage": None, "warm_start": {"study": "a", "id": "b", "points": points}}
    return new_study("fuzzed", loaded, data, directions, settings).model_dump(mode="json")


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, object]:
    """A field and what it holds now, `...` where it is gone; or a field of a field."""
    fields = ["format", "id", "name", "space", "objectives", "data", "seed", "epochs", "sampler", "scheduler", "eta"]
    fields += ["num_trials", "storage", "warm_start", "evaluation", "versions", "created", "outcome"]
    fields += ["data.name", "data.hash", "objectives.x", "warm_start.points", "warm_start.study"]
    return draw(st.sampled_from(fields)), draw(JSON | st.just(...) | st.integers(-2, 9) | st.sampled_from(NAMES))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(mutations(), max_size=3))
def test_fuzz_any_study_record_gives_a_study_or_one_line(
    tmp_path: Path, capsys, record: dict[str, Any], changes: list[tuple[str, object]]
) -> None:
    mutated = copy.deepcopy(record)
    for field, value in changes:
        *path, last = field.split(".")
        holder = mutated.get(path[0]) if path else mutated
        if isinstance(holder, dict):
            holder.pop(last, None)
            holder |= {} if value is ... else {last: value}
    directory = tmp_path / "fuzzed"
    directory.mkdir(exist_ok=True)
    (directory / "study.json").write_text(json.dumps(mutated))
    arguments = ["--space", "wae_weight", "--name", "fuzzed", "--runs-dir", str(tmp_path), "--resume", "--dry-run"]
    status = command_status(run, arguments)
    error = capsys.readouterr().err.strip().splitlines()
    assert (status, len(error)) in ((0, 0), (2, 1))
    assert status == 0 or changes
    assert [*tmp_path.iterdir(), *directory.iterdir()] == [directory, directory / "study.json"]


OPTIONS = ["--space", "--dataset", "--num-trials", "--epochs", "--seed", "--sampler", "--name", "--resume", "--list"]
OPTIONS += ["--cpus-per-trial", "--gpus-per-trial", "--max-concurrent", "--time-budget", "--replicates", "--runs-dir"]
WORDS = st.sampled_from([*OPTIONS, "0", "-1", "1e9", "nan", "wae_weight", "digits", "nope"]) | st.text(max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(WORDS, max_size=6))
def test_fuzz_any_command_line_is_done_or_one_line(tmp_path: Path, capsys, arguments: list[str]) -> None:
    status = command_status(run, [*arguments, "--data-dir", str(tmp_path), "--dry-run"])
    error = capsys.readouterr().err.strip().splitlines()
    assert (status, len(error)) in ((0, 0), (2, 1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "x", "/a/b"), "/a/b: No space left on device"),
        (PermissionError(13, "x"), "Permission denied"),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full [SQL: x]"), "database or disk is full"),
        (FileNotFoundError(2, "x", "/a"), None),
        (ValueError("disk"), None),
    ],
)
def test_refusals_of_the_disk_are_told_from_other_errors(error: Exception, text: str | None) -> None:
    assert disk_error_reason(error) == text
    try:
        raise RuntimeError("wrapped") from error
    except RuntimeError as wrapped:
        assert disk_error_reason(wrapped) == text
