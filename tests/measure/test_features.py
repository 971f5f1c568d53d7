from __future__ import annotations

import math

import pytest
import torch

from study.measure.features import Classifier, halving_widths, is_tiny
from study.measure.instrument import FAMILIES, network_spec
from study.measure.perceptual import perceptual_spec
from tests.helpers import made_summary


@pytest.mark.parametrize(
    ("channels", "height", "width"), [(1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 40, 17), (1, 8, 8)]
)
def test_classifiers_take_any_image(channels: int, height: int, width: int) -> None:
    summary = made_summary(channels, height, width)
    architectures = [network_spec(task, summary).architecture for task in FAMILIES.values()]
    for architecture in (*architectures, perceptual_spec(summary).architecture):
        classifier = Classifier(architecture, summary)
        x = torch.rand(2, channels, height, width)
        assert classifier.features(x).shape == (2, architecture.features)
        assert classifier(x).shape == (2, 10)
        assert torch.equal(classifier.intermediate(x)[-1], classifier.features(x).relu())


def test_widths_halve_the_image_to_eight() -> None:
    for side, halvings in ((8, 2), (28, 2), (32, 2), (33, 3), (64, 3), (128, 4)):
        widths = halving_widths(16, made_summary(1, side, side))
        assert len(widths) == halvings and widths == tuple(min(64, 16 * 2**level) for level in range(halvings))
        assert math.ceil(side / 2**halvings) <= 8
    assert is_tiny(made_summary(1, 8, 8)) and not is_tiny(made_summary(1, 28, 28))
