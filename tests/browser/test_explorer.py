"""The report's explorer in a real browser: with a mouse, a finger, a keyboard, and without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import numpy as np
import pytest

from analysis.reporting.page import write_live_report, write_report
from study.results.choice import choose
from study.results.frame import StudyFrames, join_studies, load_study
from tests.browser.conftest import Screenshot
from tests.helpers_study import make_study, study_record

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, ViewportSize

pytestmark = pytest.mark.browser
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
LARGEST = 5_000_000
"""Bytes of the page of a study of 100 trials."""
X, Y = "val/reconstruction_mse", "val/sample_fid"


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    runs = tmp_path_factory.mktemp("explored")
    make_study(runs, arrays=True, replicates=3)
    return load_study(runs, "toy")


@pytest.fixture(scope="module")
def address(frames: StudyFrames, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(frames, tmp_path_factory.mktemp("report"), runs=Path("runs"))[0].as_uri()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def explored(address: str, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, which says nothing in the console."""
    said: list[str] = []
    with browser.new_context(viewport=request.param, permissions=["clipboard-read", "clipboard-write"]) as context:
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        yield page
        assert said == []


def part(page: Page, name: str) -> Locator:
    return page.locator(f"#explorer [data-part={name}]")


def marks(page: Page) -> Locator:
    return part(page, "scatter").locator("g.trials path")


def cards(page: Page) -> list[str]:
    return [text.split()[1] for text in part(page, "cards").locator("h3").all_inner_texts()]


def shown_first(frames: StudyFrames) -> np.ndarray:
    """Rows that the page shows before anybody filters: trained or training, of the search, with both objectives."""
    measured = np.isfinite(frames.column(X)) & np.isfinite(frames.column(Y))
    outcome = np.isin(frames.text("outcome"), ["completed", "running"])
    return np.flatnonzero(measured & outcome & (frames.text("origin") != "replicate"))


def middle(mark: Locator) -> tuple[float, float]:
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_hovering_shows_a_trial_and_pins_compare_it(
    explored: Page, frames: StudyFrames, screenshot: Screenshot
) -> None:
    rows, labels = shown_first(frames), frames.labels()
    assert marks(explored).count() == len(rows)
    explored.mouse.move(*middle(marks(explored).nth(0)))
    near = cards(explored)
    assert len(near) == 1  # of trials that lie on each other, the nearest
    card = part(explored, "cards").locator("article").first
    row = labels.tolist().index(near[0])
    assert str(frames.text("method")[row]) in card.inner_text()
    assert len(card.locator("img").all()) >= 2
    for picture in card.locator("img").all():
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 20
    assert card.locator("svg").count() == 2  # learning curves of both objectives
    card.get_by_role("button", name="Pin to compare").click()
    part(explored, "trial").select_option(str(labels[rows[-1]]))
    part(explored, "pin").click()
    assert cards(explored) == [near[0], labels[rows[-1]]]
    screenshot(explored, f"explorer-{explored.viewport_size['width']}")  # type: ignore[index]
    assert explored.evaluate("document.documentElement.scrollWidth") <= explored.evaluate("innerWidth")
    explored.reload()
    assert cards(explored) == [near[0], labels[rows[-1]]]  # the address keeps them


def test_a_tap_shows_a_trial(address: str, browser: Browser) -> None:
    with browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.goto(address)
        page.touchscreen.tap(*middle(marks(page).nth(0)))
        part(page, "cards").locator("article").wait_for()
        assert len(cards(page)) == 1


def test_filters_brushes_and_axes(explored: Page, frames: StudyFrames) -> None:
    rows = shown_first(frames)
    methods = frames.text("method")
    first = str(methods[rows[0]])
    box = part(explored, "methods").get_by_role("checkbox", name=first, exact=True)
    box.uncheck()
    assert marks(explored).count() == int((methods[rows] != first).sum())
    box.check()
    explored.locator("#explorer .filters summary").click()
    stopped = part(explored, "outcomes").get_by_label("stopped")
    stopped.check()
    assert marks(explored).count() > len(rows)
    stopped.uncheck()
    heaviest = float(np.median(frames.column("weight")[rows]))
    explored.locator("#explorer [data-bound=weight]").nth(1).fill(str(heaviest))
    assert marks(explored).count() == int((frames.column("weight")[rows] <= heaviest).sum())
    explored.locator("#explorer [data-bound=weight]").nth(1).fill("")
    axis = explored.locator("#explorer [data-axis=latent_dim] .overlay")
    axis.scroll_into_view_if_needed()
    frame = axis.bounding_box()
    assert frame is not None
    x, top, height = frame["x"] + frame["width"] / 2, frame["y"], frame["height"]
    explored.mouse.move(x, top + 1)
    explored.mouse.down()
    explored.mouse.move(x, top + 0.3 * height, steps=4)
    explored.mouse.up()
    eligible = np.flatnonzero(choose(frames).eligible)
    sizes = frames.column("latent_dim")[eligible]
    assert marks(explored).count() == int((sizes == sizes.max()).sum())
    explored.reload()  # the address keeps what was dragged
    assert marks(explored).count() == int((sizes == sizes.max()).sum())
    assert explored.locator("#explorer [data-axis=latent_dim] .selection").is_visible()
    explored.get_by_role("button", name="Clear all").click()
    assert marks(explored).count() == len(rows)
    part(explored, "x-metric").select_option("latent_dim")
    part(explored, "x-log").uncheck()
    words = parse_qs(explored.url.partition("#explore?")[2])
    assert (words["x"], words["logx"]) == (["latent_dim"], ["0"])
    part(explored, "reset").click()
    assert part(explored, "x-metric").input_value() == X


def test_a_limit_names_the_best_trial_within_it(explored: Page, frames: StudyFrames) -> None:
    choice = choose(frames)
    out = {trial.row for trial in choice.left_out}
    able = [row for row in np.flatnonzero(choice.eligible) if row not in out]
    limits = np.unique(frames.column(X)[choice.eligible])
    slider = part(explored, "x-limit")
    slider.focus()
    for index in (len(limits) // 2, 1):
        slider.fill(str(index))
        within = np.flatnonzero(choice.eligible & (frames.column(X) <= limits[index]))
        winners = {
            "Sample FID": min(set(within) & set(able), key=lambda row: frames.column(Y)[row]),
            "Reconstruction error": min(within, key=lambda row: frames.column(X)[row]),
        }
        for words, row in winners.items():  # one line for each, or one for both
            named = part(explored, "best").locator("p").filter(has=explored.locator("strong", has_text=words))
            line = named.first.inner_text()
            assert f"trial {frames.labels()[row]}:" in line
    before = part(explored, "x-limit-value").inner_text()
    slider.press("ArrowLeft")
    assert part(explored, "x-limit-value").inner_text() != before  # a keyboard moves it too
    copy = part(explored, "best").get_by_role("button", name="Copy").first
    copy.click()
    part(explored, "best").get_by_text("copied").wait_for()
    command = explored.evaluate("navigator.clipboard.readText()")
    assert command.startswith("python -m study.export --study toy --trial ")
    assert command == part(explored, "best").locator("code").first.inner_text()


def test_nothing_serious_for_axe(explored: Page) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for act in (lambda: None, lambda: part(explored, "trial").select_option(index=2)):
        act()
        found = axe.Axe().run(explored).response["violations"]
        assert [fault for fault in found if fault["impact"] in ("serious", "critical")] == []


def test_a_keyboard_reaches_every_control_of_a_trial(explored: Page) -> None:
    part(explored, "trial").focus()
    explored.keyboard.press("ArrowDown")
    assert len(cards(explored)) == 1
    explored.keyboard.press("Tab")
    explored.keyboard.press("Enter")
    assert part(explored, "cards").get_by_role("button", name="Unpin").count() == 1
    unpin = part(explored, "cards").get_by_role("button", name="Unpin")
    unpin.press("Enter")
    assert explored.evaluate("document.activeElement.textContent") == "Pin to compare"  # the place is not lost


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_without_scripts_the_page_is_complete(address: str, browser: Browser, size: ViewportSize) -> None:
    with browser.new_context(viewport=size, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address)
        assert not page.locator("#explorer").is_visible()
        assert page.get_by_label("Summary").is_visible()
        assert page.locator("#trial-table tbody tr").count() > 20
        assert page.locator("figure img").count() >= 10


def test_clearing_again_and_again_does_the_same_work(address: str, page: Page) -> None:
    page.goto(address)
    page.evaluate("built = 0; const build = buildAgain; buildAgain = () => { built += 1; build(); }; 0")
    for _ in range(4):
        page.evaluate("state.brushes.set('latent_dim', [0, 1]); update()")
        page.get_by_role("button", name="Clear all").click()
    assert page.evaluate("built") == 4


def test_a_link_is_followed_in_the_same_tab(address: str, page: Page, frames: StudyFrames) -> None:
    page.goto(address)
    page.goto(f"{address}#explore?x=nonsense&y={Y}&pins=2|2|99999|2&yLimit=oops&trial=3&brush:latent_dim=a|b")
    assert cards(page) == ["3", "2"]
    assert part(page, "x-metric").input_value() == X
    assert part(page, "x-log").is_checked()
    assert part(page, "y-limit-value").inner_text() == "no limit"


def test_a_trial_without_a_place_on_the_axes_is_counted(address: str, page: Page, frames: StudyFrames) -> None:
    page.goto(address)
    before = marks(page).count()
    part(page, "x-metric").select_option("weight")
    part(page, "x-log").check()
    without = int((frames.column("weight")[shown_first(frames)] <= 0).sum())
    assert without > 0
    assert marks(page).count() == before - without
    assert f"{without} more pass the filters" in part(page, "count").inner_text()


def test_a_live_page_loads_itself_again_unless_it_is_used(frames: StudyFrames, tmp_path: Path, page: Page) -> None:
    page.clock.install()
    page.goto(write_live_report(frames, tmp_path / "live.html").as_uri())
    part(page, "trial").select_option(index=3)
    chosen = cards(page)
    page.evaluate("document.title = 'old'; location.hash = '#trials'")
    page.clock.run_for(25_000)
    page.keyboard.press("Shift")
    with page.expect_navigation():
        page.clock.run_for(36_000)  # so long without a person
    part(page, "cards").locator("article").wait_for()
    assert page.title() != "old"
    assert cards(page) == chosen
    page.evaluate("document.title = 'old'")
    page.get_by_label("do not load it again").check()
    page.clock.run_for(200_000)
    assert page.title() == "old"


def test_several_studies_can_be_told_apart(tmp_path: Path, page: Page) -> None:
    for name in ("one", "two"):
        make_study(tmp_path, name, trials=5, mixed=False)
    joined = join_studies(load_study(tmp_path, name) for name in ("one", "two"))
    page.goto(write_report(joined, tmp_path / "out")[0].as_uri())
    assert marks(page).count() == 10
    part(page, "studies").get_by_label("one").uncheck()
    assert marks(page).count() == 5


def test_too_little_data_names_no_best_trial(tmp_path: Path, page: Page) -> None:
    make_study(tmp_path, trials=5, mixed=False, data={**study_record()["data"], "validation_size": 10})
    page.goto(write_report(load_study(tmp_path, "toy"), tmp_path / "out")[0].as_uri())
    assert "Too little data to say anything" in part(page, "best").inner_text()
    assert "Best in" not in part(page, "best").inner_text()


def photographs(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Images of 64 pixels and three channels as smooth and as noisy as photographs, uint8 [*shape, 3, 64, 64]."""
    y, x = np.mgrid[:64, :64] / 64
    waves = generator.normal(size=(*shape, 3, 6, 1, 1)) * np.stack(
        [np.sin(k * (x + s * y) * 3) for k in (1, 2, 4) for s in (1, -1)]
    )
    return (128 + 25 * waves.sum(axis=-3) + generator.normal(0, 5, (*shape, 3, 64, 64))).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("trials", "kind"), [(24, "digits"), (100, "digits"), (100, "photographs")])
def test_the_page_stays_small(tmp_path: Path, trials: int, kind: str, page: Page) -> None:
    study = make_study(tmp_path, arrays=True, trials=trials)
    if kind == "photographs":
        saved = sorted(study.glob("trials/*/attempt-1/arrays.npz"))
        with np.load(saved[0]) as file:
            arrays = dict(file)
        generator = np.random.default_rng(0)
        counts = {"samples": (49,), "fitted_samples": (49,), "originals": (20,), "reconstructions": (20,)}
        strips = {name: arrays[name].shape[:2] for name in ("interpolations", "morphs", "history")}
        for name, shape in {**counts, "first_stage": (20,), **strips}.items():
            arrays[name] = photographs(generator, *shape)
        np.savez(tmp_path / "photographs.npz", **arrays)
        for path in saved:
            path.unlink()
            path.hardlink_to(tmp_path / "photographs.npz")
    file = write_report(load_study(tmp_path, "toy"), tmp_path / "out")[0]
    print(f"{trials} trials of {kind}: {file.stat().st_size / 1e6:.2f} MB")
    assert file.stat().st_size < LARGEST
    page.goto(file.as_uri())
    part(page, "scatter").locator("svg").wait_for()
