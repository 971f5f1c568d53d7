"""optuna-dashboard on a study's ledger: it shows the study, and leaves the ledger as it is."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.servers import free_port
from study.disk.layout import ledger_path
from study.results.choice import choose
from study.results.frame import load_study
from tests.browser.conftest import Screenshot
from tests.test_run import study_run

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
PROGRAM = Path(sys.executable).with_name("optuna-dashboard")
READ_ONLY, PLAIN = "sqlite:///file:{}?mode=ro&uri=true", "sqlite:///{}"
"""How a user names the ledger: as the documents say, and as the dashboard's own manual does."""

DRAWN = "() => (document.getElementById('graph-pareto-front')?.data ?? []).map(trace => [...(trace.x ?? [])])"
"""The first objective of each point, by group; the last group is the front."""


@contextlib.contextmanager
def dashboard(storage: str, log: Path) -> Iterator[str]:
    """Address of a dashboard on that storage."""
    if not PROGRAM.exists():
        pytest.skip("optuna-dashboard is not installed: make test-browser")
    port = free_port()
    with log.open("w") as file:
        # Its other server, gunicorn, would leave a socket in the user's home.
        command = [PROGRAM, storage, "--port", str(port), "--server", "wsgiref"]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/studies", timeout=30).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    """The finished study in a folder of its own."""
    shutil.copytree(runs / "browsed", tmp_path / "browsed")
    return tmp_path


@pytest.mark.parametrize("storage", [READ_ONLY, PLAIN], ids=["read-only", "plain"])
def test_it_shows_the_study_and_leaves_the_ledger_alone(
    copied: Path, tmp_path: Path, page: Page, screenshot: Screenshot, storage: str
) -> None:
    ledger = ledger_path(copied / "browsed")
    before = ledger.read_bytes()
    frames = load_study(copied, "browsed")
    front = choose(frames).front
    with dashboard(storage.format(ledger), tmp_path / "dashboard.log") as address:
        page.goto(address)
        page.get_by_text("browsed").first.wait_for()
        screenshot(page, "optuna-studies")
        page.get_by_text("browsed").first.click()
        page.get_by_text("Pareto", exact=False).first.wait_for()
        page.locator(".js-plotly-plot:visible").first.wait_for()
        page.wait_for_function(f"({DRAWN})().flat().length == {len(frames.trials)}")
        *others, best = page.evaluate(DRAWN)
        assert sorted(best) == pytest.approx(sorted(frames.column("val/reconstruction_mse")[front]))
        assert len(best) + sum(map(len, others)) == len(frames.trials)
        screenshot(page, "optuna-study")
    assert ledger.read_bytes() == before
    assert sorted(path.name for path in ledger.parent.glob("optuna.db*")) == ["optuna.db"]
    arguments = ["--space", "method", "--name", "browsed", "--epochs", 2, "--scheduler", "none", "--runs-dir", copied]
    assert study_run(*arguments, "--num-trials", 7, "--resume") == 0
    assert len(load_study(copied, "browsed").trials) == 7
