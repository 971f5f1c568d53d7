"""What a space takes from the data: latent sizes, and weights in multiples of their total pixel variance."""

from __future__ import annotations

from typing import Any

from study.built_in import BUILT_IN
from study.config import DataSummary

EARLIER_LATENT_SIZES = (4, 8, 16)
"""What the built-in searches had for images of any size before they followed the data."""
_LATENT_SIZES = ((1_024, EARLIER_LATENT_SIZES), (4_096, (16, 32, 64)))
_LARGE_LATENT_SIZES = (32, 64, 128)


def latent_sizes(data: DataSummary) -> tuple[int, int, int]:
    """A small, a middle and a large latent size for images of this size.

    Published sizes are 8 (Tolstikhin et al., arXiv 1711.01558) and 16 (Ghosh et al., arXiv 1903.12436) on MNIST, 128 on
    CIFAR-10 (the latter), and 64 on faces of 64x64 pixels (both).

    Args:
        data: The data set's summary.

    Returns:
        4, 8, 16 for images of up to 1,024 numbers; 16, 32, 64 up to 4,096; 32, 64, 128 beyond.
    """
    numbers = data.channels * data.height * data.width
    return next((sizes for most, sizes in _LATENT_SIZES if numbers <= most), _LARGE_LATENT_SIZES)


def weight_range(data: DataSummary, *regularizers: Any) -> tuple[float, float]:
    """The smallest absolute weight range on this data set that covers regularizers: names, or own components.

    Raises:
        ValueError: There is none of that name, or it has no weight.
    """
    if not regularizers:
        raise ValueError("weight_range: name at least one regularizer")
    found = [_regularizer(item) for item in regularizers]
    ranges = [item.weight_range for item in found if item.weight_range is not None]
    if len(ranges) < len(found):
        [name, *_] = [item.name for item in found if item.weight_range is None]
        raise ValueError(f"regularizer {name} has no weight_range: declare one in its class, or give numbers")
    return min(low for low, _ in ranges) * data.total_variance, max(high for _, high in ranges) * data.total_variance


def first_weight(data: DataSummary, regularizer: Any) -> float:
    """A good absolute weight to begin with on this data set.

    Raises:
        ValueError: There is no such regularizer, or it declares none.
    """
    found = _regularizer(regularizer)
    if found.first_weight is None:
        raise ValueError(f"regularizer {found.name} has no first_weight: declare one in its class, or give a number")
    return found.first_weight * data.total_variance


def _regularizer(item: Any) -> Any:
    """A regularizer by its name, or the component itself."""
    known = BUILT_IN.of_kind("regularizer")
    if isinstance(item, str) and item not in known:
        raise ValueError(f"regularizer={item!r}: choose from {', '.join(known)}, or give the class of your own")
    return known[item] if isinstance(item, str) else item
