"""What a study rests on changes between two sessions, or cannot be written at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.audit import audit
from study.space import load_space
from tests.faults.harness import Driver, expect_clean, small_disk, study_run
from tests.faults.test_trials import SOUND, write_space


def images(root: Path) -> Path:
    for name in ("cats", "dogs"):
        (root / name).mkdir(parents=True)
        for number in range(40):
            pixels = np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def test_changed_data_and_changed_space(tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]) -> None:
    data, space = images(tmp_path / "data"), write_space(tmp_path / "mine.py", SOUND, SOUND)
    arguments = ["--space", space, "--dataset", f"folder:{data}", "--name", "a", "--epochs", 2]
    arguments += ["--num-trials", 2, "--runs-dir", tmp_path]
    assert study_run(*arguments) == 0
    shutil.copy(data / "cats" / "1.png", data / "cats" / "0.png")
    assert study_run(*arguments, "--resume", "--num-trials", 3) == 2
    assert "have changed" in capsys.readouterr().err
    expect_clean(audit(tmp_path / "a", 2, trials=2), "data folder changed before resume", "one image replaced; refused")
    images(tmp_path / "again")
    shutil.copy(tmp_path / "again" / "cats" / "0.png", data / "cats" / "0.png")
    before = space.read_text()
    space.write_text(before + "\nMORE = 1\n")
    assert study_run(*arguments, "--resume", "--num-trials", 3) == 2
    error = capsys.readouterr().err
    assert "has changed" in error and "restore it, or choose another --study" in error
    space.write_text(before)
    assert load_space(str(space)).hash
    assert study_run(*arguments, "--resume") == 0
    expect_clean(audit(tmp_path / "a", 2, trials=2), "space file edited before resume", "a line of code added; refused")


REFUSALS = ["read-only file system", "folder of another user"]


@pytest.fixture(params=REFUSALS)
def locked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, list[str], str]]:
    """A folder that cannot be written, the command under which that is so, and how it is done."""
    folder = tmp_path / "locked"
    if request.param == "read-only file system":
        if os.geteuid() != 0:
            pytest.skip("mounting needs root")
        with small_disk(folder, "1m"):
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            yield folder, [], "EROFS: read-only file system"
        return
    folder.mkdir(mode=0o555)
    if os.geteuid() != 0:
        yield folder, [], "EACCES: mode 555"
        return
    os.chown(folder, 65534, 65534)
    # Root without its capabilities is asked for permission like everybody else, and can still read its own Python.
    dropped = "-dac_override,-dac_read_search,-fowner"
    yield folder, ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"], "EACCES: another user's folder"


def test_no_permission_on_the_home_folder(tmp_path: Path, locked: tuple[Path, list[str], str]) -> None:
    folder, prefix, how = locked
    arguments = ["--space", "wae_weight", "--name", "a", "--runs-dir", tmp_path, "--num-trials", 2, "--epochs", 2]
    status, output = Driver(*arguments, environment={"HOME": str(folder)}, prefix=prefix).end()
    assert status == 0, output
    assert list(folder.iterdir()) == []
    expect_clean(audit(tmp_path / "a", 2, trials=2), "no permission on HOME", how)


def test_no_permission_on_the_temporary_folder(
    tmp_path: Path, ray_session: None, locked: tuple[Path, list[str], str]
) -> None:
    folder, prefix, how = locked
    arguments = ["--space", "wae_weight", "--name", "a", "--runs-dir", tmp_path, "--num-trials", 1, "--epochs", 1]
    environment = {"TMPDIR": str(folder), "RAY_TMPDIR": str(folder)}
    status, output = Driver(*arguments, environment=environment, prefix=prefix).end()
    assert status == 2, output
    assert "Traceback" not in output and "TMPDIR" in output.strip().splitlines()[-1]
    assert study_run(*arguments, "--resume") == 0
    expect_clean(audit(tmp_path / "a", 1, trials=1), "no permission on TMPDIR", f"{how}; refused, then resumed")
