"""Compares what studies cost with what was predicted before they began: time and memory.

    python -m benchmarks.cost --data-dir ../shared/data

Each study is predicted as `--dry-run` does it, run as a user does, and predicted again, because other work on the
machine changes both: the mean of the two predictions is compared. The time begins when the data are loaded and ends
with the command. Data sets that are not in `--data-dir` are left out; `flowers` are photographs in a folder of that
name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from benchmarks.options import DataOption
from benchmarks.rows import Row, print_rows
from benchmarks.studies import run_module, trial_intervals
from study.cli import run_command
from study.config import UserError
from study.disk.files import read_json
from study.launch import Options, planned
from study.session.cost import Cost
from study.session.forecast import forecast
from study.training.memory import own_memory

MOST_OFF = 1.3
"""Largest ratio of predicted and real cost, whichever is larger."""
_SAMPLE_SECONDS = 0.05


class Case(NamedTuple):
    """A study.

    Attributes:
        space: Its search space.
        trials: How many it has.
        epochs: Of each trial; None for the data set's.
        image_size: Of a folder's images.
    """

    space: str
    trials: int
    epochs: int | None = None
    image_size: int | None = None


CASES = {
    "digits": Case("wae_weight", 16),
    "mnist": Case("wae_weight", 4, epochs=2),
    "flowers": Case("wae_weight", 4, epochs=4, image_size=64),
}


def measure(name: str, data_dir: Path) -> Iterator[Row]:
    """Predicts, runs and predicts again."""
    case, dataset = CASES[name], f"folder:{data_dir / name}" if name == "flowers" else name
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        options = Options(
            space=case.space,
            data=dataset,
            data_dir=data_dir,
            name="cost",
            num_trials=case.trials,
            epochs=case.epochs,
            image_size=case.image_size,
            runs_dir=runs / "first",
        )
        before, took = predict(options)
        command = ["--space", case.space, "--dataset", dataset, "--data-dir", str(data_dir), "--study", "cost"]
        command += ["--num-trials", str(case.trials), "--runs-dir", str(runs / "first")]
        for option, value in (("--epochs", case.epochs), ("--image-size", case.image_size)):
            command += [] if value is None else [option, str(value)]
        study, held = runs / "first" / "cost", dict[str, int]()
        with _watched(study, held):
            wall = run_module("study.run", *command, log=runs / "log")
        after, again = predict(dataclasses.replace(options, runs_dir=runs / "second"))
        created = datetime.fromisoformat((read_json(study / "study.json") or {})["created"]).timestamp()
        intervals = trial_intervals(study)
    real, working = wall.end - created, sum(interval.seconds for interval in intervals)
    predicted = statistics.mean((before.usual, after.usual))
    memory = statistics.mean((before.memory or 0, after.memory or 0))
    yield Row(f"{name}: predicted, s", predicted)
    yield Row(f"{name}: real, s", real)
    yield Row(f"{name}: time, predicted over real", predicted / real)
    yield Row(f"{name}: time, larger over smaller", _off(predicted, real), MOST_OFF, at_most=True)
    yield Row(f"{name}: of the real seconds, trials", working / before.slots)
    yield Row(f"{name}: a trial's memory, predicted, MB", memory / 1e6)
    yield Row(f"{name}: a trial's memory, held, MB", held.get("most", 0) / 1e6)
    yield Row(f"{name}: memory, larger over smaller", _off(memory, held.get("most", 0)), MOST_OFF, at_most=True)
    yield Row(f"{name}: measuring took, s", statistics.mean((took, again)))


def _off(first: float, second: float) -> float:
    return max(first, second) / max(1e-9, min(first, second))


def predict(options: Options) -> tuple[Cost, float]:
    """What a study is expected to cost, and the seconds that measuring took."""
    with planned(options, "", joins=True) as (plan, cluster):
        cluster.join()
        begun = time.monotonic()
        found = forecast(plan, cluster, Console(file=sys.stderr, markup=False, highlight=False))
        took = time.monotonic() - begun
    if found is None:
        raise RuntimeError("nothing was measured")
    return found, took


@contextlib.contextmanager
def _watched(study: Path, held: dict[str, int]) -> Iterator[None]:
    """Notes in the block, as `most`, the largest memory of a trial's process."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            for path in study.glob("trials/*/attempt-1/process.json"):
                with contextlib.suppress(OSError, KeyError):
                    held["most"] = max(held.get("most", 0), own_memory((read_json(path) or {})["pid"]))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main(
    names: Annotated[list[str] | None, typer.Argument(help="digits, mnist, flowers.")] = None,
    data_dir: DataOption = Path("data"),
) -> int:
    """Prints the rows of each study, or of those that are named."""
    status = 0
    for name in names or CASES:
        try:
            status |= print_rows(measure(name, data_dir.absolute()))
        except UserError as error:
            print(f"{name} is left out: {error}")
    return status


if __name__ == "__main__":
    run_command(main)
