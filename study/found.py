"""What a study has found, for scripts and notebooks: tables, figures, models, samples, report."""

from __future__ import annotations

import dataclasses
import functools
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import UserError
from study.packages import check_packages
from study.session.process import unchanged_process

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from study.disk.study_json import StudyRecord
    from study.model.autoencoder import Autoencoder
    from study.results.choice import Choice
    from study.results.frame import StudyFrames
    from study.results.selection import Selection


def load_study(path: str | Path) -> Study:
    """What a study has found, running or ended.

    Args:
        path: Its folder, such as `runs/wae_weight`.

    Raises:
        UserError: There is no study, or its `study.json` is damaged.
    """
    return Study(Path(path))


class Study:
    """What a study has found, as it was when this was made.

    Attributes:
        directory: Its folder, absolute.
        frames: Its tables with what figures need beside them; a figure of your own takes this.
    """

    def __init__(self, directory: Path) -> None:
        """Reads the folder, see `load_study`."""
        from study.results.frame import load_study as load_frames

        self.directory = directory.expanduser().absolute()
        self.frames: StudyFrames = load_frames(self.directory.parent, self.directory.name)

    def __repr__(self) -> str:
        return f"<Study {self.directory}: {len(self.trials)} trials, {self.record.outcome}>"

    @property
    def name(self) -> str:
        """The study's name."""
        return self.record.name

    @property
    def record(self) -> StudyRecord:
        """What `study.json` holds: the question, objectives, data, seed, versions, and how the study ended."""
        return self.frames.study

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: number, outcome, every parameter, and every metric after its last epoch."""
        return self.frames.trials

    @property
    def history(self) -> pd.DataFrame:
        """One row per trial and epoch: times and metrics."""
        return self.frames.history

    @property
    def front(self) -> pd.DataFrame:
        """The rows of the Pareto-optimal trials, sorted by the first objective."""
        return self.trials.iloc[self._choice.front].reset_index(drop=True)

    @property
    def recommended(self) -> pd.Series | None:
        """The row of the recommended trial, the knee or the compromise; None if no trial was trained to its end, or if
        none may be recommended: there are too few images, or no trial beats the mean image."""
        return None if self._choice.recommended is None else self.trials.iloc[self._choice.recommended]

    def figure(self, name: str = "tradeoff", *, x: str | None = None, y: str | None = None, **options: Any) -> Figure:
        """A figure of the report, which Jupyter shows; `savefig` writes it.

        Args:
            name: One that `study figure --list` shows, or one that the study's space brings, whose code then runs; the
                latter takes no options.
            x: The metric to take for the first objective, such as `fitted_fid` (then of the validation split) or
                `test/sample_fid`.
            y: The same for the second.
            **options: What the figure takes beside the study, such as `pair=1` for interpolations.

        Raises:
            UserError: There is no such figure, metric or option; the message lists those there are.
        """
        check_packages()
        import matplotlib

        from analysis.plotting import style
        from analysis.plotting.command import options_of
        from analysis.reporting.figures import FIGURES

        own = self.record.described.of_kind("figure")
        if name in own and x is y is None and not options:
            from study.disk.code import own_components
            from study.own_figures import drawn

            with matplotlib.rc_context():
                return drawn(own_components(self.record, self.directory).of_kind("figure")[name], self)
        if name not in FIGURES:
            raise UserError(f"no figure {name!r}: choose from {', '.join([*own, *FIGURES])}")
        module: Any = FIGURES[name].module
        if unknown := options.keys() - options_of(module.info):
            known = ", ".join(["x", "y", *options_of(module.info)])
            raise UserError(f"figure {name}: no option {', '.join(sorted(unknown))}: choose from {known}")
        with matplotlib.rc_context():
            frames = self._on_axes(x, y)
            with style.of_study(frames):
                return style.draw(module.info(frames, **options), module.plot)

    def model(self, trial: int | str = "knee") -> Autoencoder:
        """A trained model on the CPU, in evaluation mode: `encode`, `decode`, `reconstruct`, `sample` take tensors.

        Args:
            trial: Its number; `knee`, the recommended one; or `nearly_best:OBJECTIVE`, such as
                `nearly_best:sample_fid`.

        Raises:
            UserError: There is no such trial, it was not trained to its end, or its checkpoint is damaged.
        """
        from study.exporting.trained import load_model

        return load_model(self._selection(trial))

    def sample(
        self,
        n: int = 49,
        *,
        trial: int | str = "knee",
        prior: str | None = None,
        draws: bool = False,
        seed: int = 0,
    ) -> Image:
        """A picture of n new images in a grid, which Jupyter shows; `save` writes it.

        The images themselves, as a tensor [n, C, H, W], come from `model(...).sample(n)`.

        Args:
            n: Number of images.
            trial: As of `model`.
            prior: Draw codes from `normal`, which is N(0, I), or from the `fitted` prior; by default what the method
                is made for.
            draws: Draw pixels from p(x|z), with their noise, instead of showing its mean.
            seed: Seed of the images.

        Raises:
            UserError: As `model`; or there is no such prior.
        """
        if n < 1:
            raise UserError(f"n={n}: draw at least one image")
        from study.measure.pictures import sample_grid

        return sample_grid(self.model(trial), n, prior=prior, draws=draws, seed=seed)

    def report(self, out: str | Path | None = None, *, tracking_uri: str | None = None) -> Path:
        """Writes the report as one page that opens offline; returns its path.

        Args:
            out: Folder to write; by default `report` in the study's folder.
            tracking_uri: The MLflow store that it links to.

        Raises:
            UserError: The folder cannot be written.
        """
        check_packages()
        import matplotlib

        from analysis.reporting.page import write_report
        from study.disk.layout import report_path
        from study.tracking.store import default_tracking_uri

        folder = report_path(self.directory).parent if out is None else Path(out)
        uri = tracking_uri or default_tracking_uri(self.directory.parent)
        with unchanged_process(), matplotlib.rc_context():
            return write_report(self.frames, folder, uri)[0]

    def export(self, out: str | Path = "model", *, trial: int | str = "knee") -> Path:
        """Writes a trained model to take away: weights, configuration and a `model.py` that needs torch alone.

        Args:
            out: Folder to write.
            trial: As of `model`.

        Returns:
            The folder.

        Raises:
            UserError: As `model`; or the folder cannot be written.
        """
        from study.exporting.export import export_model
        from study.exporting.trained import load_model

        selection = self._selection(trial)
        try:
            export_model(selection, load_model(selection), Path(out))
        except OSError as error:
            raise UserError(f"out={out}: {error.strerror or error}") from error
        return Path(out)

    @functools.cached_property
    def _choice(self) -> Choice:
        from study.results.choice import choose

        return choose(self.frames)

    def _selection(self, trial: int | str) -> Selection:
        from study.results.selection import select

        runs, name = self.directory.parent, self.directory.name
        if not isinstance(trial, str):
            return select(runs, name, trial=operator.index(trial))
        kind, _, objective = trial.partition(":")
        if kind == "nearly_best":
            return select(runs, name, nearly_best=objective)
        if trial != "knee":
            names = ", ".join(f"'nearly_best:{name.rpartition('/')[2]}'" for name in self.record.objectives)
            raise UserError(f"trial={trial!r}: give a trial's number, 'knee', or one of {names}")
        return select(runs, name, knee=True)

    def _on_axes(self, x: str | None, y: str | None) -> StudyFrames:
        """The frames with these metrics in place of the first two objectives."""
        from study.measure.metrics import METRICS

        if x is None and y is None:
            return self.frames
        objectives: list[tuple[str, Any]] = list(self.record.objectives.items())
        metrics: dict[str, Any] = METRICS | self.record.described.of_kind("metric")
        known = [name for name, metric in metrics.items() if metric.direction != "none"]
        for place, wanted in enumerate((x, y)):
            if wanted is None:
                continue
            split, _, metric = wanted.rpartition("/")
            if metric not in known or split not in ("", "val", "test"):
                raise UserError(f"no metric {wanted!r}: choose from {', '.join(known)}, with val/ or test/ before it")
            objectives[place : place + 1] = [(f"{split or 'val'}/{metric}", metrics[metric].direction)]
        records = tuple(record.model_copy(update={"objectives": dict(objectives)}) for record in self.frames.records)
        return dataclasses.replace(self.frames, records=records)

    def failure(self) -> str:
        """Why no trial came to its end, in one line."""
        failed = self.trials[self.frames.text("outcome") == "failed"]
        if failed.empty:
            return self.frames.nothing("no trial was trained to its end")
        first = failed.iloc[0]
        return f"{len(failed)} trials failed; the first, trial {first['number']}: {first['reason']}"
