"""Options that several benchmarks share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[Path, typer.Option(help="Folder that holds the data sets, laid out as by torchvision.")]
CacheOption = Annotated[Path, typer.Option(help="Folder for trained feature networks.")]
EpochsOption = Annotated[
    int | None, typer.Option(min=1, help="Epochs of each trial.", show_default="as the space or data set says")
]
SlotsOption = Annotated[
    int | None, typer.Option(min=1, help="Trials to run at once.", show_default="one for each usable core")
]
MostOption = Annotated[int, typer.Option(help="Leave out studies of more trials.")]
