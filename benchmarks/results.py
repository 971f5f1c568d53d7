"""Runs benchmarks and writes their results to `benchmarks/RESULTS.md`; `make bench` runs them all.

    python -m benchmarks.results --data-dir ../shared/data
    python -m benchmarks.results --data-dir ../shared/data trainer study

Each benchmark has a section with its command, machine, date and commit; other sections stay unchanged. If a benchmark
fails or misses a bar, its section says so and the exit status is 1. On a busy machine, trust ratios but not times.
"""

from __future__ import annotations

import ast
import datetime
import functools
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks.options import DataOption
from study.cli import run_command
from study.config import UserError
from study.disk.files import write_atomic

BENCHMARKS = {
    "trainer": "",
    "precision": "",
    "roofline": "",
    "evaluation": "--data-dir",
    "startup": "",
    "study": "",
    "headline": "--data-dir",
    "cost": "--data-dir",
    "search_replay": "",
    "scaling": "",
    "cluster_growth": "",
    "tracking": "",
    "frame": "",
    "mlflow_down": "",
    "soak": "",
    "fid_bias": "--data-dir",
    "instrument": "--data-dir",
    "recommendation": "",
    "priors": "--data-dir",
    "target_error": "--data-dir",
}
"""Name -> the option of this command that it takes; in the order of the sections."""
RESULTS = Path(__file__).with_name("RESULTS.md")
TITLE = "# Results"
GPU = """## GPU

Not yet run on a GPU: no machine with one was at hand. To be measured there: a graphed step over an eager one at batch
128 on the MLP (at least 4), images per second of eight trials that share a GPU over one graphed trial alone (at least
3), the training of the eighteen models (at most 90 s), and the GPU's utilisation.
"""
_ROW = re.compile(r"(?P<name>.*\S) +(?P<value>\S+) +(?P<bar>-|[<>]=\S+) (?P<verdict>ok|short)")


class Line(NamedTuple):
    """A row that a benchmark printed."""

    name: str
    value: str
    bar: str
    verdict: str


def read_output(output: str) -> tuple[list[Line], list[str]]:
    """The rows that a benchmark printed, and its other lines."""
    matches = [(line, _ROW.fullmatch(line)) for line in output.splitlines() if line.strip()]
    rows = [Line(**match.groupdict()) for _, match in matches if match]
    return rows, [line for line, match in matches if not match]


def section(name: str, options: Sequence[str]) -> tuple[str, bool]:
    """Runs a benchmark; returns its section, and whether it reached all its bars."""
    command = ["python", "-m", f"benchmarks.{name}", *options]
    start = time.monotonic()
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=False)
    minutes = (time.monotonic() - start) / 60
    rows, notes = read_output(done.stdout)
    short = sum(row.verdict == "short" for row in rows)
    if done.returncode and not short:
        verdict = f"FAILED with status {done.returncode}"
        notes += done.stderr.strip().splitlines()[-5:]
    elif short:
        verdict = f"{short} of {sum(row.bar != '-' for row in rows)} bars missed"
    else:
        verdict = "every bar reached" if any(row.bar != "-" for row in rows) else "no bar"
    lines = [
        f"## {name}",
        "",
        summary_of(name),
        "",
        f"`{shlex.join(command)}`: **{verdict}**. {minutes:.1f} minutes, {machine()}, {_today()}, {_commit()}.",
    ]
    if rows:
        lines += ["", "| | value | bar | |", "|---|---:|---:|---|"]
        lines += [f"| {row.name} | {row.value} | {row.bar} | {row.verdict if row.bar != '-' else ''} |" for row in rows]
    if notes:
        lines += ["", "```", *notes, "```"]
    return "\n".join(lines) + "\n", not done.returncode


def summary_of(name: str) -> str:
    """The first line of a benchmark's docstring."""
    text = ast.get_docstring(ast.parse(RESULTS.with_name(f"{name}.py").read_text())) or ""
    return text.partition("\n")[0]


def machine() -> str:
    """Cores, processor, memory and versions."""
    import torch

    try:
        models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        models = []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = models[0].strip() if models else platform.machine()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{os.cpu_count()} cores of {processor}, {memory:.0f} GiB, {versions}"


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


@functools.cache  # cached: the first section that is written makes the tree dirty
def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False).stdout.strip()
    return f"commit {found}" if found else "no commit known"


def read_sections(text: str) -> dict[str, str]:
    """Name -> section of a results file."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}


def document(sections: dict[str, str]) -> str:
    """The text of the results file."""
    head = (
        f"{TITLE}\n\nWritten by `make bench`. The docstring of each benchmark says what it compares, and how; "
        "[docs/speed.md](../docs/speed.md) says what the main figures mean.\n"
    )
    return "\n".join([head, *(sections[name] for name in BENCHMARKS if name in sections), GPU])


def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help=f"Any of {', '.join(BENCHMARKS)}. [default: all]")
    ] = None,
    data_dir: DataOption = Path("data"),
) -> int:
    """Runs the benchmarks and writes the file after each."""
    if unknown := [name for name in names or () if name not in BENCHMARKS]:
        raise UserError(f"no benchmark {', '.join(unknown)}: choose from {', '.join(BENCHMARKS)}")
    sections = read_sections(RESULTS.read_text()) if RESULTS.exists() else {}
    status = 0
    for name in names or BENCHMARKS:
        options = [BENCHMARKS[name], str(data_dir)] if BENCHMARKS[name] else []
        sections[name], reached = section(name, options)
        status |= not reached
        write_atomic(RESULTS, document(sections).encode())
        print(sections[name], flush=True)
    return status


if __name__ == "__main__":
    run_command(main)
