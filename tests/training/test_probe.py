"""The probe's arithmetic, and that it measures what trials do; times themselves are nobody's to assert."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from study.components import NO_COMPONENTS
from study.config import TrialConfig
from study.data.datasets import ImageData
from study.measure.context import prepare_context
from study.measure.evaluate import Evaluator
from study.measure.instrument import untrained, usual_specs
from study.measure.own_networks import NO_PLACES
from study.model.building import build_autoencoder
from study.training.memory import own_memory, watched_memory
from study.training.preparation import FEATURE_NETWORKS, FIRST_STAGE, PERCEPTUAL, preparation_seconds
from study.training.pretrain import first_stage_path, pretrain
from study.training.probe import decoded, extrapolated, measure_trial, stand_in, whole_seconds
from study.training.stopwatch import Stopwatch

AE = TrialConfig(width=16, latent_dim=4)
VAE = TrialConfig(width=16, latent_dim=4, encoder="gaussian", regularizer="kl", weight=0.1)


def test_the_rest_lies_on_the_line_through_the_last_two_points() -> None:
    assert extrapolated([(1.0, 3.0)]) == 3.0
    assert extrapolated([(0.1, 0.5)]) == pytest.approx(5.0)  # through the origin
    assert extrapolated([(0.1, 9.0), (0.2, 1.0), (0.4, 1.4)]) == pytest.approx(1.4 + 2.0 * 0.6)
    assert extrapolated([(0.1, 2.0), (0.2, 1.0)]) == 1.0  # noise: more images never take less


def test_parts_grow_until_they_take_long_enough() -> None:
    asked: list[float] = []

    def seconds(each: float) -> float:
        del asked[:]

        def watch(work: object) -> float:
            return 0.1 * each + each * asked[-1]

        def make(share: float):
            asked.append(share)
            return lambda: None

        return whole_seconds(make, 0.01, watch)

    assert seconds(0.5) == pytest.approx(0.55) and asked[-1] == 1.0
    assert seconds(10.0) == pytest.approx(11.0) and asked[-1] < 0.2  # a constant tenth, and linear


@pytest.mark.parametrize("config", [AE, VAE])
def test_as_many_images_are_decoded_as_an_evaluation_decodes(
    digits: ImageData, cache: Path, config: TrialConfig
) -> None:
    evaluator = Evaluator(digits, prepare_context(digits, cache))
    model, counts = build_autoencoder(config, digits.summary), [0]

    def note(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        counts[-1] += len(inputs[0])

    model.decoder.register_forward_pre_hook(note)
    evaluator.search_metrics(model)
    counts.append(0)
    evaluator.final_metrics(model)
    assert decoded(config, digits.summary, 1.0) == pytest.approx(tuple(counts), rel=0.1)


def test_the_stand_in_measures_what_the_real_context_does(digits: ImageData, cache: Path) -> None:
    first, second = usual_specs(None, digits.summary)
    assert first is not None
    real = prepare_context(digits, cache)
    made = stand_in(digits.summary, (untrained(first, digits.summary), untrained(second, digits.summary)))
    assert made.samples == real.samples and made.training.shape == real.training.shape
    for mine, theirs in ((made.first, real.first), (made.second, real.second)):
        assert mine is not None and theirs is not None
        assert {of: x.shape for of, x in mine.features.items()} == {of: x.shape for of, x in theirs.features.items()}


@pytest.mark.parametrize("config", [AE, VAE, AE.replace(network="stacked", perceptual_weight=0.0)])
def test_a_trial_is_measured_without_anything_trained(digits: ImageData, config: TrialConfig) -> None:
    watch = Stopwatch(by_processor=True)
    found = measure_trial(config, digits, None, NO_PLACES, NO_COMPONENTS, watch)
    assert min(found.epoch, found.evaluation, found.end) > 0 and found.gpu is None
    assert found.memory is not None and found.memory > 50_000_000  # torch alone
    assert found.slowed(2.0).epoch == 2 * found.epoch and watch.slowdown > 0


def test_what_is_cached_needs_no_time(few_digits: ImageData, tmp_path: Path) -> None:
    needed = {"perceptual": True, "first_stage": True}
    found = preparation_seconds(few_digits, None, tmp_path, **needed)
    assert [*found] == [FEATURE_NETWORKS, PERCEPTUAL, FIRST_STAGE] and min(found.values()) > 0
    pretrain(AE.replace(perceptual_weight=1.0, latent_dim=4), few_digits, tmp_path)
    prepare_context(few_digits, tmp_path)
    first_stage_path(few_digits.summary, tmp_path).touch()
    assert not any(preparation_seconds(few_digits, None, tmp_path, **needed).values())


def test_memory_is_watched() -> None:
    with watched_memory() as held:
        before = own_memory()
        block = torch.ones(20_000_000)  # 80 MB
        time.sleep(0.05)
    assert held["peak"] - before > 0.9 * block.nbytes


def test_a_stopwatch_shares_out_what_all_pieces_waited() -> None:
    watch = Stopwatch(by_processor=True)
    watch(lambda: time.sleep(0.02))
    spent = watch(lambda: sum(range(200_000)))
    assert spent < watch.slowdown * spent  # asleep, it used no processor
    clock = Stopwatch(by_processor=False)
    assert clock(lambda: time.sleep(0.02)) >= 0.02 and clock.slowdown == 1.0
