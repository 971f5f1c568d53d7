"""Measures what a process pays before it computes: imports with and without garbage collection, the first optimizer.

    python -m benchmarks.startup

Each value is the median over a few fresh processes, run alternately.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.rows import Row, print_rows
from study.cli import run_command

REPEATS = 5
_TIMED = """
import time
start = time.perf_counter()
{}
print(time.perf_counter() - start)
"""
_IMPORTS = "from ray import tune; import study.tuning.trainable, sklearn.mixture"
_OPTIMIZER = "weight = torch.nn.Parameter(torch.zeros(3)); {}"
PROGRAMS = {
    "imports": _TIMED.format(_IMPORTS),
    "imports, quick": "from study.tuning.imports import quick_imports\n"
    + _TIMED.format(f"with quick_imports():\n    {_IMPORTS}"),
    "torch.optim": "import torch\n" + _TIMED.format(_OPTIMIZER.format("torch.optim.Adam([weight], fused=True)")),
    "ours": "import torch\nfrom study.model.adam import Adam\n"
    + _TIMED.format(_OPTIMIZER.format("Adam([weight], 1e-3)")),
}


def seconds(program: str) -> float:
    """The number that the program prints, run in its own process."""
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def main() -> int:
    """Prints the rows."""
    rounds = [{name: seconds(program) for name, program in PROGRAMS.items()} for _ in range(REPEATS)]
    found = {name: statistics.median(times[name] for times in rounds) for name in PROGRAMS}
    saved = statistics.median(1 - times["imports, quick"] / times["imports"] for times in rounds)
    return print_rows(
        [
            Row("imports of a trial's process, s", found["imports"]),
            Row("the same without the garbage collector, s", found["imports, quick"]),
            Row("share of import time saved", saved),
            Row("first optimizer of torch.optim, s", found["torch.optim"]),
            Row("first optimizer of ours, s", found["ours"]),
        ]
    )


if __name__ == "__main__":
    run_command(main)
