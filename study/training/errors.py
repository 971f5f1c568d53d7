"""What ends a training early."""

from __future__ import annotations


class TrainingError(Exception):
    """The training cannot continue, and a second try would end the same way: the loss is no longer finite, or the
    processes of a training on several devices do not agree."""


class LostDevice(Exception):
    """A process of a training on several devices died or does not answer. A second try may succeed."""
