"""How figures, tables and the report name metrics, trials and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from study.built_in import METHODS
from study.measure.metrics import METRICS, metric_name
from study.results.choice import full_weight
from study.results.frame import StudyFrames

LABELS: dict[str, str] = {
    "loss": "Loss (nats per image)",
    "reconstruction": "Reconstruction term D (nats per image)",
    "penalty": "Penalty R(z), unweighted (own unit)",
    "weight": "Current weight w · m(t)",
    "latent_dim": "Latent size d",
} | {name: metric.label for name, metric in METRICS.items()}
MOST_GROUPS = 8
"""Kinds of models that have colours of their own."""
MOST_NAMES = 8
"""More trials are not listed one by one."""
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def methods_in_order(methods: Iterable[str]) -> list[str]:
    """The distinct methods in the order of `study.built_in.METHODS`; unknown ones follow, sorted by name."""
    order = list(METHODS)
    return sorted({str(method) for method in methods}, key=lambda m: (order.index(m) if m in order else len(order), m))


def label(column: str) -> str:
    """The axis label of a metric or parameter column: name, unit and split."""
    split, slash, name = column.rpartition("/")
    text = LABELS.get(name, name.replace("_", " "))
    return f"{text}, {SPLITS.get(split, split)}" if slash else text


def short_label(column: str) -> str:
    """A metric's name without unit and split, for sentences."""
    text = label(column.rpartition("/")[2]).partition(" (")[0]
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def nearly_best(column: str) -> str:
    """What a trial is that is nearly the best in an objective: `Nearly the best samples`."""
    names = {"reconstruction_mse": "reconstruction", "sample_fid": "samples", "fitted_fid": "samples"}
    return f"Nearly the best {names.get(metric_name(column), short_label(column))}"


def class_name(frames: StudyFrames, label: int) -> str:
    """The name of a class: `trouser`; `class 3` if its name is a number, or an earlier version recorded none."""
    names = frames.study.classes
    name = names[label] if 0 <= label < len(names) else str(label)
    return f"class {name}" if name.isdecimal() else name


def number(value: float) -> str:
    """A value with three significant digits: `0.0137`, `28.1`, `349`; `n/a` for NaN and infinity."""
    if not np.isfinite(value):
        return "n/a"
    return f"{value:,.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"


def count(number: int, noun: str = "trial") -> str:
    """A number of things: `1 trial`, `1,000 trials`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def configuration(frames: StudyFrames, row: int, weights: np.ndarray | None = None) -> str:
    """A trial's kind, latent size and weight, which may be one that it came to: `VAE, d=8, w=0.0465`.

    Args:
        frames: The study.
        row: The trial.
        weights: `full_weight(frames)`, for a caller that names many trials.
    """
    trial = frames.trials.iloc[row]
    weights = full_weight(frames) if weights is None else weights
    weight = f", w={number(weights[row])}" if trial["regularizer"] != "none" else ""
    return f"{kind(frames, row)}, d={trial['latent_dim']}{weight}"


def kind(frames: StudyFrames, row: int) -> str:
    """A trial's method, and what else tells kinds of models in the study apart: `VAE, gaussian_pixel`.

    Constant schedules, terms of the loss that are left out, and hyperparameters of other components are not named.
    """
    trial = frames.trials.iloc[row]
    parts = [str(trial["method"])]
    for name in frames.kinds:
        value = trial[name]
        if isinstance(value, str):
            parts += [value] if value not in ("", "constant") else []
        elif np.isfinite(value) and (value or "." in name):
            parts.append(f"{name}={number(float(value))}")
    return ", ".join(parts)


def groups(frames: StudyFrames) -> np.ndarray:
    """What colours and legends tell apart: each trial's method, or if all have the same one its kind, [trials].

    If there are more kinds than colours, they stay one method.
    """
    methods = frames.text("method")
    if not frames.kinds or len(set(methods)) != 1:
        return methods
    kinds = np.array([kind(frames, row) for row in range(len(methods))], dtype=np.str_)
    return kinds if len(set(kinds)) <= MOST_GROUPS else methods


def listed(trials: Sequence[str]) -> str:
    """`trial 1`, `trials 1, 2 and 3`, `trials 1, 2, … and 5 more`."""
    shown = [*trials[:MOST_NAMES], *([f"{len(trials) - MOST_NAMES} more"] if len(trials) > MOST_NAMES else [])]
    if len(shown) == 1:
        return f"trial {shown[0]}"
    return f"trials {', '.join(shown[:-1])} and {shown[-1]}"
