"""Components of a space's own: their names and hyperparameters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import study
from study.components import NO_COMPONENTS, Components, Described, hyperparameters
from study.config import TrialConfig, UserError
from study.session.first_models import build_models
from study.session.load_data import load_data
from tests.helpers import made_summary


@dataclass(frozen=True)
class Net(study.Network):
    name: ClassVar[str] = "net"
    depth: int = 2
    dropout: float = 0.1
    norm: str = "layer"
    bias: bool = True

    def build(self, size: study.NetworkSize) -> Any:
        return self


class Penalty(study.Regularizer):
    name = "penalty"
    methods: ClassVar = {"deterministic": "AE with a penalty"}
    is_made_for_normal = False

    def __init__(self, config: TrialConfig, strength: float = 2.0) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, model: Any, posterior: Any, z: Any, generator: Any) -> Any:
        return self.strength * z.square().mean()


OWN = Components((Net, Penalty))


def test_hyperparameters_are_what_the_constructor_takes_beside_its_arguments() -> None:
    found = {"depth": (int, 2), "dropout": (float, 0.1), "norm": (str, "layer"), "bias": (bool, True)}
    assert hyperparameters(Net) == found
    assert hyperparameters(Penalty) == {"strength": (float, 2.0)}
    assert Components((Net,)).parameters == {f"net.{name}": kind.__name__ for name, (kind, _) in found.items()}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"net.depth": 2, "net.dropout": 0.1, "net.norm": "layer", "net.bias": True}),
        (
            {"net.depth": "3", "net.dropout": 1, "net.bias": "False"},
            {"net.depth": 3, "net.dropout": 1.0, "net.norm": "layer", "net.bias": False},
        ),
        ({"penalty.strength": 1.0}, {"net.depth": 2, "net.dropout": 0.1, "net.norm": "layer", "net.bias": True}),
    ],
)
def test_a_trial_records_every_hyperparameter_of_what_it_uses_and_no_other(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    config = TrialConfig.from_params({"network": "net", **given}, OWN).completed()
    assert dict(config.own) == expected
    assert all(type(value) is type(expected[name]) for name, value in config.own)
    assert TrialConfig.from_params(config.to_params(), OWN) == config
    as_text = {name: str(value) for name, value in config.to_params().items()}  # as MLflow holds it
    assert TrialConfig.from_params(as_text, OWN) == config


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"net.dept": 3}, "unknown parameter net.dept: choose from net.depth"),
        ({"net.depth": 2.5}, "net.depth=2.5: it must be of type int"),
        ({"net.depth": True}, "net.depth=True: it must be of type int"),
        ({"net.norm": 3}, "net.norm=3: it must be of type str"),
        ({"net.bias": 1}, "net.bias=1: it must be of type bool"),
        ({"nett.depth": 3}, "unknown parameter nett.depth: no component has it; choose from net.depth, net.dropout"),
    ],
)
def test_what_is_no_hyperparameter_is_told(params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrialConfig.from_params({"network": "net", **params}, OWN).completed()


class _Abstract(study.Network):
    name = "abstract"


class _Nameless(Net):
    name = "No name"


class _Untyped(Net):
    def __init__(self, depth=2) -> None:
        pass


def _metric(**changes: Any) -> study.Metric:
    given: dict[str, Any] = {"name": "ink", "direction": "minimize", "function": lambda real, generated: 0.0, **changes}
    return study.Metric(**given)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ((object(),), "derive from study.Network"),
        ((Net, Net), "two are called 'net'"),
        ((_Abstract,), "does not define build"),
        ((_Nameless,), "needs a name of small letters"),
        ((_Untyped,), "give its depth the type"),
        ((Net(),), "give the class Net itself"),
        ((_metric(direction="min"),), "has direction='min': choose from minimize"),
        ((_metric(sees="pixels"),), "has sees='pixels': choose from features, images"),
        ((_metric(function=None),), "metric ink needs a function"),
    ],
)
def test_what_is_no_component_is_told(items: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        study.SearchSpace(question="", suggest=lambda trial, data: {}, components=items)


def test_a_penalty_names_its_method_and_says_whether_it_is_for_n01() -> None:
    config = TrialConfig(regularizer="penalty", components=OWN)
    assert config.method == "AE with a penalty" and not config.is_made_for_normal
    assert TrialConfig(regularizer="penalty", encoder="gaussian", components=OWN).method == "gaussian + penalty"
    # Readers without the code have the descriptions, and agree.
    described = Components(tuple(Described.of(item) for item in OWN.items))
    assert TrialConfig.from_params(config.to_params(), described).method == config.method
    assert not TrialConfig.from_params(config.to_params(), described).is_made_for_normal
    assert TrialConfig.from_params(config.to_params()).method != config.method  # nobody said what it is


@given(st.dictionaries(st.sampled_from(["net.depth", "net.dropout", "other.x"]), st.integers(-5, 5)))
def test_values_survive_a_reader_without_components(own: dict[str, int]) -> None:
    assert dict(TrialConfig.from_params(own, NO_COMPONENTS).own) == own


def test_an_instance_gets_its_own_hyperparameters_and_the_defaults_of_the_rest() -> None:
    config = TrialConfig.from_params({"network": "net", "net.depth": 7, "penalty.strength": 1.0}, OWN)
    built = config.build("network", {})
    assert built is not None and dataclasses.asdict(built) == {**dataclasses.asdict(Net()), "depth": 7}
    with pytest.raises(UserError, match="network='mlp': choose from net, other"):
        TrialConfig(components=OWN).build("network", {"other": Net})


def test_types_that_only_a_type_checker_knows_do_not_matter() -> None:
    class Quiet(Net):
        name = "quiet"

        def __init__(self, config: NotThere, width: int = 3) -> None:  # type: ignore[name-defined] # noqa: F821
            pass

    assert hyperparameters(Quiet) == {"width": (int, 3)}


@pytest.mark.parametrize(
    "item",
    [
        type("Mlp", (Net,), {"name": "mlp"}),
        type("Kl", (Penalty,), {"name": "kl"}),
        _metric(name="sample_fid"),
        study.DataSource(name="digits", load=lambda: None),  # type: ignore[arg-type, return-value]
    ],
    ids=lambda item: item.name,
)
def test_a_built_in_name_is_refused(item: Any) -> None:
    space = study.SearchSpace(question="", suggest=lambda trial, data: {}, components=(item,))
    with pytest.raises(UserError, match=f"there is a built-in {item.kind} '{item.name}'"):
        build_models([], made_summary(), space)


def test_the_data_of_a_space() -> None:
    def space(*names: str, **base: Any) -> study.SearchSpace:
        sources = [study.DataSource(name=name, load=lambda: 3) for name in names]  # type: ignore[arg-type, return-value]
        return study.SearchSpace(question="", suggest=lambda trial, data: {}, base=base, components=sources)

    assert (space().default_data, space("mine").default_data) == ("digits", "mine")
    with pytest.raises(UserError, match="--dataset is missing: this space brings one, two"):
        _ = space("one", "two").default_data
    with pytest.raises(UserError, match="choose from mine, digits, mnist"):
        load_data(space("mine"), "other", None)
    with pytest.raises(UserError, match="its load returned int"):
        load_data(space("mine"), "mine", None)
    with pytest.raises(UserError, match="--dataset names the data of a study"):
        space(dataset="mnist").config(made_summary(), {}, {})


def _identity(x: Any) -> Any:
    return x


def _space(*components: Any) -> study.SearchSpace:
    return study.SearchSpace(question="?", suggest=lambda trial, data: {}, components=components)


def test_one_feature_network_of_a_space_is_the_default_of_its_studies_and_several_are_none() -> None:
    networks = [study.FeatureNetwork(name=name, function=_identity) for name in ("rows", "columns")]
    assert _space().default_feature_network is None
    assert _space(networks[0]).default_feature_network == "rows"
    with pytest.raises(UserError, match="this space brings rows, columns"):
        _ = _space(*networks).default_feature_network


def test_objects_hold_functions() -> None:
    nothing: Any = None
    with pytest.raises(UserError, match="feature network rows needs a function as function"):
        _space(study.FeatureNetwork(name="rows", function=nothing))
    with pytest.raises(UserError, match="figure errors needs a function as draw"):
        _space(study.OwnFigure(name="errors", draw=nothing))


def test_a_figure_does_not_take_the_name_of_a_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "taken.py"
    path.write_text(
        "import study\n\nSPACE = study.SearchSpace(question='?', suggest=lambda trial, data: {}, "
        "components=(study.OwnFigure(name='tradeoff', draw=print),))\n"
    )
    with pytest.raises(UserError, match="there is a built-in figure 'tradeoff'"):
        study.preview_study(path, runs_dir=tmp_path / "runs")
