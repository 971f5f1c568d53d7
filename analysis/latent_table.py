"""Prints the latent-size figure as a Markdown table: error and sample quality by method and latent size.

python -m analysis.latent_table --study NAME
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import typer

from analysis.plotting import naming
from analysis.plotting.command import RunsOption, StudyOption, load
from study.cli import run_command
from study.results.choice import choose
from study.results.frame import StudyFrames

METRICS = ("test/reconstruction_mse", "test/sample_fid", "test/fitted_fid")
CAPTION = (
    "Test split: MSE per pixel / sample FID / FID of samples from the fitted prior; medians over trials that share "
    "method and latent size"
)


class LatentTable(NamedTuple):
    """Metrics by latent size and method; the median over trials that share both (seeds, weights).

    Attributes:
        sizes: Latent sizes, ascending, [sizes].
        methods: [methods].
        weights: Lowest and highest weight of each method, [methods, 2].
        pca: Error of a PCA of each size on the test split, [sizes]; NaN if not measured.
        values: The `METRICS`, [sizes, methods, metrics]; NaN if there is no such trial.
    """

    sizes: list[int]
    methods: list[str]
    weights: np.ndarray
    pca: np.ndarray
    values: np.ndarray


def info(frames: StudyFrames) -> LatentTable:
    """Collects the completed trials' metrics on the test split."""
    eligible = choose(frames).eligible
    method, latent_dim = frames.text("method"), frames.column("latent_dim")
    methods = naming.methods_in_order(method[eligible])
    sizes = [int(size) for size in np.unique(latent_dim[eligible])]
    columns = np.stack([frames.column(name) for name in METRICS], axis=-1)
    values = np.full((len(sizes), len(methods), len(METRICS)), np.nan)
    for row, size in enumerate(sizes):
        for column, name in enumerate(methods):
            found = columns[eligible & (method == name) & (latent_dim == size)]
            if len(found):
                values[row, column] = np.median(found, axis=0)
    weight = frames.column("weight")
    chosen = [weight[eligible & (method == name)] for name in methods]
    weights = np.array([(each.min(), each.max()) for each in chosen]).reshape(-1, 2)
    pca = frames.pca("test")
    return LatentTable(sizes, methods, weights, np.array([pca.get(size, np.nan) for size in sizes]), values)


def cells(table: LatentTable) -> tuple[list[str], list[list[str]]]:
    """Headings and a row of text per latent size."""

    def heading(name: str, low: float, high: float) -> str:
        if high == 0:
            return name
        return f"{name}, w = {low:.3g}" if low == high else f"{name}, w = {low:.3g} to {high:.3g}"

    def cell(mse: float, *fids: float) -> str:
        if np.isnan(mse):
            return "-"
        return " / ".join((f"{mse:.4f}".lstrip("0"), *map(score, fids)))

    def score(fid: float) -> str:
        """With two digits; studies of version 0.1 have no fitted prior."""
        if np.isnan(fid):
            return "-"
        return f"{fid:.2f}".lstrip("0") if fid < 0.995 else f"{fid:.1f}" if fid < 9.95 else f"{fid:.0f}"

    heads = ["d", "PCA", *(heading(name, *ends) for name, ends in zip(table.methods, table.weights, strict=True))]
    rows = [
        [str(size), cell(error), *(cell(*values) for values in row)]
        for size, error, row in zip(table.sizes, table.pca, table.values, strict=True)
    ]
    return heads, rows


def compares_sizes(table: LatentTable) -> bool:
    """Whether there are several latent sizes and one weight per method: a median over weights describes no model."""
    return len(table.sizes) > 1 and bool((table.weights[:, 0] == table.weights[:, 1]).all())


def render(table: LatentTable) -> str:
    """The table in Markdown."""
    heads, rows = cells(table)
    body = "\n".join("| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *rows))
    return f"{CAPTION}\n\n{body}"


def latent_table(study: StudyOption, runs_dir: RunsOption = Path("runs")) -> None:
    """The command, see the module."""
    typer.echo(render(info(load(study, runs_dir))))


if __name__ == "__main__":
    run_command(latent_table)
