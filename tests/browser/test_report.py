"""The report in a real browser, opened from disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from study.results.frame import load_study
from tests.browser.conftest import Screenshot

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

pytestmark = pytest.mark.browser
PHONE: ViewportSize = {"width": 390, "height": 844}


def report_of(runs: Path) -> str:
    return (runs / "browsed" / "report" / "report.html").as_uri()


def test_it_opens_from_disk_in_silence(runs: Path, page: Page, screenshot: Screenshot) -> None:
    said: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report_of(runs), wait_until="networkidle")
    screenshot(page, "report")
    assert said == []
    assert [url for url in requests if not url.startswith("data:")] == [report_of(runs)]
    pictures = page.locator("img").all()
    assert len(pictures) >= 10
    for picture in pictures:
        assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
        assert len(picture.get_attribute("alt") or "") > 25
    addresses = page.locator("#trial-table a").evaluate_all("links => links.map(link => link.href)")
    assert len(addresses) == len(load_study(runs, "browsed").trials)
    assert all("/#/experiments/" in address for address in addresses)


def test_its_table_sorts_both_ways(runs: Path, page: Page, screenshot: Screenshot) -> None:
    trials = load_study(runs, "browsed").trials
    page.goto(report_of(runs))
    heading = page.locator("#trial-table th").filter(has_text="val/sample_fid")
    by_value = trials["number"].iloc[np.argsort(trials["val/sample_fid"])].astype(str).tolist()
    for direction, expected in (("ascending", by_value), ("descending", by_value[::-1])):
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == direction
        assert page.locator("#trial-table tbody tr td:first-child").all_inner_texts() == expected
    words = page.locator("#trial-table th").filter(has_text="method")
    words.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") is None
    column = page.locator("#trial-table th").all_inner_texts().index("method")
    shown = page.locator(f"#trial-table tbody tr td:nth-child({column + 1})").all_inner_texts()
    assert shown == sorted(trials["method"], key=str.lower)


def test_it_fits_a_phone(runs: Path, page: Page, screenshot: Screenshot) -> None:
    page.set_viewport_size(PHONE)
    page.goto(report_of(runs))
    screenshot(page, "report-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert float(page.locator(".summary p").first.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")) >= 14
