"""Runs a study's trials on Ray: starts or joins a cluster, prepares what trials share, and lets Ray Tune schedule."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Ray reads these when it is imported.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # our trials write their own records
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")  # its experiment snapshots are never restored
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # see study.interrupts
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")  # a trial's error.txt has it
os.environ.setdefault("RAY_task_oom_retries", "3")  # of the preparation; without it, for ever
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.exceptions
from ray import tune

from study.config import TrialConfig, UserError
from study.data.datasets import ImageData
from study.files import refusal
from study.measure.evaluate import References, prepare_references
from study.measure.pretrain import pretrain
from study.tuning.preflight import check_address, check_token
from study.tuning.scheduler import RungScheduler
from study.tuning.searcher import LedgerSearcher
from study.tuning.trainable import assigned_device, pack, run_trial, unpack

OUT_OF_MEMORY = "out of memory: let fewer trials run at once (--max-concurrent), or make the model smaller"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What a trial gets, and how many run at once.

    Attributes:
        cpus: CPU cores of a trial; also its threads.
        gpus: GPUs of a trial; a fraction lets several share one.
        max_concurrent: Trials at once at most; None for as many as fit.
    """

    cpus: float = 1
    gpus: float = 0
    max_concurrent: int | None = None


@contextlib.contextmanager
def cluster(address: str | None, resources: Resources) -> Iterator[int]:
    """Ray on this machine, or the cluster at `address`, for as long as the block lasts.

    A Ray that this process has already joined is used as it is and left running. RAY_ADDRESS stands in for an address
    that is not given, as everywhere in Ray.

    Yields:
        The number of trials that run at once.

    Raises:
        UserError: No such cluster, it does not let us in, or it has too few resources for a single trial.
    """
    if ray.is_initialized():
        yield _slots(resources)
        return
    if address := address or os.environ.get("RAY_ADDRESS"):
        check_token(os.environ)
        check_address(address)
    else:
        _ensure_token()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what failed is told at the end, by us
    try:
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises anything: a bare Exception where the machine is too busy
        why = refusal(error)
        if why is not None and not address:
            raise UserError(f"Ray cannot start: {why}: set RAY_TMPDIR to a folder that you may write") from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if not address:
            raise UserError(f"Ray does not start on this machine: {reason}") from error
        raise UserError(
            f"--address {address}: this process cannot join the cluster ({reason}): run it on a node of the cluster, "
            "with its token and versions"
        ) from error
    try:
        yield _slots(resources)
    finally:
        ray.shutdown()


def _ensure_token() -> None:
    """Gives Ray a token where it can neither find one nor write its own into the home folder."""
    home = Path.home()
    if {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ) or (home / ".ray").exists():
        return
    if not os.access(home, os.W_OK):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _slots(resources: Resources) -> int:
    """Trials that fit at once; each lies on one node."""
    wanted = {name: amount for name, amount in (("CPU", resources.cpus), ("GPU", resources.gpus)) if amount > 0}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = sum(min(int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items()) for node in nodes)
    if not slots:
        asked = " ".join(f"--{name.lower()}s-per-trial {amount:g}" for name, amount in wanted.items())
        has = ", ".join(" ".join(f"{node.get(name, 0):g} {name}" for name in wanted) for node in nodes)
        raise UserError(f"{asked}: no node of the Ray cluster has room ({has}); ask for less, or add a worker")
    return min(slots, resources.max_concurrent or slots)


def prepare(data: ImageData, configs: Sequence[TrialConfig], cache: Path, resources: Resources) -> References:
    """Computes what trials share before the first of them begins, in a task with a trial's resources.

    Args:
        data: The data set.
        configs: Trials that are known beforehand; what they need ready-made is trained now, into the cache.
        cache: The folder of what studies share.
        resources: Of the task.

    Returns:
        The feature classifier and the data's own scores.

    Raises:
        UserError: Something the trials need cannot be made from these data.
    """
    task = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(_prepare)
    try:
        return ray.get(task.remote(pack(data), configs, cache, max(1, int(resources.cpus))))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except ray.exceptions.OutOfMemoryError as error:
        raise UserError("the data do not fit into memory: free some, or take a machine with more") from error


def _prepare(packed: Any, configs: Sequence[TrialConfig], cache: Path, threads: int) -> References:
    import torch

    torch.set_num_threads(threads)
    device = assigned_device()
    data = unpack(packed)
    for config in configs:
        pretrain(config, data, cache)
    return prepare_references(data, cache, device=device)


class _Watcher(tune.Callback):
    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as LedgerSearcher's

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._refresh()


class _Stop(tune.Stopper):
    """Ends Ray's loop without waiting for the running trials."""

    def __init__(self, searcher: LedgerSearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._searcher.stopping

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as LedgerSearcher's


def execute(
    searcher: LedgerSearcher,
    scheduler: RungScheduler,
    data: ImageData,
    references: References,
    cache: Path,
    *,
    resources: Resources,
    slots: int,
    max_failures: int,
    refresh: Callable[[], None],
) -> None:
    """Trains every trial the searcher hands out; returns when it has no more, or after an interrupt.

    Args:
        searcher: Hands out the trials and records how they end.
        scheduler: Says which trials stop early.
        data: The data set; it is put into Ray's object store once.
        references: What evaluation needs.
        cache: The folder of what studies share.
        resources: What a trial gets.
        slots: Trials at once.
        max_failures: How often a trial that died is tried again from its newest checkpoint.
        refresh: Called after each step of the scheduler's loop, to show progress.
    """
    threads = max(1, int(resources.cpus))
    shared = {"data": pack(data), "references": references, "cache": cache, "threads": threads}
    trainable = tune.with_parameters(run_trial, **shared)
    while True:
        with tempfile.TemporaryDirectory(prefix="study-ray-") as scratch:
            tuner = tune.Tuner(
                tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=scheduler,
                    num_samples=-1,
                    max_concurrent_trials=slots,
                    reuse_actors=True,
                    trial_name_creator=lambda trial: trial.trial_id,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name="trials",
                    storage_path=scratch,
                    failure_config=tune.FailureConfig(max_failures=max_failures),
                    callbacks=[_Watcher(refresh)],
                    stop=_Stop(searcher),
                    verbose=0,
                ),
            )
            try:
                tuner.fit()
            except Exception as error:
                killed = _killed_for_memory(error)
                if killed is None or searcher.error:
                    raise searcher.error or error from None
                searcher.cut_off(killed, max_failures, OUT_OF_MEMORY)
                continue
        if searcher.error:
            raise searcher.error
        return


def _killed_for_memory(error: BaseException) -> Callable[[int], bool] | None:
    """Which processes Ray killed when memory ran out, by their ids; None for any other error.

    Such a kill ends Ray Tune's loop, whatever `max_failures` says: its actor manager knows no other way to die than
    ActorDiedError.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ray.exceptions.OutOfMemoryError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    selected = str(cause).partition("Selected to kill")[2].partition("]")[0]
    return lambda process: re.search(rf"pid={process}\b", selected) is not None
