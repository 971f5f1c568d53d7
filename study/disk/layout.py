"""Where a study keeps what: the one home of file names, trial folders and attempts.

    runs/<study>/
        study.json  optuna.db  driver.json  .driver.lock  progress.jsonl  tradeoff.png  report/  code/  before-1/
        slurm/          job.json  sessions.jsonl  job.sbatch  ray_token  17_1.log
        trials/0007/
            trial.json  outcome.json  stop
            attempt-1/   metrics.jsonl  process.json  error.txt  warnings.txt  checkpoint-000060.pt  arrays.npz
                         images/  history/

A resumed trial gets a new attempt, so a process left over from an earlier attempt cannot write into it. The names of
checkpoints belong to `study.training.checkpoint`, those of pictures to `study.measure.pictures`.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import shlex
import shutil
from pathlib import Path

from study.config import UserError
from study.disk.files import read_json

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of studies: they are folders, and cannot lead out of the folder of all studies."""
TRIAL, OUTCOME, STOP = "trial.json", "outcome.json", "stop"
METRICS, ERROR, PROCESS, WARNINGS = "metrics.jsonl", "error.txt", "process.json", "warnings.txt"
ARRAYS, PICTURE = "arrays.npz", "tradeoff.png"
_SHOWN_NAMES = 10
_TRIAL_FOLDER = re.compile(r"\d{4,9}", re.ASCII)
_ATTEMPT_FOLDER = re.compile(r"attempt-(\d+)", re.ASCII)


def study_path(study: Path) -> Path:
    """What the study is, see `study.disk.study_json`."""
    return study / "study.json"


def cache_path(runs: Path) -> Path:
    """What the studies of a folder of studies share: `cache` in it, or $STUDY_CACHE_DIR."""
    return Path(os.environ.get("STUDY_CACHE_DIR") or runs / "cache").expanduser().absolute()


def ledger_path(study: Path) -> Path:
    """Optuna's database of the study, if it is not kept on a server."""
    return study / "optuna.db"


def rebuild_command(study: Path) -> str:
    """The command that rebuilds the ledger from the trials' folders, quoted for a shell."""
    options = ["--study", study.name, "--runs-dir", str(study.parent), "--rebuild-ledger"]
    return shlex.join(["python", "-m", "study.doctor", *options])


def go_on_command(study: Path) -> str:
    """The command that ends a pause of the study, quoted for a shell."""
    runs = [] if study.parent.absolute() == Path("runs").absolute() else ["--runs-dir", str(study.parent)]
    return shlex.join(["study", "control", "--study", study.name, "--resume", *runs])


def restore_command(study: Path) -> str:
    """The command that gets `study.json` back from MLflow, quoted for a shell."""
    options = ["--study", study.name, "--runs-dir", str(study.parent), "--restore-record"]
    return shlex.join(["python", "-m", "study.doctor", *options])


def progress_path(study: Path) -> Path:
    """One line per trial that ended: trials and epochs so far, and the hypervolume."""
    return study / "progress.jsonl"


def code_path(study: Path) -> Path:
    """The code of a space of the user's own, see `study.disk.code`."""
    return study / "code"


def driver_path(study: Path) -> Path:
    """Who runs the study, see `study.disk.lock`."""
    return study / "driver.json"


def lock_path(study: Path) -> Path:
    """The lock of the process that runs the study."""
    return study / ".driver.lock"


def slurm_path(study: Path) -> Path:
    """What a study has of its Slurm job, see `study.disk.slurm_job`."""
    return study / "slurm"


def figure_path(study: Path, name: str) -> Path:
    """A figure of the space's own."""
    return study / f"figure-{name}.png"


def report_path(study: Path) -> Path:
    """The page of the study's report; its figures lie beside it."""
    return study / "report" / "report.html"


def live_page_path(study: Path) -> Path:
    """The page that shows a study while it runs."""
    return study / "report" / "live.html"


def study_names(runs: Path) -> list[str]:
    """The studies in the folder of all studies."""
    return sorted(path.parent.name for path in runs.glob(study_path(Path("*")).as_posix()))


def find_study(runs: Path, name: str) -> Path:
    """The folder of a study.

    Raises:
        UserError: There is no study of that name; the message lists those there are.
    """
    directory = runs / name
    if STUDY_NAME.fullmatch(name) and _is_study(directory):
        return directory
    choices = f"choose from {_near_names(runs, name)}" if study_names(runs) else f"there is none in {runs}"
    raise UserError(f"no study {name!r} in {runs}: {choices}")


def check_is_there(runs: Path, name: str) -> None:
    """Refuses to resume a study that does not exist if the folder holds others. The name may be misspelt.

    Raises:
        UserError: There are studies, but none of that name; the message lists the near ones.
    """
    if study_names(runs) and not _is_study(runs / name):
        raise UserError(
            f"--resume: no study {name!r} in {runs}, which has {_near_names(runs, name)}: correct --study, or add "
            "--create to begin it"
        )


def _is_study(directory: Path) -> bool:
    """Whether a study lies there. One with trials may have lost its `study.json`, which reading it then tells."""
    return study_path(directory).is_file() or ledger_path(directory).is_file() or bool(trial_folders(directory))


def _near_names(runs: Path, name: str) -> str:
    """The studies whose names are most like a name, or all if none is like it; at most ten."""
    known = study_names(runs)
    chosen = difflib.get_close_matches(name, known, n=3) or known
    return ", ".join(chosen[:_SHOWN_NAMES]) + ", ..." * (len(chosen) > _SHOWN_NAMES)


def trials_path(study: Path) -> Path:
    """The folder of the study's trials."""
    return study / "trials"


def trial_path(study: Path, number: int) -> Path:
    """The folder of a trial."""
    return trials_path(study) / f"{number:04d}"


def stop_path(trial: Path) -> Path:
    """If this file is there, the trial is to end at its next evaluation: the driver writes it, the trial looks."""
    return trial / STOP


def trial_folders(study: Path) -> list[tuple[int, Path]]:
    """(number, folder) of each trial, by number. Folders of other names are left out."""
    try:
        found = [path for path in trials_path(study).iterdir() if _TRIAL_FOLDER.fullmatch(path.name)]
    except OSError:
        return []
    return sorted((int(path.name), path) for path in found)


def set_aside(study: Path) -> Path:
    """Moves a study's files to its next `before-N`, before a restart. The driver's files and its Slurm job's stay.

    `study.json` is copied, so the folder is a valid study until the new one is written.

    Raises:
        OSError: The folder cannot be written.
    """
    past = next(path for number in itertools.count(1) if not (path := study / f"before-{number}").exists())
    past.mkdir()
    kept = {driver_path(study), study_path(study), slurm_path(study)}
    for path in sorted(study.iterdir()):
        if path not in kept and path.suffix != ".lock" and not path.name.startswith("before-"):
            path.rename(past / path.name)
    shutil.copy(study_path(study), past)
    return past


def attempt_folders(trial: Path) -> list[tuple[int, Path]]:
    """(number, folder) of each attempt of a trial, oldest first."""
    try:
        found = [(_ATTEMPT_FOLDER.fullmatch(path.name), path) for path in trial.iterdir()]
    except OSError:
        return []
    return sorted((int(match[1]), path) for match, path in found if match)


def new_attempt(trial: Path) -> Path:
    """Makes the folder of the next attempt, and of the trial if it is missing.

    Raises:
        OSError: The folder cannot be made.
    """
    trial.mkdir(parents=True, exist_ok=True)
    first = 1 + max((number for number, _ in attempt_folders(trial)), default=0)
    for number in itertools.count(first):
        path = trial / f"attempt-{number}"
        try:
            os.mkdir(path)
        except FileExistsError:  # another process was quicker
            continue
        return path
    raise AssertionError("unreachable")


def last_error(trial: Path) -> str:
    """Why a trial's newest attempt failed, one line."""
    try:
        _, attempt = attempt_folders(trial)[-1]
        lines = (attempt / ERROR).read_text().strip().splitlines()
    except (IndexError, OSError):
        return "the trial's process died (killed, or out of memory)"
    return lines[-1] if lines else "unknown error"


def attempt_process(trial: Path) -> int | None:
    """The process id of a trial's newest attempt; None if it is not known."""
    attempts = attempt_folders(trial)
    process = read_json(attempts[-1][1] / PROCESS) if attempts else None
    return None if process is None else process.get("pid")
