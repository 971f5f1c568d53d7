"""A model taken away: it works without this project, and gives what the study's own model gives."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file, save_file

from study.cli import command_status
from study.config import TrialConfig
from study.export import export
from study.exporting.standalone import Given, standalone_source
from study.model.autoencoder import Autoencoder
from study.model.building import LIKELIHOODS, NETWORKS
from study.tracking.store import connect, sqlite_uri
from tests.helpers import made_summary, units
from tests.helpers_model import made_model, write_study

PAIRS = [
    (network, likelihood)
    for network, likelihood in itertools.product(NETWORKS, LIKELIHOODS)
    if network != "stacked" or LIKELIHOODS[likelihood].unbounded
]

AWAY = """
import importlib.util, sys

class NoProject:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("study", "analysis", "search_spaces", "mlflow", "ray", "optuna", "sklearn"):
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, NoProject())
import torch
from pathlib import Path
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)
home = Path(sys.argv[1])
for folder in sorted(home.iterdir()):
    spec = importlib.util.spec_from_file_location(folder.name, folder / "model.py")
    module = sys.modules[folder.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = torch.get_rng_state()
    model = module.load()
    assert torch.equal(before, torch.get_rng_state())
    x = load_file(home.parent / "x.safetensors")[folder.name]
    encoded = model.encode(x)
    found = {"mu": encoded.mu, "reconstruct": model.reconstruct(x), "decode": model.decode(encoded.mu)}
    found["sample"] = model.sample(16, torch.Generator().manual_seed(3))
    found["normal"], found["fitted"] = (
        model.sample(64, torch.Generator().manual_seed(3), prior=prior) for prior in ("normal", "fitted")
    )
    found["interpolate"] = model.interpolate(x[:2], x[2:4], 5)
    if encoded.logvar is not None:
        found["logvar"] = encoded.logvar
    found = {name: tensor.detach().contiguous() for name, tensor in found.items()}
    save_file(found, home.parent / f"{folder.name}.safetensors")
assert not any(name.split(".")[0] == "study" for name in sys.modules)
"""


def run_away(script: str, *arguments: object, directory: Path) -> str:
    """Runs a script in a fresh interpreter far from this project; gives its output."""
    (directory / "script.py").write_text(script)
    command = [sys.executable, "-IB", str(directory / "script.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def study_export(*arguments: object) -> int:
    return command_status(export, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def models() -> list[Autoencoder]:
    """One model of every network and likelihood, by turns with a Gaussian encoder, on grey and on coloured images.

    Every fourth one has come to a weight of its own, which the model keeps.
    """
    summaries = made_summary(1, 8, 8), made_summary(3, 9, 10)
    adapted = {"regularizer": "kl", "weight": 0.1, "target_error": 0.02}
    return [
        made_model(
            TrialConfig(
                network=network,
                likelihood=likelihood,
                width=4,
                latent_dim=units(network, summary),
                encoder="deterministic" if index % 2 else "gaussian",
                epochs=2,
                seed=index,
                **({} if index % 4 else adapted),
            ),
            summary,
        )
        for index, (network, likelihood) in enumerate(PAIRS)
        for summary in [summaries[index // 2 % 2]]
    ]


@pytest.fixture(scope="module")
def away(models: list[Autoencoder], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """What the exported models gave in a process without this project, and the images they were given."""
    directory = tmp_path_factory.mktemp("away")
    images = {}
    for index, model in enumerate(models):  # data sets differ, so each model has a study of its own
        write_study(directory / "runs" / f"study{index}", model.summary, {0: model})
        arguments = ["--study", f"study{index}", "--runs-dir", directory / "runs", "--no-log-to-mlflow"]
        assert study_export(*arguments, "--out", directory / "exported" / f"m{index}") == 0
        images[f"m{index}"] = torch.rand(4, *model.summary.shape, generator=torch.Generator().manual_seed(index))
    save_file(images, directory / "x.safetensors")
    run_away(AWAY, directory / "exported", directory=directory)
    return directory, images


@pytest.mark.parametrize("index", range(len(PAIRS)), ids=["-".join(pair) for pair in PAIRS])
def test_an_exported_model_gives_the_same_without_the_project(
    models: list[Autoencoder], away: tuple[Path, dict[str, torch.Tensor]], index: int
) -> None:
    directory, images = away
    model, x, found = models[index], images[f"m{index}"], load_file(directory / f"m{index}.safetensors")
    posterior = model.encode(x)
    expected = {"mu": posterior.mu, "reconstruct": model.reconstruct(x), "decode": model.decode(posterior.mu)}
    expected["sample"] = model.sample(16, torch.Generator().manual_seed(3))
    for prior in ("normal", "fitted"):
        expected[prior] = model.sample(64, torch.Generator().manual_seed(3), prior=prior)
    expected["interpolate"] = model.interpolate(x[:2], x[2:4], 5)
    if posterior.logvar is not None:
        expected["logvar"] = posterior.logvar
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor.detach(), atol=1e-6, rtol=0)
    assert found["sample"].shape == (16, *model.summary.shape)
    low, high = found["sample"].aminmax()
    assert low >= 0 and high <= 1


def test_the_folder_holds_three_files_and_only_what_this_network_needs(away: tuple[Path, object]) -> None:
    folder = away[0] / "exported" / f"m{PAIRS.index(('mlp', 'gaussian'))}"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.py", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    assert (config["trial"], config["params"]["network"]) == (0, "mlp")
    assert config["metrics"] == {"val/reconstruction_mse": 0.01, "val/sample_fid": 40.0}
    tree = ast.parse((folder / "model.py").read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert {"load", "Autoencoder", "mlp", "Gaussian"} <= defined
    assert not {"conv", "Bernoulli", "compute_loss", "train_first_stage"} & defined
    imported = {
        name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    imported |= {(node.module or "").split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert imported - sys.stdlib_module_names == {"torch", "safetensors"}


PYFUNC = """
import sys

class NoProject:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("study", "analysis", "search_spaces"):
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, NoProject())
import mlflow, numpy as np, pandas as pd, torch

torch.set_num_threads(1)
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
x = np.load("x.npy")
frame = pd.DataFrame({"image": [image.ravel() for image in x]})
np.savez("found.npz", array=model.predict(x), frame=model.predict(frame),
         sample=model.predict(x, params={"n": 16, "seed": 3}))
assert not any(name.split(".")[0] == "study" for name in sys.modules)
"""


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, dict[int, Autoencoder]]:
    """A runs folder with a study `toy` of three trials; the second is the knee."""
    configs = {
        0: TrialConfig(network="mlp", width=16, latent_dim=2, epochs=2),
        1: TrialConfig(
            network="conv", width=4, latent_dim=3, encoder="gaussian", regularizer="kl", weight=0.1, epochs=2
        ),
        2: TrialConfig(network="mlp", width=8, latent_dim=1, epochs=2, seed=2),
    }
    models = {number: made_model(config, made_summary()) for number, config in configs.items()}
    write_study(tmp_path / "runs" / "toy", made_summary(), models)
    return tmp_path / "runs", models


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow about itself, when imported
def test_mlflow_loads_it_in_a_fresh_process(
    study: tuple[Path, dict[int, Autoencoder]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, models = study
    arguments = ["--study", "toy", "--runs-dir", runs, "--out", tmp_path / "out"]
    assert study_export(*arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    uri = captured.out.split()[-1]
    client: MlflowClient = connect(sqlite_uri(runs / "mlflow.db"))
    [run] = client.search_runs(["1"], "tags.`trial.number` = '1'")
    assert run.outputs is not None
    assert uri == f"models:/{run.outputs.model_outputs[0].model_id}"
    x = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    np.save(tmp_path / "x.npy", x)
    run_away(PYFUNC, sqlite_uri(runs / "mlflow.db"), uri, directory=tmp_path)
    found = np.load(tmp_path / "found.npz")
    expected = models[1].reconstruct(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found["array"], expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(found["frame"], expected, atol=1e-6, rtol=0)
    sample = models[1].sample(16, torch.Generator().manual_seed(3)).numpy()
    np.testing.assert_allclose(found["sample"], sample, atol=1e-6, rtol=0)

    files = [path for path in (runs / "mlartifacts").rglob("*") if path.is_file()]
    assert {"model.py", "config.json", "pyfunc_model.py", "input_example.json"} <= {path.name for path in files}
    assert not [path.name for path in files if path.suffix in (".pkl", ".pickle", ".pt")]
    assert study_export(*arguments) == 0  # once more: nothing is logged twice, and the run is as it was
    [again] = client.search_runs(["1"], "tags.`trial.number` = '1'")
    assert again.outputs is not None and len(again.outputs.model_outputs) == 1
    assert (again.info.status, again.info.end_time) == ("FINISHED", run.info.end_time)
    assert sorted(path for path in (runs / "mlartifacts").rglob("*") if path.is_file()) == sorted(files)


def test_a_dead_server_costs_the_log_alone(study: tuple[Path, object], tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    arguments = ["--study", "toy", "--runs-dir", study[0], "--out", tmp_path / "out"]
    assert study_export(*arguments, "--tracking-uri", "http://127.0.0.1:9") == 0
    assert "not logged" in capsys.readouterr().err
    assert (tmp_path / "out" / "model.py").is_file()


def test_the_folder_is_called_model_unless_another_is_named(study: tuple[Path, object], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert study_export("--study", "toy", "--runs-dir", study[0], "--no-log-to-mlflow") == 0
    assert (tmp_path / "model" / "model.py").is_file()


def test_bad_usage_is_one_line(study: tuple[Path, object], tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    for arguments, word in [
        (["--study", "nope"], "toy"),
        (["--study", "toy", "--trial", "9"], "0 to 2"),
        (["--study", "toy", "--trial", "1", "--knee"], "one of"),
        (["--study", "toy", "--tracking-uri", "gopher://x"], "tracking"),
        (["--study", "toy", "--out", tmp_path / "file"], "--out"),
    ]:
        out = ["--out", tmp_path / "new"] if "--out" not in arguments else []
        assert study_export("--runs-dir", study[0], "--no-log-to-mlflow", *out, *arguments) == 2
        captured = capsys.readouterr().err.strip()
        assert len(captured.splitlines()) == 1 and word in captured
    assert not (tmp_path / "new").exists()


def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> str:
    name = f"toy_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    for module, source in {"__init__": "", **modules}.items():
        (tmp_path / name / f"{module}.py").write_text(source.replace("PACKAGE", name))
    monkeypatch.syspath_prepend(tmp_path)
    return f"{name}.root"


def test_gathered_source_runs_like_the_modules_it_came_from(tmp_path: Path, monkeypatch) -> None:
    root = _package(
        tmp_path,
        monkeypatch,
        root='"""Top."""\nfrom __future__ import annotations\nfrom PACKAGE.parts import TABLE, twice\n'
        "ANSWER = twice(TABLE['b']())\n",
        parts="import math as m\nimport json\nLOW, HIGH = 3, 4\n'''The ends.'''\ndef unused():\n    return json\n"
        "def twice(x):\n    return 2 * x + m.floor(0.5)\ndef a():\n    return LOW\ndef b():\n    return HIGH\n"
        "TABLE: dict = {'a': a, 'b': b}\n",
    )
    source = standalone_source(Given({"TABLE": "{'b': b}"}, {}), root)
    names: dict[str, object] = {}
    exec(compile(source, "gathered", "exec"), names)
    assert names["ANSWER"] == 8
    assert "def a" not in source and "unused" not in source and "json" not in source and '"""Top."""' in source


@pytest.mark.parametrize(
    ("root", "parts", "word"),
    [
        ("import PACKAGE.parts\n", "", "import names"),
        ("from PACKAGE.parts import a as b\n", "a = 1\n", "do not rename"),
        ("from .parts import a\n", "a = 1\n", "full name"),
        ("from PACKAGE.parts import a\nprint(a)\n", "a = 1\n", "only imports"),
        ("from PACKAGE.parts import a\ndef _x():\n    return a()\n", "def a():\n    return _x()\n_x = len\n", "_x"),
    ],
)
def test_source_that_cannot_be_gathered_is_refused(
    tmp_path: Path, monkeypatch, root: str, parts: str, word: str
) -> None:
    name = _package(tmp_path, monkeypatch, root=root, parts=parts)
    with pytest.raises(ValueError, match=word):
        standalone_source(Given({}, {}), name)
