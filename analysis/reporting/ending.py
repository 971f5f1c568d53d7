"""Prints the end of a study: its Pareto-optimal trials, the recommended one, failures, and where its files are.

A session's notes, such as why it stopped, come after it (`study.session`).
"""

from __future__ import annotations

import csv
import math
import shlex
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from analysis import replicates, tradeoff
from analysis.plotting import naming, style
from analysis.reporting import picks, second_opinion
from analysis.reporting.page import write_report
from study.config import UserError
from study.disk.layout import ERROR, OUTCOME, PICTURE, WARNINGS, attempt_folders, report_path, trial_folders, trial_path
from study.results.choice import Choice, choose, seed_groups
from study.results.frame import MEMORY, StudyFrames, load_study
from study.tracking.store import one_line

_COLUMNS = ("method", "latent_dim", "weight", "target_error", "kernel", "annealing")
_DOMINATED = "○"


class Ending:
    """Draws and prints the end of a study.

    Args:
        console: Where it is printed.
        runs: The folder of all studies.
        name: The study's name.
    """

    def __init__(self, console: Console, runs: Path, name: str) -> None:
        self._console = console
        self._runs = runs
        self._name = name

    @cached_property
    def _frames(self) -> StudyFrames:
        return load_study(self._runs, self._name)

    def draw(self, outcome: str, tracking_uri: str | None) -> None:
        """Draws the trade-off, and unless the study was interrupted its report; an error becomes a printed line.

        Args:
            outcome: How the session ended.
            tracking_uri: The MLflow store that the report links to; None if it does not answer.
        """
        directory = self._runs / self._name
        try:
            draw(self._frames, directory)
        except (OSError, UserError) as error:
            self._console.print(f"picture  not drawn: {error}", soft_wrap=True, highlight=False, markup=False)
        if outcome != "interrupted":
            report(self._console, self._frames, directory, tracking_uri)

    def show(self) -> None:
        """Prints results, failures and warnings."""
        directory = self._runs / self._name
        show(self._console, self._frames, directory)
        show_failures(self._console, self._frames, directory)
        show_warnings(self._console, directory)
        show_gpu_memory(self._console, self._frames)


def draw(frames: StudyFrames, directory: Path) -> list[Path]:
    """Writes `tradeoff.png` into the study's folder, and with replicates also `replicates.png` and `replicates.csv`.

    Returns:
        The files written.
    """
    with style.of_study(frames):
        files = [style.save(style.draw(tradeoff.info(frames), tradeoff.plot), directory / PICTURE, "png")]
        found = replicates.info(frames)
        if not found.missing:
            files.append(style.save(replicates.plot(found), directory / "replicates.png", "png"))
            files.append(directory / "replicates.csv")
            with open(files[-1], "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(replicates.records(found))
    return files


def report(console: Console, frames: StudyFrames, directory: Path, tracking_uri: str | None) -> None:
    """Writes the report and its figures into the study's folder, unless no trial has ended since the last report.

    Any error becomes one printed line with the command to try again: the study itself is done.

    Args:
        console: Prints that line.
        frames: The study.
        directory: Its folder.
        tracking_uri: The MLflow store that the report links to; None if it does not answer.
    """
    page = report_path(directory)
    try:
        ended = (
            (trial / OUTCOME).stat().st_mtime for _, trial in trial_folders(directory) if (trial / OUTCOME).exists()
        )
        if not page.is_file() or page.stat().st_mtime < max(ended, default=0.0):
            console.print("writing the report", highlight=False)
            write_report(frames, page.parent, tracking_uri, [directory], directory.parent)
    except (Exception, KeyboardInterrupt) as error:  # no figure may hide the study's results
        options = ["--study", directory.name, "--runs-dir", str(directory.parent)]
        again = shlex.join(["python", "-m", "analysis.report", *options])
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else one_line(error)
        console.print(f"report   not written ({why}): {again}", soft_wrap=True, highlight=False, markup=False)


def show(console: Console, frames: StudyFrames, directory: Path) -> None:
    """Prints how trials ended, the front with the picks, and the files to open next."""
    choice = choose(frames)
    outcome, replicate = frames.text("outcome"), frames.text("origin") == "replicate"
    for noun, rows in (("trials", ~replicate), ("replicates", replicate)):
        counts = Counter(outcome[rows].tolist()).most_common()
        if counts:
            outcomes = ", ".join(f"{number} {name}" for name, number in counts)
            console.print(f"{rows.sum()} {noun}: {outcomes}", highlight=False)
    if choice.front.size:
        found = replicates.info(frames)
        console.print(_front_table(frames, choice))
        for sentence in _recommendation(frames, choice):
            console.print(sentence, soft_wrap=True, highlight=False, markup=False)
        if not found.missing:
            console.print(_replicates_table(found))
    page = report_path(directory)
    places = [f"study    {directory}", f"picture  {directory / PICTURE}"]
    places += [f"report   {page}"] if page.is_file() else []
    console.print("\n".join(places), soft_wrap=True, highlight=False)


def show_failures(console: Console, frames: StudyFrames, directory: Path) -> None:
    """Prints how many trials failed and why the first one did."""
    failed = np.flatnonzero(frames.text("outcome") == "failed")
    if not failed.size:
        return
    first = frames.trials.iloc[failed[0]]
    console.print(
        f"{failed.size} trials failed; the first, trial {first['number']}: {first['reason']}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    attempts = attempt_folders(trial_path(directory, int(first["number"])))
    tracebacks = [attempt / ERROR for _, attempt in attempts if (attempt / ERROR).is_file()]
    if tracebacks:
        console.print(f"error    {tracebacks[-1]}", highlight=False, soft_wrap=True)


def show_gpu_memory(console: Console, frames: StudyFrames) -> None:
    """Prints the smallest `--gpus-per-trial` that would be enough, from the memory that trials used."""
    shares = frames.column(MEMORY)
    shares = shares[np.isfinite(shares)]
    if shares.size:
        enough = min(1.0, math.ceil(110 * shares.max()) / 100)  # a tenth more, as allocations vary
        console.print(
            f"GPU      a trial used up to {100 * shares.max():.1f} % of its GPU's memory: "
            f"--gpus-per-trial {enough:.2g} is enough",
            highlight=False,
            soft_wrap=True,
        )


def show_warnings(console: Console, directory: Path) -> None:
    """Prints the first warning of trials (for example, of a damaged checkpoint), and how many others there are."""
    attempts = (attempt for _, trial in trial_folders(directory) for _, attempt in attempt_folders(trial))
    files = [attempt / WARNINGS for attempt in attempts if (attempt / WARNINGS).is_file()]
    lines = [*dict.fromkeys(line for path in files for line in path.read_text().splitlines())]
    if lines:
        more = f" (and {len(lines) - 1} more in trials/*/attempt-*/warnings.txt)" if len(lines) > 1 else ""
        console.print(f"warning  {lines[0]}{more}", highlight=False, soft_wrap=True, markup=False)


def _recommendation(frames: StudyFrames, choice: Choice) -> list[str]:
    if choice.recommended is None:
        return [choice.caution]
    between_seeds = picks.seed_noise(frames, choice, seed_groups(frames, np.flatnonzero(choice.eligible)))
    return [
        *picks.all_picks(frames, choice),
        *picks.certainty(frames, choice, between_seeds),
        *picks.left_out(frames, choice),
        *second_opinion.sentences(frames, choice),
        *picks.with_fitted_prior(frames),
    ]


def _front_table(frames: StudyFrames, choice: Choice) -> Table:
    names = list(frames.objectives)
    among = np.isin(np.arange(len(choice.values)), [*choice.front, *(pick.row for pick in choice.picks)])
    rows = sorted(np.flatnonzero(among).tolist(), key=lambda row: choice.values[row].tolist())
    marks = [] if not choice.picks else ["▸ recommended" if choice.role == "best" else f"▸ {choice.role}, recommended"]
    if len(rows) > len(choice.front):  # all of the front is left out: what is recommended is dominated by it
        marks.append(f"{_DOMINATED} dominated")
    title = f"Pareto-optimal trials ({'; '.join(marks)})" if marks else "Pareto-optimal trials"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    shown = [name for name in _COLUMNS if name == "method" or len(set(frames.text(name)[rows])) > 1]
    for name in ("trial", *shown, *(name.rpartition("/")[2] for name in names)):
        table.add_column(name, justify="right")
    for row in rows:
        trial = frames.trials.iloc[row]
        cells = [str(trial["number"]), *(_cell(trial[name]) for name in (*shown, *names))]
        mark = ("▸" if row == choice.recommended else "") + ("" if row in choice.front else _DOMINATED)
        table.add_row(mark, *cells, style="bold" if row == choice.recommended else None)
    return table


def _replicates_table(found: replicates.Replicates) -> Table:
    counts = sorted({len(group) for group in found.values})
    seeds = " to ".join(str(count) for count in dict.fromkeys([counts[0], counts[-1]]))
    title = f"With {seeds} fresh seeds: value in the search → mean ± 95 % interval"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("trial", *(name.rpartition("/")[2] for name in found.objectives), "no difference from"):
        table.add_column(name.replace("_", " "), justify="right")  # words wrap on a narrow terminal
    for index, label in enumerate(found.trial):
        cells = [_change(found, index, objective) for objective in range(len(found.objectives))]
        alike = ", ".join(replicates.alike(found, index)) or "none"
        table.add_row(str(label), *cells, alike, style="bold" if index == found.recommended else None)
    return table


def _change(found: replicates.Replicates, index: int, objective: int) -> str:
    search, mean = found.search[index, objective], found.mean[index, objective]
    half_width = found.high[index, objective] - mean
    text = f"{naming.number(search)} → {naming.number(mean)}"
    return f"{text} ± {half_width:.2g}" if len(found.values[index]) > 1 else text


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
