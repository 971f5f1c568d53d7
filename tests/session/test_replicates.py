"""Replicates have seeds that no trial of the search had, and that a trial may have."""

from __future__ import annotations

import pytest

from study.config import TrialConfig
from study.session.replicates import fresh_seeds

LARGEST = 2**31 - 1


@pytest.mark.parametrize(
    ("used", "expected"),
    [({0}, [1, 2, 3]), ({4, 0}, [5, 6, 7]), ({LARGEST, 0, 2}, [1, 3, 4]), ({LARGEST - 1}, [LARGEST, 0, 1])],
)
def test_faults_met_seeds_go_on_from_the_smallest_after_the_largest(used: set[int], expected: list[int]) -> None:
    assert fresh_seeds(used, 3) == expected
    assert [TrialConfig(seed=seed).seed for seed in expected] == expected
