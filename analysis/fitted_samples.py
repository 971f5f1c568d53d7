"""Shows random samples, 49 from the prior fitted to each trial's codes, by method and latent size.

python -m analysis.fitted_samples --study NAME --out fitted_samples.png
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.plotting import command, naming
from analysis.plotting.pictures import NO_PICTURES, representatives
from analysis.samples import Samples, plot
from study.results.choice import with_fitted_prior
from study.results.frame import StudyFrames

ARRAY = "fitted_samples"


def info(frames: StudyFrames, trials: Sequence[str] = ()) -> Samples:
    """Takes one trial per method and latent size, the best compromise under the fitted prior."""
    found = representatives(with_fitted_prior(frames) or frames, ARRAY, trials=trials)
    return Samples("" if found else frames.nothing(NO_PICTURES), found, ARRAY)


def describe(info: Samples) -> str:
    """The figure's caption and alt text."""
    return (
        f"Images decoded from the prior fitted to each trial's codes, by {naming.count(len(info.trials))}: for each "
        "method and latent size, and what else varies, the one with the best compromise between the objectives under "
        "that prior."
    )


if __name__ == "__main__":
    command.run_figure(info, plot, "fitted_samples.png")
