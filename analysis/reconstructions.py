"""Shows validation images and their reconstructions, by method and latent size.

python -m analysis.reconstructions --study NAME --out reconstructions.png
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.plotting import command, naming
from analysis.plotting.pictures import NO_PICTURES, Strips, describe_strips, plot_strips, representatives
from study.results.frame import StudyFrames

COUNT = 14

plot, describe = plot_strips, describe_strips


def info(frames: StudyFrames, trials: Sequence[str] = ()) -> Strips:
    """The first images of the validation split, the same for every trial."""
    found = [
        trial for trial in representatives(frames, "reconstructions", trials=trials) if "originals" in trial.arrays
    ]
    if not found:
        return Strips(frames.nothing(NO_PICTURES))
    return Strips(
        missing="",
        title="Validation images and their reconstructions",
        labels=["data", *(trial.label for trial in found)],
        methods=["", *(trial.method for trial in found)],
        rows=[found[0].arrays["originals"][:COUNT], *(trial.arrays["reconstructions"][:COUNT] for trial in found)],
        caption=f"Validation images (top) and their reconstructions by {naming.count(len(found))}.",
    )


if __name__ == "__main__":
    command.run_figure(info, plot, "reconstructions.png")
