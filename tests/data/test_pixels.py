from __future__ import annotations

import numpy as np
import pytest
import torch

from study.data.pixels import as_exact_bytes, as_float


def test_bytes_and_floats_mean_the_same() -> None:
    stored = torch.arange(256, dtype=torch.uint8)
    floats = as_float(stored)
    assert torch.equal(floats, torch.arange(256) / 255) and torch.equal(as_float(floats), floats)
    assert as_float(floats).data_ptr() == floats.data_ptr()  # not copied


@pytest.mark.parametrize("how", [lambda u: u / 255, lambda u: u * np.float32(1 / 255)])
def test_levels_of_bytes_are_found(how) -> None:
    levels = np.arange(256, dtype=np.float32).reshape(8, 32)
    found = as_exact_bytes(how(levels))
    assert found is not None and (found == levels).all()
    shifted = how(levels).copy()
    shifted[7, 31] -= 1e-5
    assert as_exact_bytes(shifted) is None
