"""Which kind of device each trial gets, where a space leaves that open, and what Ray is asked for then."""

from __future__ import annotations

import time
from collections import Counter

from ray import tune

from study.tuning.cluster import Resources, gpu_nodes, slots

LOST_SECONDS = 30.0
"""How long the slot of a process that died is not counted on: Ray takes about 15 s to see that its node has died."""


class Devices:
    """Assigns trials to kinds of device, to GPUs as far as there are slots.

    Args:
        resources: What a trial gets.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._assigned: dict[str, str] = {}
        self._lost: list[tuple[float, str]] = []

    def assign(self, trial_id: str) -> str:
        """The kind of device a trial is to run on: one with a free slot, else one where a slot becomes free."""
        if len(self._resources.devices) == 1:
            return self._resources.devices[0]
        there = slots(self._resources)
        self._lost = [(until, device) for until, device in self._lost if time.monotonic() < until]
        taken = Counter([*self._assigned.values(), *(device for _, device in self._lost)])
        free = [device for device in there if taken[device] < there[device]]
        busy = [device for device in there if there[device]]
        lost = {device for _, device in self._lost}  # its node may be one that Ray has not seen die yet
        self._assigned[trial_id] = (free or [kind for kind in busy if kind not in lost] or busy or list(there))[0]
        return self._assigned[trial_id]

    def assign_again(self, trial_id: str) -> str:
        """The same for a trial whose process died."""
        self.lose(trial_id)
        return self.assign(trial_id)

    def lose(self, trial_id: str) -> None:
        """A trial's process died."""
        if trial_id in self._assigned:
            self._lost.append((time.monotonic() + LOST_SECONDS, self._assigned.pop(trial_id)))

    def release(self, trial_id: str) -> None:
        """A trial has ended."""
        self._assigned.pop(trial_id, None)

    def clear(self) -> None:
        """No trial runs any more."""
        self._assigned.clear()

    @property
    def starved(self) -> bool:
        """A trial is assigned to a kind of device that no node has any more, and there is another."""
        there = slots(self._resources) if self._assigned else {}
        return any(there.values()) and any(not there[device] for device in self._assigned.values())


def placement(resources: Resources, device: str) -> tune.PlacementGroupFactory:
    """What a trial on that kind of device asks Ray for.

    A process is used again by a trial that asks for the same. So a trial on CPUs does not name the nodes it may be on,
    but those it may not be on, which have GPUs: others may join and leave. One that was waiting for room when a node
    with GPUs joined may still run there.
    """
    bundle = resources.wanted(device)
    avoided = gpu_nodes() if device == "cpu" and resources.gpus else []
    if not avoided:
        return tune.PlacementGroupFactory([bundle])
    selector = {"ray.io/node-id": f"!in({','.join(avoided)})"}  # a label that every node has from Ray
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[selector])
