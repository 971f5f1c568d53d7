"""The garbage collector waits while large packages are imported, and is back whatever happens."""

from __future__ import annotations

import gc

import pytest

from study.tuning.imports import quick_imports


def test_no_garbage_is_collected_meanwhile_and_what_was_imported_is_left_alone_afterwards() -> None:
    before = gc.get_freeze_count()
    try:
        with quick_imports():
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()


def test_blocks_may_lie_within_one_another() -> None:
    with quick_imports():
        with quick_imports():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.unfreeze()


def test_a_failed_import_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert gc.isenabled()
    gc.unfreeze()
