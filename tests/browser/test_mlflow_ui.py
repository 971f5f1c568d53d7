"""MLflow's own UI on a real study: what its printed link and the note on the parent run promise is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.servers import mlflow_server
from study.cli import command_status
from study.config import Params, TrialConfig
from study.export import export
from study.results.frame import StudyFrames, load_study
from study.tracking import sync_study
from study.tracking.store import LOCAL_SERVER
from study.tracking.views import table_address, what_varies
from tests.browser.conftest import PRINTED, Screenshot
from tests.helpers_study import make_study
from tests.test_run import mlflow_runs

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
METRICS = ("val/reconstruction_mse", "val/sample_fid")
SECTIONS = "[data-testid=experiment-view-compare-runs-section-header]"
HEIGHT = 1100
"""Of the browser's window, in pixels."""


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
def answer_page(runs: Path, server: str, page: Page) -> Page:
    """Where the link leads that the study printed, with the server's port in place of the usual one."""
    printed = re.search(rf"MLflow +{LOCAL_SERVER}/(\S+)", (runs / PRINTED).read_text())
    assert printed is not None
    page.goto(f"{server}/{printed[1]}")
    return page


def drawn(page: Page, what: str) -> Any:
    """What Plotly drew in the page's first plot, by a JavaScript function of the plot; waits for the plot."""
    page.locator(".js-plotly-plot:visible").first.wait_for()
    return page.evaluate(f"[...document.querySelectorAll('.js-plotly-plot')].map({what})[0]")


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


def test_the_printed_link_opens_on_the_trade_off(
    answer_page: Page, frames: StudyFrames, screenshot: Screenshot
) -> None:
    answer_page.get_by_text(f"{len(frames.trials)} matching runs").wait_for()
    for axis, name in zip("xy", METRICS, strict=True):
        answer_page.locator(f".js-plotly-plot .{axis}title").filter(has_text=name).first.wait_for()
    assert_scattered(answer_page, frames)
    answer_page.locator(".parcoords").wait_for()
    screenshot(answer_page, "mlflow-answer")
    tops = [answer_page.locator(where).first.bounding_box() for where in (".js-plotly-plot", ".parcoords", SECTIONS)]
    scatter, parallel, section = (box["y"] for box in tops if box is not None)
    assert section < scatter < parallel < HEIGHT
    axes = answer_page.locator(".parcoords .dimension").all_text_contents()
    names = [*what_varies(params_of(frames)), *METRICS]
    assert len(names) > len(METRICS)
    assert all(name in text for name, text in zip(names, axes, strict=True))


def test_metrics_are_grouped_and_bookkeeping_comes_last(answer_page: Page) -> None:
    answer_page.locator(".js-plotly-plot:visible").first.wait_for()
    names = [text.split()[0] for text in answer_page.locator(SECTIONS).all_inner_texts()]
    assert names == ["Trade-off", "Pictures", "val", "test", "train", "Time"]
    headers = answer_page.locator("[aria-expanded]").filter(has=answer_page.locator(SECTIONS))
    opened = [header.get_attribute("aria-expanded") for header in headers.all()]
    assert opened == ["true"] * 5 + ["false"]
    headers.nth(2).scroll_into_view_if_needed()
    titles = answer_page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text="val/")
    for name in METRICS:
        titles.filter(has_text=name).first.wait_for()


def test_the_image_grid_shows_the_trials_side_by_side(
    answer_page: Page, frames: StudyFrames, screenshot: Screenshot
) -> None:
    answer_page.locator(".js-plotly-plot:visible").first.wait_for()
    pictures = answer_page.locator(SECTIONS).filter(has_text="Pictures")
    answer_page.mouse.move(900, 700)
    while not answer_page.get_by_text("reconstructions", exact=True).count():
        pictures.scroll_into_view_if_needed()
        answer_page.mouse.wheel(0, 300)
        answer_page.wait_for_timeout(300)
    for key in ("samples", "reconstructions"):
        row = answer_page.get_by_role("row").filter(has=answer_page.get_by_text(key, exact=True))
        row.locator("img").nth(len(frames.trials) - 1).wait_for(state="attached")
        row.scroll_into_view_if_needed()
        assert row.locator("img").count() == len(frames.trials)
        for image in row.locator("img").all():
            image.scroll_into_view_if_needed()
            image.evaluate("image => image.decode()")
            assert image.evaluate("image => image.naturalWidth") > 100
    screenshot(answer_page, "mlflow-pictures")


def test_the_table_holds_the_objectives_and_what_varies(
    parent_page: Page, frames: StudyFrames, screenshot: Screenshot
) -> None:
    with parent_page.context.expect_page() as opened:
        parent_page.get_by_role("link", name="All trials").click()
    page = opened.value
    page.set_viewport_size({"width": 2400, "height": HEIGHT})
    page.get_by_text(f"{len(frames.trials)} matching runs").wait_for()
    varying = what_varies(params_of(frames))
    for name in (*METRICS, *varying, "trial.outcome", "trial.origin"):
        page.get_by_role("columnheader").filter(has_text=name).first.wait_for()
    screenshot(page, "mlflow-table")
    best_first = frames.trials.sort_values("val/sample_fid")
    shown = [float(text) for text in page.locator("[role=gridcell][col-id*='val/sample_fid']").all_inner_texts()]
    assert shown == pytest.approx(best_first["val/sample_fid"].tolist())
    methods = page.locator("[role=gridcell][col-id*='params.`method`']").all_inner_texts()
    assert methods == best_first["method"].tolist()


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow about itself, when imported
def test_a_trial_shows_its_data_its_commit_and_its_exported_model(
    runs: Path,
    server: str,
    frames: StudyFrames,
    tmp_path: Path,
    page: Page,
    screenshot: Screenshot,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--study", "browsed", "--trial", 0, "--out", tmp_path / "model", "--runs-dir", runs]
    assert command_status(export, [str(argument) for argument in arguments]) == 0
    assert "MLflow   models:/" in capsys.readouterr().out
    _, children, _ = mlflow_runs(runs)
    commit, data = frames.study.git_commit, frames.study.data
    for number in (0, 1):
        [child] = [child for child in children if child.data.tags["trial.number"] == str(number)]
        page.goto(f"{server}/#/experiments/{child.info.experiment_id}/runs/{child.info.run_id}")
        # One that has models shows them in a section of their own.
        page.get_by_text(re.compile(r"^Logged models")).first.wait_for()
        page.get_by_text(f"{data.name} ({data.hash[:16]})").first.wait_for()
        assert not commit or page.get_by_text(commit[:7], exact=True).count() == 1
        screenshot(page, f"mlflow-trial-{number}")
        models = page.locator("a[href*='/models/m-']")
        if number == 0:
            models.first.wait_for()
        assert (models.count() > 0) == (number == 0)
    page.set_viewport_size({"width": 2400, "height": HEIGHT})
    page.goto(f"{server}/{table_address(frames.study, child.info.experiment_id)}")
    page.get_by_text(f"{len(frames.trials)} matching runs").wait_for()
    models = page.locator("[role=gridcell] a[href*='/models/m-']")
    models.first.wait_for()
    screenshot(page, "mlflow-table-with-model")
    assert models.count() == 1


def test_the_views_have_names(parent_page: Page, frames: StudyFrames, screenshot: Screenshot) -> None:
    with parent_page.context.expect_page() as opened:
        parent_page.get_by_role("link", name="Open the answer").click()
    page = opened.value
    page.locator(".js-plotly-plot:visible").first.wait_for()
    page.get_by_test_id("saved-views-trigger").click()
    for name in ("browsed: answer", "browsed: trials"):
        page.get_by_role("menu").get_by_text(name).first.wait_for()
    screenshot(page, "mlflow-views")


def test_all_trials_are_shown_but_those_stopped_early(tmp_path: Path, page: Page, screenshot: Screenshot) -> None:
    study = make_study(tmp_path, trials=30, replicates=1)
    with mlflow_server(tmp_path) as server:
        report = sync_study(study, server.uri)
        frames = load_study(tmp_path, study.name)
        kept = frames.keep((frames.text("outcome") == "completed") & (frames.text("origin") != "replicate"))
        assert 10 < len(kept.trials) < len(frames.trials)
        page.goto(f"{server.uri}/{report.page}")
        page.get_by_text(f"{len(kept.trials)} matching runs").wait_for()
        assert_scattered(page, kept)
        screenshot(page, "mlflow-thirty-trials")


def assert_scattered(page: Page, frames: StudyFrames) -> None:
    """The scatter plot has one point for each trial, at its objectives."""
    points = np.array(drawn(page, "plot => [[...plot.data[0].x], [...plot.data[0].y]]")).T
    expected = np.stack([frames.column(name) for name in METRICS], axis=1)
    assert points[np.argsort(points[:, 0])] == pytest.approx(expected[np.argsort(expected[:, 0])])


def params_of(frames: StudyFrames) -> list[Params]:
    """The parameters of each trial."""
    names = list(TrialConfig().to_params())
    columns: list[Any] = [frames.trials[name].tolist() for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
