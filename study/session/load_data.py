"""Loads a study's data: of a data set of the space's own, or of one that comes with this project."""

from __future__ import annotations

from pathlib import Path

from study.data.datasets import DATASETS, ImageData, load_dataset
from study.disk.layout import cache_path
from study.errors import UserError, located_errors
from study.space import SearchSpace


def load_data(
    space: SearchSpace, name: str, data_dir: Path | None, image_size: int | None = None, runs: Path | None = None
) -> ImageData:
    """The data set of a name.

    Args:
        space: It may bring data sets of its own.
        name: One of those, or as of `load_dataset`.
        data_dir: Where downloaded data sets lie.
        image_size: As of `load_dataset`.
        runs: The folder of all studies, whose cache may hold the images of a folder.

    Raises:
        UserError: There is no such data set, its code raised an error or gave something else, or its files are missing.
    """
    own = space.own.of_kind("dataset")
    source = own.get(name)
    if source is None and own and name not in DATASETS and ":" not in name:
        raise UserError(f"no data set {name!r}: choose from {', '.join([*own, *DATASETS])}, or folder:PATH")
    if source is None:
        cache = None if runs is None else cache_path(runs)
        return load_dataset(name, data_dir, image_size=image_size, cache=cache)
    if image_size is not None:
        raise UserError(f"--image-size: data set {name!r} brings its images; let its load resize them")
    with located_errors():
        data = source.load()
    if not isinstance(data, ImageData):
        raise UserError(f"data set {name!r}: its load returned {type(data).__name__}; return study.from_arrays(...)")
    return data.named(name)
