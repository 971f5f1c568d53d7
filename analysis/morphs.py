"""Shows attribute morphs: an image moved along a class direction of the latent space, by method and latent size.

python -m analysis.morphs --study NAME --pair 0 --out morphs.png
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.plotting import command, naming
from analysis.plotting.pictures import NO_PICTURES, Strips, describe_strips, no_pair, plot_strips, representatives
from study.results.frame import StudyFrames

ONE_CLASS = "the images have no classes to move between"

plot, describe = plot_strips, describe_strips


def info(frames: StudyFrames, pair: int = 0, trials: Sequence[str] = ()) -> Strips:
    """A row per trial for one pair of classes."""
    saved = [
        trial
        for trial in representatives(frames, "morphs", trials=trials)
        if len(trial.arrays.get("morph_classes", ()))
    ]
    found = [trial for trial in saved if min(len(trial.arrays["morphs"]), len(trial.arrays["morph_classes"])) > pair]
    if not found:
        one_class = bool(frames.records) and all(record.data.num_classes < 2 for record in frames.records)
        return Strips(frames.nothing(no_pair(pair) if saved else ONE_CLASS if one_class else NO_PICTURES))
    start, target = (naming.class_name(frames, int(value)) for value in found[0].arrays["morph_classes"][pair])
    title = f"An image of {start} moved towards {target}"
    return Strips(
        missing="",
        title=title,
        labels=[trial.label for trial in found],
        methods=[trial.method for trial in found],
        rows=[trial.arrays["morphs"][pair] for trial in found],
        caption=f"{title} in the latent space of {naming.count(len(found))}, one row each.",
    )


if __name__ == "__main__":
    command.run_figure(info, plot, "morphs.png")
