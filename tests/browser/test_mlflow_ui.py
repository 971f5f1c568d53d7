"""MLflow's own UI on a real study: what the note on the parent run promises can be done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.servers import mlflow_server
from study.config import TrialConfig
from study.results.frame import StudyFrames, load_study
from tests.browser.conftest import Screenshot
from tests.test_run import mlflow_runs

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
PARAMS = ("method", "latent_dim", "weight")
METRICS = ("val/reconstruction_mse", "val/sample_fid")
DRAWN = "[...document.querySelectorAll('.js-plotly-plot')].filter(plot => plot.checkVisibility()).map({}).at(-1)"


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[str]:
    """Address of an MLflow server on the study's store."""
    with mlflow_server(runs) as running:
        yield running.uri


@pytest.fixture(scope="module")
def frames(runs: Path) -> StudyFrames:
    return load_study(runs, "browsed")


@pytest.fixture
def parent_page(runs: Path, server: str, page: Page) -> Page:
    [parent], _, _ = mlflow_runs(runs)
    page.goto(f"{server}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}")
    page.get_by_text("Child runs", exact=True).wait_for()
    return page


@pytest.fixture
def compare_page(parent_page: Page, frames: StudyFrames) -> Page:
    """All trials side by side, reached by the link of the note as a person would."""
    with parent_page.context.expect_page() as opened:
        parent_page.get_by_role("link", name="Compare the trials").click()
    page = opened.value
    page.get_by_text(f"{len(frames.trials)} matching runs").wait_for()
    page.get_by_label("Select all runs").click(force=True)
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Run details").wait_for()
    return page


def drawn(page: Page, what: str) -> Any:
    """What Plotly drew on the page, by a JavaScript function of the plot; waits for the first plot."""
    page.locator(".js-plotly-plot:visible").first.wait_for()
    return page.evaluate(DRAWN.format(what))


def test_the_parent_shows_its_question_its_children_and_the_report(
    runs: Path, parent_page: Page, frames: StudyFrames, screenshot: Screenshot
) -> None:
    _, children, _ = mlflow_runs(runs)
    names = {str(child.info.run_name) for child in children}
    assert len(names) == len(frames.trials)
    for name in names:
        parent_page.get_by_role("link", name=name).first.wait_for()
    parent_page.get_by_text(frames.study.question).first.wait_for()
    screenshot(parent_page, "mlflow-parent")
    parent_page.get_by_role("tab", name="Artifacts").click()
    parent_page.get_by_text("tradeoff.png").first.wait_for()
    parent_page.get_by_text("report", exact=True).first.click()
    parent_page.get_by_text("report.html").first.click()
    summary = parent_page.frame_locator("iframe").get_by_label("Summary")
    summary.wait_for()
    assert summary.inner_text().startswith("Take trial")
    screenshot(parent_page, "mlflow-report")


def test_parallel_coordinates_hold_params_and_both_objectives(
    compare_page: Page, frames: StudyFrames, screenshot: Screenshot
) -> None:
    compare_page.get_by_role("button", name="Clear All").click()
    boxes = compare_page.get_by_role("combobox")
    for box, names in ((boxes.nth(0), PARAMS), (boxes.nth(1), METRICS)):
        box.click()
        for name in names:
            compare_page.keyboard.type(name)
            compare_page.get_by_role("option", name=name).first.wait_for(state="attached")
            compare_page.keyboard.press("Enter")
        compare_page.keyboard.press("Escape")
    axes = ".js-plotly-plot .axis-title"
    for name in (*PARAMS, *METRICS):
        compare_page.locator(axes).filter(has_text=name).wait_for()
    screenshot(compare_page, "mlflow-parallel-coordinates")
    lines = dict(drawn(compare_page, "plot => plot.data[0].dimensions.map(axis => [axis.label, [...axis.values]])"))
    assert set(lines) == {*PARAMS, *METRICS}
    for name in ("latent_dim", "weight", *METRICS):
        assert sorted(lines[name]) == pytest.approx(sorted(frames.column(name)))


def test_a_scatter_plot_holds_both_objectives(compare_page: Page, frames: StudyFrames, screenshot: Screenshot) -> None:
    compare_page.get_by_role("tab", name="Scatter Plot").click()
    for axis, name in zip("xy", METRICS, strict=True):
        compare_page.locator(f"#{axis}-axis-selector").click()
        offered = compare_page.get_by_role("option")
        offered.first.wait_for()
        assert {*TrialConfig().to_params(), *METRICS} <= set(offered.all_inner_texts())
        compare_page.get_by_role("option", name=name, exact=True).click()
        compare_page.locator(f".js-plotly-plot .{axis}title").filter(has_text=name).wait_for()
    screenshot(compare_page, "mlflow-scatter")
    points = np.array(drawn(compare_page, "plot => [[...plot.data[0].x], [...plot.data[0].y]]")).T
    expected = np.stack([frames.column(name) for name in METRICS], axis=1)
    assert points[np.argsort(points[:, 0])] == pytest.approx(expected[np.argsort(expected[:, 0])])
