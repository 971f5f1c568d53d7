"""Files that studies share: what was trained or computed once is named by its content and read from then on."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

_DIGEST = hashlib.sha256().digest_size


def content_key(*parts: Any) -> str:
    """A short hash of JSON-able parts, for cache file names."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12).hexdigest()


def content_hash(state: Mapping[str, Tensor]) -> str:
    """A hash of a network's weights."""
    digest = hashlib.blake2b(digest_size=12)
    for name, value in state.items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def cached(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `compute` returns, read from a file if there is a good one, else computed and written.

    The file holds tensors and plain values after a digest of them. A reader never sees half a file: if two processes
    race, both compute, and one file replaces an equal one. A damaged file is computed again. If the folder cannot be
    written, the result is used but not kept.
    """
    try:
        stored = path.read_bytes()
        # torch's own format does not notice a flipped bit, which would then spoil every later study.
        if hashlib.sha256(stored[_DIGEST:]).digest() == stored[:_DIGEST]:
            return torch.load(io.BytesIO(stored[_DIGEST:]), weights_only=True)
        logger.warning("%s is damaged and is computed again", path)
    except OSError:
        pass  # missing or unreadable: compute it
    content = compute()
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getvalue()
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(hashlib.sha256(payload).digest() + payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        logger.warning("%s cannot be written (%s), so it is computed again next time", path, error.strerror)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return content
