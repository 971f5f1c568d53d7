from __future__ import annotations

import pytest

from analysis.reporting.facts import _network


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (
            {"name": "classes", "networks": 3, "hash": "ef" * 12, "accuracy": 0.99},
            "3 networks trained to tell classes apart, and whole from broken images "
            "(accuracy 99.0 %, hash efefefefefef)",
        ),
        (
            {"name": "contrast, another network", "networks": 1, "hash": "ab", "accuracy": None},
            "a network trained without classes to tell images apart, and whole from broken ones (hash ab)",
        ),
        ({"name": "mine:features", "hash": "cd", "accuracy": None}, "mine:features (hash cd)"),
        ({"hash": "c1c1", "accuracy": 0.981}, "a classifier (accuracy 98.1 %, hash c1c1)"),  # of version 0.1
    ],
)
def test_a_feature_network_in_words(network: dict[str, object], text: str) -> None:
    assert _network(network) == text
