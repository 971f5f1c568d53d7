"""One training on several devices of a node, data-parallel: this process is the first, and starts one for each other.

All train the same model in lock step, see `study.training.split` and `team`. The others wait between epochs until this
process begins the next, and end with it, however it ends.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import multiprocessing.connection
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, final

import torch.distributed as dist
import torch.nn as nn

from study.components import Components
from study.config import TrialConfig, UserError
from study.data.datasets import ImageData
from study.model.autoencoder import Autoencoder
from study.training.errors import LostDevice
from study.training.follower import TIMEOUT, Sent, follow, meet, part, training_tensors
from study.training.loop import EpochResult, train
from study.training.pretrained import Pretrained
from study.training.team import Team

END_SECONDS = 5.0
"""How long another process may take to end."""
_TOLD_SECONDS = 5.0
_WORDS_OF_GROUP = ("gloo", "nccl", "timed out", "timeout", "connection closed", "connection reset")


def train_on(
    devices: Sequence[str],
    config: TrialConfig,
    data: ImageData,
    *,
    evaluate: Callable[[Autoencoder], dict[str, float]],
    pretrained: Pretrained,
    state: dict[str, Any] | None = None,
    evaluate_last: bool = True,
    components: Callable[[], Components] | None = None,
) -> Generator[EpochResult]:
    """Like `train`, on one device or on several of this node.

    Args:
        devices: All GPUs, as `cuda:0` and `cuda:1`, or all `cpu`. `data` and `pretrained` are on the first.
        config: As of `train`, and so are all that are not named here.
        data: As of `train`.
        evaluate: As of `train`.
        pretrained: As of `train`.
        state: As of `train`. It may come from a training on another number of devices.
        evaluate_last: As of `train`.
        components: Loads the components that the config was made with, in another process; None if there are none.

    Yields:
        As `train`.

    Raises:
        LostDevice: The process of another device died, or does not answer.
        TrainingError: As of `train`; or the processes came to different models.
        UserError: As of `train`; or a batch has fewer images than there are devices.
    """
    rest: dict[str, Any] = {"evaluate": evaluate, "pretrained": pretrained, "state": state}
    rest |= {"device": devices[0], "evaluate_last": evaluate_last}
    if len(devices) == 1:
        yield from train(config, data, **rest)
        return
    images = min(config.batch_size, len(data.train))
    if images < len(devices):
        raise UserError(f"batch_size={images}: fewer images than the {len(devices)} devices of a trial; take fewer")
    with _Others(devices, config, data, pretrained, components) as others:
        yield from train(config, data, team=others.team, **rest)


@final
class _Others:
    """The processes of all devices but the first. The `with` block ends them."""

    def __init__(
        self,
        devices: Sequence[str],
        config: TrialConfig,
        data: ImageData,
        pretrained: Pretrained,
        components: Callable[[], Components] | None,
    ) -> None:
        self.team = Team(0, len(devices), config.runs_own_code, self._tell)
        self._devices = list(devices)
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        self._over = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="devices", daemon=True)
        self._scratch = tempfile.TemporaryDirectory(prefix="study-devices-")
        self._tensors = training_tensors(data, pretrained)
        features = pretrained.features
        self._sent = Sent(
            0,
            self._devices,
            Path(self._scratch.name) / "meeting",
            config.to_params(),
            components,
            data.summary,
            [(tensor.shape, tensor.dtype) for tensor in self._tensors],
            Pretrained(
                pretrained.first_stage,
                features=copy.deepcopy(features).cpu() if isinstance(features, nn.Module) else features,
            ),
        )
        self._told: dict[int, str] = {}

    def __enter__(self) -> _Others:
        try:
            self.team.is_busy = True
            self._start()
            self.team.is_busy = False
        except BaseException as error:
            self.__exit__(type(error), error)
            raise
        return self

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # after a fork CUDA does not work
        for rank in range(1, len(self._devices)):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=follow, args=(self._sent._replace(rank=rank), theirs), name=f"device-{rank}", daemon=True
            )
            self._connections.append(ours)
            process.start()
            self._processes.append(process)
            theirs.close()  # so that what it sends ends with it
        while len(self._told) < len(self._connections):  # they import and load, and might fail before they can be met
            silent = [each for rank, each in enumerate(self._connections, 1) if rank not in self._told]
            if not multiprocessing.connection.wait(silent, TIMEOUT.total_seconds()):
                raise LostDevice(f"another device's process did not begin within {TIMEOUT}")
            if self._listen():
                raise LostDevice(self._lost())
        meet(0, self._devices, self._sent.meeting)
        self._watching.start()
        for tensor in self._tensors:
            dist.broadcast(tensor.contiguous(), 0)

    def _tell(self, plain: dict[str, Any]) -> None:
        for connection in self._connections:
            connection.send(plain)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *trace: object) -> None:
        why = None
        if isinstance(error, RuntimeError | OSError) and self.team.is_busy:
            why = self._reason(error)
        self._over.set()
        if self._watching.is_alive():
            self._watching.join()
        for connection in self._connections:
            connection.close()
        part(failed=error is not None and self.team.is_busy)  # the others wait within an exchange
        until = time.monotonic() + END_SECONDS
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self._scratch.cleanup()
        if why is not None:
            raise LostDevice(why) from error

    def _reason(self, error: BaseException) -> str | None:
        """What became of another process, if an error of this one comes from there."""
        awaited = [*self._connections, *(process.sentinel for process in self._processes)]
        if multiprocessing.connection.wait(awaited, _TOLD_SECONDS):
            return self._lost()
        first = next(iter(str(error).splitlines()), "")
        return f"another device's process does not answer ({first})" if is_of_group(first) else None

    def _listen(self) -> bool:
        """Takes in what the others tell. Whether one has told an error, or has ended."""
        ended = False
        for rank, connection in enumerate(self._connections, 1):
            try:
                while connection.poll():
                    self._told[rank] = connection.recv() or ""
            except (EOFError, OSError):
                ended = True
        return ended or any(self._told.values())

    def _lost(self) -> str:
        """What became of the others, of which one has ended, or tells that it will."""
        self._listen()
        found = []
        for rank, process in enumerate(self._processes, 1):
            process.join(_TOLD_SECONDS if self._told.get(rank) else 0.1)
            if why := self._told.get(rank) or (process.exitcode is not None and f"status {process.exitcode}"):
                found.append(f"the trial's process on {self._devices[rank]} ended: {why}")
        # Where one ends, the exchanges of the others fail.
        return min(found, key=is_of_group, default="another device's process does not answer")

    def _watch(self) -> None:
        """Does not let this process wait for ever for one that has ended: NCCL would not notice."""
        sentinels, waited = [process.sentinel for process in self._processes], 0.0
        while not self._over.wait(0.5):
            if not multiprocessing.connection.wait(sentinels, 0) or not self.team.is_busy:
                continue
            if not waited and dist.get_backend() == "nccl":
                with contextlib.suppress(Exception):
                    dist.group.WORLD.abort()  # pyright: ignore[reportOptionalMemberAccess]
            waited += 0.5
            if waited > TIMEOUT.total_seconds():
                print(self._lost(), file=sys.stderr, flush=True)
                os._exit(1)


def is_of_group(error: str) -> bool:
    """Whether an error's message is one of torch.distributed, which says little of the cause."""
    return any(word in error.lower() for word in _WORDS_OF_GROUP)
