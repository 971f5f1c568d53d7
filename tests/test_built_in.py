"""What the built-in components say of themselves, read without running them, is what their classes say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from study.built_in import BUILT_IN, METHODS, described_in
from study.components import FIELDS, Curve, Described, hyperparameters
from study.config import TrialConfig, UserError
from study.model.building import LIKELIHOODS, NETWORKS, REGULARIZERS, SCHEDULES, build_schedule
from study.session.first_models import build_models
from study.space import SearchSpace, builtin_spaces, load_space
from study.space_code import EARLIER_HASHES
from tests.helpers import made_summary

CLASSES = {"network": NETWORKS, "regularizer": REGULARIZERS, "likelihood": LIKELIHOODS, "annealing": SCHEDULES}


@pytest.mark.parametrize("kind", FIELDS)
def test_what_is_read_is_what_the_classes_say(kind: str) -> None:
    read = BUILT_IN.of_kind(kind)
    assert read.keys() == CLASSES[kind].keys()
    for name, found in CLASSES[kind].items():
        said = Described.of(found)
        options = {option: default for option, (_, default) in hyperparameters(found).items()}
        assert read[name].defaults == options
        assert Described.of(read[name]) == said
        assert hyperparameters(read[name]) == hyperparameters(found)


def test_nothing_is_run_to_read_it() -> None:
    code = "import sys, study.built_in; assert not {'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
    [item] = described_in(
        "import not_there\nclass Mine(not_there.Base):\n    name: ClassVar[str] = 'mine'\n"
        "    def __init__(self, config, size: int = 3, *, share: float = .5):\n        raise ValueError\n",
        "regularizer",
    )
    assert (item.name, item.defaults, item.types) == (
        "mine",
        {"size": 3, "share": 0.5},
        {"size": "int", "share": "float"},
    )


@pytest.mark.parametrize("item", [item for item in BUILT_IN.items if item.defaults], ids=lambda item: item.name)
def test_every_number_has_a_range_and_is_refused_beyond_it(item: Described) -> None:
    assert item.ranges.keys() == item.defaults.keys()
    for option, (low, high) in item.ranges.items():
        assert low <= float(item.defaults[option]) <= high
        for value in (low - 1, high + 1):
            kind = type(item.defaults[option])
            with pytest.raises(UserError, match=rf"{item.name}\.{option}=.*: it must be from"):
                TrialConfig.from_params({f"{item.name}.{option}": kind(value)})
        if isinstance(item.defaults[option], float):
            with pytest.raises(UserError, match="must be from"):
                TrialConfig.from_params({f"{item.name}.{option}": float("nan")})


@pytest.mark.parametrize("name", [item.name for item in BUILT_IN.of_kind("annealing").values() if item.ranges])
def test_a_curve_stays_in_range_at_the_ends_of_its_hyperparameters(name: str) -> None:
    item = BUILT_IN.of_kind("annealing")[name]
    for option, ends in item.ranges.items():
        for value in ends:
            own = {f"{name}.{option}": type(item.defaults[option])(value)}
            schedule = build_schedule(TrialConfig.from_params({"annealing": name, "annealing_fraction": 0.5, **own}))
            assert all(0 <= schedule.multiplier(step / 100) <= 1 for step in range(101))


def test_methods_and_their_looks_are_all_different() -> None:
    items = BUILT_IN.of_kind("regularizer").values()
    styles = [style for item in items for style in item.styles.values()]
    assert len(set(styles)) == len(styles) == len(METHODS)
    assert list(METHODS)[:2] == ["AE", "Gaussian AE"]
    assert all(set(item.styles) == set(item.methods.values()) for item in items)


def test_a_built_in_hyperparameter_is_recorded_if_it_is_not_the_default() -> None:
    plain = TrialConfig(regularizer="sliced_wasserstein", weight=1.0)
    assert "sliced_wasserstein.slices" not in plain.completed().to_params()
    assert plain.replace(**{"sliced_wasserstein.slices": 50}) == plain
    given = TrialConfig.from_params({**plain.to_params(), "sliced_wasserstein.slices": "7"}).completed()
    assert given.to_params()["sliced_wasserstein.slices"] == 7
    assert given.build("regularizer", REGULARIZERS, given).slices == 7
    assert plain.build("regularizer", REGULARIZERS, plain).slices == 50
    other = given.replace(regularizer="none", weight=0.0).completed()
    assert "sliced_wasserstein.slices" not in other.to_params()
    with pytest.raises(
        UserError, match=r"unknown parameter sliced_wasserstein\.x: choose from sliced_wasserstein\.slices"
    ):
        TrialConfig.from_params({"sliced_wasserstein.x": 1})
    with pytest.raises(UserError, match=r"sliced_wasserstein\.slices='few': it must be of type int"):
        TrialConfig.from_params({"sliced_wasserstein.slices": "few"})


def test_an_unknown_component_lists_the_hyperparameters_that_there_are() -> None:
    config = TrialConfig.from_params({"sliced_waserstein.slices": 7})
    with pytest.raises(UserError, match=r"no component has it; choose from .*sliced_wasserstein\.slices"):
        config.completed()


@pytest.mark.parametrize("kind", FIELDS)
def test_an_own_component_may_not_be_called_like_any_built_in_one(kind: str) -> None:
    class Mine(Curve):
        name = next(iter(BUILT_IN.of_kind(kind)))

        def __call__(self, share: float) -> float:
            return share

    space = SearchSpace(question="", suggest=lambda trial, data: {}, components=(Mine,))
    with pytest.raises(UserError, match=f"there is a built-in {kind} '{Mine.name}'"):
        build_models([], made_summary(), space)


def test_earlier_hashes_lead_to_spaces_of_today() -> None:
    today = {load_space(name).hash[:40] for name in builtin_spaces()}
    assert set(EARLIER_HASHES.values()) <= today
    assert not today & EARLIER_HASHES.keys()


@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.parametrize("name", ["wae_weight", "vae_beta", "method"])
def test_earlier_searches_go_on_only_where_their_latent_sizes_are_as_they_were(name: str, side: int) -> None:
    loaded = load_space(name)
    earlier = [recorded for recorded, today in EARLIER_HASHES.items() if today == loaded.hash[:40]]
    assert earlier
    for recorded in earlier:
        assert loaded.is_same(recorded, made_summary(height=side, width=side))
        assert not loaded.is_same(recorded, made_summary(channels=3, height=32, width=32))
