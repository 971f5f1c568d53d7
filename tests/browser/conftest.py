"""A real study, and a browser to look at it with; screenshots stay in `test-artifacts/`."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.test_run import study_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
PATIENCE_MS = 300_000
"""How long the browser waits for anything on a busy machine without a GPU."""

PRINTED = "printed.txt"
"""What the study printed, in its runs folder."""

Screenshot = Callable[["Page", str], Path]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on the PATH (Debian: apt install chromium)")
    with playwright.sync_playwright() as driver:
        # Chromium refuses its sandbox to root, who runs CI's containers; only our own pages are opened.
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh, wide tab without cookies or cache."""
    with browser.new_context(viewport={"width": 1600, "height": 1100}) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context.new_page()


@pytest.fixture
def screenshot() -> Screenshot:
    """Takes a picture of a page under that name."""

    def take(page: Page, name: str) -> Path:
        path = ARTIFACTS / f"{name}.png"
        page.screenshot(path=path, full_page=True)
        return path

    return take


@pytest.fixture(scope="session")
def runs(browser: Browser, ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a finished study named `browsed`; without a browser nothing is trained."""
    runs_dir = tmp_path_factory.mktemp("browsed")
    arguments = ["--space", "method", "--name", "browsed", "--num-trials", 6, "--epochs", 2, "--scheduler", "none"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert study_run(*arguments, "--runs-dir", runs_dir) == 0
    (runs_dir / PRINTED).write_text(printed.getvalue())
    return runs_dir
