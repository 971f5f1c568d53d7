"""A training step as one CUDA graph: its hundreds of small kernels are launched at once, with no Python between them.

A graph replays the addresses it was captured with, so whatever changes from step to step lies in a buffer that is
written before each replay: which images, and the weight. The random numbers go on because the generator is registered
with the graph; parameters, gradients, Adam's moments and its count of steps are changed in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

EAGER_STEPS = 3
"""Steps before the capture: libraries choose their kernels in them."""
SWITCH = "STUDY_CUDA_GRAPH"
"""Environment variable; 0 leaves the steps as they are, to find out what a graph hides."""

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Indices of a batch [B] and the weight, 0-dim, to three 0-dim tensors."""


def graphs_wanted(device: torch.device) -> bool:
    """Whether steps on this device are to be captured."""
    return device.type == "cuda" and os.environ.get(SWITCH) != "0"


class GraphedSteps:
    """Runs a step on the GPU: the first few as they are, then one captured graph again and again.

    The first steps count as any other; they run on a side stream, as capturing asks for. What the step reads or changes
    must keep its place in memory afterwards: after loading a checkpoint, begin with a new `GraphedSteps`.

    Args:
        batch_size: Images in a step.
        generator: The step's source of randomness, on the GPU.
    """

    def __init__(self, batch_size: int, generator: torch.Generator) -> None:
        device = generator.device
        self._generator = generator
        self._batch = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self._weight = torch.zeros((), device=device)
        self._results = torch.zeros(3, device=device)
        self._side = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._done = 0

    def run(self, step: Step, batch: Tensor, weight: float) -> Tensor:
        """One step; nothing in it waits for the GPU.

        Args:
            step: The same at every call. It is not kept: the memory of a graph goes with the last reference to it.
            batch: Indices of its images, int64 [B], on the GPU.
            weight: w * m(t).

        Returns:
            The step's three results, [3].
        """
        self._batch.copy_(batch)
        self._weight.fill_(weight)
        if self._graph is None and self._done == EAGER_STEPS:
            self._graph = self._capture(step)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._run_aside(step)
        self._done += 1
        return self._results.clone()

    def _execute(self, step: Step) -> None:
        self._results.copy_(torch.stack(step(self._batch, self._weight)))

    def _run_aside(self, step: Step) -> None:
        current = torch.cuda.current_stream(self._side.device)
        self._side.wait_stream(current)
        with torch.cuda.stream(self._side):
            self._execute(step)
        current.wait_stream(self._side)

    def _capture(self, step: Step) -> torch.cuda.CUDAGraph:
        """Captures the step without running it."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        with torch.cuda.graph(graph):
            self._execute(step)
        return graph
