"""Writes the report: one self-contained `report.html` that opens offline, and its figures as PNGs beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from analysis import latent_table, replicates
from analysis.explorer.data import FOLDER as EXPLORER
from analysis.explorer.data import SCRIPTS, explorer
from analysis.plotting import naming, style
from analysis.reporting.drawing import draw
from analysis.reporting.embedding import embedded
from analysis.reporting.facts import method_facts
from analysis.reporting.summary import summarise
from study.config import Origin, TrialConfig, UserError
from study.disk.files import write_atomic
from study.results.choice import choose
from study.results.frame import StudyFrames
from study.tracking.reader import run_links

LOCAL_SERVER = "http://127.0.0.1:5000"
"""Where `make ui` serves a local store."""
IMPLIED = ("encoder", "regularizer", "epochs")
"""Parameters that the method, or the study, already says."""


def trial_links(frames: StudyFrames, tracking_uri: str) -> dict[str, str]:
    """Trial label -> its run's page in MLflow; trials that MLflow does not know are left out."""
    found = {record.name: run_links(tracking_uri, record, LOCAL_SERVER) for record in frames.records}
    studies, numbers = frames.text("study"), frames.column("number").astype(int)
    trials = zip(frames.labels(), studies, numbers, strict=True)
    return {str(label): link for label, study, number in trials if (link := found.get(study, {}).get(number))}


def write_report(
    frames: StudyFrames,
    out: Path,
    tracking_uri: str | None = None,
    folders: Sequence[Path] = (),
    runs: Path | None = None,
) -> list[Path]:
    """Writes `report.html` and a PNG of each figure that the study has data for.

    Args:
        frames: The study.
        out: The folder to write to; created if missing.
        tracking_uri: The MLflow store whose runs the trial table links to; None for no links.
        folders: The studies' folders, if the frames hold all of their trials; makes drawing faster, see
            `analysis.reporting.drawing`.
        runs: The folder of all studies, for the commands that the page offers to copy.

    Returns:
        The files written, `report.html` first.

    Raises:
        UserError: The folder cannot be written.
    """
    drawn = draw(frames, out, folders)
    skipped = [f"{figure['title']}: {figure['missing']}" for figure in drawn if "missing" in figure]
    figures = [figure for figure in drawn if "missing" not in figure]
    files = [out / f"{figure['name']}.png" for figure in figures]
    own, missing = own_figures(frames)
    figures, skipped = figures + own, skipped + missing
    # Last, since at the end of a study MLflow is still being written while the figures are drawn.
    links = trial_links(frames, tracking_uri) if tracking_uri else {}
    return [_write(out / "report.html", render(frames, figures, skipped, links, runs)), *files]


def write_live_report(frames: StudyFrames, page: Path, runs: Path | None = None) -> Path:
    """Writes the page of a study that still runs: without figures, and it loads itself again every minute.

    Raises:
        UserError: The folder cannot be written.
    """
    return _write(page, render(frames, [], [], {}, runs, live=True))


def _write(page: Path, html: str) -> Path:
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(page, html.encode())
    except OSError as error:
        raise UserError(f"cannot write {page}: {error.strerror or error}") from error
    return page


def own_figures(frames: StudyFrames) -> tuple[list[dict[str, str]], list[str]]:
    """The figures of the spaces' own, from the files that the studies' ends have left: no code of theirs is run.

    Returns:
        `name`, `title`, `text` and `image` (a `data:` address) of each, and why each other one is missing.
    """
    figures, missing = [], []
    for record in frames.records:
        for name, described in record.described.of_kind("figure").items():
            title = name.replace("_", " ").capitalize() + (f" ({record.name})" if len(frames.records) > 1 else "")
            picture = frames.pictures[record.name](name) if record.name in frames.pictures else None
            if picture is None:
                missing.append(f"{title}: it could not be drawn when the study ended")
                continue
            image = embedded(picture)
            identity = f"own-{record.name}-{name}"
            figures.append({"name": identity, "title": title, "text": described.caption or title, "image": image})
    return figures, missing


def render(
    frames: StudyFrames,
    figures: list[dict[str, str]],
    skipped: list[str],
    links: Mapping[str, str],
    runs: Path | None = None,
    live: bool = False,
) -> str:
    """The page as HTML.

    Args:
        frames: The study.
        figures: `name`, `title`, `text` and `image` (a `data:` address) of each.
        skipped: Why each other figure is missing.
        links: Trial label -> URL of its MLflow run.
        runs: As of `write_report`.
        live: Whether the study still runs: the page loads itself again every minute.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent, EXPLORER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    summary = summarise(frames)
    with style.of_study(frames):
        explored = explorer(frames, links, runs)
    scripts = [script.read_text(encoding="utf-8") for script in SCRIPTS] if explored else []
    return environment.get_template("report.html.jinja").render(
        name=frames.name,
        questions=list(dict.fromkeys(record.question for record in frames.records if record.question)),
        sentences=summary.sentences,
        methods=summary.methods,
        objectives=[naming.short_label(name) for name in frames.objectives],
        figures=figures,
        skipped=skipped,
        table=trial_table(frames),
        links=links,
        replicated=replicate_table(frames),
        sizes=size_table(frames),
        facts=method_facts(frames),
        number=naming.number,
        explorer=explored,
        scripts=scripts,
        live=f"{datetime.now().astimezone():%H:%M:%S %Z on %d %B %Y}" if live else "",
    )


def replicate_table(frames: StudyFrames) -> dict[str, Any]:
    """The replicated trials as `columns` and `rows` of text; no rows if nothing was replicated."""
    columns, rows = replicates.table(replicates.info(frames))
    return {"columns": columns, "rows": rows}


def size_table(frames: StudyFrames) -> dict[str, Any]:
    """Test metrics by latent size and method: `caption`, `columns`, `rows`; no rows if the study compares no sizes."""
    found = latent_table.info(frames)
    columns, rows = latent_table.cells(found)
    return {
        "caption": latent_table.CAPTION,
        "columns": columns,
        "rows": rows if latent_table.compares_sizes(found) else [],
    }


def trial_table(frames: StudyFrames) -> dict[str, Any]:
    """The trial table: `columns`, and `rows` with a kind, a reason and cells (text, sort value).

    Parameters that are the same in all trials are left out; the method section lists them.
    """
    params = [name for name in TrialConfig().to_params() if name not in IMPLIED and _varies(frames, name)]
    tests = [f"test/{name.rpartition('/')[2]}" for name in frames.objectives]
    measured = [name for name in (*frames.objectives, *tests) if np.isfinite(frames.column(name)).any()]
    # The most wanted columns come first: a phone shows three, a desktop about ten.
    order = dict.fromkeys(["method", *(name for name in measured if name in frames.objectives), *params, *measured])
    columns = ["trial", *order, "outcome", "origin", "epochs_done", "seconds"]
    choice = choose(frames)
    texts = {name: frames.text(name) for name in ("outcome", "reason", *params)}
    texts["origin"] = np.array([Origin(origin).label for origin in frames.text("origin")], dtype=np.str_)
    numbers = {name: frames.column(name) for name in (*params, *measured, "number", "epochs_done", "seconds")}
    labels = frames.labels()
    rows = []
    for row in range(len(labels)):
        cells = [{"text": str(labels[row]), "sort": numbers["number"][row]}]
        for name in columns[1:]:
            value = numbers[name][row] if name in numbers else np.nan
            text = naming.number(value) if np.isfinite(value) else str(texts[name][row]) if name in texts else "n/a"
            cells.append({"text": text, "sort": value if np.isfinite(value) else text})
        kind = "recommended" if row == choice.recommended else "front" if row in choice.front else ""
        rows.append({"kind": kind, "cells": cells, "reason": str(texts["reason"][row])})
    return {"columns": columns, "rows": rows}


def _varies(frames: StudyFrames, name: str) -> bool:
    return len(set(frames.text(name))) > 1 or name == "method"
