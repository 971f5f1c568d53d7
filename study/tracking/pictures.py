"""A trial's pictures in MLflow, by key and step, so that the UI's image grid shows several trials side by side."""

from __future__ import annotations

import re
from pathlib import Path

from study.disk.layout import attempt_folders
from study.tracking.runs import Runs, StoredRun
from study.tracking.store import one_line


def pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a trial's newest attempt that has any, by their key in MLflow."""
    found = [attempt for _, attempt in attempt_folders(folder) if (attempt / "images").is_dir()]
    paths = sorted((found[-1] / "images").glob("*.png")) if found else []
    return {re.sub(r"[^A-Za-z0-9_-]", "_", path.stem): path for path in paths if not path.is_symlink()}


def log_pictures(runs: Runs, run: StoredRun, number: int, folder: Path, epoch: int, time: int) -> None:
    """Uploads the pictures that a run lacks.

    `log_image` names the pictures so that MLflow's image grid lines them up across runs by key and step; a plain file
    beside them would break that grid, so there are none. It takes about 50 ms a picture, nearly all of it for encoding.

    Args:
        runs: The study's runs.
        run: The trial's run.
        number: The trial's number.
        folder: The trial's folder.
        epoch: The trial's last epoch, the step of its pictures.
        time: When the trial ended, in Unix milliseconds.
    """
    found = pictures(folder)
    if not found:
        return
    from PIL import Image

    held = {file.path for file in runs.client.list_artifacts(run.run_id, "images")} if run.found else set()
    for key, path in found.items():
        # `log_image` writes the small copy last.
        if any(name.startswith(f"images/{key}+step+{epoch}+") and name.endswith(".webp") for name in held):
            continue
        try:
            with Image.open(path) as picture:
                picture.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            runs.problems[f"trial {number}: {path.name} is left out: {one_line(error)}"] = None
            continue
        runs.client.log_image(run.run_id, picture, key=key, step=epoch, timestamp=time, synchronous=True)
