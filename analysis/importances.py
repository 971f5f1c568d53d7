"""Plots which hyperparameters matter for each objective: fANOVA over the completed trials, by Optuna.

python -m analysis.importances --study NAME --out importances.png
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.plotting import command, naming, style
from study.config import TrialConfig
from study.results.choice import choose
from study.results.frame import StudyFrames

FEWEST, FEW = 8, 30
MOST = 400
"""Of more trials, evenly spaced ones are used: the forest's cost grows faster than their number."""
LOGARITHMIC = ("weight", "learning_rate", "weight_decay", "latent_dim", "width", "batch_size")
"""Parameters that are searched on a log scale."""
NOT_SEARCHED = ("dataset", "encoder", "regularizer", "latent_shape", "epochs", "seed")
"""Parameters without an axis or bar of their own; `method` stands for encoder and regularizer."""


class Importances(NamedTuple):
    """Shares of explained variance.

    Attributes:
        missing: Why there is nothing to draw, or "".
        objectives: Metric columns.
        params: Parameters that vary within a method, and the method; most important for the first objective first.
        shares: [params, objectives]; each column sums to 1.
        trials: Number of completed trials used.
    """

    missing: str
    objectives: list[str]
    params: list[str]
    shares: np.ndarray
    trials: int


def info(frames: StudyFrames) -> Importances:
    """Fits random forests with a fixed seed, so that the figure is reproducible; positive objectives are logged."""
    rows = np.flatnonzero(choose(frames).eligible)
    rows = rows[:: max(1, -(-len(rows) // MOST))]
    drawn = frames.keep(np.isin(np.arange(len(frames.trials)), rows))
    objectives = list(frames.objectives)
    named = [name for name in TrialConfig().to_params() if name not in NOT_SEARCHED]
    columns = {name: _column(drawn, name) for name in (*named, *frames.own_parameters)}
    method = drawn.text("method")
    columns = {
        name: values
        for name, values in columns.items()
        if len(set(values)) > 1 and (name == "method" or not _is_fixed_by(method, values))
    }
    if len(rows) < FEWEST or len(columns) < 2:  # the share of a single parameter is always 1
        reason = f"importances need {FEWEST} completed trials and two parameters that vary independently"
        return Importances(frames.nothing(reason), objectives, [], np.empty((0, len(objectives))), len(rows))
    shares = np.stack([_importances(columns, drawn.column(name)) for name in objectives], axis=1)
    order = np.argsort(-shares[:, 0], kind="stable")
    return Importances("", objectives, [list(columns)[index] for index in order], shares[order], len(rows))


def _is_fixed_by(method: np.ndarray, values: list[float] | list[str]) -> bool:
    """Whether the method fixes a parameter, so that their effects cannot be separated."""
    return len(set(zip(method.tolist(), values, strict=True))) == len(set(method.tolist()))


def _column(frames: StudyFrames, name: str) -> list[float] | list[str]:
    values = frames.column(name)
    measured = values[np.isfinite(values)]
    if name in frames.own_parameters and measured.size:  # trials without the component lie in the middle of its range
        return [float(value) for value in np.where(np.isfinite(values), values, np.median(measured))]
    if not frames.is_number(name):
        return [str(value) for value in frames.text(name)]
    if name in LOGARITHMIC:
        positive = values[values > 0]
        values = np.log(np.maximum(values, positive.min() / 10 if positive.size else 1.0))
    return [float(value) for value in values]


def _importances(columns: dict[str, list[float] | list[str]], target: np.ndarray) -> np.ndarray:
    import optuna  # takes half a second, and only this figure needs it

    if (target > 0).all():
        target = np.log(target)
    if np.ptp(target) == 0:
        return np.full(len(columns), 1 / len(columns))
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, values in columns.items():
        if isinstance(values[0], str):
            distributions[name] = optuna.distributions.CategoricalDistribution(sorted({str(value) for value in values}))
        else:
            distributions[name] = optuna.distributions.FloatDistribution(
                min(map(float, values)), max(map(float, values))
            )
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={name: values[index] for name, values in columns.items()},
                    distributions=distributions,
                    value=float(value),
                )
                for index, value in enumerate(target)
            ]
        )
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    shares = np.array([max(found.get(name, 0.0), 0.0) for name in columns])
    return shares / shares.sum() if shares.sum() > 0 else np.full(len(columns), 1 / len(columns))


def plot(info: Importances) -> Figure:
    """Draws a group of bars per parameter, one bar per objective."""
    figure = style.new_figure(6.4, 1.2 + 0.45 * len(info.params))
    axes = figure.add_subplot()
    height = 0.8 / len(info.objectives)
    position = np.arange(len(info.params))
    for index, (objective, colour) in enumerate(zip(info.objectives, ("#0072B2", "#E69F00", "#009E73"), strict=False)):
        bars = axes.barh(position + (index + 0.5) * height - 0.4, info.shares[:, index], height, color=colour,
                         label=naming.label(objective))  # fmt: skip
        axes.bar_label(bars, [f"{100 * share:.0f} %" for share in info.shares[:, index]], padding=2, fontsize=7.5)
    axes.set_yticks(position, info.params)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1.1 * max(0.1, float(info.shares.max())))
    axes.set_xlabel(f"Share of explained variance, {info.trials} completed trials (fANOVA)")
    figure.legend(loc="outside upper left", ncols=len(info.objectives))
    return figure


def describe(info: Importances) -> str:
    """The figure's caption and alt text."""
    parts = []
    for index, objective in enumerate(info.objectives):
        top = int(np.argmax(info.shares[:, index]))
        parts.append(f"{info.params[top]} for {naming.short_label(objective)} ({100 * info.shares[top, index]:.0f} %)")
    text = f"Most important parameters over {info.trials} completed trials: {'; '.join(parts)}."
    return f"{text} With so few trials, these shares are rough." if info.trials < FEW else text


if __name__ == "__main__":
    command.run_figure(info, plot, "importances.png")
