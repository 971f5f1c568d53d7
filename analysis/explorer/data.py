"""What the report's explorer works on: every trial with its values, curves and pictures, as JSON for its scripts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis import parallel, replicates
from analysis.explorer.thumbnails import thumbnails
from analysis.plotting import naming, style
from study.config import EXTRA_ORIGINS, Origin, TrialConfig
from study.measure.metrics import FITTED, METRICS, is_logarithmic, metric_name
from study.results.choice import Choice, choose, full_weight, under_fitted, with_fitted_prior
from study.results.frame import METRIC_PREFIXES, StudyFrames
from study.results.recommendation import METHOD

FOLDER = Path(__file__).parent
_LIBRARIES = ("vendor/d3.min.js", "vendor/plot.umd.min.js")
SCRIPTS = tuple(
    FOLDER / name for name in (*_LIBRARIES, "choices.js", "controls.js", "plots.js", "cards.js", "start.js")
)
"""What the page runs, in order."""
FURTHER = ("latent_dim", "weight", "seconds")
"""Numbers that are no metrics and can be an axis too."""
MOST_POINTS = 48
"""Of a learning curve."""
_LOOKS = {"o": "circle", "s": "square", "D": "diamond", "d": "diamond2", "^": "triangle", "v": "triangle2",
          "X": "times", "x": "times", "P": "plus", "+": "plus", "*": "star", "p": "square2", "h": "hexagon",
          "H": "hexagon", "8": "hexagon", "<": "wye", ">": "asterisk"}  # fmt: skip
"""Marker of matplotlib -> symbol of Observable Plot."""


def explorer(frames: StudyFrames, links: Mapping[str, str], runs: Path | None = None) -> str:
    """The explorer's data as JSON that may stand in a `script` element; "" if there is nothing to explore.

    Args:
        frames: The study.
        links: Trial label -> URL of its MLflow run.
        runs: The folder of all studies, for the commands to copy; None if that is not known.
    """
    x, y = _axes(frames)
    columns = [name for name in _columns(frames) if np.isfinite(frames.column(name)).any()]
    if x not in columns or y not in columns:
        return ""
    data = {
        "x": x,
        "y": y,
        "caution": choose(frames).caution,
        "params": _params(frames),
        "metrics": [_metric(frames, name) for name in columns],
        "curves": list(_curve_names(frames)),
        "parallel": _parallel(frames),
        "looks": {method: _look(method) for method in naming.methods_in_order(naming.groups(frames))},
        "group": "Method" if set(naming.groups(frames)) <= set(frames.text("method")) else "Kind of model",
        "trials": _trials(frames, columns, links, runs),
    }
    # "<" could end the script element.
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _axes(frames: StudyFrames) -> tuple[str, str]:
    names = list(frames.objectives)
    if len(names) > 1:
        return names[0], names[1]
    return "latent_dim", names[0] if names else ""


def _columns(frames: StudyFrames) -> list[str]:
    """What can be an axis: objectives, the same under the fitted prior, then every other metric."""
    objectives = list(frames.objectives)
    metrics = sorted(str(name) for name in frames.trials if str(name).startswith(METRIC_PREFIXES))
    metrics.sort(key=lambda name: not name.startswith("val/"))
    return list(dict.fromkeys([*objectives, *map(under_fitted, objectives), *metrics, *FURTHER]))


def _metric(frames: StudyFrames, name: str) -> dict[str, Any]:
    metric = METRICS.get(metric_name(name))
    direction = frames.objectives.get(name) or ("none" if metric is None else metric.direction)
    values = frames.column(name)
    return {
        "name": name,
        "label": naming.label(name),
        "short": _short(name),
        "direction": direction,
        "log": is_logarithmic(name) or name == "latent_dim" or style.use_log(values, spread=30.0),
        "prior": "fitted" if metric_name(name) in FITTED.values() else "normal" if metric_name(name) in FITTED else "",
        "real": _rounded(frames.real_data(name)),
    }


def _short(name: str) -> str:
    """A metric for a narrow table: without unit, and without the split if that is the usual one."""
    split, _, metric = name.rpartition("/")
    text = naming.label(metric).partition(" (")[0]
    return f"{text}, {naming.SPLITS.get(split, split)}" if split not in ("", "val") else text


def _look(method: str) -> tuple[str, str]:
    colour, marker = style.method_style(method)
    return colour, _LOOKS.get(marker, "circle")


def _curve_names(frames: StudyFrames) -> list[str]:
    return [name for name in frames.objectives if name in frames.history]


def _params(frames: StudyFrames) -> list[dict[str, Any]]:
    """What can be filtered beside method and latent size: parameters that vary; those of words with their choices."""
    found = []
    for name in _varying(frames):
        if name in ("method", "encoder", "regularizer", "latent_dim", "seed"):
            continue
        is_number = name not in frames.trials or frames.trials[name].dtype.kind in "if"
        found.append({"name": name, "choices": None if is_number else sorted(set(frames.text(name)))})
    return found


def _parallel(frames: StudyFrames) -> list[dict[str, Any]]:
    """The axes of the parallel coordinates; a trial that cannot join the front has no place on them."""
    found = parallel.info(frames)
    if found.missing:
        return []
    rows = np.flatnonzero(choose(frames).eligible)
    axes = []
    for axis in found.axes:
        places: list[float | None] = [None] * len(frames.trials)
        for row, place in zip(rows.tolist(), axis.position.tolist(), strict=True):
            places[row] = _rounded(place)
        axes.append({"name": axis.name, "places": places, "ticks": [(_rounded(at), text) for at, text in axis.ticks]})
    return axes


def _trials(
    frames: StudyFrames, columns: Sequence[str], links: Mapping[str, str], runs: Path | None
) -> list[dict[str, Any]]:
    choice, fitted = choose(frames), with_fitted_prior(frames)
    is_fitted = any(metric_name(name) in FITTED.values() for name in frames.objectives)
    choices = {"fitted" if is_fitted else "normal": choice} | ({} if fitted is None else {"fitted": choose(fitted)})
    pictures = thumbnails(frames, _best_first(choice))
    values = {name: frames.column(name) for name in columns}
    varying = _varying(frames)
    texts = {name: frames.text(name) for name in (*varying, "outcome", "origin", "reason", "study")}
    groups, weights = naming.groups(frames), full_weight(frames)
    numbers, sizes = frames.text("number"), frames.column("latent_dim")
    roles = [*_roles(frames, choice)]
    if fitted is not None:
        roles += [(row, f"{text} with the fitted prior") for row, text in _roles(fitted, choices["fitted"])]
    intervals = _intervals(frames)
    trials = []
    for row, label in enumerate(frames.labels().tolist()):
        origin = str(texts["origin"][row])
        trials.append(
            {
                "label": label,
                "what": naming.configuration(frames, row, weights),
                "method": str(groups[row]),
                "size": _rounded(sizes[row]),
                "outcome": str(texts["outcome"][row]),
                "extra": origin in EXTRA_ORIGINS,
                "origin": Origin(origin).label,
                "reason": str(texts["reason"][row]) if texts["reason"][row] not in ("", "nan", "None") else "",
                "eligible": bool(choice.eligible[row]),
                "roles": [text for picked, text in roles if picked == row],
                "out": {prior: _out(chosen, row) for prior, chosen in choices.items()},
                "params": {name: str(texts[name][row]) for name in varying},
                "values": [_rounded(values[name][row]) for name in columns],
                "intervals": intervals.get(row, {}),
                "curves": [_curve(frames, row, name) for name in _curve_names(frames)],
                "pictures": pictures.get(row, {}),
                "link": links.get(label, ""),
                "study": str(texts["study"][row]),
                "command": ""
                if runs is None or texts["outcome"][row] != "completed"
                else _command(str(texts["study"][row]), str(numbers[row]), runs),
            }
        )
    return trials


def _best_first(choice: Choice) -> list[int]:
    """Completed trials: the picks, then those with the best ranks in the objectives."""
    rows = np.flatnonzero(choice.eligible)
    ranks = choice.values[rows].argsort(axis=0).argsort(axis=0).sum(axis=1)
    ordered = rows[np.argsort(ranks, kind="stable")].tolist()
    return list(dict.fromkeys([*(pick.row for pick in choice.picks), *choice.front.tolist(), *ordered]))


def _varying(frames: StudyFrames) -> list[str]:
    names = (*TrialConfig().to_params(), *frames.own_parameters)
    return [name for name in names if len(set(frames.text(name))) > 1]


def _roles(frames: StudyFrames, choice: Choice) -> Iterator[tuple[int, str]]:
    """The picks: row, and what the summary recommends it as."""
    names = list(frames.objectives)
    for pick in choice.picks:
        if pick.objective is not None:
            yield pick.row, naming.nearly_best(names[pick.objective])
        else:
            yield pick.row, "Best in every objective" if choice.role == "best" else f"The {choice.role}, recommended"


def _out(choice: Choice, row: int) -> str:
    """Why a trial is not picked for its samples; "" if it may be."""
    for trial in choice.left_out:
        if trial.row == row:
            if trial.metric == METHOD:
                return "its method does not make codes follow N(0, I)"
            if metric_name(trial.metric) in ("copies", FITTED["copies"]):
                return f"{100 * trial.value:.0f} % of them are unusually near to a training image"
            return f"{naming.short_label(trial.metric)} {naming.number(trial.value)} is among the study's worst"
    return ""


def _intervals(frames: StudyFrames) -> dict[int, dict[str, Any]]:
    """Row -> metric -> mean over fresh seeds, both ends of its 95 % interval (None with one seed), number of seeds."""
    found = replicates.info(frames)
    if found.missing:
        return {}
    intervals: dict[int, dict[str, Any]] = {}
    for index, row in enumerate(found.rows.tolist()):
        for objective, name in enumerate(found.objectives):
            ends = (array[index, objective] for array in (found.mean, found.low, found.high))
            intervals.setdefault(row, {})[name] = [*map(_rounded, ends), len(found.values[index])]
    return intervals


def _curve(frames: StudyFrames, row: int, name: str) -> list[list[float | None]]:
    """Epochs and values; of a long curve evenly chosen epochs, the last one among them."""
    epochs, values = frames.curve(row, name)
    chosen = np.unique(np.linspace(0, len(epochs) - 1, MOST_POINTS).round().astype(int)) if len(epochs) else []
    return [[_rounded(value) for value in part[chosen]] for part in (epochs, values)] if len(epochs) else [[], []]


def _command(study: str, number: str, runs: Path) -> str:
    parts = ["python", "-m", "study.export", "--study", study, "--trial", number, "--out", f"model-{number}"]
    if runs.resolve() != Path("runs").resolve():
        parts += ["--runs-dir", str(runs)]
    return shlex.join(parts)


def _rounded(value: Any) -> float | None:
    """Five significant digits, which no axis can show; None for what is not finite."""
    return float(f"{float(value):.5g}") if value is not None and np.isfinite(value) else None
