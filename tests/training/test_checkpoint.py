from __future__ import annotations

from pathlib import Path

import pytest
import torch

from study.training import checkpoint


def _write(directory: Path, *epochs: int) -> list[Path]:
    directory.mkdir(exist_ok=True)
    return [
        checkpoint.save(directory, epoch, {"epoch": epoch, "x": torch.full((3,), float(epoch))}) for epoch in epochs
    ]


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    [path] = _write(tmp_path, 7)
    state = checkpoint.load(path)
    assert state["epoch"] == 7
    assert torch.equal(state["x"], torch.full((3,), 7.0))


def test_only_the_newest_are_kept_and_nothing_temporary(tmp_path: Path) -> None:
    _write(tmp_path, 1, 2, 3, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000003.pt", "checkpoint-000010.pt"]


def test_the_newest_over_all_attempts_wins(tmp_path: Path) -> None:
    _write(tmp_path / "attempt-1", 2, 4)
    _write(tmp_path / "attempt-2", 3)
    state, complaints = checkpoint.newest(tmp_path)
    assert state is not None and state["epoch"] == 4 and not complaints


def test_checkpoints_from_a_given_epoch_on_are_left_out(tmp_path: Path) -> None:
    _write(tmp_path / "attempt-1", 4, 8)
    state, _ = checkpoint.newest(tmp_path, before=8)
    assert state is not None and state["epoch"] == 4


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _empty(content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [_truncate, _flip, _empty])
def test_a_damaged_checkpoint_is_named_and_the_previous_one_taken(tmp_path: Path, damage) -> None:
    _, newest = _write(tmp_path / "attempt-1", 2, 4)
    newest.write_bytes(damage(newest.read_bytes()))
    state, complaints = checkpoint.newest(tmp_path)
    assert state is not None and state["epoch"] == 2
    assert len(complaints) == 1 and newest.name in complaints[0]


def test_without_a_sound_checkpoint_there_is_none(tmp_path: Path) -> None:
    for path in _write(tmp_path / "attempt-1", 2, 4):
        path.write_bytes(b"")
    state, complaints = checkpoint.newest(tmp_path)
    assert state is None and len(complaints) == 2


def test_security_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    path = checkpoint.save(tmp_path, 1, {"evil": Evil()})
    with pytest.raises(Exception, match=r"weights_only|Weights only|Unsupported"):
        checkpoint.load(path)
