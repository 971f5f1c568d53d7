"""What a study rests on changes between two sittings, or cannot be written at all."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.audit import audit
from study.space import load_space
from tests.faults.harness import Driver, as_root, expect_clean, small_disk, study_run
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
    space.write_text(before + "\n# another idea\n")
    assert study_run(*arguments, "--resume", "--num-trials", 3) == 2
    error = capsys.readouterr().err
    assert "has changed" in error and "restore it, or choose another --name" in error
    space.write_text(before)
    assert load_space(str(space)).hash
    assert study_run(*arguments, "--resume") == 0
    expect_clean(audit(tmp_path / "a", 2, trials=2), "space file edited before resume", "a comment added; refused")


@as_root
def test_no_permission_on_the_temporary_folder(tmp_path: Path) -> None:
    with small_disk(tmp_path / "locked", "1m"):
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "locked")], check=True)
        locked = str(tmp_path / "locked")
        runs = tmp_path / "runs"
        driver = Driver(
            *("--space", "wae_weight", "--runs-dir", runs, "--num-trials", 1, "--epochs", 1),
            environment={"TMPDIR": locked, "RAY_TMPDIR": locked},
        )
        status, output = driver.end()
        assert status == 2, output
        assert "Traceback" not in output and "TMPDIR" in output.strip().splitlines()[-1]
