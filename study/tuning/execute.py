"""Runs a study's trials on Ray: starts or joins a cluster, prepares what trials share, and lets Ray Tune schedule."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import secrets
import tempfile
import time
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
from ray.tune.search import ConcurrencyLimiter

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
NO_ROOM = "no node of the Ray cluster has room for a trial any more: waiting for a worker"
_LOOK_SECONDS = 5.0
"""How often the cluster's nodes are counted: workers come and go."""


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
def cluster(address: str | None, resources: Resources) -> Iterator[None]:
    """Ray on this machine, or the cluster at `address`, for as long as the block lasts.

    A Ray that this process has already joined is used as it is and left running. RAY_ADDRESS stands in for an address
    that is not given, as everywhere in Ray.

    Raises:
        UserError: No such cluster, it does not let us in, or it has too few resources for a single trial.
    """
    if ray.is_initialized():
        _check_room(resources)
        yield
        return
    if address := address or os.environ.get("RAY_ADDRESS"):
        check_token(os.environ)
        check_address(address)
    else:
        _ensure_token()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what failed is told at the end, by us
    try:
        ray.init(
            address=address or "local",  # without one Ray would join any cluster that runs on this machine
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
        _check_room(resources)
        yield
    finally:
        ray.shutdown()


def _ensure_token() -> None:
    """Gives Ray a token where it can neither find one nor write its own into the home folder."""
    home = Path.home()
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ) or (home / ".ray").exists():
        return
    if not os.access(home, os.W_OK):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _wanted(resources: Resources) -> dict[str, float]:
    return {name: amount for name, amount in (("CPU", resources.cpus), ("GPU", resources.gpus)) if amount > 0}


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _slots(resources: Resources) -> int:
    """Trials that fit on the nodes there are now; each lies on one of them."""
    wanted = _wanted(resources)
    slots = sum(min(int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items()) for node in _nodes())
    return slots if resources.max_concurrent is None else min(slots, resources.max_concurrent)


def _check_room(resources: Resources) -> None:
    if not _slots(resources):
        wanted = _wanted(resources)
        asked = " ".join(f"--{name.lower()}s-per-trial {amount:g}" for name, amount in wanted.items())
        has = ", ".join(" ".join(f"{node.get(name, 0):g} {name}" for name in wanted) for node in _nodes())
        raise UserError(f"{asked}: no node of the Ray cluster has room ({has}); ask for less, or add a worker")


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
    """After each step of Ray's loop: fits the number of trials to the nodes there are, and shows progress."""

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        resources: Resources,
        refresh: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._limiter = limiter
        self._resources = resources
        self._refresh = refresh
        self._say = say
        self._looked = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as LedgerSearcher's

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._limiter.max_concurrent = _slots(self._resources)
            if not self._limiter.max_concurrent:
                self._say(NO_ROOM)
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
    max_failures: int,
    refresh: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Trains every trial the searcher hands out; returns when it has no more, or after an interrupt.

    Args:
        searcher: Hands out the trials and records how they end.
        scheduler: Says which trials stop early.
        data: The data set; it is put into Ray's object store once.
        references: What evaluation needs.
        cache: The folder of what studies share.
        resources: What a trial gets.
        max_failures: How often a trial that died is tried again from its newest checkpoint.
        refresh: Called after each step of the scheduler's loop, to show progress.
        say: Told what a person should know, again and again for as long as it is so.
    """
    threads = max(1, int(resources.cpus))
    shared = {"data": pack(data), "references": references, "cache": cache, "threads": threads}
    trainable = tune.with_parameters(run_trial, **shared)
    while True:
        # Ray's own limit is fixed at the start. Without one, a trial more than there is room for is begun and waits.
        limiter = ConcurrencyLimiter(searcher, max_concurrent=max(1, _slots(resources)))
        with tempfile.TemporaryDirectory(prefix="study-ray-") as scratch:
            tuner = tune.Tuner(
                tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
                tune_config=tune.TuneConfig(
                    search_alg=limiter,
                    scheduler=scheduler,
                    num_samples=-1,
                    reuse_actors=True,
                    trial_name_creator=lambda trial: trial.trial_id,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name="trials",
                    storage_path=scratch,
                    failure_config=tune.FailureConfig(max_failures=max_failures),
                    callbacks=[_Watcher(limiter, resources, refresh, say)],
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
