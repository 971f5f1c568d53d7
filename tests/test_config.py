from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.built_in import METHODS
from study.code_map import map_pixels
from study.config import PARAMS, TrialConfig, UserError
from study.ranges import RANGES
from tests.helpers import made_summary

configs = st.builds(
    TrialConfig,
    encoder=st.sampled_from(["deterministic", "gaussian"]),
    regularizer=st.sampled_from(["none", "kl", "mmd"]),
    weight=st.floats(0, 1e9),
    latent_dim=st.integers(1, 512),
    annealing_fraction=st.floats(0, 1),
    learning_rate=st.floats(1e-12, 10),
    learning_rate_schedule=st.sampled_from(["constant", "linear", "cosine"]),
    weight_decay=st.floats(0, 10),
    batch_size=st.integers(2, 4096),
    precision=st.sampled_from(["float32", "bf16"]),
    epochs=st.integers(1, 10_000),
    seed=st.integers(0, 2**31 - 1),
)


@given(configs)
def test_params_read_back_to_an_equal_config(config: TrialConfig) -> None:
    assert TrialConfig.from_params(config.to_params()) == config


@given(configs)
def test_params_read_back_from_text_as_mlflow_gives_them(config: TrialConfig) -> None:
    assert TrialConfig.from_params({name: str(value) for name, value in config.to_params().items()}) == config


@given(
    st.dictionaries(st.text(max_size=20), st.one_of(st.none(), st.booleans(), st.text(), st.floats(), st.integers()))
)
def test_fuzz_any_params_give_a_config_or_one_line(params: dict[str, object]) -> None:
    try:
        TrialConfig.from_params(params)
    except UserError as error:
        assert str(error)


@given(
    st.sampled_from(list(PARAMS)),
    st.one_of(st.text(), st.floats(), st.none()),
)
def test_fuzz_any_value_of_a_field_gives_a_config_or_one_line(name: str, value: object) -> None:
    try:
        TrialConfig.from_params({name: value})
    except UserError as error:
        assert name in str(error)


@pytest.mark.parametrize(("method", "pair"), METHODS.items())
def test_a_method_is_named_by_its_encoder_and_regularizer(method: str, pair: tuple[str, str]) -> None:
    assert TrialConfig(encoder=pair[0], regularizer=pair[1]).method == method


def test_every_run_has_the_same_keys() -> None:
    plain = TrialConfig().to_params()
    annealed = TrialConfig(encoder="gaussian", regularizer="kl", weight=1.0, annealing="linear", annealing_fraction=0.5)
    annealed = annealed.to_params()
    assert list(plain) == list(annealed)
    assert next(iter(plain)) == "method"


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"latnet_dim": 8}, "latnet_dim"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"annealing": "linear"}, "annealing_fraction"),
        ({"latent_dim": 2.5}, "latent_dim"),
        ({"latent_dim": True}, "latent_dim"),
        ({"weight": -1.0}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"learning_rate_schedule": 1.0}, "learning_rate_schedule"),
        ({"annealing_fraction": 1.5}, "annealing_fraction"),
        ({"encoder": "quantum"}, "^encoder='quantum': choose from deterministic, gaussian$"),
        ({"precision": "float16"}, "^precision='float16': choose from float32, bf16$"),
        ({"method": "VAE"}, "contradicts"),
    ],
)
def test_bad_params_are_refused_with_the_name(params: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        TrialConfig.from_params(params)


def test_a_code_map_follows_from_network_size_and_images() -> None:
    data = made_summary(3, 32, 32)
    plain, mapped = TrialConfig(latent_dim=64), TrialConfig(network="residual_f4", latent_dim=1024)
    assert plain.code_map(data) is None and plain.with_map(data) == plain
    assert mapped.with_map(data) == mapped.replace(latent_shape="16x8x8")
    assert mapped.with_map(data).with_map(data).code_map(data) == (16, 8, 8)
    for wrong in (plain.replace(latent_shape="1x8x8"), mapped.replace(latent_shape="8x8x16")):
        with pytest.raises(UserError, match=r"latent_shape=.*leave it out$"):
            wrong.with_map(data)
    assert map_pixels(data, "residual_f8") == 16
    with pytest.raises(UserError, match="residual_f4, residual_f8"):
        map_pixels(data, "conv")


FIELDS = [name for name in PARAMS if name in RANGES]


@pytest.mark.parametrize("name", FIELDS)
def test_faults_met_a_trial_has_the_ranges_of_the_command(name: str) -> None:
    allowed = RANGES[name]
    others = {"regularizer": "kl", "weight": 1.0} if name == "target_error" else {}
    for value in (allowed.low, allowed.high):
        if allowed.is_open:
            with pytest.raises(UserError, match=f"^{name}=.*: it must be a finite number, above 0$"):
                TrialConfig.from_params({name: allowed.low})
        else:
            config = TrialConfig.from_params({**others, name: value})
            assert TrialConfig.from_params(config.to_params()) == config
    for value in (allowed.low - 1, allowed.high * 2 + 1, math.nan):
        with pytest.raises(UserError, match=f"^{name}="):
            TrialConfig.from_params({name: value})


def test_faults_met_seeds_beyond_32_bits_are_refused_with_their_range() -> None:
    with pytest.raises(UserError, match=r"^seed=4294967296: it must be from 0 to 2147483647$"):
        TrialConfig(seed=2**32)
