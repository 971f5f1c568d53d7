from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.built_in import METHODS
from study.config import TrialConfig, UserError
from study.model.building import REGULARIZERS, SCHEDULES
from study.search.samplers import build_sampler
from study.space import SearchSpace, builtin_spaces, first_weight, latent_sizes, load_space, weight_range
from tests.helpers import made_summary

SUMMARIES = [made_summary(), made_summary(1, 28, 28, 53.0), made_summary(3, 32, 32, 190.0)]
SPACES = builtin_spaces()


def _check(config: TrialConfig) -> None:
    assert config.regularizer in REGULARIZERS
    assert config.annealing in SCHEDULES
    assert (config.kernel != "none") == (config.regularizer in ("mmd", "info_vae"))
    assert (config.weight > 0) == (config.regularizer != "none")


@pytest.mark.parametrize("name", SPACES)
def test_a_space_says_what_it_asks_and_what_it_costs(name: str) -> None:
    loaded = load_space(name)
    assert loaded.space.question.endswith("?")
    assert loaded.space.cost
    assert f"--space {name}" in loaded.path.read_text()


@pytest.mark.parametrize("summary", SUMMARIES, ids=lambda summary: "x".join(map(str, summary.shape)))
@pytest.mark.parametrize("name", SPACES)
def test_every_point_of_a_space_is_a_config(name: str, summary) -> None:
    space = load_space(name).space
    for reference in space.baselines(summary):
        _check(space.config(summary, reference, {}))
    for point in space.first_points(summary):
        overrides = space.suggest(optuna.trial.FixedTrial(dict(point)), summary)
        assert set(point) <= set(overrides)
        _check(space.config(summary, overrides, {}))


@pytest.mark.parametrize("name", SPACES)
def test_every_suggestion_of_a_space_is_a_config(name: str) -> None:
    space = load_space(name).space
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        trial = study.ask()
        config = space.config(SUMMARIES[1], space.suggest(trial, SUMMARIES[1]), {"epochs": 3})
        _check(config)
        assert config.epochs == 3
        assert trial.params.items() <= config.to_params().items()
        study.tell(trial, [0.0, 0.0])


@pytest.mark.parametrize("name", [name for name in SPACES if load_space(name).space.grid])
def test_a_grid_has_each_point_once(name: str) -> None:
    points = [tuple(sorted(point.items())) for point in load_space(name).space.first_points(SUMMARIES[1])]
    assert len(points) == len(set(points))


@pytest.mark.parametrize("name", ["latent_dim_seeds", "wae_weight_stacked"])
def test_what_follows_latent_dim_differs_from_it_in_seed_and_weight_alone(name: str) -> None:
    space, data = load_space(name).space, SUMMARIES[1]

    def configs(space: SearchSpace) -> list[TrialConfig]:
        points = [space.suggest(optuna.trial.FixedTrial(dict(point)), data) for point in space.first_points(data)]
        return [space.config(data, overrides, {}) for overrides in (*space.baselines(data), *points)]

    known = configs(load_space("latent_dim").space)
    found = [config.replace(seed=0) for config in configs(space)]
    assert {config.method for config in found} >= {"AE", "WAE-MMD"}
    varied = {config for config in found if config not in known}
    assert all(any(config.replace(weight=other.weight) == other for other in known) for config in varied)
    assert {config.method for config in varied} == ({"WAE-MMD"} if name == "wae_weight_stacked" else set())


def test_every_regularizer_has_a_weight_range() -> None:
    data = made_summary(total_variance=10.0)
    for name in set(REGULARIZERS) - {"none"}:
        low, high = weight_range(data, name)
        assert 0 < low < first_weight(data, name) < high
    for ask in (weight_range, first_weight):
        with pytest.raises(ValueError, match=r"regularizer none has no .*: declare one in its class, or give"):
            ask(data, "none")
        with pytest.raises(ValueError, match=r"regularizer='mdm': choose from adversarial, .*mmd"):
            ask(data, "mdm")


def test_the_joint_space_reaches_every_method_and_suits_the_sampler() -> None:
    space = load_space("method").space
    study = optuna.create_study(directions=("minimize", "minimize"), sampler=build_sampler("tpe", 0, 0))
    seen = set()
    for number in range(80):
        trial = study.ask()
        config = space.config(SUMMARIES[0], space.suggest(trial, SUMMARIES[0]), {})
        if config.regularizer != "none":
            low, high = weight_range(SUMMARIES[0], config.regularizer)
            assert low <= config.weight <= high
        seen.add(config.method)
        study.tell(trial, [config.weight, number % 7])
    assert seen == set(METHODS) - {"Gaussian AE", "CWAE", "CWAE Gaussian"}


@pytest.mark.parametrize(
    ("channels", "side", "sizes"),
    [(1, 8, (4, 8, 16)), (1, 28, (4, 8, 16)), (1, 32, (4, 8, 16)), (3, 32, (16, 32, 64)), (3, 64, (32, 64, 128))],
)
def test_latent_sizes_grow_with_the_images(channels: int, side: int, sizes: tuple[int, ...]) -> None:
    data = made_summary(channels=channels, height=side, width=side)
    assert latent_sizes(data) == sizes
    for name in ("wae_weight", "vae_beta", "method"):
        known = {point["latent_dim"] for points in load_space(name).space.known_trials(data) for point in points}
        assert known <= set(sizes) and sizes[1] in known
        trial = optuna.create_study().ask()
        load_space(name).space.suggest(trial, data)
        choices = trial.distributions["latent_dim"]
        assert isinstance(choices, optuna.distributions.CategoricalDistribution) and choices.choices[-3:] == sizes


def test_weight_ranges_grow_with_the_data_and_join() -> None:
    low, high = weight_range(made_summary(total_variance=10.0), "kl", "mmd")
    assert (low, high) == pytest.approx((0.003, 100.0))


def test_the_command_line_wins_over_the_space_and_the_space_over_the_data() -> None:
    space = load_space("wae_weight").space
    config = space.config(SUMMARIES[0], {"epochs": 7, "latent_dim": 4}, {"epochs": 9})
    assert (config.epochs, config.latent_dim, config.regularizer, config.width) == (9, 4, "mmd", 128)


def test_a_space_that_varies_the_seed_wins_over_the_command_line() -> None:
    space = load_space("wae_weight").space
    assert space.config(SUMMARIES[0], {"seed": 2}, {"seed": 7, "epochs": 3}).seed == 2
    assert space.config(SUMMARIES[0], {}, {"seed": 7}).seed == 7


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("SPACE = 1", "define SPACE"),
        ("1/0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import nothing_of_that_name", "nothing_of_that_name"),
    ],
)
def test_a_broken_space_file_is_refused_in_one_line(tmp_path: Path, content: str, word: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(UserError, match=word):
        load_space(str(path))


def test_an_unknown_space_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="wae_weight"):
        load_space("nope")
    with pytest.raises(UserError, match="No such file"):
        load_space(str(tmp_path / "absent.py"))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_fuzz_any_file_gives_a_space_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fuzzed.py"
    path.write_bytes(content)
    with pytest.raises(UserError):
        load_space(str(path))


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        (lambda text: text, True),
        (lambda text: text.replace('question="', 'question=  "') + "\n# a comment\n", True),
        (lambda text: text.replace('"""', '"""Another docstring. ', 1), True),
        (lambda text: text.replace("num_trials=24", "num_trials=25"), False),
    ],
)
def test_only_a_change_of_its_code_makes_another_space(
    tmp_path: Path, change: Callable[[str], str], is_same: bool
) -> None:
    text = '"""A space."""\nfrom search_spaces.wae_weight import SPACE as OTHER\nimport dataclasses\n'
    text += 'SPACE = dataclasses.replace(OTHER, question="Why?", num_trials=24)\n'
    path = tmp_path / "mine.py"
    path.write_text(text)
    recorded = load_space(str(path)).hash
    path.write_text(change(text))
    assert load_space(str(path)).is_same(recorded, made_summary()) == is_same


def test_studies_of_version_0_1_know_the_builtin_spaces_and_no_other_file(tmp_path: Path) -> None:
    recorded = "27f2f2eb9d39cff6a37cf3ea0bff8eb316f30c610073dd50fd9ff4bf310e6bc6"  # of wae_weight
    assert load_space("wae_weight").is_same(recorded, made_summary())
    assert not load_space("method").is_same(recorded, made_summary())
    path = tmp_path / "wae_weight.py"
    path.write_bytes(load_space("wae_weight").path.read_bytes().replace(b"latent_dim", b"width"))
    assert not load_space(str(path)).is_same(recorded, made_summary())  # other code under the same name
    path.write_text("from search_spaces.wae_weight import SPACE\n")
    assert not load_space(str(path)).is_same(recorded, made_summary())
    assert load_space(str(path)).is_same(hashlib.sha256(path.read_bytes()).hexdigest(), made_summary())
