"""Every figure of the report, in order. To add one, write a module with the three functions and add a line below."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from matplotlib.figure import Figure

from analysis import (
    collapse,
    first_stage,
    fitted_samples,
    importances,
    interpolations,
    latent_scatter,
    latent_size,
    learning_curves,
    morphs,
    parallel,
    posterior_range,
    priors,
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


class FigureModule(Protocol):
    """What every figure's module has."""

    def info(self, frames: StudyFrames, /) -> Any:
        """The numbers that the figure shows; `missing` is "" or says why there is nothing to draw."""

    def plot(self, info: Any, /) -> Figure:
        """Draws the numbers, if none are missing."""
        ...

    def describe(self, info: Any, /) -> str:
        """The caption and alt text, if no numbers are missing."""
        ...


class FigureSpec(NamedTuple):
    """A figure of the report: its heading and its module."""

    title: str
    module: FigureModule


FIGURES: dict[str, FigureSpec] = {
    "tradeoff": FigureSpec("The trade-off", tradeoff),
    "priors": FigureSpec("The trade-off under both priors", priors),
    "replicates": FigureSpec("Fresh seeds", replicates),
    "samples": FigureSpec("Random samples from N(0, I)", samples),
    "fitted_samples": FigureSpec("Random samples from the fitted prior", fitted_samples),
    "reconstructions": FigureSpec("Reconstructions", reconstructions),
    "first_stage": FigureSpec("The first stage alone", first_stage),
    "weight_curves": FigureSpec("Effect of the weight", weight_curves),
    "latent_size": FigureSpec("Latent size", latent_size),
    "rate_distortion": FigureSpec("Rate and distortion", rate_distortion),
    "parallel": FigureSpec("All parameters at once", parallel),
    "importances": FigureSpec("Which parameters matter", importances),
    "learning_curves": FigureSpec("Learning curves", learning_curves),
    "posterior_range": FigureSpec("Range of the codes", posterior_range),
    "collapse": FigureSpec("Posterior collapse", collapse),
    "latent_scatter": FigureSpec("The latent space", latent_scatter),
    "interpolations": FigureSpec("Interpolations", interpolations),
    "morphs": FigureSpec("Attribute morphs", morphs),
    "reconstruction_history": FigureSpec("Reconstructions during training", reconstruction_history),
    "search_progress": FigureSpec("Progress of the search", search_progress),
    "time_spent": FigureSpec("Where the time went", time_spent),
}
