from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis import report
from analysis.explorer.data import SCRIPTS
from analysis.reporting import page
from analysis.reporting.embedding import embedded
from analysis.reporting.facts import method_facts
from analysis.reporting.page import trial_links, trial_table, write_report
from study.config import UserError
from study.disk.study_json import StudyRecord
from study.results.choice import choose
from study.results.frame import join_studies, load_study
from tests.helpers_study import make_study


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "wbr", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    assert page.open == []
    return page


def without_libraries(page: Path) -> str:
    """The page's text but for D3 and Plot, which `tests/analysis/explorer/test_vendor.py` looks at."""
    text = page.read_text()
    for script in SCRIPTS:
        assert script.read_text() in text
        text = text.replace(script.read_text(), "") if script.parent.name == "vendor" else text
    return text


def test_page_is_self_contained_and_complete(tmp_path: Path) -> None:
    make_study(tmp_path, question="Is a < b & c?")
    frames = load_study(tmp_path, "toy")
    page, *pictures = write_report(frames, tmp_path / "out")
    found = parsed(page)
    images = [attributes for tag, attributes in found.tags if tag == "img"]
    assert len(images) == len(pictures) >= 1
    for image, picture in zip(images, pictures, strict=True):
        assert image["src"] == embedded(picture.read_bytes())
        assert len(image["alt"] or "") > 30
    references = [value for _, attributes in found.tags for name in ("src", "href") if (value := attributes.get(name))]
    assert all(value.startswith(("data:", "#")) for value in references)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp", without_libraries(page))
    assert "Is a &lt; b &amp; c?" in page.read_text()
    assert "tradeoff.png" in {picture.name for picture in pictures}


def test_table_holds_every_trial_and_marks_the_front(tmp_path: Path) -> None:
    make_study(tmp_path)
    frames = load_study(tmp_path, "toy")
    table, choice = trial_table(frames), choose(frames)
    assert len(table["rows"]) == len(frames.trials)
    assert {len(row["cells"]) for row in table["rows"]} == {len(table["columns"])}
    assert [row["kind"] for row in table["rows"]].count("recommended") == 1
    marked = {index for index, row in enumerate(table["rows"]) if row["kind"]}
    assert marked == set(choice.front.tolist())
    assert "network" not in table["columns"]  # the same in all trials: the method section has it
    assert table["columns"][:4] == ["trial", "method", *frames.objectives]
    assert len(set(table["columns"])) == len(table["columns"])
    column = table["columns"].index("val/sample_fid")
    assert [row["cells"][column]["text"] for row in table["rows"]][9] == "n/a"


@pytest.mark.parametrize("trials", [0, 1])
def test_pages_of_small_studies_are_complete(tmp_path: Path, trials: int) -> None:
    make_study(tmp_path, trials=trials, mixed=False, references={})
    page, *_ = write_report(load_study(tmp_path, "toy"), tmp_path / "out")
    parsed(page)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    make_study(tmp_path, trials=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_report(load_study(tmp_path, "toy"), tmp_path / "file")


def test_commands_write_their_files_and_exit_two_on_misuse(tmp_path: Path) -> None:
    make_study(tmp_path, trials=3)

    def call(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"analysis.{module}", "--runs-dir", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)

    done = call("report", "--study", "toy", "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "report.html").exists()
    for arguments in (["--study", "nope"], ["--study", "toy", "--format", "gif"]):
        failed = call("tradeoff", *arguments, "--out", str(tmp_path / "x.png"))
        assert failed.returncode == 2
        assert len(failed.stderr.strip().splitlines()) == 1
    drawn = call("tradeoff", "--study", "toy", "--out", str(tmp_path / "figure"), "--format", "svg")
    assert drawn.returncode == 0
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")


def test_the_method_section_covers_every_study(tmp_path: Path) -> None:
    make_study(tmp_path, "a", trials=3, replicates=2, question="Why a?", command="run a")
    make_study(tmp_path, "b", trials=4, mixed=False, seed=1, question="Why b?", space="other", command="run b")
    time = "2026-11-30T11:26:53.000000+00:00"
    path = tmp_path / "b" / "study.json"
    changes = [{"id": f"{time}:0", "time": time, "what": "max_concurrent", "value": 4}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "changes": changes}))
    frames = join_studies([load_study(tmp_path, name) for name in "ab"])
    facts = method_facts(frames)
    told = {what: [text for other, text in facts if other == what] for what, _ in facts}
    assert [text.split()[0] for text in told["Study"]] == ["a", "b"]
    assert [text.split()[0] for text in told["Search space"]] == ["method", "other"]
    assert [text.partition(";")[0] for text in told["Trials"]] == ["3 of 3, plus 4 replicates", "4 of 4"]
    assert told["Command"] == ["run a", "run b"]
    assert told["Changed by hand"] == ["2026-11-30 11:26:53 UTC: at most 4 trials at once"]
    assert len(told["Data"]) == len(told["Objectives"]) == 1
    page, *_ = write_report(frames, tmp_path / "out")
    parsed(page)
    assert "Why a?" in page.read_text() and "Why b?" in page.read_text()


def test_every_link_within_the_page_has_a_target(tmp_path: Path) -> None:
    make_study(tmp_path)
    page, *pictures = write_report(load_study(tmp_path, "toy"), tmp_path / "out")
    tags = parsed(page).tags
    places = {attributes.get("id") for _, attributes in tags}
    led_to = [(attributes["href"] or "")[1:] for tag, attributes in tags if tag == "a"]
    assert set(led_to) <= places
    assert ["explore", *(picture.stem for picture in pictures), "methods", "trials", "method"] == led_to


def test_links_are_those_of_each_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_links(_uri: str, study: StudyRecord, _server: str) -> dict[int, str]:
        return {number: f"http://{study.name}/{number}" for number in (0, 2)}

    monkeypatch.setattr(page, "run_links", run_links)
    make_study(tmp_path, "a", trials=2)
    make_study(tmp_path, "b", trials=3)
    frames = [load_study(tmp_path, name) for name in "ab"]
    assert trial_links(frames[1], "x") == {"0": "http://b/0", "2": "http://b/2"}
    assert trial_links(join_studies(frames), "x") == {
        "a/0": "http://a/0",
        "b/0": "http://b/0",
        "b/2": "http://b/2",
    }


def test_the_report_of_several_studies_is_in_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name in "ab":
        make_study(tmp_path, name, trials=1, mixed=False)
    monkeypatch.chdir(tmp_path)
    for studies, place in ((["a"], tmp_path / "a" / "report"), (["a", "b"], Path("report"))):
        report.report(study=studies, runs_dir=tmp_path)
        assert Path(capsys.readouterr().out.strip()) == place / "report.html"
    assert ">b/0<" not in (tmp_path / "a" / "report" / "report.html").read_text()
