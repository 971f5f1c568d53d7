"""Runs a study's trials: lets Ray Tune schedule them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.search import ConcurrencyLimiter

from study.data.datasets import ImageData
from study.measure.context import EvaluationContext
from study.measure.metrics import metric_name
from study.tuning.cluster import Resources, room
from study.tuning.scheduler import RungScheduler
from study.tuning.searcher import LedgerSearcher
from study.tuning.trainable import pack
from study.tuning.worker import run_trial

OUT_OF_MEMORY = "out of memory: let fewer trials run at once (--max-concurrent), or make the model smaller"
NO_ROOM = "no node of the Ray cluster has room for a trial now: waiting for a worker"
CUT_OFF_SECONDS = 5
"""How long Ray waits for trials that are cut off before it ends their processes, in place of its own 10 s.

A trial notices only at its next report that it is to end, and batch systems kill what has not ended soon after SIGTERM.
"""
LOOK_SECONDS = 1.0
"""How often the driver looks for changes of the study (`study control`)."""
_COUNT_SECONDS = 5.0
"""How often the cluster's nodes are counted, because workers join and leave."""


class _Watcher(tune.Callback):
    """After each step of Ray's loop, takes up changes, fits the number of trials to the nodes, and shows progress."""

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        resources: Resources,
        refresh: Callable[[], None],
        say: Callable[[str], None],
        searcher: LedgerSearcher,
    ) -> None:
        self._searcher = searcher
        self._limiter = limiter
        self._resources = resources
        self._refresh = refresh
        self._say = say
        self._counted = self._looked = -math.inf

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as LedgerSearcher's

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            limit = self._searcher.changed.max_concurrent
            self._searcher.look()
            if limit != self._searcher.changed.max_concurrent:
                self._counted = -math.inf
        if now - self._counted >= _COUNT_SECONDS:
            self._counted = now
            self._limiter.max_concurrent = room(_limited(self._resources, self._searcher))
            if not self._limiter.max_concurrent:
                memory = self._resources.memory
                self._say(f"{NO_ROOM} with {memory / 1e9:.2g} GB for each" if memory else NO_ROOM)
        self._refresh()


class _Stop(tune.Stopper):
    """Ends Ray's loop at once, without waiting for running trials."""

    def __init__(self, searcher: LedgerSearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._searcher.stopping or self._searcher.pausing

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as LedgerSearcher's


def execute(
    searcher: LedgerSearcher,
    scheduler: RungScheduler,
    data: ImageData,
    context: EvaluationContext,
    cache: Path,
    *,
    resources: Resources,
    max_failures: int,
    refresh: Callable[[], None],
    say: Callable[[str], None],
    code: tuple[Path, Path] | None = None,
) -> None:
    """Trains every trial that the searcher hands out. Returns when there are no more, or after an interrupt.

    If the study is paused, Ray's loop ends as after an interrupt; later a new one takes up what was cut off.

    Args:
        searcher: Hands out the trials and records how they end.
        scheduler: Decides which trials stop early.
        data: The data set. It goes into Ray's object store once.
        context: What evaluation needs.
        cache: The folder of what studies share.
        resources: What a trial gets.
        max_failures: How often a trial whose process died is retried from its newest checkpoint.
        refresh: Called after each step of Ray's loop and while the study is paused, to show progress.
        say: Called with a message for the user for as long as it holds; repeats are its own business.
        code: As of `run_trial`.
    """
    trainable = tune.with_parameters(
        run_trial,
        data=pack(data),
        context=context,
        cache=cache,
        threads=max(1, int(resources.cpus)),
        rungs=scheduler.stops_early,
        objectives=tuple(metric_name(name) for name in searcher.objectives),
        code=code,
    )
    while wait_while_paused(searcher, refresh):
        # Ray's own limit cannot change later. Without any, Ray would begin one trial too many, which then waits.
        limiter = ConcurrencyLimiter(searcher, max_concurrent=max(1, room(_limited(resources, searcher))))
        with tempfile.TemporaryDirectory(prefix="study-ray-") as scratch:
            tuner = tune.Tuner(
                tune.with_resources(trainable, tune.PlacementGroupFactory([resources.bundle])),
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
                    callbacks=[_Watcher(limiter, resources, refresh, say, searcher)],
                    stop=_Stop(searcher),
                    verbose=0,
                ),
            )
            try:
                with _quick_cut_off():
                    tuner.fit()
            except Exception as error:
                killed = _killed_for_memory(error)
                if killed is None or searcher.error:
                    raise searcher.error or error from None
                searcher.cut_off(killed, max_failures, OUT_OF_MEMORY)
                continue
        if searcher.error:
            raise searcher.error
        if not searcher.pausing:
            return
        searcher.take_back()


def wait_while_paused(searcher: LedgerSearcher, refresh: Callable[[], None]) -> bool:
    """Waits while the study is paused; says whether it then goes on.

    Raises:
        Exception: The ledger cannot be read.
    """
    while (answer := searcher.goes_on()) is None and searcher.error is None:
        refresh()
        time.sleep(LOOK_SECONDS / 2)
    if searcher.error:
        raise searcher.error
    return bool(answer)


def _limited(resources: Resources, searcher: LedgerSearcher) -> Resources:
    """What trials get, with as many at once as is in force now."""
    limit = searcher.changed.limit(resources.max_concurrent)
    return dataclasses.replace(resources, max_concurrent=limit)


@contextlib.contextmanager
def _quick_cut_off() -> Iterator[None]:
    """Controllers of Ray Tune wait `CUT_OFF_SECONDS`. Ray has no option for it, and sets the attribute in each one."""
    controllers: Any = TuneController
    controllers._actor_force_cleanup_timeout = property(lambda self: CUT_OFF_SECONDS, lambda self, value: None)
    try:
        yield
    finally:
        del controllers._actor_force_cleanup_timeout


def _killed_for_memory(error: BaseException) -> Callable[[int], bool] | None:
    """Tells by process id what Ray killed when memory ran out; None for any other error.

    Such a kill ends Ray Tune's loop despite `max_failures`: its actor manager expects only ActorDiedError.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ray.exceptions.OutOfMemoryError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    selected = str(cause).partition("Selected to kill")[2].partition("]")[0]
    return lambda process: re.search(rf"pid={process}\b", selected) is not None
