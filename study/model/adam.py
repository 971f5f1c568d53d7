"""Adam by torch's fused kernel, without what torch.optim puts around it.

The first optimizer of torch.optim in a process imports torch's compiler, a second of a core's time in every trial's
process (`benchmarks.startup`). What is kept here is the moments; the update is torch's own, by its functional API.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim.adam import adam

EPSILON = 1e-8
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Adam:
    """Adam (Kingma & Ba, arXiv 1412.6980), or AdamW (Loshchilov & Hutter, arXiv 1711.05101) where weights decay.

    Its steps equal those of `torch.optim.Adam(..., fused=True)`, and so do the keys of its state, where every parameter
    has had a gradient. On a GPU the steps are counted there, so that a CUDA graph may hold them; learning rate and
    betas are constants of such a graph.

    Args:
        parameters: What is trained; all on one device.
        learning_rate: May be changed between steps.
        betas: Decay rates of the two moments; may be changed between steps.
        weight_decay: Decoupled from the gradients, as in AdamW; 0 for Adam.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        learning_rate: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        self.learning_rate = learning_rate
        self.betas = betas
        self._weight_decay = weight_decay
        self._parameters = list(parameters)
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

    @torch.no_grad()
    def step(self) -> None:
        """Changes every parameter that has a gradient."""
        trained = [
            (parameter, parameter.grad, *(state[name] for name in _MOMENTS))
            for parameter, state in zip(self._parameters, self._state, strict=True)
            if parameter.grad is not None
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
            decoupled_weight_decay=self._weight_decay > 0,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=self.learning_rate,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """The moments, as torch.optim writes them; `load_state_dict` takes them back."""
        return {"state": dict(enumerate(self._state))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts the moments where `state_dict` found them, on the parameters' device; the tensors stay the same ones.

        Raises:
            ValueError: They are another model's.
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
    """Sets learning rate and first beta to what the one-cycle policy (Smith & Topin, arXiv 1708.07120) has for a step.

    The values are those of torch's OneCycleLR with its defaults, which wants an optimizer of torch.optim: the rate
    rises by a cosine from peak / 25 over the first three tenths of the steps and falls to peak / 250,000, the beta the
    other way round between .95 and .85.

    Args:
        optimizer: Before this step.
        step: From 0.
        steps: All steps, at least 2.
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
