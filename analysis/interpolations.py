"""Ways between two validation images through the codes, by method and latent size.

python -m analysis.interpolations --study NAME --out interpolations.png
"""

from __future__ import annotations

from analysis import command
from analysis.frame import StudyFrames
from analysis.pictures import NO_PICTURES, Strips, describe_strips, plot_strips, representatives

plot, describe = plot_strips, describe_strips


def interpolations_info(frames: StudyFrames, pair: int = 0) -> Strips:
    """Rows of one pair of images; the ends are reconstructions."""
    found = [trial for trial in representatives(frames, "interpolations") if len(trial.arrays["interpolations"]) > pair]
    if not found:
        return Strips(frames.nothing(NO_PICTURES), "", [], [], [], "")
    return Strips(
        missing="",
        title="From one validation image to another through the latent space",
        labels=[trial.label for trial in found],
        methods=[trial.method for trial in found],
        rows=[trial.arrays["interpolations"][pair] for trial in found],
        caption=f"The same two images joined through the latent space of {len(found)} trials, one row each.",
    )


if __name__ == "__main__":
    command.run_figure(interpolations_info, plot, "interpolations.png")
