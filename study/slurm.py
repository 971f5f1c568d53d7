"""Submits a study to Slurm: a Ray cluster in each allocation, one after another until the study is complete.

    python -m study.slurm --time 8:00:00 --nodes 3 -- --space method --dataset mnist

What comes after `--` are options of `study run`, which are checked before anything is submitted. Each allocation goes
on where the one before it ended. The command returns at once; `study status` shows the job beside the study.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from study.cli import RunsOption, run_command
from study.errors import UserError


def slurm(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- OPTIONS", help="Options of study run.", show_default=False),
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="LIMIT", help="Time limit of each allocation, as sbatch takes it.")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=1000, help="Nodes of each allocation.")] = 1,
    cpus_per_node: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="CPU cores of each node.", show_default="whole nodes")
    ] = None,
    gpus_per_node: Annotated[int, typer.Option(min=0, max=64, help="GPUs of each node.")] = 0,
    partition: Annotated[str | None, typer.Option(help="Slurm's partition.", show_default="Slurm's default")] = None,
    account: Annotated[str | None, typer.Option(help="Account that is charged.", show_default="yours")] = None,
    sessions: Annotated[
        int, typer.Option(min=1, max=1000, help="Most allocations, one after another; each is a task of a job array.")
    ] = 20,
    sbatch_option: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help="Another option of sbatch, such as --mem=64G; may be given several times."),
    ] = None,
    show: Annotated[bool, typer.Option("--print", "--dry-run", help="Print the batch script, submit nothing.")] = False,
    cancel: Annotated[str | None, typer.Option(metavar="STUDY", help="End the job of this study.")] = None,
    runs_dir: RunsOption = Path("runs"),
) -> None:
    """The command, see the module."""
    from study.batch.script import Allocation
    from study.batch.submitting import cancel_job, submit_study

    if cancel is not None:
        print(cancel_job(runs_dir.expanduser().absolute(), cancel))
        return
    if time is None:
        raise UserError("--time is missing: give the time limit of each allocation, such as --time 8:00:00")
    named = {"--partition": partition, "--account": account}
    options = [f"{option}={value}" for option, value in named.items() if value is not None]
    allocation = Allocation(
        time=time,
        nodes=nodes,
        cpus=cpus_per_node,
        gpus=gpus_per_node,
        sessions=sessions,
        options=(*options, *(sbatch_option or ())),
    )
    place = [] if runs_dir == Path("runs") else ["--runs-dir", str(runs_dir)]
    submitted = submit_study([*place, *(arguments or ())], allocation, show=show)
    for warning in submitted.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for line in submitted.lines:
        print(line)


if __name__ == "__main__":
    run_command(slurm)
