"""`python -m study.sample --study NAME`: a picture of images that a trained model makes up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from study.cli import KneeOption, MaxMseOption, RunsOption, StudyOption, TrialOption, run_command
from study.config import UserError
from study.results.selection import select


def sample(
    study: StudyOption,
    n: Annotated[int, typer.Option("--n", min=1, max=10_000, help="How many images.")] = 49,
    out: Annotated[
        Path, typer.Option(help="The picture: .png, .jpg, .webp or another kind that Pillow writes.")
    ] = Path("samples.png"),
    trial: TrialOption = None,
    knee: KneeOption = False,
    max_mse: MaxMseOption = None,
    draws: Annotated[
        bool, typer.Option("--draws", help="Draws from p(x|z), pixel noise and all, not its means.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds, other images.")] = 0,
    runs_dir: RunsOption = Path("runs"),
) -> None:
    """Draws images of codes from N(0, I) with a study's trained model."""
    from PIL import Image

    if out.suffix.lower() not in Image.registered_extensions():
        raise UserError(f"--out {out}: no kind of picture is called {out.suffix!r}, try .png")
    selection = select(runs_dir, study, trial=trial, knee=knee, max_mse=max_mse)
    import torch  # quick checks come first

    from study.exporting.trained import load_model
    from study.measure.pictures import grid

    model = load_model(selection)
    images = model.sample(n, torch.Generator().manual_seed(seed), draw=draws)
    pixels = (images * 255).round().to(torch.uint8).numpy()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        grid(pixels, math.isqrt(n - 1) + 1).save(out)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}") from error
    typer.echo(f"{n} images of {selection.describe()}\n{out}")


if __name__ == "__main__":
    run_command(sample)
