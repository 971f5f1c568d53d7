"""A process's part in a training on several devices, in which all processes train the same model in lock step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import torch
import torch.distributed as dist
import torch.nn as nn
from torch import Tensor

from study.model.autoencoder import Autoencoder
from study.model.precision import run_network
from study.training.errors import TrainingError
from study.training.split import know_whole_batches, run_split

TOLERANCE = 1e-3
"""Largest relative difference between two processes at an epoch's end. Without errors it is 0 on CPUs; on GPUs, sums in
another order may differ in the last digits."""
_SHARED = ("model", "regularizer", "optimizer", "critic_optimizer")
"""The parts of `Trainer.state()` that consist of tensors on the device."""


@final
class Team:
    """One process and what it knows of the others. A team of one trains alone, without torch.distributed.

    Args:
        rank: This process's number. Process 0 evaluates, writes and decides.
        size: How many there are. If there are several, torch.distributed's default group joins them.
        draws: Whether the networks may draw from torch's global generator, as a user's own may.
        tell: Of process 0, hands what the others need for an epoch to them, beside the tensors.

    Attributes:
        is_busy: Whether others may be waited for: within an epoch.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, draws: bool = False, tell: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        self.rank = rank
        self.size = size
        self.is_busy = False
        self._draws = draws
        self._tell = tell

    def adopt(self, model: Autoencoder) -> Autoencoder:
        """The model, prepared for being split."""
        if self.size > 1:
            for network in (model.encoder, model.decoder):
                know_whole_batches(network)
        return model

    def run(self, network: nn.Module, inputs: Tensor, precision: str) -> Tensor:
        """`run_network`, which all processes share, see `run_split`."""
        if self.size == 1:
            return run_network(network, inputs, precision)
        # All draw the same number, so that their generators stay alike; each has other rows, and so another seed.
        seed = int(torch.randint(2**62, ())) + self.rank if self._draws else None
        return run_split(network, inputs, precision, seed)

    def agreed(self, value: float) -> float:
        """A number that decides something: process 0's."""
        if self.size == 1:
            return value
        said = torch.tensor(value, dtype=torch.float64, device=self._device)
        dist.broadcast(said, 0)
        return float(said)

    def begin(self, state: Callable[[], dict[str, Any]]) -> None:
        """Begins an epoch: all go on from the state of process 0.

        Args:
            state: `Trainer.state`. The tensors on the device are overwritten.
        """
        if self.size > 1:
            self._begin(state())

    def _begin(self, state: dict[str, Any]) -> None:
        self.is_busy = True
        if self._tell is not None:
            plain = {name: value for name, value in state.items() if name not in (*_SHARED, "generator")}
            self._tell({**plain, "generator": state["generator"].cpu().numpy()})
        for tensor in shared_tensors(state):
            dist.broadcast(tensor, 0)

    def agree(self, state: Callable[[], dict[str, Any]], means: dict[str, float]) -> dict[str, float]:
        """Ends an epoch: compares what all have come to.

        Args:
            state: `Trainer.state`.
            means: The epoch's means.

        Returns:
            The means.

        Raises:
            TrainingError: It is not the same everywhere.
        """
        if self.size > 1:
            self._compare(state(), means)
        return means

    def _compare(self, state: dict[str, Any], means: dict[str, float]) -> None:
        # A penalty alone may be a small difference of large numbers.
        compared = [[*means.values()], [means["weight"]]]
        numbers = [torch.tensor(each, dtype=torch.float64, device=self._device) for each in compared]
        apart = torch.stack([_apart(tensor) for tensor in (*numbers, *_tensors(state["model"]))]).max()
        dist.all_reduce(apart, dist.ReduceOp.MAX)
        self.is_busy = False
        if not float(apart) <= TOLERANCE:
            raise TrainingError(
                f"the devices of this trial came to different models in epoch {state['epoch']} ({float(apart):.2g} of "
                "their size): code of its space draws random numbers other than torch's, or keeps what it has seen of "
                "single images; train it on one device"
            )

    @property
    def _device(self) -> torch.device:
        is_gpu = dist.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if is_gpu else torch.device("cpu")


ALONE = Team()


def shared_tensors(state: dict[str, Any]) -> list[Tensor]:
    """The tensors of a trainer's state that all processes have in common, in one order."""
    return [tensor for name in _SHARED for tensor in _tensors(state[name])]


def _apart(own: Tensor) -> Tensor:
    """How far a tensor is from process 0's, relative to its length: 0-dim, float32."""
    theirs = own.detach().clone()
    dist.broadcast(theirs, 0)
    own, theirs = own.detach().double(), theirs.double()
    return ((own - theirs).norm() / theirs.norm().clamp(min=1e-12)).nan_to_num(torch.inf).float()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, Sequence) else ()
    for part in parts if not isinstance(value, str) else ():
        yield from _tensors(part)
