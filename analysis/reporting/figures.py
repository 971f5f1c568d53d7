"""Every figure of the report, in its order. A new one: a module with the three functions, and one line below."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from analysis import (
    collapse,
    first_stage,
    importances,
    interpolations,
    latent_scatter,
    latent_size,
    learning_curves,
    morphs,
    parallel,
    posterior_range,
    rate_distortion,
    reconstruction_history,
    reconstructions,
    replicates,
    samples,
    search_progress,
    time_spent,
    tradeoff,
    weight_curves,
)
from study.results.frame import StudyFrames


@dataclasses.dataclass(frozen=True)
class FigureSpec:
    """One figure.

    Attributes:
        title: Heading in the report.
        info: Frames to the numbers the figure shows; its `missing` is "" or says why there is nothing to draw.
        plot: The numbers to a picture.
        describe: The numbers to words, for caption and alt text.
    """

    title: str
    info: Callable[[StudyFrames], Any]
    plot: Callable[[Any], Figure]
    describe: Callable[[Any], str]


FIGURES: dict[str, FigureSpec] = {
    "tradeoff": FigureSpec("The trade-off", tradeoff.tradeoff_info, tradeoff.plot, tradeoff.describe),
    "replicates": FigureSpec("Fresh seeds", replicates.replicates_info, replicates.plot, replicates.describe),
    "samples": FigureSpec("Random samples", samples.samples_info, samples.plot, samples.describe),
    "reconstructions": FigureSpec(
        "Reconstructions", reconstructions.reconstructions_info, reconstructions.plot, reconstructions.describe
    ),
    "first_stage": FigureSpec(
        "The first stage alone", first_stage.first_stage_info, first_stage.plot, first_stage.describe
    ),
    "weight_curves": FigureSpec(
        "What the weight does", weight_curves.weight_curves_info, weight_curves.plot, weight_curves.describe
    ),
    "latent_size": FigureSpec("Latent size", latent_size.latent_size_info, latent_size.plot, latent_size.describe),
    "rate_distortion": FigureSpec(
        "Rate and distortion", rate_distortion.rate_distortion_info, rate_distortion.plot, rate_distortion.describe
    ),
    "parallel": FigureSpec("All choices at once", parallel.parallel_info, parallel.plot, parallel.describe),
    "importances": FigureSpec(
        "Which choices matter", importances.importances_info, importances.plot, importances.describe
    ),
    "learning_curves": FigureSpec(
        "Learning curves", learning_curves.learning_curves_info, learning_curves.plot, learning_curves.describe
    ),
    "posterior_range": FigureSpec(
        "Range of the codes", posterior_range.posterior_range_info, posterior_range.plot, posterior_range.describe
    ),
    "collapse": FigureSpec("Posterior collapse", collapse.collapse_info, collapse.plot, collapse.describe),
    "latent_scatter": FigureSpec(
        "The latent space", latent_scatter.latent_scatter_info, latent_scatter.plot, latent_scatter.describe
    ),
    "interpolations": FigureSpec(
        "Interpolations", interpolations.interpolations_info, interpolations.plot, interpolations.describe
    ),
    "morphs": FigureSpec("Attribute morphs", morphs.morphs_info, morphs.plot, morphs.describe),
    "reconstruction_history": FigureSpec(
        "Reconstructions over the training",
        reconstruction_history.reconstruction_history_info,
        reconstruction_history.plot,
        reconstruction_history.describe,
    ),
    "search_progress": FigureSpec(
        "Progress of the search", search_progress.search_progress_info, search_progress.plot, search_progress.describe
    ),
    "time_spent": FigureSpec("Where the time went", time_spent.time_spent_info, time_spent.plot, time_spent.describe),
}
