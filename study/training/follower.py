"""The process of a training on several devices that holds one of the others, and what it is told at its start."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
import torch.distributed as dist
import torch.nn as nn

from study.components import NO_COMPONENTS, Components
from study.config import DataSummary, TrialConfig
from study.data.datasets import ImageData
from study.data.splits import Split
from study.training.errors import TrainingError
from study.training.loop import Trainer
from study.training.pretrained import Pretrained
from study.training.team import Team

TIMEOUT = datetime.timedelta(minutes=5)
"""How long the processes wait for one another: at the start, and at each of their exchanges within an epoch."""


class Sent(NamedTuple):
    """What another process is started with. The data follow over the process group.

    Attributes:
        rank: Its number.
        devices: Of all processes.
        meeting: The file through which they find one another.
        params: `TrialConfig.to_params()`.
        components: Loads the space's own components.
        summary: Of the data.
        shapes: Shape and type of each of `training_tensors`.
        pretrained: Without `codes`.
    """

    rank: int
    devices: list[str]
    meeting: Path
    params: dict[str, Any]
    components: Callable[[], Components] | None
    summary: DataSummary
    shapes: list[tuple[torch.Size, torch.dtype]]
    pretrained: Pretrained


def follow(sent: Sent, connection: Connection) -> NoReturn:
    """The work of another device's process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    status = 1
    try:
        _train_along(sent, connection)
        status = 0
    except Exception as error:
        with contextlib.suppress(OSError):
            connection.send(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)  # collecting all of torch's garbage would take seconds


def _train_along(sent: Sent, connection: Connection) -> None:
    own = NO_COMPONENTS if sent.components is None else sent.components()
    config, device = TrialConfig.from_params(sent.params, own), sent.devices[sent.rank]
    connection.send(None)
    meet(sent.rank, sent.devices, sent.meeting)
    tensors = [torch.empty(shape, dtype=dtype, device=device) for shape, dtype in sent.shapes]
    for tensor in tensors:
        dist.broadcast(tensor, 0)
    data, pretrained = _assembled(sent, tensors)
    trainer = Trainer(config, data, device, pretrained, Team(sent.rank, len(sent.devices), config.runs_own_code))
    # It ends when process 0 needs no more, or with an error that process 0 meets too.
    with contextlib.suppress(EOFError, TrainingError):
        while True:
            plain = connection.recv()
            generator = torch.from_numpy(plain.pop("generator"))
            trainer.load({**trainer.state(), **plain, "generator": generator})
            trainer.train_epoch()
    part(failed=False)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # whatever the other threads wait for


def meet(rank: int, devices: Sequence[str], meeting: Path) -> None:
    """Joins torch.distributed's default group, as process `rank` with its device; see `Sent`."""
    device = torch.device(devices[rank])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=meeting.as_uri(),
        rank=rank,
        world_size=len(devices),
        timeout=TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )


def part(*, failed: bool) -> None:
    """Leaves the group. After a failure NCCL must not wait for the others."""
    if not dist.is_initialized():
        return
    if failed and dist.get_backend() == "nccl":
        with contextlib.suppress(Exception):
            dist.group.WORLD.abort()  # pyright: ignore[reportOptionalMemberAccess]
    dist.destroy_process_group()


def training_tensors(data: ImageData, pretrained: Pretrained) -> list[torch.Tensor]:
    """What training reads, and is too large to be sent to another process."""
    splits = [part for split in (data.train, data.validation) for part in (split.images, split.labels)]
    return splits if pretrained.codes is None else [*splits, pretrained.codes]


def _assembled(sent: Sent, tensors: list[torch.Tensor]) -> tuple[ImageData, Pretrained]:
    """Undoes `training_tensors`; the test split, which no training sees, is empty."""
    train, validation = Split(*tensors[:2]), Split(*tensors[2:4])
    test = Split(validation.images[:0], validation.labels[:0])
    features = sent.pretrained.features
    pretrained = dataclasses.replace(
        sent.pretrained,
        codes=tensors[4] if len(tensors) > 4 else None,
        features=features.to(tensors[0].device) if isinstance(features, nn.Module) else features,
    )
    return ImageData(sent.summary.name, train, validation, test, (), sent.summary), pretrained
