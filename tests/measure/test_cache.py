"""Files that studies share: damaged, unwritable, raced for."""

from __future__ import annotations

import io
import logging
import os
import threading
from pathlib import Path

import pytest
import torch

from study.measure.cache import cached


def test_damaged_cache_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "thing.pt"
    cached(path, lambda: {"value": torch.arange(100)})
    whole = path.read_bytes()
    middle = whole.index(torch.arange(100).numpy().tobytes()) + 400  # inside a number: torch would not notice
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for content in (whole[:-40], flipped, b"", b"not a file of tensors"):
        caplog.clear()
        path.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            assert cached(path, lambda: {"value": torch.ones(1)})["value"] == 1
        assert "damaged" in caplog.text
        assert cached(path, lambda: {})["value"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["thing.pt"]


def test_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cached(tmp_path / "file" / "cache" / "thing.pt", lambda: {"value": 1}) == {"value": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_cache_survives_a_race(tmp_path: Path) -> None:
    path = tmp_path / "thing.pt"
    barrier = threading.Barrier(4)
    results = []

    def compute() -> dict[str, torch.Tensor]:
        barrier.wait()
        return {"value": torch.arange(50_000)}

    workers = [threading.Thread(target=lambda: results.append(cached(path, compute))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4
    assert torch.equal(cached(path, dict)["value"], torch.arange(50_000))
    assert [file.name for file in tmp_path.iterdir()] == ["thing.pt"]


def test_cache_file_is_for_everybody_and_holds_no_pickled_objects(tmp_path: Path) -> None:
    path = tmp_path / "thing.pt"
    cached(path, lambda: {"value": 1})
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert torch.load(io.BytesIO(path.read_bytes()[32:]), weights_only=True) == {"value": 1}
