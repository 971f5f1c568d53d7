"""Steers a study while it runs: how many trials at once, a pause, a trial's end, the ranges of the search.

    python -m study.control --study wae_weight --max-concurrent 4

Without an option it shows what is in force and what was changed so far. Each change is recorded in the study's ledger.
A driver at work takes it up within about a second; otherwise it counts as soon as the study is resumed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.cli import RunsOption, StudyOption, run_command


def control(
    study: StudyOption,
    max_concurrent: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto|default",
            help="Most trials to run at once; auto for as many as fit, default for the number given at the start.",
        ),
    ] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Let no trial run until --resume.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="End the pause.")] = False,
    stop_trial: Annotated[
        list[int] | None,
        typer.Option(metavar="NUMBER", help="End this trial at its next evaluation; may be given several times."),
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="PARAMETER=RANGE",
            help="What further suggestions lie in: LOW..HIGH, CHOICE,CHOICE or default; may be given several times.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(envvar="STUDY_STORAGE", help="URL of the ledger's database.", show_default="as recorded"),
    ] = None,
    runs_dir: RunsOption = Path("runs"),
) -> None:
    """The command, see the module."""
    from study.search.asked_ranges import parse_ranges  # imports Optuna
    from study.session.steering import Wishes, steer
    from study.status import read_status

    wishes = Wishes(
        max_concurrent=int(max_concurrent) if max_concurrent and max_concurrent.isdecimal() else max_concurrent,
        pause=pause,
        resume=resume,
        stop_trials=tuple(stop_trial or ()),
        ranges=parse_ranges(limits or ()),
    )
    runs = runs_dir.expanduser().absolute()
    found = steer(runs, study, wishes, storage)
    for change in found.recorded:
        print(f"recorded     {change.text}")
    if found.recorded:
        print(
            "             the driver takes it up now"
            if found.is_running
            else "             it counts as soon as the study is resumed"
        )
    elif wishes != Wishes():
        print("             nothing to record: all of that is in force already")
    status = read_status(runs, study)
    print(f"study        {study}: {status.state}" + (f" ({status.driver})" if status.driver else ""))
    for line in found.in_force.lines() or ["nothing: the study is as it began"]:
        print(f"in force     {line}")
    for change in found.changes:
        print(f"change       {change.line}")


if __name__ == "__main__":
    run_command(control)
