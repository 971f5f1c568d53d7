"""The command of a benchmark that measures each data set in turn."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from benchmarks.rows import Row, print_rows
from study.config import UserError
from study.data.datasets import ImageData, load_dataset


def run(description: str | None, names: Iterable[str], measure: Callable[[ImageData, Path], list[Row]]) -> int:
    """Prints the rows of every data set in `--data-dir`, on one thread, and returns the exit status.

    Args:
        description: Text for `--help`.
        names: Names of the data sets.
        measure: Takes a data set and the cache folder.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    status = 0
    for name in names:
        try:
            data = load_dataset(name, arguments.data_dir, download=False)
        except UserError as error:
            print(f"{name} is left out: {error}")
            continue
        with threadpool_limits(1):  # as in a trial's process
            status |= print_rows(measure(data, arguments.cache))
    return status
