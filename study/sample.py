"""Draws images from a trained model of a study and saves them as one picture.

    python -m study.sample --study wae_weight --out samples.png

The codes come from N(0, I), or from the prior that was fitted to the model's codes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from study.cli import (
    KneeOption,
    MaxMseOption,
    NearlyBestOption,
    RunsOption,
    StudyOption,
    TrialOption,
    ranged,
    run_command,
)
from study.config import UserError
from study.results.selection import select


def sample(
    study: StudyOption,
    n: Annotated[int, typer.Option("--n", min=1, max=10_000, help="Number of images.")] = 49,
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .jpg, .webp or another format of Pillow.")] = Path(
        "samples.png"
    ),
    trial: TrialOption = None,
    knee: KneeOption = False,
    nearly_best: NearlyBestOption = None,
    max_mse: MaxMseOption = None,
    prior: Annotated[
        Literal["normal", "fitted"] | None,
        typer.Option(
            help="Draw codes from N(0, I), or from the fitted prior.", show_default="what the method is made for"
        ),
    ] = None,
    draws: Annotated[
        bool, typer.Option("--draws", help="Draw pixels from p(x|z), with their noise, instead of showing its mean.")
    ] = False,
    seed: Annotated[int, ranged("seed", help="Seed of the images.")] = 0,
    runs_dir: RunsOption = Path("runs"),
) -> None:
    """The command, see the module."""
    from PIL import Image

    if out.suffix.lower() not in Image.registered_extensions():
        raise UserError(f"--out {out}: {out.suffix!r} is no picture format, use .png")
    selection = select(runs_dir, study, trial=trial, knee=knee, nearly_best=nearly_best, max_mse=max_mse)
    from study.exporting.trained import load_model  # imports torch: quick checks come first
    from study.measure.pictures import sample_grid

    model = load_model(selection)
    picture = sample_grid(model, n, prior=prior, draws=draws, seed=seed)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        picture.save(out)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}") from error
    source = {"normal": "N(0, I)", "fitted": "the fitted prior"}[prior or model.default_prior]
    typer.echo(f"{n} images of {selection.describe()}, codes from {source}\n{out}")


if __name__ == "__main__":
    run_command(sample)
