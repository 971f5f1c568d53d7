"""One Ray session for the whole test run, and the small data sets the tests share."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from study.cli import command_status
from study.data.datasets import ImageData, load_dataset
from study.run import run
from tests.helpers import small

OWN_SPACE = """
from study import Metric, SearchSpace


def ink(real, generated):
    return abs(float(real.mean() - generated.mean()))


def suggest(trial, data):
    return {"weight": trial.suggest_float("weight", 0.1, 1.0, log=True)}


SPACE = SearchSpace(
    question="?",
    suggest=suggest,
    base={"regularizer": "mmd", "kernel": "imq"},
    components=[Metric(name="ink", direction="minimize", function=ink, sees="images")],
)
"""

# A machine may be busy with other work: no test asserts a time.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def digits() -> ImageData:
    """The default data set, whole."""
    return load_dataset("digits")


@pytest.fixture(scope="session")
def few_digits(digits: ImageData) -> ImageData:
    """The first images of each split of the default data set."""
    return small(digits, 256)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all tests' studies share: feature networks are trained once per data set, not once per folder of studies."""
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    path.mkdir(exist_ok=True)
    os.environ["STUDY_CACHE_DIR"] = str(path)
    os.environ["STUDY_FORECAST"] = "off"  # many tests make dry runs
    return path


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray on two CPUs; starting it costs seconds, so tests share it."""
    from study.tuning.cluster import Cluster, Resources  # sets Ray's environment before it starts

    with Cluster(None, Resources(cpus=1)) as cluster:
        cluster.join()
        yield


@pytest.fixture(scope="session")
def small_study(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of studies, in a path with a blank: one small finished study `small`, whose space brings a metric.

    Tests copy it. The space is `mine.py` beside the folder.
    """
    runs = tmp_path_factory.mktemp("small") / "my runs"
    (runs.parent / "mine.py").write_text(OWN_SPACE)
    assert command_status(run, [str(part) for part in small_study_options(runs, runs.parent / "mine.py")]) == 0
    return runs


def small_study_options(runs: Path, space: Path) -> list[object]:
    """The options of `study.run` with which `small_study` began."""
    arguments = ["--space", space, "--study", "small", "--num-trials", 2, "--epochs", 2, "--runs-dir", runs]
    return [*arguments, "--scheduler", "none"]


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """Where the real MNIST lies beside the project; the test is skipped where it does not."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not (path / "MNIST").is_dir():
        pytest.skip("real MNIST is not in ../shared/data")
    return path


@pytest.fixture(scope="session", autouse=True)
def _collector() -> Iterator[None]:
    """Lets the collector see again what `study.tuning.imports` hid: torch's compiler complains about it at exit."""
    yield
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _signals() -> None:
    """A run in the background ignores SIGINT, and so would every process it starts; the tests send it to some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """MLflow writes where it was last pointed into the environment; the next test starts without that."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Results do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
