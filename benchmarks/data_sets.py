"""Runs a benchmark on each data set in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits

from benchmarks.rows import Row, print_rows
from study.config import UserError
from study.data.arrays import from_arrays
from study.data.datasets import ImageData, load_dataset
from study.data.pixels import as_float
from study.data.splits import Split

FLOWERS = "flowers"
_SIDE = 32


def run(names: Iterable[str], measure: Callable[[ImageData, Path], Iterable[Row]], data_dir: Path, cache: Path) -> int:
    """Prints the rows of every available data set, on one thread.

    Args:
        names: Names of the data sets, or `flowers`: the photographs in `data_dir/flowers`, made 32 pixels wide.
        measure: Takes a data set and the cache folder.
        data_dir: Where data sets lie.
        cache: The folder of what is trained once.

    Returns:
        The exit status.
    """
    torch.set_num_threads(1)
    status = 0
    for name in names:
        try:
            data = _flowers(data_dir / name) if name == FLOWERS else load_dataset(name, data_dir, download=False)
        except UserError as error:
            print(f"{name} is left out: {error}")
            continue
        with threadpool_limits(1):  # as in a trial's process
            status |= print_rows(measure(data, cache))
    return status


def _flowers(folder: Path) -> ImageData:
    """A folder of photographs, each side an average of 32 pixels: so small, a battery of models takes minutes."""
    data = load_dataset(f"folder:{folder}")

    def part(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
        small = F.interpolate(as_float(split.images), size=(_SIDE, _SIDE), mode="area")
        return (small * 255).round().byte(), split.labels

    train, validation, test = map(part, (data.train, data.validation, data.test))
    return from_arrays(*train, name=FLOWERS, validation=validation, test=test)
