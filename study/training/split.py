"""Encoder and decoder on this process's rows of a batch, with the outcome of the whole batch.

Every process of a training on several devices holds the whole batch and computes the whole loss, for divergences and
critics depend on all codes at once. Only the networks, which are nearly all of the work, are split: each process sends
its rows through, and all gather what came out. On the way back each takes its rows of the gradient, which all have in
full, and the gradients of the network's parameters are summed. So what a parameter receives elsewhere, such as the
decay of RAE-L2, is counted once.
"""

from __future__ import annotations

import contextvars
from typing import Any, final

import torch
import torch.distributed as dist
import torch.nn as nn
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from study.model.precision import run_network
from study.training.scopes import drawn_devices

_share: contextvars.ContextVar[tuple[int, int] | None] = contextvars.ContextVar("share", default=None)
"""Rows of this process and of all, while a network is split."""


def row_counts(rows: int, processes: int) -> list[int]:
    """How many rows of a batch each process takes: as even as possible, the first ones more."""
    return [rows // processes + (rank < rows % processes) for rank in range(processes)]


def run_split(network: nn.Module, inputs: Tensor, precision: str, seed: int | None = None) -> Tensor:
    """What `run_network` returns for a batch that all processes hold, computed by all of them together.

    All must call it with the same network and batch. It can be differentiated once.

    Args:
        network: An encoder or decoder, the same on all.
        inputs: Float32 [B, ...], the same on all, B at least the number of processes.
        precision: `TrialConfig.precision`.
        seed: What this process seeds torch's global generator with while the network runs, if it may draw from it.
            Afterwards the generator goes on as if nothing had been drawn.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return _Split.apply(network, precision, seed, inputs, *parameters)  # pyright: ignore[reportReturnType]


@final
class _Split(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, network: nn.Module, precision: str, seed: int | None, inputs: Tensor, *parameters: Tensor
    ) -> Tensor:
        counts, rank = row_counts(len(inputs), dist.get_world_size()), dist.get_rank()
        ctx.begin, ctx.counts = sum(counts[:rank]), counts
        own = inputs.detach()[ctx.begin : ctx.begin + counts[rank]].requires_grad_(ctx.needs_input_grad[3])
        token = _share.set((counts[rank], len(inputs)))
        try:
            with torch.enable_grad(), torch.random.fork_rng(drawn_devices(), enabled=seed is not None):
                if seed is not None:
                    torch.manual_seed(seed)
                outputs = run_network(network, own.clone(), precision)  # it may change what it is given in place
        finally:
            _share.reset(token)
        ctx.own, ctx.outputs, ctx.parameters = own, outputs, parameters
        return _gathered(outputs.detach(), counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        rows = gradient[ctx.begin : ctx.begin + len(ctx.own)]
        wanted = [*([ctx.own] if ctx.own.requires_grad else []), *ctx.parameters]
        found = list(torch.autograd.grad(ctx.outputs, wanted, rows, allow_unused=True))
        inputs = found.pop(0) if ctx.own.requires_grad else None
        totals = iter(_sums_over_processes([gradient for gradient in found if gradient is not None]))
        found = [gradient if gradient is None else next(totals) for gradient in found]
        if inputs is not None:
            inputs = _gathered(inputs, ctx.counts)
        return (None, None, None, inputs, *found)


def _gathered(rows: Tensor, counts: list[int]) -> Tensor:
    """The rows of all processes in their order, [sum of counts, ...]."""
    padded = rows.new_zeros(max(counts), *rows.shape[1:])  # all must send as much
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _sums_over_processes(tensors: list[Tensor]) -> list[Tensor]:
    """The sum of each tensor over all processes, in one go."""
    if not tensors:
        return []
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    totals = flat.split([tensor.numel() for tensor in tensors])
    return [total.view(tensor.shape).to(tensor.dtype) for tensor, total in zip(tensors, totals, strict=True)]


@final
class _Sum(torch.autograd.Function):
    """The sum over all processes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _summed(values: Tensor) -> Tensor:
    return _Sum.apply(values)  # pyright: ignore[reportReturnType]


@final
class WholeBatchNorm(_BatchNorm):
    """Batch normalisation that knows the whole batch while `run_split` shows it only some rows, and else torch's.

    torch's own SyncBatchNorm runs on GPUs alone, so that no test without one could compare it with one process.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        share = _share.get()
        if share is None or not (self.training or self.running_mean is None):
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        dims, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
        own, whole = share
        count = x.numel() // x.shape[1] * whole // own  # values per channel
        mean = _summed(x.sum(dims)) / count  # [C]
        centred = x - mean.view(shape)
        variance = _summed(centred.square().sum(dims)) / count  # [C]
        self._observe(mean.detach(), variance.detach() * count / max(1, count - 1))
        result = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(input.dtype)

    def _observe(self, mean: Tensor, variance: Tensor) -> None:
        if not self.training or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


def know_whole_batches(network: nn.Module) -> None:
    """Replaces torch's batch normalisation within a network. Parameters, buffers and their names stay.

    A class derived from torch's is left as it is.
    """
    for name, child in network.named_children():
        if type(child) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            know_whole_batches(child)
            continue
        assert isinstance(child, _BatchNorm)
        new = WholeBatchNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
        new.weight, new.bias = child.weight, child.bias
        for buffer, value in child.named_buffers():
            setattr(new, buffer, value)
        new.train(child.training)
        setattr(network, name, new)
