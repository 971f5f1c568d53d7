"""A training step as one CUDA graph, which launches its hundreds of small kernels at once, without Python in between.

A graph replays the addresses it was captured with. What changes between steps, the batch's indices and the weight,
therefore lies in buffers that are written before each replay; so does Adam's learning rate if it falls. Random numbers
continue because the generator is registered with the graph. Parameters, gradients, Adam's moments and its step count
change in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

EAGER_STEPS = 3
"""Steps before the capture, in which libraries choose their kernels."""
SWITCH = "STUDY_CUDA_GRAPH"
"""Environment variable. 0 turns graphs off, to find errors that a graph hides."""

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""From a batch's indices [B] and the weight, 0-dim, to three 0-dim tensors."""


def graphs_wanted(device: torch.device) -> bool:
    """Whether to capture steps on this device."""
    return device.type == "cuda" and os.environ.get(SWITCH) != "0"


class GraphedSteps:
    """Runs a step on the GPU: the first few times directly, then as one captured graph.

    The first steps are full training steps. They run on a side stream, as capturing requires. After the capture,
    whatever the step reads or changes must keep its place in memory: after loading a checkpoint, make a new
    `GraphedSteps`.

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
        """Runs one step without waiting for the GPU.

        Args:
            step: The same at every call. It is not kept, because a reference to it would keep the graph's memory alive.
            batch: Indices of the step's images, int64 [B], on the GPU.
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
