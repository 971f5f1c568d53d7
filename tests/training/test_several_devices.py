"""Trainings on two devices, which are two processes on this processor: how they begin, go on, fail and end."""

from __future__ import annotations

import datetime
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from benchmarks.trainer import made_codes
from study.components import Components
from study.config import TrialConfig, UserError
from study.data.datasets import ImageData
from study.measure.features import Classifier
from study.measure.perceptual import Perceptual, perceptual_spec
from study.space import load_space
from study.training import follower
from study.training.errors import LostDevice, TrainingError
from study.training.loop import EpochResult
from study.training.pretrained import Pretrained
from study.training.several_devices import train_on
from tests.helpers import small

ROOT = Path(__file__).parents[2]
TWO = ["cpu", "cpu"]
BASE = {"width": 16, "latent_dim": 3, "epochs": 4, "weight": 0.1, "learning_rate": 1e-3, "batch_size": 33}
OWN = """
import multiprocessing
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

import study


@dataclass(frozen=True)
class Noisy(study.Network):
    name: ClassVar[str] = "noisy"
    share: float = 0.0

    def build(self, size):
        pixels = size.height * size.width
        encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, 16), nn.Tanh(), nn.Dropout(self.share), nn.Linear(16, size.encoder_outputs)
        )
        decoder = nn.Sequential(nn.Linear(size.latent_dim, pixels), nn.Unflatten(1, (1, size.height, size.width)))
        return encoder, decoder


class Norm(nn.BatchNorm1d):
    pass


@dataclass(frozen=True)
class Remembering(Noisy):
    name: ClassVar[str] = "remembering"

    def build(self, size):
        encoder, decoder = super().build(size)
        return nn.Sequential(encoder, Norm(size.encoder_outputs)), decoder


class Loose(study.Regularizer):
    name: ClassVar[str] = "loose"
    methods: ClassVar[dict[str, str]] = {"deterministic": "AE-loose"}
    weight_range: ClassVar[tuple[float, float]] = (1e-3, 1.0)

    def forward(self, model, posterior, z, generator):
        return (1 if multiprocessing.parent_process() is None else 100) * z.square().sum(dim=1).mean()


class Failing(study.Regularizer):
    name: ClassVar[str] = "failing"
    methods: ClassVar[dict[str, str]] = {"deterministic": "AE-failing"}

    def forward(self, model, posterior, z, generator):
        if multiprocessing.parent_process() is None:
            raise RuntimeError("out of memory")
        return z.square().sum(dim=1).mean()


SPACE = study.SearchSpace(question="?", suggest=lambda trial, data: {}, components=(Noisy, Remembering, Loose, Failing))
"""
"""A network of a user's own with dropout; one that keeps means of some images; a penalty that differs between
processes, and one that fails in the first alone."""
DRIVER = """
import multiprocessing, sys
import torch
from study.config import TrialConfig
from study.data.datasets import load_dataset
from study.training.pretrained import Pretrained
from study.training.several_devices import train_on

if __name__ == "__main__":
    data = load_dataset("digits")
    config = TrialConfig(latent_dim=2, width=8, epochs=100_000)
    for result in train_on(["cpu", "cpu"], config, data, evaluate=lambda model: {}, pretrained=Pretrained()):
        if result.epoch == 1:
            print(multiprocessing.active_children()[0].pid, flush=True)
"""
"""A training that does not end by itself; it prints the process id of its other device."""


@pytest.fixture(scope="module")
def data(digits: ImageData) -> ImageData:
    return small(digits, 100)


def _config(**changes: Any) -> TrialConfig:
    return TrialConfig.from_params({**BASE, **changes})


def _training(config: TrialConfig, data: ImageData, devices: list[str], **more: Any) -> Any:
    given: dict[str, Any] = {"evaluate": lambda model: {}, "pretrained": Pretrained(), **more}
    return train_on(devices, config, data, **given)


def _outcome(results: list[EpochResult]) -> tuple[list[dict[str, float]], dict[str, Any]]:
    return [result.train for result in results], results[-1].trainer.state()


def _assert_alike(found: list[EpochResult], expected: list[EpochResult]) -> None:
    means, state = _outcome(expected)
    own_means, own_state = _outcome(found)
    assert len(own_means) == len(means)
    for own, other in zip(own_means, means, strict=True):
        assert own == pytest.approx(other, rel=1e-5, abs=1e-5)
    for part in ("model", "regularizer", "optimizer", "critic_optimizer", "generator", "epoch"):
        torch.testing.assert_close(own_state[part], state[part], rtol=1e-5, atol=1e-5)


def _copied(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    torch.save(state, folder / "state.pt")
    return torch.load(folder / "state.pt", weights_only=True)


def _nothing_is_left() -> bool:
    return not multiprocessing.active_children() and not dist.is_initialized()


@pytest.mark.parametrize("order", [(TWO, ["cpu"]), (["cpu"], TWO)], ids=["two, then one", "one, then two"])
def test_a_training_goes_on_on_another_number_of_devices(tmp_path: Path, data: ImageData, order: Any) -> None:
    config = _config(regularizer="adversarial", learning_rate_schedule="cosine", seed=1, annealing="linear",
                     annealing_fraction=0.5)  # fmt: skip
    first = _training(config, data, order[0])
    begun = [next(first) for _ in range(2)]
    assert len(multiprocessing.active_children()) == len(order[0]) - 1
    state = _copied(begun[-1].trainer.state(), tmp_path)
    first.close()
    rest = list(_training(config, data, order[1], state=state))
    _assert_alike([*begun, *rest], list(_training(config, data, ["cpu"])))


def test_what_was_pretrained_reaches_the_other_process(data: ImageData) -> None:
    """The first stage, its codes, and the network of the perceptual term."""
    torch.manual_seed(0)
    features = Perceptual(Classifier(perceptual_spec(data.summary).architecture, data.summary))
    stacked, perceptual = _config(network="stacked", epochs=1), _config(perceptual_weight=0.1, epochs=1)
    for config, pretrained in ((stacked, made_codes(data)), (perceptual, Pretrained(features=features))):
        one, two = (list(_training(config, data, devices, pretrained=pretrained)) for devices in (["cpu"], TWO))
        _assert_alike(two, one)
    assert _nothing_is_left()


@functools.cache
def _own(path: Path) -> Components:
    return load_space(str(path)).space.own


def _own_config(path: Path, **changes: Any) -> TrialConfig:
    path.write_text(OWN)
    return TrialConfig.from_params({**BASE, "epochs": 2, **changes}, _own(path))


def test_a_network_of_a_users_own_is_trained_on_several_devices(tmp_path: Path, data: ImageData) -> None:
    path = tmp_path / "own.py"
    config = _own_config(path, network="noisy")
    load = functools.partial(_own, path)
    one, two = (list(_training(config, data, devices, components=load)) for devices in (["cpu"], TWO))
    _assert_alike(two, one)


def test_dropout_differs_between_the_devices_and_not_from_run_to_run(tmp_path: Path, data: ImageData) -> None:
    path = tmp_path / "own.py"
    config = _own_config(path, network="noisy", **{"noisy.share": 0.5})
    load = functools.partial(_own, path)
    first, again = (list(_training(config, data, TWO, components=load)) for _ in range(2))
    _assert_alike(again, first)
    [alone, *_] = _training(config, data, ["cpu"], components=load)
    assert alone.train != first[0].train


@pytest.mark.parametrize("changes", [{"regularizer": "loose", "weight": 10.0}, {"network": "remembering"}])
def test_what_differs_between_the_processes_ends_the_training(tmp_path: Path, data: ImageData, changes: Any) -> None:
    path = tmp_path / "own.py"
    config = _own_config(path, **changes)
    with pytest.raises(TrainingError, match=r"different models in epoch 1 .* on one device"):
        list(_training(config, data, TWO, components=functools.partial(_own, path)))
    assert _nothing_is_left()


def test_an_error_of_the_first_process_alone_ends_the_others(tmp_path: Path, data: ImageData) -> None:
    path = tmp_path / "own.py"
    config = _own_config(path, regularizer="failing")
    with pytest.raises(RuntimeError, match="out of memory"):
        list(_training(config, data, TWO, components=functools.partial(_own, path)))
    assert _nothing_is_left()


def test_a_batch_that_is_too_small_is_refused(data: ImageData) -> None:
    with pytest.raises(UserError, match="batch_size=2: fewer images than the 3 devices"):
        next(_training(_config(batch_size=2), data, ["cpu"] * 3))
    assert _nothing_is_left()


def test_a_loss_that_is_not_finite_ends_it_as_on_one_device(data: ImageData) -> None:
    with pytest.raises(TrainingError, match=r"the loss became .*learning_rate"):
        list(_training(_config(regularizer="kl", encoder="gaussian", learning_rate=1e30), data, TWO))
    assert _nothing_is_left()


def test_a_training_that_is_closed_leaves_no_process(data: ImageData) -> None:
    training = _training(_config(), data, TWO)
    next(training)
    [other] = multiprocessing.active_children()
    pid = other.pid
    training.close()
    assert _nothing_is_left() and not _runs(pid)


def test_a_killed_process_ends_the_training_with_one_line(data: ImageData) -> None:
    training = _training(_config(epochs=1000), data, TWO)
    next(training)
    [other] = multiprocessing.active_children()
    os.kill(other.pid or 0, signal.SIGKILL)
    with pytest.raises(LostDevice, match=r"^the trial's process on cpu ended: status -9$"):
        for _ in training:
            pass
    assert _nothing_is_left()


@pytest.mark.fault
def test_a_process_that_hangs_ends_the_training(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "TIMEOUT", datetime.timedelta(seconds=3))  # of this process
    training = _training(_config(epochs=1000), data, TWO)
    next(training)
    [other] = multiprocessing.active_children()
    os.kill(other.pid or 0, signal.SIGSTOP)
    with pytest.raises(LostDevice, match="does not answer"):
        for _ in training:
            pass
    assert _nothing_is_left()


def _broken() -> Components:
    raise RuntimeError("no such module")


def test_a_process_that_does_not_begin_says_why(data: ImageData) -> None:
    with pytest.raises(LostDevice, match=r"^the trial's process on cpu ended: RuntimeError: no such module$"):
        next(_training(_config(), data, TWO, components=_broken))
    assert _nothing_is_left()


def _runs(pid: int | None) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked after does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.fault
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_a_killed_trial(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        other = int(process.stdout.readline())
        assert _runs(other)
        process.send_signal(number)
    _wait_for(lambda: not _runs(other))
