"""Runs a study of short trials while trials, driver and MLflow server are killed.

    python -m benchmarks.soak --minutes 10

Chance decides who dies next; in the second half no driver does, so that the memory of one can be watched. At the end
the study is taken up once more, and ledger, directory and MLflow are audited.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
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

from benchmarks.audit import audit, ledger_trials
from benchmarks.rows import Row, print_rows
from benchmarks.servers import Server
from study.cli import run_command
from study.disk.layout import OUTCOME, attempt_process, trial_folders

_EPOCHS = 24
_KILLS = {"trial": 12, "server": 2, "driver": 1, "driver, SIGTERM": 1}
"""What is killed, and how often relative to the others."""
_PAUSE = (1.0, 6.0)
_NUM_TRIALS = 10_000
"""More than there is time for: every session is ended by a signal or by its time budget."""
_LEAST_LIFE = 20
"""Seconds that a driver lives before it is killed."""
_WARM_SECONDS = 45
"""Seconds before a driver's memory is looked at."""
_LEAST_SAMPLES = 20
_LAST_SECONDS = 60
"""Time budget of the last session: long enough to start Ray and to take up what was cut off."""
_NAME = "soak"


class Soak:
    """A study and the server it writes to, both easily killed.

    Args:
        home: Where all of it lies.
        seed: Decides who dies when.

    Attributes:
        study: The study's folder.
        server: The MLflow server.
        spare_driver: No driver is killed any more.
        kills: How often each victim was killed.
        memory: Resident bytes of each driver, sampled once it was warm.
    """

    def __init__(self, home: Path, seed: int) -> None:
        self.study = home / "runs" / _NAME
        self.spare_driver = False
        self.server = Server(home)
        self.kills: Counter[str] = Counter()
        self.memory: list[list[int]] = []
        self._home = home
        self._random = random.Random(seed)
        self._driver: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._server_back = 0.0

    def command(self, *more: str) -> list[str]:
        """Begins the study or takes it up."""
        where = ["--space", "wae_weight", "--name", _NAME, "--runs-dir", str(self.study.parent), "--resume"]
        size = ["--num-trials", str(_NUM_TRIALS), "--epochs", str(_EPOCHS), "--sampler", "random"]
        rules = ["--max-failures", "1000", "--tracking-uri", self.server.uri, "--scheduler", "none"]
        return [sys.executable, "-m", "study.run", *where, *size, *rules, *more]

    def drive(self, *more: str) -> subprocess.Popen[bytes]:
        """The driver; started where none runs."""
        if self._driver is None or self._driver.poll() is not None:
            with open(self._home / "driver.log", "a") as log:
                self._driver = subprocess.Popen(self.command(*more), stdout=log, stderr=log)
            self._started = time.monotonic()
            self.memory.append([])
        return self._driver

    def step(self) -> None:
        """Kills somebody by chance, and sees to it that all come back."""
        self.drive()
        if self._server_back and time.monotonic() > self._server_back:
            self.server.start(wait=False)
            self._server_back = 0.0
        time.sleep(self._random.uniform(*_PAUSE))
        if time.monotonic() - self._started > _WARM_SECONDS and (resident := self._resident()):
            self.memory[-1].append(resident)
        self._kill(self._random.choices(list(_KILLS), list(_KILLS.values()))[0])

    def _kill(self, victim: str) -> None:
        if victim == "trial":
            processes = self._trial_processes()
            if processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._random.choice(processes), signal.SIGKILL)
                    self.kills[victim] += 1
        elif victim == "server":
            if not self._server_back:
                self.server.kill()
                self.kills[victim] += 1
                self._server_back = time.monotonic() + self._random.uniform(*_PAUSE)
        elif self._driver is not None and not self.spare_driver and time.monotonic() - self._started > _LEAST_LIFE:
            self._driver.send_signal(signal.SIGKILL if victim == "driver" else signal.SIGTERM)
            self._driver.wait()
            self.kills[victim] += 1

    def _trial_processes(self) -> list[int]:
        found = []
        for _, trial in trial_folders(self.study):
            if (trial / OUTCOME).exists():
                continue
            process = attempt_process(trial)
            if process and b"ray::" in _command_line(process):
                found.append(process)
        return found

    def _resident(self) -> int:
        assert self._driver is not None
        try:
            pages = int(Path(f"/proc/{self._driver.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def finish(self) -> int:
        """Lets the running trials end, then takes the study up a last time, with the server well; its exit status."""
        if self._driver is not None and self._driver.poll() is None:
            self._driver.send_signal(signal.SIGINT)
            self._driver.wait()
        self.server.kill()
        self.server.start()
        return self.drive("--time-budget", str(_LAST_SECONDS)).wait()

    def end(self) -> None:
        """Leaves nothing behind, whatever happened."""
        if self._driver is not None and self._driver.poll() is None:
            self._driver.kill()
            self._driver.wait()
        self.server.kill()

    def growth(self) -> tuple[int, float]:
        """Samples of the driver that was watched longest, and its memory at their end over that at their beginning."""
        samples = max(self.memory, key=len)
        if len(samples) < _LEAST_SAMPLES:
            return len(samples), math.nan
        quarter = len(samples) // 4
        return len(samples), statistics.median(samples[-quarter:]) / statistics.median(samples[:quarter])


def _command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def soak(minutes: float, seed: int) -> list[Row]:
    """Runs the study for so long; the rows."""
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as scratch:
        run = Soak(Path(scratch), seed)
        try:
            run.server.start()
            begin = time.monotonic()
            while (passed := time.monotonic() - begin) < 60 * minutes:
                run.spare_driver = passed > 30 * minutes
                run.step()
            status = run.finish()
            found = audit(run.study, _EPOCHS, mlflow=run.server.database)
            trials = len(ledger_trials(run.study))
        finally:
            run.end()
    for line in (*found.lost, *found.duplicated, *found.left_running):
        print(line, file=sys.stderr)
    samples, growth = run.growth()
    return [
        Row("trials", trials),
        *(Row(f"killed: {victim}", run.kills[victim]) for victim in _KILLS),
        Row("last exit status", status, 0, at_most=True),
        Row("lost", len(found.lost), 0, at_most=True),
        Row("duplicated", len(found.duplicated), 0, at_most=True),
        Row("left running", len(found.left_running), 0, at_most=True),
        Row("looks at one driver's memory", samples, _LEAST_SAMPLES),
        Row("driver's memory, end over beginning", growth, 1.1, at_most=True),
    ]


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="Length; memory is judged from 6 minutes on.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is killed when.")] = 0,
) -> int:
    """Prints the rows."""
    return print_rows(soak(minutes, seed))


if __name__ == "__main__":
    run_command(main)
