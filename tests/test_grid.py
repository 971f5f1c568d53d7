"""A grid of values is what one would write by hand: points, suggestions, their number; and so are its studies."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.config import UserError
from study.launch import load_object
from study.space import SearchSpace, load_space
from tests.helpers import made_summary
from tests.search.test_ledger import open_ledger

DATA = made_summary()
V = DATA.total_variance
P = V / (DATA.channels * DATA.height * DATA.width)


def _weights(data: Any) -> list[float]:
    return [0.1 * data.total_variance, data.total_variance]


def _by_hand(trial: optuna.trial.BaseTrial, data: Any) -> dict[str, Any]:
    latent_dim = trial.suggest_categorical("latent_dim", (2, 8))
    return {"latent_dim": latent_dim, "weight": trial.suggest_categorical("weight", _weights(data)), "width": 4}


HAND = SearchSpace(
    question="?",
    suggest=_by_hand,
    first_points=lambda data: [{"latent_dim": d, "weight": w} for d in (2, 8) for w in _weights(data)],
    grid=True,
)
GRID = SearchSpace(
    question="?", grid={"latent_dim": (2, 8), "weight": _weights}, derive=lambda point, data: {"width": 4}
)


def test_a_grid_of_values_is_the_space_written_by_hand(tmp_path: Path) -> None:
    assert GRID.known_trials(DATA) == HAND.known_trials(DATA)
    assert GRID.grid is True
    for point in HAND.first_points(DATA):
        fixed = [optuna.trial.FixedTrial(dict(point)) for _ in range(2)]
        assert GRID.suggested(fixed[0], DATA) == HAND.suggested(fixed[1], DATA)
        assert fixed[0].distributions == fixed[1].distributions
    # A study that was begun with the one goes on with the other.
    first = open_ledger(tmp_path, HAND, storage=(storage := optuna.storages.InMemoryStorage()))
    begun = [first.next(100) for _ in range(2)]
    again = open_ledger(tmp_path, GRID, storage=storage)
    assert [again.next(100) for _ in range(2)] == begun
    rest = [again.next(100) for _ in range(3)]
    assert [(found.config.latent_dim, found.config.weight) for found in rest if found] == [(8, 0.1 * V), (8, V)]


def test_the_number_of_points_is_counted_where_it_does_not_depend_on_the_data() -> None:
    plain = SearchSpace(question="?", grid={"latent_dim": (2, 4, 8), "seed": (0, 1)})
    assert plain.num_trials == 6 and len(plain.first_points(DATA)) == 6
    replaced = dataclasses.replace(plain, question="Why?")
    assert replaced.first_points(DATA) == plain.first_points(DATA) and replaced.num_trials == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give suggest, or grid={...}"),
        ({"grid": {}}, "name at least one parameter"),
        ({"grid": {"latent_dim": "28"}}, "grid: 'latent_dim' has '28': give its values in a tuple"),
        ({"grid": {"latent_dim": ()}}, "grid: 'latent_dim' has (): give its values"),
        ({"grid": {"latent_dim": 8}}, "grid: 'latent_dim' has 8: give its values"),
        ({"grid": {"latent_dim": (2, 2)}}, "grid: 'latent_dim' has a value twice: (2, 2)"),
        ({"grid": {"latent_dim": (2, [8])}}, "grid: 'latent_dim' has the value [8]: values are numbers and texts"),
        ({"grid": ("latent_dim", 2)}, "give the values of each parameter in a dict, or True"),
        ({"grid": {"latent_dim": (2,)}, "suggest": _by_hand}, "give only the grid"),
        ({"grid": {"latent_dim": (2,)}, "first_points": lambda data: []}, "give only the grid"),
        ({"suggest": _by_hand, "derive": lambda point, data: {}}, "SearchSpace(derive=...): it belongs to grid"),
    ],
)
def test_a_grid_that_is_none_is_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        SearchSpace(question="?", **settings)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_mistake_in_a_grid_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    text = "from study import SearchSpace\n"
    text += 'SPACE = SearchSpace(\n    question="?",\n    grid={\n        "wdth": (4, 8),\n    },\n)'
    path.write_text(text)
    space = load_space(str(path)).space
    with pytest.raises(UserError, match=r"mine\.py, line 5: unknown parameter wdth"):
        space.config(DATA, space.suggested(optuna.trial.FixedTrial({"wdth": 4}), DATA), {})
    path.write_text(text.replace("(4, 8)", "(lambda data: 1 / 0)"))
    with pytest.raises(UserError, match=r"mine\.py, line 5: ZeroDivisionError"):
        load_space(str(path)).space.known_trials(DATA)


def test_the_code_of_a_grid_is_its_values_and_functions(tmp_path: Path) -> None:
    path = tmp_path / "cell.py"

    def hash_of(text: str) -> str:
        path.write_text("import study\n" + text)
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(path.read_text(), str(path), "exec"), names)
        loaded = load_object(names["SPACE"])
        assert (loaded.name, loaded.path) == ("cell", path)
        return loaded.hash

    first = hash_of('SPACE = study.SearchSpace(question="?", grid={"seed": (0, 1)})')
    assert hash_of('TRIALS = 3\nSPACE = study.SearchSpace(question="Why?", grid={"seed": (0, 1)})') == first
    assert hash_of('SPACE = study.SearchSpace(question="?", grid={"seed": (0, 2)})') != first
    one, two = (
        hash_of(f'def more(data):\n    return [{n}]\nSPACE = study.SearchSpace(question="?", grid={{"seed": more}})')
        for n in (1, 2)
    )
    assert len({first, one, two}) == 3


EARLIER = {
    "capacity": (
        "ebfe64c2195b3b53d03c49a1e4cc3348f74f1c1e6329aa481e894e76f58d0395",
        ("weight", "network"),
        [(m * V, n) for m in (0.019, 0.076) for n in ("conv_64", "conv_64_mlp", "mlp_500")],
    ),
    "latent_dim": (
        "b749d640606e1ccba1f28f030ec1e79fff8ee6f0421358cd71160496c81b98de",
        ("latent_dim", "regularizer"),
        [*itertools.product((2, 3, 5, 8, 13, 21), ("none", "kl", "mmd"))],
    ),
    "latent_dim_seeds": (
        "19a6b45bda33f75c203ad009c552b6356272a2ad3d40c7d26f03f6f100197c63",
        ("latent_dim", "seed", "regularizer"),
        [*itertools.product((21, 8), (1, 2, 3), ("none", "mmd"))],
    ),
    "wae_gan": (
        "4bfc0caae4442fc3b9a2bdd90f5d35f4c693d3a5e53558f822afe209027f4ab0",
        ("seed", "regularizer"),
        [*itertools.product((0, 1, 2), ("none", "mmd", "adversarial"))],
    ),
    "target_error": (
        "210142ac8d0eab7b14035027cb28bc148ec73c6908f67794c9d21cec879a73e8",
        ("target_error",),
        [(share * P,) for share in (0.12, 0.15, 0.19, 0.24, 0.3, 0.38, 0.48, 0.6)],
    ),
}
"""Hash, parameters and points of built-in spaces as they were before they were written as values, in their order."""


@pytest.mark.parametrize("name", EARLIER)
def test_studies_of_builtin_grids_resume_as_they_began(name: str) -> None:
    recorded, parameters, points = EARLIER[name]
    loaded = load_space(name)
    assert loaded.is_same(recorded, DATA) and not load_space("wae_weight").is_same(recorded, DATA)
    assert loaded.space.first_points(DATA) == [dict(zip(parameters, point, strict=True)) for point in points]
    # Optuna refuses other choices, or another order of them, for a parameter that a study has already.
    trial = optuna.trial.FixedTrial(dict(zip(parameters, points[0], strict=True)))
    loaded.space.suggested(trial, DATA)
    for index, parameter in enumerate(parameters):
        choices = tuple(dict.fromkeys(point[index] for point in points))
        assert trial.distributions[parameter] == optuna.distributions.CategoricalDistribution(choices)
