"""`python -m benchmarks.soak --minutes 10`: a study of short trials while trials, driver and MLflow server are killed.

Chance decides who dies next. At the end the study is taken up once more, and ledger, directory and MLflow are audited.
"""

from __future__ import annotations

import argparse
import contextlib
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

from benchmarks.audit import audit, ledger_trials
from benchmarks.rows import Row, print_rows
from benchmarks.servers import Server
from study.files import read_json

_EPOCHS = 24
_KILLS = {"trial": 12, "server": 2, "driver": 1, "driver, SIGTERM": 1}
"""What is killed, and how often relative to the others."""
_PAUSE = (1.0, 6.0)
_WARM_SECONDS = 45
_NAME = "soak"


class Soak:
    """A study and the server it writes to, both easily killed.

    Args:
        home: Where all of it lies.
        seed: Decides who dies when.
    """

    def __init__(self, home: Path, seed: int) -> None:
        self.study = home / "runs" / _NAME
        self.server = Server(home)
        self.kills: Counter[str] = Counter()
        self.memory: list[list[int]] = []
        self._home = home
        self._random = random.Random(seed)
        self._driver: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._server_back = 0.0

    def command(self, num_trials: int) -> list[str]:
        """Begins the study or takes it up."""
        where = ["--space", "wae_weight", "--name", _NAME, "--runs-dir", str(self.study.parent), "--resume"]
        size = ["--num-trials", str(num_trials), "--epochs", str(_EPOCHS), "--sampler", "random"]
        rules = ["--max-failures", "1000", "--tracking-uri", self.server.uri]
        return [sys.executable, "-m", "study.run", *where, *size, *rules, "--scheduler", "none"]

    def drive(self) -> None:
        """Starts a driver where none runs."""
        if self._driver is not None and self._driver.poll() is None:
            return
        with open(self._home / "driver.log", "a") as log:
            self._driver = subprocess.Popen(self.command(100_000), stdout=log, stderr=log)
        self._started = time.monotonic()
        self.memory.append([])

    def step(self) -> None:
        """Kills somebody by chance, and sees to it that all come back."""
        self.drive()
        if self._server_back and time.monotonic() > self._server_back:
            self.server.start(wait=False)
            self._server_back = 0.0
        time.sleep(self._random.uniform(*_PAUSE))
        if time.monotonic() - self._started > _WARM_SECONDS:
            self.memory[-1].append(self._resident())
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
        elif self._driver is not None and time.monotonic() - self._started > 2 * _WARM_SECONDS:
            self._driver.send_signal(signal.SIGKILL if victim == "driver" else signal.SIGTERM)
            self._driver.wait()
            self.kills[victim] += 1

    def _trial_processes(self) -> list[int]:
        found = []
        for trial in (self.study / "trials").glob("*"):
            if (trial / "outcome.json").exists():
                continue
            attempts = sorted(trial.glob("attempt-*"), key=lambda path: int(path.name[8:]))
            process = (read_json(attempts[-1] / "process.json") or {}).get("pid") if attempts else None
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
        trials = len(ledger_trials(self.study))
        with open(self._home / "driver.log", "a") as log:
            return subprocess.run(self.command(trials), stdout=log, stderr=log, check=False).returncode

    def growth(self) -> float:
        """The driver's memory at the end of a life over that at its beginning, after warming up; the largest of all."""
        ratios = [1.0]
        for samples in ([value for value in life if value] for life in self.memory):
            if len(samples) >= 8:
                quarter = len(samples) // 4
                ratios.append(statistics.median(samples[-quarter:]) / statistics.median(samples[:quarter]))
        return max(ratios)


def _command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def soak(minutes: float, seed: int) -> list[Row]:
    """Runs the study for so long; the rows."""
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        run = Soak(Path(scratch), seed)
        try:
            run.server.start()
            deadline = time.monotonic() + 60 * minutes
            while time.monotonic() < deadline:
                run.step()
            status = run.finish()
            found = audit(run.study, _EPOCHS, mlflow=run.server.database)
            trials = len(ledger_trials(run.study))
        finally:
            run.server.kill()
            if status_of := run._driver:
                status_of.kill()
    for line in (*found.lost, *found.duplicated, *found.left_running):
        print(line, file=sys.stderr)
    return [
        Row("trials", trials),
        *(Row(f"killed: {victim}", run.kills[victim]) for victim in _KILLS),
        Row("last exit status", status, 0, at_most=True),
        Row("lost", len(found.lost), 0, at_most=True),
        Row("duplicated", len(found.duplicated), 0, at_most=True),
        Row("left running", len(found.left_running), 0, at_most=True),
        Row("driver's memory, end over beginning", run.growth(), 1.1, at_most=True),
    ]


def main() -> int:
    """Runs the soak; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    return print_rows(soak(arguments.minutes, arguments.seed))


if __name__ == "__main__":
    sys.exit(main())
