"""Walks through the latent space of a trained model: draws the images on the way, and the way on the map of codes.

    python -m study.traverse --study vae_beta --from image:0 --to image:7 --out path.png
    python -m study.traverse --study vae_beta --from random --towards 7 --length 3

The first goes straight from one code to another. The second moves a code in the direction of a class: from the mean
code of all other classes to that of the class, both of the validation images whose codes the trial has saved.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli import (
    KneeOption,
    MaxMseOption,
    NearlyBestOption,
    RunsOption,
    StudyOption,
    TrialOption,
    ranged,
    run_command,
)
from study.config import UserError
from study.results.frame import Arrays, load_study
from study.results.selection import Selection, select

if TYPE_CHECKING:
    import numpy as np

_FORMS = "numbers with commas, `random` (from N(0, I)), or `image:N`, the code of validation image N"


def traverse(
    study: StudyOption,
    start: Annotated[str, typer.Option("--from", metavar="CODE", help=f"Where to start: {_FORMS}.")] = "random",
    end: Annotated[
        str | None, typer.Option("--to", metavar="CODE", help="Where to go, likewise.", show_default=False)
    ] = None,
    towards: Annotated[
        str | None, typer.Option(metavar="CLASS", help="The class to move towards, by name or number.")
    ] = None,
    length: Annotated[
        float | None,
        typer.Option(help="How far to move towards the class.", show_default="as far as the class's mean code"),
    ] = None,
    steps: Annotated[int, typer.Option(min=2, max=100, help="Number of images.")] = 11,
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .svg or .pdf.")] = Path("traversal.png"),
    trial: TrialOption = None,
    knee: KneeOption = False,
    nearly_best: NearlyBestOption = None,
    max_mse: MaxMseOption = None,
    seed: Annotated[int, ranged("seed", help="Seed of random codes.")] = 0,
    runs_dir: RunsOption = Path("runs"),
) -> None:
    """The command, see the module."""
    if (end is None) == (towards is None):
        raise UserError("give --to CODE or --towards CLASS, one of the two")
    if length is not None and (towards is None or not 0 < length < math.inf):
        raise UserError(f"--length {length:g}: it is how far to go with --towards CLASS, a number above 0")
    selection = select(runs_dir, study, trial=trial, knee=knee, nearly_best=nearly_best, max_mse=max_mse)
    frames = load_study(runs_dir, study)
    [row] = [row for row, number in enumerate(frames.trials["number"]) if number == selection.number]
    arrays = frames.arrays(row) or {}
    if not {"codes", "labels"} <= arrays.keys():
        raise UserError(f"trial {selection.number} has saved no codes: it is {selection.outcome}")
    import numpy as np
    import torch  # quick checks come first

    from analysis.plotting import code_map, naming, style
    from study.exporting.trained import load_model

    randomness = np.random.default_rng(seed)
    first = _code(start, "--from", arrays["codes"], randomness)
    if end is not None:
        last, aim = _code(end, "--to", arrays["codes"], randomness), end
    else:
        label = _class(str(towards), selection, arrays["labels"])
        aim = naming.class_name(frames, label)
        last = _end_towards(first, label, arrays, length)
    path = np.linspace(first, last, steps)
    begin, finish = (torch.from_numpy(point).float()[None] for point in (first, last))
    images = load_model(selection).latent_path(begin, finish, steps)[:, 0].mul(255).round().clamp(0, 255).byte().numpy()
    way = f"From {_short(start)} {'to' if end is not None else 'towards'} {_short(aim)}"
    title = f"{way}, {np.linalg.norm(last - first):.3g} long"
    names = code_map.class_names(frames, arrays["labels"])
    trial_text = f"trial {selection.number} of {study} ({naming.configuration(frames, row)})"
    shown = code_map.Traversal(title, trial_text, images, path, arrays["codes"], arrays["labels"], names)
    typer.echo(style.save(code_map.plot_traversal(shown), out))


def _short(code: str) -> str:
    """A code for a title: its first three numbers."""
    parts = code.split(",")
    return code if len(parts) <= 3 else ",".join([*parts[:3], "…"])


def _code(text: str, option: str, codes: np.ndarray, randomness: np.random.Generator) -> np.ndarray:
    """The code that a text means, float64 [d].

    Raises:
        UserError: It means none, of this latent size.
    """
    import numpy as np

    size = codes.shape[1]
    if text == "random":
        return randomness.standard_normal(size)
    if found := re.fullmatch(r"image:(\d{1,9})", text):
        if int(found[1]) >= len(codes):
            raise UserError(f"{option} {text}: the trial has saved the codes of images 0 to {len(codes) - 1}")
        return codes[int(found[1])].astype(np.float64)
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text}: give {_FORMS}") from None
    if len(numbers) != size or not all(map(math.isfinite, numbers)):
        raise UserError(f"{option} {text}: a code of this trial is {size} finite numbers")
    return np.array(numbers)


def _class(text: str, selection: Selection, labels: np.ndarray) -> int:
    """A class's number, from its name, or from the number itself where no class is called by one."""
    names = selection.study.classes or [str(label) for label in range(selection.study.data.num_classes)]
    label = names.index(text) if text in names else -1
    if label < 0 and text.isdecimal() and not any(name.isdecimal() for name in names):
        label = int(text)
    held = labels == label
    if not 0 <= label < len(names) or not held.any() or held.all():
        known = ", ".join(name for label, name in enumerate(names) if (labels == label).any())
        why = f"choose from {known}" if len(names) > 1 else "the images have no classes"
        raise UserError(f"--towards {text}: {why}")
    return label


def _end_towards(first: np.ndarray, label: int, arrays: Arrays, length: float | None) -> np.ndarray:
    """Where the walk towards a class ends, float64 [d].

    Without a length, it ends where its projection on the direction is that of the class's mean code, and is at least as
    long as the way from the other classes' mean code.
    """
    import numpy as np

    codes, inside = arrays["codes"].astype(np.float64), arrays["labels"] == label
    middle, others = codes[inside].mean(axis=0), codes[~inside].mean(axis=0)
    way = middle - others
    norm = float(np.linalg.norm(way))
    if not norm:
        raise UserError("all classes have the same mean code: this model's codes do not depend on the class")
    direction = way / norm
    return first + direction * (length or max(float((middle - first) @ direction), norm))


if __name__ == "__main__":
    run_command(traverse)
