"""A space with components of its own, from a file outside the package to an exported model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from torch import nn

import study
from study.cli import command_status
from study.components import Components
from study.config import TrialConfig
from study.data.datasets import ImageData
from study.disk.code import own_components
from study.disk.study_json import read_study
from study.export import export
from study.exporting.trained import load_model
from study.own_figures import draw_own_figures
from study.results.frame import load_study
from study.results.selection import select
from study.retrain import retrain
from study.training.loop import Trainer
from tests.test_run import study_run

EXAMPLE = Path(__file__).parents[1] / "examples" / "my_space.py"
COPIED = """        study.Metric(
            name="copied",
            direction="none",
            function=lambda real, generated: float(__file__.endswith("runs/own/code/my_space.py")),
        ),
"""
"""A metric that is 1 where the study's copy of the code runs."""
NETWORK = '        study.FeatureNetwork(name="brightness", function=brightness),\n'
FIGURES = """        study.OwnFigure(name="all_errors", draw=errors, caption="The errors & nothing else."),
        study.OwnFigure(name="faulty", draw=faulty),
"""
CODE = """
class Sure(study.Density):
    # N(0, I) of whitened codes, and so sure of it that it wins

    name: ClassVar[str] = "sure"

    def __init__(self, units: int) -> None:
        super().__init__()
        self.register_buffer("deviation", CERTAINTY * torch.ones(units))

    @classmethod
    def fit(cls, train: Tensor, held_out: Tensor, seed: int, scale: float = 0.5) -> Any:
        density = cls(train.shape[1])
        density.deviation = torch.full((train.shape[1],), scale)
        return density

    @property
    def sizes(self) -> dict[str, Any]:
        return {"units": len(self.deviation)}

    def log_prob(self, u: Tensor) -> Tensor:
        return 1000 - u.square().sum(dim=1)

    def sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        return self.deviation * torch.randn(n, len(self.deviation), generator=generator)


CERTAINTY = 1.0


def brightness(x: Tensor) -> Tensor:
    return torch.cat([x.mean(dim=2), x.mean(dim=3)], dim=2).flatten(1)


def errors(found: study.Study) -> Any:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot(found.trials["val/reconstruction_mse"])
    return figure


def faulty(found: study.Study) -> Any:
    raise ValueError("my own fault")


class Picky(Sure):
    name: ClassVar[str] = "picky"

    @classmethod
    def fit(cls, train: Tensor, held_out: Tensor, seed: int) -> Any:
        if len(train) != 360:  # as the codes of a dry run
            raise ValueError("my own fault")
        return super().fit(train, held_out, seed)


"""
BROKEN = """
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

import study


class Layer(nn.Module):
    def __init__(self, size, outputs):
        super().__init__()
        self.layer = nn.Linear(size, outputs)

    def forward(self, x):
        %s
        return self.layer(x)


@dataclass(frozen=True)
class Mine(study.Network):
    name: ClassVar[str] = "mine"

    def build(self, size):
        pixels = size.height * size.width
        decoder = nn.Sequential(nn.Linear(size.latent_dim, pixels), nn.Unflatten(1, (1, size.height, size.width)))
        return nn.Sequential(nn.Flatten(), Layer(pixels, %s)), decoder


SPACE = study.SearchSpace(
    question="?",
    suggest=lambda trial, data: {"latent_dim": trial.suggest_int("latent_dim", 2, 4)},
    base={"network": "mine", "epochs": 1},
    components=(Mine,),
    num_trials=1,
)
"""


@pytest.fixture(scope="module")
def finished(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a study whose own file is gone."""
    runs = tmp_path_factory.mktemp("own") / "runs"
    space = runs.parent / "elsewhere" / "my_space.py"
    space.parent.mkdir()
    text = EXAMPLE.read_text().replace(
        "        study.DataSource(",
        f"        Sure,\n        Picky,\n{NETWORK}{FIGURES}{COPIED}        study.DataSource(",
    )
    space.write_text(text.replace("def suggest(", f"{CODE}def suggest("))
    options = ["--num-trials", 3, "--epochs", 2, "--scheduler", "none", "--study", "own", "--runs-dir", runs]
    assert study_run("--space", space, *options) == 0
    space.unlink()
    return runs


def test_own_hyperparameters_and_metrics_are_columns_like_any_other(finished: Path) -> None:
    trials: Any = load_study(finished, "own").trials
    assert list(trials["outcome"]) == ["completed"] * 3
    assert set(trials["dataset"]) == {"shapes"}  # the one that the space brings
    assert trials["mixer.depth"].dtype.kind == "i" and trials["mixer.depth"][0] == 1
    assert list(trials["method"]) == ["AE", "WAE-Sinkhorn", "WAE-Sinkhorn"]
    assert np.isnan(trials["sinkhorn.blur"][0]) and trials["sinkhorn.blur"][1] == 0.5  # a baseline has no such penalty
    assert trials["val/ink"].between(0, 1).all() and trials["test/ink"].notna().all()
    baselines = load_study(finished, "own").study.evaluation["real_data"]
    assert 0 <= baselines["validation"]["ink"] < 0.05


def test_trials_run_the_code_that_the_study_carries(finished: Path) -> None:
    found = load_study(finished, "own")
    assert found.trials["val/copied"].to_list() == [1.0] * 3
    assert found.study.evaluation["real_data"]["validation"]["copied"] == 0  # this process ran the file itself


def test_mlflow_has_them_under_the_same_names(finished: Path) -> None:
    from study.tracking.reader import load_from_mlflow

    from_disk = load_study(finished, "own").trials
    from_mlflow = load_from_mlflow(f"sqlite:///{finished}/mlflow.db", "own").trials
    for name in ("method", "mixer.depth", "sinkhorn.blur", "val/ink"):
        assert from_mlflow[name].dtype == from_disk[name].dtype
        assert from_mlflow[name].equals(from_disk[name]), name


def test_the_model_is_loaded_from_the_code_that_the_study_carries(finished: Path) -> None:
    model = load_model(select(finished, "own", trial=1))
    assert "Shortcut" in [type(layer).__name__ for layer in model.encoder.children()]
    assert model.config.method == "WAE-Sinkhorn" and model.default_prior == "normal"


def test_a_prior_of_its_own_wins_is_restored_and_one_that_fails_costs_a_warning_alone(finished: Path) -> None:
    prior = load_model(select(finished, "own", trial=1)).prior
    assert prior is not None and prior.density is not None and prior.density.name == "sure"
    assert cast("torch.Tensor", prior.density.deviation).unique().tolist() == [0.5]
    [warning] = (finished / "own" / "trials" / "0001" / "attempt-1" / "warnings.txt").read_text().splitlines()
    assert "prior picky is left out: " in warning and warning.endswith(": ValueError: my own fault")
    assert f"{finished.parent / 'elsewhere' / 'my_space.py'}, line " in warning


def test_samples_are_compared_in_the_feature_network_that_the_space_brings(finished: Path) -> None:
    record = load_study(finished, "own").study
    first, second = (record.evaluation[name] for name in ("instrument", "second_instrument"))
    assert record.feature_network == first["name"] == "brightness" and len(first["hash"]) == 24
    assert second["name"] in ("classes", "contrast", "contrast, another network")


def test_a_figure_of_its_own_reaches_the_folder_the_report_and_mlflow(finished: Path) -> None:
    from analysis.reporting.embedding import embedded
    from analysis.reporting.page import own_figures
    from study.tracking.reader import load_from_mlflow

    picture = (finished / "own" / "figure-all_errors.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and not (finished / "own" / "figure-faulty.png").exists()
    page = (finished / "own" / "report" / "report.html").read_text()
    assert "<figcaption>The errors &amp; nothing else.</figcaption>" in page
    assert embedded(picture) in page
    assert "<li>Faulty: it could not be drawn when the study ended</li>" in page
    for frames in (load_study(finished, "own"), load_from_mlflow(f"sqlite:///{finished}/mlflow.db", "own")):
        [figure], [_] = own_figures(frames)
        assert figure["image"] == embedded(picture)


def test_a_figure_of_its_own_is_drawn_on_demand_and_an_error_in_it_names_its_line(finished: Path) -> None:
    found = study.load_study(finished / "own")
    assert np.size(found.figure("all_errors").axes[0].lines[0].get_xdata()) == len(found.trials)
    with pytest.raises(study.UserError, match=r"my_space\.py, line \d+: ValueError: my own fault"):
        found.figure("faulty")
    [line] = draw_own_figures([study.OwnFigure(name="number", draw=cast("Any", lambda found: 3))], found)
    assert line == "figure   number not drawn: its draw returned int; return a matplotlib Figure"


def test_an_exported_model_needs_torch_and_safetensors_alone(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    arguments = ["--study", "own", "--trial", "1", "--runs-dir", str(finished), "--out", str(out)]
    assert command_status(export, [*arguments, "--no-log-to-mlflow"]) == 0
    program = (
        f"import sys; sys.path.insert(0, {str(out)!r})\n"
        "import torch, model\n"
        "found = model.load()\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] in ('study', 'ray', 'optuna', 'mlflow')]\n"
        "assert type(found.prior.density).__name__ == 'Sure'\n"
        "generator = torch.Generator().manual_seed(1)\n"
        "print(found.sample(5, generator, prior='fitted').flatten().tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    model = load_model(select(finished, "own", trial=1))
    expected = model.sample(5, torch.Generator().manual_seed(1), prior="fitted").flatten().tolist()
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-6)


def test_a_trial_is_trained_longer_from_the_carried_code(finished: Path) -> None:
    arguments = ["--study", "own", "--trial", "1", "--epochs", "3", "--runs-dir", str(finished)]
    assert command_status(retrain, arguments) == 0
    trials = load_study(finished, "own").trials
    assert list(trials["origin"])[-1] == "retrain" and trials["method"].iloc[-1] == "WAE-Sinkhorn"


@pytest.mark.parametrize(
    ("forward", "outputs", "word"),
    [
        ("raise ValueError('my own fault')", "size.encoder_outputs", "line 16: ValueError: my own fault"),
        ("pass", "size.encoder_outputs + 1", "its encoder returns"),
        ("return self.layer(x) if float(x.mean()) < 9 else x", "size.encoder_outputs + 1", "its encoder returns"),
        ("pass", "size.missing", "AttributeError: 'NetworkSize' object has no attribute 'missing'"),
    ],
)
def test_a_broken_network_is_told_by_a_dry_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], forward: str, outputs: str, word: str
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(BROKEN % (forward, outputs))
    assert study_run("--space", path, "--dry-run", "--runs-dir", tmp_path / "runs") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert word in line and ("broken.py" in line or "mine" in line)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "import study",
            "import study\nfor _ in (): pass",
            "broken, line 8: only imports, definitions and assignments",
        ),
        ("import nn", "import nn\nimport parts", ""),  # nothing uses it
        ("(nn.Module)", "(parts.nn.Module)", "broken: import names from parts as they are, not 'parts'"),
        ("(nn.Module)", "(Base.Module)", "broken: import names from parts as they are, not 'nn as Base'"),
        (
            "    name: ClassVar",
            "    assert 'search_space_files' in __name__\n    name: ClassVar",
            "does not load: Assert",
        ),
        ("    name: ClassVar", "    name: ClassVar", ""),
    ],
)
def test_a_dry_run_warns_of_a_network_that_cannot_be_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, reason: str
) -> None:
    path = tmp_path / "broken.py"
    imports = {"(parts.nn.Module)": "import parts\n", "(Base.Module)": "from parts import nn as Base\n"}
    path.write_text(imports.get(new, "") + (BROKEN % ("pass", "size.encoder_outputs")).replace(old, new, 1))
    (tmp_path / "parts.py").write_text("from torch import nn\n")
    assert study_run("--space", path, "--dry-run", "--runs-dir", tmp_path / "runs") == 0
    printed = capsys.readouterr()
    assert "latent_dim" in printed.out
    if not reason:
        assert printed.err == ""
        return
    [line] = printed.err.splitlines()
    assert line.startswith("warning: network=mine: study.export will refuse such a trial: ") and reason in line
    with pytest.warns(UserWarning, match="study.export will refuse such a trial"):
        assert len(study.preview_study(path, runs_dir=tmp_path / "runs")) == 1


def test_an_error_while_training_names_the_users_line_and_the_mended_file_goes_on(
    tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(BROKEN % ("assert len(x) <= 4, 'only on paper'", "size.encoder_outputs"))
    options = ["--space", path, "--study", "b", "--runs-dir", tmp_path / "runs", "--max-failures", 1]
    assert study_run(*options) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert f"{path}, line 16: AssertionError: only on paper" in output
    path.write_text(BROKEN % ("pass", "size.encoder_outputs"))
    assert study_run(*options, "--resume") == 0
    record = read_study(tmp_path / "runs" / "b")
    assert record is not None
    assert [item.name for item in own_components(record, tmp_path / "runs" / "b").items] == ["mine"]
    path.write_text(BROKEN % ("x = x + 1", "size.encoder_outputs"))
    assert study_run(*options, "--resume", "--num-trials", 2) == 2
    assert f"{path} has changed since study 'b' began" in capsys.readouterr().err


def test_dropout_draws_the_same_numbers_in_a_trial_that_is_repeated(few_digits: ImageData) -> None:
    @dataclass(frozen=True)
    class Dropping(study.Network):
        name: ClassVar[str] = "dropping"

        def build(self, size: study.NetworkSize) -> tuple[nn.Module, nn.Module]:
            pixels = size.height * size.width
            decoder = nn.Sequential(nn.Linear(size.latent_dim, pixels), nn.Unflatten(1, (1, size.height, size.width)))
            return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(pixels, size.encoder_outputs)), decoder

    config = TrialConfig(network="dropping", epochs=2, components=Components((Dropping,)))
    losses = []
    for _ in range(2):
        torch.manual_seed(torch.seed() % 2**31)  # whatever ran before
        trainer = Trainer(config, few_digits)
        losses.append([trainer.train_epoch()["loss"] for _ in range(2)])
    state = torch.get_rng_state()
    trainer.train_epoch()
    assert losses[0] == losses[1] and torch.equal(torch.get_rng_state(), state)
