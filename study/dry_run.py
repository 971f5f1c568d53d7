"""What `--dry-run` shows: the first trials of a study, or how far one that exists has come, and what it will cost."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from study.launch import Options, built, planned

if TYPE_CHECKING:
    from rich.console import Console

    from study.session.plan import Plan


class Preview(NamedTuple):
    """What a study would begin with.

    Attributes:
        trials: The parameters of its first trials.
        warnings: What will not go well, a line each.
    """

    trials: list[Mapping[str, Any]]
    warnings: list[str]


def preview(options: Options) -> Preview:
    """The first trials of a study, whose models were built. Nothing is trained or written.

    Raises:
        UserError: The options do not allow a study.
    """
    with planned(options, "", joins=False) as (plan, _):
        return _preview(plan)


def show(options: Options, screen: Console) -> None:
    """Prints the first trials of a study and what it will cost; of a study that exists, what is left of it.

    Raises:
        UserError: The options do not allow a study.
    """
    if not options.resume:  # one that exists would be refused
        options = dataclasses.replace(options, resume=True, create=True)
    from study.session.forecast import forecast, is_wanted

    with planned(options, "", joins=is_wanted()) as (plan, cluster):
        done = 0
        if plan.is_new:
            shown = _preview(plan)
            for warning in shown.warnings:
                print(f"warning: {warning}", file=sys.stderr)
            show_first(shown.trials, screen)
        else:
            done = _show_left(plan, screen)
        if is_wanted() and done < plan.record.num_trials:
            cluster.join()
        forecast(plan, cluster, screen, done)


def _preview(plan: Plan) -> Preview:
    trials, loaded = built(plan), plan.request.loaded
    if not loaded.space.components:
        return Preview(trials, [])
    from study.exporting.model_source import export_warnings

    return Preview(trials, export_warnings(trials, plan.data.summary, loaded.path))


def _show_left(plan: Plan, screen: Console) -> int:
    """Says how many trials of a study have ended; returns that number."""
    from study.config import Origin
    from study.disk.files import read_json
    from study.disk.layout import OUTCOME, TRIAL, trial_folders

    extra = {origin.value for origin in Origin if origin.is_extra}
    ended = [
        (read_json(folder / OUTCOME) or {}).get("outcome")
        for _, folder in trial_folders(plan.request.directory)
        if (read_json(folder / TRIAL) or {}).get("origin") not in extra
    ]
    counts = {outcome: ended.count(outcome) for outcome in ("completed", "stopped", "failed")}
    done, wanted = sum(counts.values()), plan.record.num_trials
    how = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    screen.print(
        f"study {plan.record.name!r} exists in {plan.request.runs}: {done} of {wanted} trials have ended ({how}), "
        f"{max(0, wanted - done)} left; " + ("nothing to do" if done >= wanted else "--resume continues it"),
        soft_wrap=True,
        highlight=False,
    )
    return done


def show_first(configs: Sequence[Mapping[str, Any]], screen: Console) -> None:
    """Prints a table of the parameters that differ between the first trials, and the shared ones in a line below."""
    from rich.table import Table

    shared = {key: value for key, value in configs[0].items() if all(config.get(key) == value for config in configs)}
    varying = dict.fromkeys(key for config in configs for key in config if key not in shared)
    table = Table(box=None, pad_edge=False)
    for heading in ("trial", *varying):
        table.add_column(heading, overflow="fold")
    for number, config in enumerate(configs):
        cells = (config.get(key, "") for key in varying)  # a component's hyperparameters are only in its trials
        table.add_row(str(number), *(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells))
    screen.print(table)
    screen.print("all: " + " ".join(f"{key}={value}" for key, value in shared.items()))
