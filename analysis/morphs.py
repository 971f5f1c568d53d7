"""Attribute morphs: an image moved along a class direction of the latent space, by method and latent size.

python -m analysis.morphs --study NAME --out morphs.png
"""

from __future__ import annotations

from analysis import command, style
from analysis.frame import StudyFrames
from analysis.pictures import NO_PICTURES, Strips, describe_strips, plot_strips, representatives

plot, describe = plot_strips, describe_strips


def morphs_info(frames: StudyFrames, index: int = 0) -> Strips:
    """Rows of one pair of classes."""
    found = [trial for trial in representatives(frames, "morphs") if len(trial.arrays["morphs"]) > index]
    found = [trial for trial in found if len(trial.arrays.get("morph_classes", ())) > index]
    if not found:
        return Strips(frames.nothing(NO_PICTURES), "", [], [], [], "")
    start, target = (int(value) for value in found[0].arrays["morph_classes"][index])
    title = f"An image of class {start} moved towards class {target}"
    return Strips(
        missing="",
        title=title,
        labels=[trial.label for trial in found],
        methods=[trial.method for trial in found],
        rows=[trial.arrays["morphs"][index] for trial in found],
        caption=f"{title} (classes by number) through the latent space of {style.count(len(found))}, one row each.",
    )


if __name__ == "__main__":
    command.run_figure(morphs_info, plot, "morphs.png")
