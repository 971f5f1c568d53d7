"""A trial that was cut off goes on from files that may be damaged: it uses what it can trust and names the rest."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from study.components import NO_COMPONENTS
from study.config import TrialConfig
from study.data.datasets import ImageData
from study.disk.layout import stop_path
from study.measure.context import EvaluationContext, prepare_context
from study.measure.evaluate import Evaluator
from study.training import checkpoint
from study.training.errors import LostDevice
from study.tuning import leaving, trainable
from tests.helpers import Session

CONFIG = TrialConfig(latent_dim=2, width=16, epochs=16)  # evaluated, and saved, every second epoch
CUT_OFF = 8  # a rung, like epochs 2 and 4


@pytest.fixture(scope="module")
def context(few_digits: ImageData, cache: Path) -> EvaluationContext:
    return prepare_context(few_digits, cache)


Train = Callable[[Path, int], list[int]]


@pytest.fixture
def train(few_digits: ImageData, context: EvaluationContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Runs a trial in this process until it has saved an epoch's checkpoint; gives the epochs reported."""

    def run(directory: Path, until: int) -> list[int]:
        session = Session()
        save = checkpoint.save

        def save_and_die(attempt: Path, epoch: int, state: dict[str, Any]) -> None:
            save(attempt, epoch, state)
            if epoch == until:
                raise SystemExit

        monkeypatch.setattr(trainable.tune, "report", session.report)
        monkeypatch.setattr(trainable, "process_info", lambda: {"device": "cpu"})  # Ray, when asked, would start itself
        work = {"directory": str(directory), "params": CONFIG.to_params()}
        shared = {"data": trainable.pack(few_digits), "context": context, "cache": tmp_path / "cache"}
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(trainable.checkpoint, "save", save_and_die)
            trainable.run_trial(work, **shared, threads=1, rungs=True)
        return [report["epoch"] for report in session.reports]

    return run


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "trial"


@pytest.fixture
def cut_off(kept: Path, train: Train, tmp_path: Path) -> Path:
    """The folder of a trial that was cut off after epoch 8, with the checkpoints of epochs 6 and 8; trained once."""
    if not kept.exists():
        kept.mkdir()
        assert train(kept, CUT_OFF) == [2, 4]
    return Path(shutil.copytree(kept, tmp_path / "trial"))


def checkpoints(directory: Path) -> list[Path]:
    return sorted(directory.glob("attempt-1/*.pt"))


def lines(directory: Path, attempt: int) -> list[dict[str, float]]:
    content = (directory / f"attempt-{attempt}" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in content if line.endswith("}")]


def _nothing(directory: Path) -> None:
    assert [path.name for path in checkpoints(directory)] == ["checkpoint-000006.pt", "checkpoint-000008.pt"]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _both(damage: Callable[[Path], None]) -> Callable[[Path], object]:
    return lambda directory: [damage(path) for path in checkpoints(directory)]


def _keep_lines(directory: Path, whole: int, half: bool = False) -> None:
    path = directory / "attempt-1" / "metrics.jsonl"
    content = path.read_text().splitlines(keepends=True)
    path.write_text("".join(content[:whole]) + (content[whole][:40] if half else ""))


@pytest.mark.parametrize(
    ("damage", "goes_on_from", "said"),
    [
        pytest.param(_nothing, 8, [], id="nothing"),
        pytest.param(lambda trial: _truncate(checkpoints(trial)[-1]), 6, ["checksum"], id="truncated"),
        pytest.param(lambda trial: _flip(checkpoints(trial)[-1]), 6, ["checksum"], id="flipped"),
        pytest.param(lambda trial: checkpoints(trial)[-1].unlink(), 6, [], id="deleted"),
        pytest.param(_both(_flip), 0, ["checksum", "checksum", "first epoch"], id="both flipped"),
        pytest.param(_both(Path.unlink), 0, ["first epoch"], id="both deleted"),
        pytest.param(lambda trial: _keep_lines(trial, 7, half=True), 6, ["lacks epoch 8"], id="half a line cut"),
        pytest.param(lambda trial: _keep_lines(trial, 6), 6, ["lacks epoch 7"], id="two lines cut"),
        pytest.param(lambda trial: _keep_lines(trial, 5), 0, ["lacks epoch 6", "first epoch"], id="three lines cut"),
    ],
)
def test_a_trial_goes_on_from_what_it_can_trust(
    cut_off: Path, train: Train, damage: Callable[[Path], object], goes_on_from: int, said: list[str]
) -> None:
    before = {line["epoch"]: line["train/loss"] for line in lines(cut_off, 1)}
    damage(cut_off)
    # What was reported at a rung may not have been heard; for another epoch nobody waits.
    assert train(cut_off, goes_on_from + 2) == [epoch for epoch in [goes_on_from] if epoch == CUT_OFF]
    again = lines(cut_off, 2)
    assert [line["epoch"] for line in again] == [goes_on_from + 1, goes_on_from + 2]
    assert all(line["train/loss"] == before.get(line["epoch"], line["train/loss"]) for line in again)
    warnings = cut_off / "attempt-2" / "warnings.txt"
    told = warnings.read_text().splitlines() if warnings.exists() else []
    assert len(told) == len(said) and all(part in line for part, line in zip(said, told, strict=True))


def test_no_history_has_a_gap_after_a_cut_before_the_checkpoint(cut_off: Path, train: Train) -> None:
    _keep_lines(cut_off, 4, half=True)
    train(cut_off, 10)
    written = {line["epoch"] for attempt in (1, 2) for line in lines(cut_off, attempt)}
    assert written == set(range(1, 11))


def test_a_process_measures_its_trials_with_one_evaluator(few_digits: ImageData, context: EvaluationContext) -> None:
    packed = trainable.pack(few_digits)
    first = trainable._evaluator(packed, context, "cpu", NO_COMPONENTS)
    assert trainable._evaluator(trainable.pack(few_digits), dataclasses.replace(context), "cpu", NO_COMPONENTS) is first
    features = {name: few[:9] for name, few in context.first.features.items()}
    fewer = dataclasses.replace(context, first=dataclasses.replace(context.first, features=features))
    assert trainable._evaluator(packed, fewer, "cpu", NO_COMPONENTS).context is fewer


def _moved_to_another_kind_of_device(directory: Path) -> None:
    """As if both checkpoints came from a GPU, whose generator's state is its seed and an offset."""
    for path in checkpoints(directory):
        state = checkpoint.load(path)
        checkpoint.save(path.parent, state["epoch"], {**state, "generator": torch.zeros(16, dtype=torch.uint8)})


def test_a_trial_goes_on_on_another_kind_of_device_with_new_random_numbers(cut_off: Path, train: Train) -> None:
    twin = Path(shutil.copytree(cut_off, cut_off.with_name("twin")))
    unmoved = Path(shutil.copytree(cut_off, cut_off.with_name("unmoved")))
    for directory in (cut_off, twin):
        _moved_to_another_kind_of_device(directory)
    for directory in (cut_off, twin, unmoved):
        assert train(directory, CUT_OFF + 2) == [CUT_OFF]
    [said] = (cut_off / "attempt-2" / "warnings.txt").read_text().splitlines()
    assert f"epoch {CUT_OFF} was trained on another kind of device than this one (cpu)" in said
    losses, same, others = ([line["train/loss"] for line in lines(at, 2)] for at in (cut_off, twin, unmoved))
    assert losses == same != others
    assert losses == pytest.approx(others, rel=0.1)  # the weights and moments are those that were saved


@pytest.mark.parametrize("is_fast", [True, False])
def test_bf16_on_a_processor_without_it_trains_and_warns(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_fast: bool
) -> None:
    monkeypatch.setitem(train.__globals__, "CONFIG", CONFIG.replace(precision="bf16"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": is_fast}, raising=False)
    directory = tmp_path / "trial"
    directory.mkdir()
    train(directory, 2)
    assert [line["epoch"] for line in lines(directory, 1)] == [1, 2]
    warnings = directory / "attempt-1" / "warnings.txt"
    said = warnings.read_text().splitlines() if warnings.exists() else []
    assert [line.partition(":")[0] for line in said] == ([] if is_fast else ["precision=bf16"])


def test_where_a_trial_ran_is_on_record(ray_session: None) -> None:
    here = ray.get(ray.remote(trainable.process_info).remote())
    assert here["host"] == socket.gethostname() and here["pid"] != os.getpid()
    assert here["node"] in [node["NodeID"] for node in ray.nodes()]
    assert (here["device"], here["gpus"]) == ("cpu", [])


def test_a_trial_that_is_to_stop_reports_at_its_next_evaluation_though_it_is_no_rung(
    cut_off: Path, train: Train
) -> None:
    stop_path(cut_off).touch()
    # The checkpoint of epoch 8 is one; a driver would end the trial there, this one lets it go on.
    assert train(cut_off, 12) == [8, 10]


@pytest.mark.parametrize("epochs", [1, 16])
def test_the_last_epoch_is_measured_once_in_full(
    few_digits: ImageData, context: EvaluationContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    session, measured = Session(), []
    search, full = Evaluator.search_metrics, Evaluator.final_measurement
    watched = {"search_metrics": (search, "search"), "final_measurement": (full, "full")}
    for name, (given, kind) in watched.items():

        def measure(self, model, given=given, kind=kind, **options):
            measured.append(kind)
            return given(self, model, **options)

        monkeypatch.setattr(Evaluator, name, measure)
    monkeypatch.setattr(trainable.tune, "report", session.report)
    monkeypatch.setattr(trainable, "process_info", lambda: {"device": "cpu"})
    directory = tmp_path / "trial"
    directory.mkdir()
    work = {"directory": str(directory), "params": CONFIG.replace(epochs=epochs).to_params()}
    shared = {"data": trainable.pack(few_digits), "context": context, "cache": tmp_path / "cache"}
    trainable.run_trial(work, **shared, threads=1, rungs=True, objectives=("reconstruction_mse", "fitted_fid"))
    # Of a single epoch, only a search's measurement says which objectives a model lacks.
    assert measured == ["search"] * {1: 1, 16: 7}[epochs] + ["full"]
    last, report = lines(directory, 1)[-1], session.reports[-1]
    assert last["epoch"] == report["epoch"] == epochs
    for name in ("val/reconstruction_mse", "val/fitted_fid"):
        assert report[name] == last[name]
    assert "val/mu_low" in last and "val/mu_low" not in report  # the search hears of its objectives alone
    assert "test/fitted_fid" in last and "test/fitted_fid" not in report
    [*_, newest] = checkpoints(directory)
    assert newest.name == f"checkpoint-{epochs:06d}.pt"
    assert checkpoint.load(newest)["metrics"]["fitted_fid"] == last["val/fitted_fid"]


class _Left(BaseException):
    """In place of the process's end."""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says that this process's node is to end; `leave` raises."""

    def leave() -> None:
        raise _Left

    monkeypatch.setattr(trainable, "leave", leave)
    monkeypatch.setenv(leaving.MARK, str(tmp_path / "leaving"))
    return tmp_path / "leaving"


def test_a_trial_on_a_node_that_is_to_end_saves_its_epoch_and_goes_on_elsewhere(
    node: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "trial"
    directory.mkdir()
    record = trainable._record

    def record_and_tell(result: Any) -> dict[str, Any]:
        if result.epoch == 5:  # which is not evaluated, so nothing would be saved
            node.touch()
        return record(result)

    with monkeypatch.context() as patch, pytest.raises(_Left):
        patch.setattr(trainable, "_record", record_and_tell)
        train(directory, 6)
    assert [path.name for path in checkpoints(directory)] == ["checkpoint-000004.pt", "checkpoint-000005.pt"]
    node.unlink()
    assert train(directory, CUT_OFF) == []  # epochs 2 and 4 were reported before, and 8 is not yet
    assert [line["epoch"] for line in lines(directory, 2)] == [6, 7, 8]


def test_a_trial_does_not_begin_on_a_node_that_is_to_end(node: Path, train: Train, tmp_path: Path) -> None:
    node.touch()
    with pytest.raises(_Left):
        train(tmp_path, 2)
    assert not any(tmp_path.glob("attempt-*"))


@pytest.mark.parametrize(
    ("here", "devices"),
    [
        ({"device": "cpu"}, ["cpu"]),
        ({"device": "cpu", "gpus": []}, ["cpu"]),
        ({"device": "cuda", "gpus": [3]}, ["cuda"]),
        ({"device": "cuda", "gpus": [1, 3]}, ["cuda:0", "cuda:1"]),  # Ray hides the others, so CUDA counts from 0
        ({"device": "cpu", "gpus": ["0", "1", "2"]}, ["cpu", "cpu", "cpu"]),
    ],
)
def test_a_trial_trains_on_every_gpu_that_it_was_given(here: dict[str, Any], devices: list[str]) -> None:
    assert trainable.trial_devices(here) == devices


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainable, "trial_devices", lambda here: ["cpu", "cpu"])


def test_a_trial_goes_on_on_two_devices(cut_off: Path, train: Train, two_devices: None) -> None:
    twin = Path(shutil.copytree(cut_off, cut_off.with_name("twin")))
    assert train(cut_off, CUT_OFF + 2) == [CUT_OFF]
    assert not multiprocessing.active_children()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainable, "trial_devices", lambda here: ["cpu"])
        train(twin, CUT_OFF + 2)
    for found, expected in zip(lines(cut_off, 2), lines(twin, 2), strict=True):
        assert found.keys() == expected.keys()
        for name in {"train/loss", "train/reconstruction", "val/reconstruction_mse"} & found.keys():
            assert found[name] == pytest.approx(expected[name], rel=1e-5)


def test_a_device_that_is_lost_is_an_error_of_the_trial_which_ray_retries(
    train: Train, tmp_path: Path, two_devices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, directory = trainable._record, tmp_path / "trial"
    directory.mkdir()

    def record_and_kill(result: Any) -> dict[str, Any]:
        [other] = multiprocessing.active_children()
        os.kill(other.pid or 0, signal.SIGKILL)
        return record(result)

    monkeypatch.setattr(trainable, "_record", record_and_kill)
    with pytest.raises(LostDevice, match="the trial's process on cpu ended: status -9"):
        train(directory, 16)
    assert "LostDevice" in (directory / "attempt-1" / "error.txt").read_text()
