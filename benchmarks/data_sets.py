"""Runs a benchmark on each data set in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from benchmarks.rows import Row, print_rows
from study.config import UserError
from study.data.datasets import ImageData, load_dataset


def run(names: Iterable[str], measure: Callable[[ImageData, Path], list[Row]], data_dir: Path, cache: Path) -> int:
    """Prints the rows of every available data set, on one thread.

    Args:
        names: Names of the data sets.
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
            data = load_dataset(name, data_dir, download=False)
        except UserError as error:
            print(f"{name} is left out: {error}")
            continue
        with threadpool_limits(1):  # as in a trial's process
            status |= print_rows(measure(data, cache))
    return status
