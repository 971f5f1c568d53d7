"""Measures the time per epoch while the MLflow server answers, and while it does not.

    python -m benchmarks.mlflow_down

One study of trials that differ in their seed alone runs on real digits, and the server's door opens and shuts by turns
beneath it. An epoch belongs to the state in which it began and ended; neighbouring stretches are compared.
"""

from __future__ import annotations

import itertools
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.rows import Row, print_rows
from benchmarks.servers import Gate, mlflow_server
from study.cli import run_command
from study.disk.files import read_lines

_SPACE = """
from study.space import SearchSpace

SPACE = SearchSpace(
    question="Does a trial wait for MLflow?",
    suggest=lambda trial, data: {},
    baselines=lambda data: [{"seed": seed} for seed in range(64)],
    num_trials=64,
)
"""
_SETTLE_SECONDS = 1.0
_PATIENCE = 120.0


def stretches(study: Path, gate: Gate, seconds: float, pairs: int) -> list[tuple[float, float, bool]]:
    """Opens and shuts the gate by turns while a study runs: (begin, end, open) of each stretch.

    The study waits longer and longer between its tries to reach a server that is away, so a stretch lasts until the
    study has been at the gate.
    """
    while not list(study.glob("trials/*/attempt-*/metrics.jsonl")):
        time.sleep(0.1)
    found = []
    met: Counter[str] = Counter()
    for turn in range(2 * pairs):
        is_open = turn % 2 == 0
        state = "open" if is_open else "shut"
        gate.turn(state)
        time.sleep(_SETTLE_SECONDS)
        begin = time.time()
        time.sleep(seconds)
        while gate.met[state] == met[state]:
            if time.time() - begin > _PATIENCE:
                raise TimeoutError(f"the study has not been at the {state} gate for {_PATIENCE:.0f} s")
            time.sleep(0.1)
        met[state] = gate.met[state]
        found.append((begin, time.time(), is_open))
    return found


def epoch_seconds(study: Path, begin: float, end: float) -> float:
    """Median time from one epoch's record to the next, over the epochs that lie in a stretch of time."""
    steps = []
    for path in study.glob("trials/*/attempt-*/metrics.jsonl"):
        times = [line["time"] for line in read_lines(path)]
        steps += [later - earlier for earlier, later in itertools.pairwise(times) if begin <= earlier and later <= end]
    return statistics.median(steps)


def measure(seconds: float, pairs: int) -> list[Row]:
    """Runs the study and compares."""
    with tempfile.TemporaryDirectory() as scratch, mlflow_server(Path(scratch)) as server:
        runs = Path(scratch) / "runs"
        space = Path(scratch) / "same.py"
        space.write_text(_SPACE)
        gate = Gate(server.port)
        gate.turn("open")
        command = [
            "-m",
            "study.run",
            "--space",
            str(space),
            "--name",
            "same",
            "--runs-dir",
            str(runs),
            "--epochs",
            "1500",
        ]
        options = ["--scheduler", "none", "--tracking-uri", f"http://127.0.0.1:{gate.port}"]
        driver = subprocess.Popen(
            [sys.executable, *command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            found = stretches(runs / "same", gate, seconds, pairs)
        finally:
            driver.send_signal(signal.SIGTERM)
            driver.wait()
            gate.close()
        medians = [(epoch_seconds(runs / "same", begin, end), is_open) for begin, end, is_open in found]
    up = [value for value, is_open in medians if is_open]
    down = [value for value, is_open in medians if not is_open]
    ratios = [later / earlier for earlier, later in zip(up, down, strict=True)]
    noise = [abs(later / earlier - 1) for earlier, later in itertools.pairwise(up)]
    return [
        Row("epoch with the server up, ms", 1000 * statistics.median(up)),
        Row("epoch with the server down, ms", 1000 * statistics.median(down)),
        Row("noise: one stretch up to the next, %", 100 * statistics.median(noise)),
        Row("down over up", statistics.median(ratios), 1.1, at_most=True),
    ]


def main(
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a stretch.")] = 6,
    pairs: Annotated[int, typer.Option(min=1, help="Stretches with the server up, and as many with it down.")] = 6,
) -> int:
    """Prints the rows."""
    return print_rows(measure(seconds, pairs))


if __name__ == "__main__":
    run_command(main)
