"""A trial's process: it trains the trial, writes its files and reports to Ray."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import tune

from study.components import NO_COMPONENTS, Components
from study.config import DataSummary, TrialConfig, UserError
from study.data.datasets import ImageData
from study.data.splits import Split
from study.disk.epochs import recorded_epochs
from study.disk.files import disk_error_reason, write_json
from study.disk.layout import ERROR, METRICS, PROCESS, WARNINGS, last_error, new_attempt, stop_path
from study.errors import located
from study.measure.context import EvaluationContext
from study.measure.evaluate import Evaluator
from study.measure.metrics import MetricError
from study.measure.pictures import write_history, write_pictures
from study.model.precision import precision_warnings
from study.search.rungs import rung_epochs
from study.space import load_space
from study.training import checkpoint
from study.training.errors import TrainingError
from study.training.loop import EpochResult, evaluation_epochs
from study.training.pretrain import pretrain
from study.training.several_devices import train_on
from study.tuning.leaving import leave, node_is_leaving

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]
HISTORY = 24
"""Most epochs whose reconstructions are kept, spread over the training."""
CONTEXT_BYTES = 2**29
"""Roughly what CUDA itself takes of a GPU's memory per process."""
_SPLITS = ("train", "validation", "test")
_evaluators: dict[tuple[str | float | int, ...], Evaluator] = {}


def pack(data: ImageData) -> tuple[DataSummary, tuple[str, ...], Arrays]:
    """The data set as NumPy arrays, which Ray's object store shares between processes without copies."""
    arrays = {name: (data.split(name).images.numpy(), data.split(name).labels.numpy()) for name in _SPLITS}
    return data.summary, data.classes, arrays


def unpack(packed: tuple[DataSummary, tuple[str, ...], Arrays]) -> ImageData:
    """Undoes `pack`. On the CPU the tensors share the store's memory."""
    summary, classes, arrays = packed
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to the data
        splits = {name: Split(*(torch.from_numpy(array) for array in arrays[name])) for name in _SPLITS}
    train, validation, test = (splits[name] for name in _SPLITS)
    return ImageData(summary.name, train, validation, test, classes, summary)


def assigned_device() -> str:
    """`cuda` if Ray gave this process a GPU, else `cpu`: other GPUs of the machine belong to other trials."""
    return "cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"


def trial_devices(here: dict[str, Any]) -> list[str]:
    """The devices of a trial, its own process's first: one for each GPU that Ray gave it, or the CPU.

    Args:
        here: `process_info()`.
    """
    device, count = here["device"], len(here.get("gpus", ()))
    if count < 2:
        return [device]
    return [f"{device}:{number}" for number in range(count)] if device == "cuda" else [device] * count


def process_info() -> dict[str, Any]:
    """Where this process runs: host, Ray's node, process id, device (`cuda` or `cpu`) and Ray's ids of its GPUs."""
    return {
        "host": socket.gethostname(),
        "node": ray.get_runtime_context().get_node_id(),
        "pid": os.getpid(),
        "device": assigned_device(),
        "gpus": ray.get_gpu_ids(),
    }


def keep_to_share() -> None:
    """Limits this process to its share of the GPU's memory, so a trial that is too large fails alone."""
    share = ray.get_runtime_context().get_assigned_resources().get("GPU", 1.0)
    torch.cuda.set_per_process_memory_fraction(min(share, 1.0))
    torch.cuda.empty_cache()  # a stopped trial may have left some in use
    torch.cuda.reset_peak_memory_stats()


def memory_share() -> float:
    """The largest share of its GPU's memory that the trial held, CUDA's own included."""
    return (torch.cuda.max_memory_reserved() + CONTEXT_BYTES) / torch.cuda.get_device_properties().total_memory


def run_trial(
    config: dict[str, Any],
    *,
    data: Any,
    context: EvaluationContext,
    cache: Path,
    threads: int,
    rungs: bool,
    objectives: Sequence[str] = ("reconstruction_mse", "sample_fid"),
    code: tuple[Path, Path] | None = None,
) -> None:
    """Trains one trial in this process, from its newest sound checkpoint if there is one.

    Args:
        config: `directory`, the trial's folder, and `params`, its `TrialConfig.to_params()`.
        data: The data set, packed.
        context: What evaluation needs, computed once for the study.
        cache: The folder of what studies share.
        threads: CPU threads to use.
        rungs: Whether to report at the rungs too. Each report waits for Ray, so none is made without need.
        objectives: The metrics that the study trades off, without their split.
        code: If the space brings components of its own: its file's copy in the study's folder, and the file itself.
    """
    if node_is_leaving():  # Ray reuses processes of a node on which it would start none
        leave()
    # Ray reuses this process for the next trial, so global settings are set again for each trial.
    torch.set_num_threads(threads)
    here = process_info()
    device = here["device"]
    if device == "cuda":
        keep_to_share()
    directory = Path(config["directory"])
    earlier = last_error(directory)
    try:
        attempt = new_attempt(directory)
        write_json(attempt / PROCESS, here)
    except OSError as error:
        _report_disk_error(error)
        return
    try:
        own = NO_COMPONENTS if code is None else own_components(code[0])
        trial = TrialConfig.from_params(config["params"], own)
        evaluator, devices = _evaluator(data, context, device, own), trial_devices(here)
        _train(trial, directory, attempt, evaluator, devices, cache, rungs, objectives, code)
    except (TrainingError, MetricError, UserError) as error:
        (attempt / ERROR).write_text(traceback.format_exc())
        tune.report({"failure": _in_the_file(str(error), code)})
    except Exception as error:
        if disk_error_reason(error) is not None:
            _report_disk_error(error)
            return
        (attempt / ERROR).write_text(traceback.format_exc())
        if last_error(directory) != earlier:
            raise  # Ray retries it; the same error a second time is final
        tune.report({"failure": f"{_in_the_file(located(error) or str(earlier), code)} (twice)"})
    finally:
        if device == "cuda":
            torch.cuda.empty_cache()


@functools.cache
def own_components(code: Path) -> Components:
    """The components of the space in a file, loaded once in this process."""
    return load_space(str(code)).space.own


def _in_the_file(text: str, code: tuple[Path, Path] | None) -> str:
    """A message with the user's own file in place of the study's copy, because people mend the file."""
    return text if code is None else text.replace(f"{code[0].parent}{os.sep}", f"{code[1].parent}{os.sep}")


def _evaluator(
    packed: tuple[DataSummary, tuple[str, ...], Arrays], context: EvaluationContext, device: str, own: Components
) -> Evaluator:
    """The evaluator of this process, with the data on the device; it serves every trial of a study."""
    key = (packed[0].hash, *context.key, device, *map(id, own.items))
    if key not in _evaluators:
        _evaluators.clear()
        _evaluators[key] = Evaluator(unpack(packed).to(device), context, device=device, own=own)
    return _evaluators[key]


def _report_disk_error(error: Exception) -> None:
    """Reports an error of the disk. It is not the trial's failure: the trial continues once there is room."""
    why = disk_error_reason(error)
    if why is None:
        raise error
    tune.report({"disk_error": why})


def _train(
    config: TrialConfig,
    directory: Path,
    attempt: Path,
    evaluator: Evaluator,
    devices: Sequence[str],
    cache: Path,
    rungs: bool,
    objectives: Sequence[str],
    code: tuple[Path, Path] | None,
) -> None:
    data, device = evaluator.data, evaluator.device
    state, complaints = _resume_from(directory, config.epochs, device)
    unseen = [f"torch sees none of its {len(devices)} GPUs: it trains in as many processes on the CPU"]
    unseen = unseen if len(devices) > 1 and device.type == "cpu" else []
    _warn(attempt, [*complaints, *unseen, *precision_warnings(config.precision, device)])
    training = train_on(
        devices,
        config,
        data,
        evaluate=functools.partial(evaluator.search_metrics, objectives=objectives),
        pretrained=pretrain(config, data, cache, device=device),
        state=state,
        evaluate_last=config.epochs == 1,  # nothing else tells which objective a model lacks
        components=None if code is None else functools.partial(own_components, code[0]),
    )
    shown = evaluation_epochs(config.epochs, HISTORY)
    reported = {*(rung_epochs(config.epochs) if rungs else ()), config.epochs}
    stop = stop_path(directory)
    # The driver may have died before it heard this.
    if state is not None and (state["epoch"] in reported or (state["metrics"] and stop.exists())):
        _report(state["epoch"], state["multiplier"], state["metrics"])
    # Close the generator explicitly: Ray ends a stopped trial with SystemExit from tune.report.
    with (
        contextlib.closing(training) as epochs,
        open(attempt / METRICS, "a", buffering=1) as file,
    ):
        for result in epochs:
            last = result.epoch == config.epochs
            record, metrics, prior = _record(result), result.metrics, {}
            if result.epoch in shown:
                write_history(result.model, data, attempt, result.epoch)
            if last:
                start = time.perf_counter()
                final, fitted, warned = evaluator.final_measurement(result.model)
                _warn(attempt, [_in_the_file(line, code) for line in warned])
                record |= final
                prior = {"prior": fitted.record()}
                metrics = {name: final[f"val/{name}"] for name in objectives}  # under the fitted prior itself
                write_pictures(result.model, data, attempt, fitted)
                record["final_seconds"] = time.perf_counter() - start
                if device.type == "cuda" and len(devices) == 1:  # of several it says little of a whole one
                    record["gpu_memory_share"] = memory_share()
            file.write(json.dumps(record) + "\n")
            leaving = not last and node_is_leaving()
            if metrics or leaving:
                os.fsync(file.fileno())  # no checkpoint outlives the epochs that led to it
                checkpoint.save(attempt, result.epoch, {**result.trainer.state(), "metrics": metrics, **prior})
            if leaving:
                leave()
            if result.epoch in reported or (metrics and stop.exists()):
                _report(result.epoch, result.multiplier, metrics)


def _warn(attempt: Path, lines: Sequence[str]) -> None:
    """Adds lines to the warnings of an attempt, which the end of the study shows."""
    if lines:
        with open(attempt / WARNINGS, "a") as file:
            file.write("\n".join(lines) + "\n")


def _resume_from(directory: Path, epochs: int, device: torch.device) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest checkpoint whose epochs are all on record, so that the history has no gap.

    Returns:
        The state, or None if the trial starts from its first epoch; and one line per problem with its files.
    """
    recorded = recorded_epochs(directory)
    held = checkpoint.newest_epoch(directory, before=epochs)
    state, complaints = checkpoint.newest(directory, device, before=min(epochs, recorded + 1))
    if held > recorded:
        complaints.append(f"{directory}: metrics.jsonl lacks epoch {recorded + 1}, which a checkpoint is later than")
    if state is not None and not checkpoint.continues_randomness(state, device):
        complaints.append(
            f"{directory}: epoch {state['epoch']} was trained on another kind of device than this one ({device}): "
            "it continues with new random numbers"
        )
    if state is None and (complaints or recorded):
        complaints.append(f"{directory}: no checkpoint to go on from, so it is trained again from its first epoch")
    return state, complaints


def _report(epoch: int, multiplier: float, metrics: dict[str, float]) -> None:
    tune.report({"epoch": epoch, "multiplier": multiplier, **{f"val/{name}": value for name, value in metrics.items()}})


def _record(result: EpochResult) -> dict[str, Any]:
    return {
        "epoch": result.epoch,
        "time": time.time(),
        "seconds": result.seconds,
        "evaluation_seconds": result.evaluation_seconds,
        **{f"train/{name}": value for name, value in result.train.items()},
        **{f"val/{name}": value for name, value in result.metrics.items()},
    }
