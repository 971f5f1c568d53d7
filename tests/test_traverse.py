"""A walk through the latent space: where it begins and ends, what it decodes, and what it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.plotting import code_map
from study.cli import command_status
from study.config import TrialConfig, UserError
from study.disk.layout import ARRAYS
from study.disk.study_json import read_study
from study.disk.study_json import write_study as write_study_json
from study.exporting.trained import load_model
from study.model.autoencoder import class_direction
from study.results.selection import select
from study.traverse import _class, traverse
from tests.helpers import made_summary
from tests.helpers_model import EPOCHS, made_model, write_study

SIZE = 3


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder with a study `toy`: one trial with three latent units, and 40 codes of three classes."""
    config = TrialConfig(width=8, epochs=EPOCHS, latent_dim=SIZE)
    write_study(tmp_path / "toy", made_summary(), {0: made_model(config, made_summary())})
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 3
    codes = (generator.standard_normal((40, SIZE)) + labels[:, None] * [1.0, -2.0, 0.5]).astype(np.float32)
    [attempt] = (tmp_path / "toy").glob("trials/0000/attempt-*")
    np.savez(attempt / ARRAYS, codes=codes, labels=labels.astype(np.int64))
    return tmp_path


@pytest.fixture
def walked(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command, and returns what it draws."""
    drawn: list[code_map.Traversal] = []
    plot = code_map.plot_traversal

    def remember(info: code_map.Traversal):
        drawn.append(info)
        return plot(info)

    monkeypatch.setattr(code_map, "plot_traversal", remember)

    def walk(*arguments: str) -> code_map.Traversal:
        words = ["--study", "toy", "--trial", "0", "--runs-dir", str(runs), "--out", str(tmp_path / "walk.png")]
        assert command_status(traverse, [*words, *arguments]) == 0
        with Image.open(tmp_path / "walk.png") as picture:
            assert min(picture.size) > 200
        return drawn[-1]

    return walk


def test_a_path_goes_straight_between_two_codes(walked, runs: Path) -> None:
    info = walked("--from", "-1,2,0.5", "--to", "image:7", "--steps", "5")
    assert info.path[0].tolist() == [-1, 2, 0.5]
    assert info.path[-1] == pytest.approx(info.codes[7])
    assert info.path[2] == pytest.approx((info.path[0] + info.path[-1]) / 2)
    model = load_model(select(runs, "toy", trial=0))
    with torch.inference_mode():
        expected = model.decode(torch.from_numpy(info.path).float()).numpy()
    assert np.abs(info.images / 255 - expected).max() <= 0.51 / 255


def test_a_walk_towards_a_class_has_its_direction_and_length(walked) -> None:
    info = walked("--from", "image:0", "--towards", "2", "--length", "3")
    direction = class_direction(torch.from_numpy(info.codes), torch.from_numpy(info.labels), 2).numpy()
    assert info.path[-1] - info.path[0] == pytest.approx(3 * direction, abs=1e-5)
    assert "towards class 2, 3 long" in info.title
    usual = walked("--from", "image:0", "--towards", "2")
    middle = info.codes[info.labels == 2].mean(axis=0)
    others = info.codes[info.labels != 2].mean(axis=0)
    reach = max((middle - usual.path[0]) @ direction, np.linalg.norm(middle - others))
    assert np.linalg.norm(usual.path[-1] - usual.path[0]) == pytest.approx(reach, rel=1e-5)


def test_a_random_code_follows_its_seed(walked) -> None:
    first, again, other = (walked("--towards", "1", "--seed", seed).path[0].tolist() for seed in ("0", "0", "1"))
    assert first == again != other


def test_a_class_called_by_a_number_is_meant_by_it(runs: Path) -> None:
    names = ["0", "10", "2"]
    record = read_study(runs / "toy")
    assert record is not None
    write_study_json(runs / "toy", record.replace(classes=names))
    chosen, labels = select(runs, "toy", trial=0), np.arange(40) % 3
    assert [_class(name, chosen, labels) for name in names] == [0, 1, 2]
    with pytest.raises(UserError, match="--towards 1: choose from 0, 10, 2"):
        _class("1", chosen, labels)
    write_study_json(runs / "toy", record.replace(classes=["cat", "dog", "owl"]))
    assert _class("1", select(runs, "toy", trial=0), labels) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --to CODE or --towards CLASS"),
        (["--to", "0,0,0", "--towards", "1"], "one of the two"),
        (["--to", "0,0"], "--to 0,0: a code of this trial is 3 finite numbers"),
        (["--to", "0,nan,0"], "3 finite numbers"),
        (["--to", "shoe"], "--to shoe: give numbers with commas"),
        (["--from", "image:40", "--towards", "1"], "--from image:40: the trial has saved the codes of images 0 to 39"),
        (["--towards", "trouser"], "--towards trouser: choose from 0, 1, 2"),
        (["--towards", "1", "--length", "0"], "--length 0: it is how far to go"),
        (["--towards", "1", "--length", "nan"], "--length nan"),
        (["--to", "0,0,0", "--length", "1"], "--length 1: it is how far to go with --towards CLASS"),
        (["--towards", "1", "--trial", "7"], "--trial 7: study 'toy' has no such trial"),
        (["--towards", "1", "--out", "walk.gif"], "choose from png, svg, pdf"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(runs: Path, capsys, arguments: list[str], said: str) -> None:
    assert command_status(traverse, ["--study", "toy", "--runs-dir", str(runs), "--trial", "0", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert said in error
