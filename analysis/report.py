"""The whole answer on one page: a self-contained `report.html` that opens offline, with its figures beside it as PNGs.

python -m analysis.report --study NAME --out DIR
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jinja2
import numpy as np
import typer

from analysis import replicates, style
from analysis.answer import answer
from analysis.choice import choose
from analysis.command import RunsOption, StudyOption, TrackingOption, load
from analysis.figures import FIGURES
from analysis.frame import StudyFrames
from analysis.frame_mlflow import run_links
from study.cli import run_command
from study.config import TrialConfig, UserError
from study.files import write_atomic
from study.tracking.store import default_tracking_uri

FOLDER = "report"  # within the study's directory
LOCAL_SERVER = "http://127.0.0.1:5000"  # where `make ui` serves a local store
IMPLIED = ("encoder", "regularizer", "epochs")  # by the method, and by the study
SPLIT_SIZES = {"training": "train_size", "validation": "validation_size", "test": "test_size"}


def trial_links(frames: StudyFrames, tracking_uri: str) -> dict[str, str]:
    """Trial label -> its run's page in MLflow; empty for several studies, or where MLflow does not know this one."""
    if len(set(frames.text("study"))) != 1:
        return {}
    return {str(number): link for number, link in run_links(tracking_uri, frames.study, LOCAL_SERVER).items()}


def write_report(frames: StudyFrames, out: Path, tracking_uri: str | None = None) -> list[Path]:
    """Writes `report.html` and one PNG per figure that the study has data for.

    Args:
        frames: The study.
        out: The folder, made where it does not exist.
        tracking_uri: The MLflow store whose runs the table of trials leads to; None for a table without links.

    Returns:
        The files written, `report.html` first.

    Raises:
        UserError: The folder cannot be written to.
    """
    figures: list[dict[str, str]] = []
    skipped: list[str] = []
    files: list[Path] = []
    for name, spec in FIGURES.items():
        info = spec.info(frames)
        if info.missing:
            skipped.append(f"{spec.title}: {info.missing}")
            continue
        path = style.save(spec.plot(info), out / f"{name}.png")
        files.append(path)
        image = base64.b64encode(path.read_bytes()).decode()
        figures.append({"name": name, "title": spec.title, "text": spec.describe(info), "image": image})
    page = out / "report.html"
    # Asked for last: at the end of a study MLflow is still being written while the figures are drawn.
    links = trial_links(frames, tracking_uri) if tracking_uri else {}
    html = render(frames, figures, skipped, links)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(page, html.encode())
    except OSError as error:
        raise UserError(f"cannot write {page}: {error.strerror or error}") from error
    return [page, *files]


def render(frames: StudyFrames, figures: list[dict[str, str]], skipped: list[str], links: Mapping[str, str]) -> str:
    """The page as text.

    Args:
        frames: The study.
        figures: `name`, `title`, `text` and base64 PNG `image` of each.
        skipped: Why others are not there.
        links: Trial label -> address of its MLflow run.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = answer(frames)
    return environment.get_template("report.html.jinja").render(
        study=frames.study,
        sentences=found.sentences,
        methods=found.methods,
        objectives=[style.short_label(name) for name in frames.objectives],
        figures=figures,
        skipped=skipped,
        table=trial_table(frames),
        links=links,
        replicated=replicate_table(frames),
        facts=method_facts(frames),
        number=style.number,
    )


def replicate_table(frames: StudyFrames) -> dict[str, Any]:
    """The replicated trials, `columns` and `rows` of text; no rows where nothing was replicated."""
    columns, rows = replicates.table(replicates.replicates_info(frames))
    return {"columns": columns, "rows": rows}


def trial_table(frames: StudyFrames) -> dict[str, Any]:
    """The table of trials: `columns`, their `explained` names, and `rows` of a class and cells (text, sort value).

    Parameters that are the same for all trials are left out; they stand in the method section.
    """
    params = [name for name in TrialConfig().to_params() if name not in IMPLIED and _varies(frames, name)]
    tests = [f"test/{name.rpartition('/')[2]}" for name in frames.objectives]
    measured = [name for name in (*frames.objectives, *tests) if np.isfinite(frames.column(name)).any()]
    columns = ["trial", "outcome", "origin", *params, *measured, "epochs_done", "seconds"]
    choice = choose(frames)
    texts = {name: frames.text(name) for name in ("outcome", "origin", "reason", *params)}
    numbers = {name: frames.column(name) for name in (*params, *measured, "number", "epochs_done", "seconds")}
    labels = frames.labels()
    rows = []
    for row in range(len(labels)):
        cells = [{"text": str(labels[row]), "sort": numbers["number"][row]}]
        for name in columns[1:]:
            value = numbers[name][row] if name in numbers else np.nan
            text = style.number(value) if np.isfinite(value) else str(texts[name][row]) if name in texts else "n/a"
            cells.append({"text": text, "sort": value if np.isfinite(value) else text})
        kind = "knee" if row == choice.knee else "front" if row in choice.front else ""
        rows.append({"kind": kind, "cells": cells, "reason": str(texts["reason"][row])})
    return {"columns": columns, "rows": rows}


def _varies(frames: StudyFrames, name: str) -> bool:
    return len(set(frames.text(name))) > 1 or name == "method"


def method_facts(frames: StudyFrames) -> list[tuple[str, str]]:
    """The method section: (what, how), only what the study's record knows."""
    study = frames.study
    facts = [("Study", f"{study.get('name')} ({study.get('outcome')}, begun {study.get('created')})")]
    facts.append(("Search space", f"{study.get('space')} (SHA-256 {str(study.get('space_hash'))[:12]})"))
    ways = "; ".join(f"{style.label(name)} ({name}), {way}" for name, way in frames.objectives.items())
    facts.append(("Objectives", f"{ways}. Values are those of a trial's last epoch, never its best."))
    units = "loss = D + w · m(t) · R(z), reconstruction term D in nats per image; MSE per pixel on [0, 1]"
    facts.append(("Units", units))
    facts += _data_facts(study.get("data") or {}) + _reference_facts(study.get("references") or {})
    texts = {name: sorted(set(frames.text(name))) for name in TrialConfig().to_params()}
    fixed = ", ".join(f"{name} = {values[0]}" for name, values in texts.items() if len(values) == 1)
    if fixed:
        facts.append(("The same in every trial", fixed))
    planned, sampler, seed = (study.get(name) for name in ("num_trials", "sampler", "seed"))
    facts.append(("Trials", f"{len(frames.trials)} of {planned}, sampler {sampler}, seed {seed}"))
    versions = ", ".join(f"{name} {version}" for name, version in study.get("versions", {}).items())
    code = f"; code {study['git_commit'][:12]}" if study.get("git_commit") else ""
    facts.append(("Versions", f"{versions}{code}"))
    return facts


def _data_facts(data: dict[str, Any]) -> list[tuple[str, str]]:
    if not data:
        return []
    sizes = ", ".join(f"{data.get(key)} {name}" for name, key in SPLIT_SIZES.items())
    shape = f"{data.get('height')} x {data.get('width')} pixels, {data.get('channels')} channel(s) in [0, 1]"
    rule = "Search and early stopping saw validation images only; test images once, after a trial's last epoch."
    return [
        ("Data", f"{data.get('name')}: {shape}; SHA-256 {str(data.get('hash'))[:12]}"),
        ("Splits", f"{sizes}. {rule}"),
        ("Total pixel variance V", style.number(float(data.get("total_variance", np.nan)))),
    ]


def _reference_facts(references: dict[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if judge := references.get("classifier"):
        words = "Fréchet distances are taken in the feature space of a classifier trained on the training images"
        accuracy = f"accuracy {100 * float(judge.get('accuracy', np.nan)):.1f} %"
        facts.append(("Judge", f"{words} ({accuracy}, SHA-256 {str(judge.get('hash'))[:12]})"))
    if samples := references.get("samples"):
        counts = ", ".join(f"{count:,} against {split}" for split, count in samples.items())
        facts.append(("Generated images", f"{counts}; equal counts, and the same z, for every trial"))
    if floor := references.get("floor"):
        floors = "; ".join(
            f"{split}: " + ", ".join(f"{style.short_label(name)} {style.number(v)}" for name, v in values.items())
            for split, values in floor.items()
        )
        facts.append(("Real training images against the split", f"{floors} (a reference, not a bound)"))
    return facts


def report(
    study: StudyOption,
    runs_dir: RunsOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. [default: the study's own, /report]")] = None,
) -> None:
    """Writes the report of one or several studies."""
    frames = load(study, runs_dir, tracking_uri)
    folder = out or runs_dir / study[0] / FOLDER
    typer.echo(write_report(frames, folder, tracking_uri or default_tracking_uri(runs_dir))[0])


if __name__ == "__main__":
    run_command(report)
