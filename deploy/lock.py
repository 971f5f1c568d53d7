"""`python deploy/lock.py > deploy/constraints.txt`: the version of every package that the image holds.

Run it with Python 3.11 on Linux (x86-64), as the image; `make lock` does. pip resolves the project's dependencies and
installs nothing. The packages for NVIDIA's GPUs stand among the others: a build for CPUs does not ask for them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.utils import canonicalize_name
from requirements import requirements

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
HEADER = "# Every package of the image, with its version. Written by `make lock`; do not edit."


def locked(wanted: list[str]) -> list[str]:
    """What pip would install into an empty environment, as `name==version`, by name."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", report, *wanted], stdout=sys.stderr, check=True)
        packages = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    # A build's label, as in 2.15.0+cpu, names the index that pip found here; the image may use another.
    return sorted(f"{canonicalize_name(entry['name'])}=={entry['version'].partition('+')[0]}" for entry in packages)


if __name__ == "__main__":
    if sys.version_info[:2] != (3, 11) or sys.platform != "linux":
        sys.exit("lock.py: the image is Python 3.11 on Linux: run this command with it, versions differ between them")
    print(HEADER, *locked(requirements(PROJECT, ["cluster"])), sep="\n")
