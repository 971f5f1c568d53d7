"""Checkpoints: written atomically, verified before use, never unpickled.

A file is a magic word, the SHA-256 of the rest, and the output of `torch.save`. The digest detects a truncated or
bit-flipped file, which torch's own format does not.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any

import torch

from study.disk.layout import attempt_folders

_MAGIC = b"AECKPT1\n"
_NAME = re.compile(r"checkpoint-(\d{6})\.pt")
KEEP = 2
"""Checkpoints kept per attempt: the newest, and one to fall back to if that is damaged."""


class CheckpointError(Exception):
    """The file is not a complete checkpoint."""


def save(directory: Path, epoch: int, state: dict[str, Any]) -> Path:
    """Writes `checkpoint-<epoch>.pt`, whole or not at all, and deletes all but the newest `KEEP`.

    Args:
        directory: The attempt's folder.
        epoch: Epochs trained so far.
        state: Tensors, numbers, strings, and containers of them.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    path = directory / f"checkpoint-{epoch:06d}.pt"
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(payload).digest() + payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    for _, old in _checkpoints_of(directory)[KEEP:]:
        old.unlink(missing_ok=True)
    return path


def load(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Reads a checkpoint with `weights_only=True`.

    Raises:
        CheckpointError: The file is missing, truncated or altered.
    """
    return torch.load(io.BytesIO(verify(path)), map_location=device, weights_only=True)


def verify(path: Path) -> bytes:
    """Checks a checkpoint's digest and returns what `torch.save` wrote, without reading it further.

    Raises:
        CheckpointError: The file is missing, truncated or altered.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    payload = content[len(_MAGIC) + 32 :]
    if content[: len(_MAGIC)] != _MAGIC or hashlib.sha256(payload).digest() != content[len(_MAGIC) : len(_MAGIC) + 32]:
        raise CheckpointError(f"{path}: damaged (its checksum does not match)")
    return payload


def newest(
    trial_directory: Path, device: str | torch.device = "cpu", *, before: int | None = None
) -> tuple[dict[str, Any] | None, list[str]]:
    """The state of a trial's newest sound checkpoint, over all its attempts.

    Args:
        trial_directory: The trial's folder.
        device: Where its tensors go.
        before: Use only checkpoints of fewer epochs. A trial resumes from before its last epoch, because the final
            evaluation after that epoch may be missing.

    Returns:
        The state, or None if there is no sound checkpoint; and one line for each damaged file that was skipped.
    """
    complaints = []
    for epoch, path in _checkpoints(trial_directory):
        if before is not None and epoch >= before:
            continue
        try:
            return load(path, device), complaints
        except CheckpointError as error:
            complaints.append(str(error))
    return None, complaints


def newest_epoch(trial_directory: Path, *, before: int) -> int:
    """The epoch of the newest checkpoint, sound or not, of fewer epochs than `before`; 0 if there is none."""
    return next((epoch for epoch, _ in _checkpoints(trial_directory) if epoch < before), 0)


def _checkpoints(trial_directory: Path) -> list[tuple[int, Path]]:
    """(epoch, file) over all attempts, newest first: by epoch, then by attempt."""
    attempts = reversed(attempt_folders(trial_directory))
    return sorted((found for _, attempt in attempts for found in _checkpoints_of(attempt)), key=_epoch, reverse=True)


def _checkpoints_of(attempt: Path) -> list[tuple[int, Path]]:
    """(epoch, file) of one attempt, newest first."""
    found = [(int(match[1]), path) for path in attempt.glob("*.pt") if (match := _NAME.fullmatch(path.name))]
    return sorted(found, key=_epoch, reverse=True)


def _epoch(found: tuple[int, Path]) -> int:
    return found[0]


def continues_randomness(state: dict[str, Any], device: str | torch.device) -> bool:
    """Whether a device can continue the random numbers of `Trainer.state()`; GPU and CPU generators differ."""
    return state["generator"].numel() == torch.Generator(device).get_state().numel()
