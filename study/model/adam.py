"""Adam by torch's fused kernel, without the rest of torch.optim.

The first torch.optim optimizer in a process imports torch's compiler, which costs every trial's process a second of CPU
time (`benchmarks.startup`). This class keeps the moments; torch's functional API computes the update.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adam import adam

EPSILON = 1e-8
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Adam:
    """Adam (Kingma & Ba, arXiv 1412.6980), or AdamW (Loshchilov & Hutter, arXiv 1711.05101) with weight decay.

    Its steps equal those of `torch.optim.Adam(..., fused=True)`. The keys of its state do too, once every parameter has
    had a gradient. On a GPU it counts steps on the device, so that a CUDA graph can contain them. The betas are
    constants of such a graph, and so is a learning rate that is a number.

    Args:
        parameters: The parameters to train, all on one device.
        learning_rate: It may change between steps. A 0-dim float32 tensor on the parameters' device may change between
            replays of a CUDA graph.
        betas: Decay rates of the two moments. They may change between steps.
        weight_decay: Decoupled from the gradients, as in AdamW; 0 for Adam.
        undecayed: Those of the parameters that weight decay leaves alone.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        learning_rate: float | Tensor,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        undecayed: Iterable[Parameter] = (),
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = betas
        self._parameters = list(parameters)
        spared = set(map(id, undecayed))
        self._decays = [0.0 if id(parameter) in spared else weight_decay for parameter in self._parameters]
        self._state = [
            {
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
                "step": torch.zeros((), device=parameter.device),
            }
            for parameter in self._parameters
        ]

    def zero_grad(self) -> None:
        """Drops the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def set_learning_rate(self, rate: float) -> None:
        """Sets the learning rate; a tensor keeps its place in memory, where a CUDA graph reads it."""
        if isinstance(self.learning_rate, Tensor):
            self.learning_rate.fill_(rate)
        else:
            self.learning_rate = rate

    @torch.no_grad()
    def step(self) -> None:
        """Updates every parameter that has a gradient."""
        for decay in dict.fromkeys(self._decays):  # one kernel, or two if some parameters do not decay
            self._update(decay)

    def _update(self, decay: float) -> None:
        trained = [
            (parameter, parameter.grad, *(state[name] for name in _MOMENTS))
            for parameter, state, own in zip(self._parameters, self._state, self._decays, strict=True)
            if parameter.grad is not None and own == decay
        ]
        if not trained:
            return
        parameters, gradients, means, squares, steps = map(list, zip(*trained, strict=True))
        beta1, beta2 = self.betas
        adam(
            parameters,
            gradients,
            means,
            squares,
            [],
            steps,
            fused=True,
            decoupled_weight_decay=decay > 0,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=self.learning_rate,
            weight_decay=decay,
            eps=EPSILON,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """The moments, in torch.optim's format, for `load_state_dict`."""
        return {"state": dict(enumerate(self._state))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the moments from `state_dict`, on the parameters' device and in the tensors that are there.

        Raises:
            ValueError: They belong to another model.
        """
        loaded = state["state"]
        shapes = [state["exp_avg"].shape for state in self._state]
        if {index: state["exp_avg"].shape for index, state in loaded.items()} != dict(enumerate(shapes)):
            raise ValueError(f"moments of {len(loaded)} parameters do not fit a model of {len(shapes)}")
        with torch.no_grad():
            for index, own in enumerate(self._state):
                for name, moment in own.items():
                    moment.copy_(loaded[index][name])


def set_one_cycle(optimizer: Adam, step: int, steps: int, peak: float) -> None:
    """Sets the learning rate and the first beta for one step of the one-cycle policy (Smith & Topin, arXiv 1708.07120).

    The values are those of torch's OneCycleLR with its defaults, which needs a torch.optim optimizer. Over the first
    three tenths of the steps the rate rises along a cosine from peak / 25 to the peak; then it falls to peak / 250,000.
    The beta moves the other way, between 0.95 and 0.85.

    Args:
        optimizer: The optimizer, before this step.
        step: The step, from 0.
        steps: Number of all steps, at least 2.
        peak: The highest learning rate.
    """
    summit, low = 0.3 * steps - 1, peak / 25
    if step <= summit:
        done, rates, betas = step / summit, (low, peak), (0.95, 0.85)
    else:
        done, rates, betas = (step - summit) / (steps - 1 - summit), (peak, low / 1e4), (0.85, 0.95)
    optimizer.learning_rate = _cosine(*rates, done)
    optimizer.betas = _cosine(*betas, done), optimizer.betas[1]


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * done) + 1)
