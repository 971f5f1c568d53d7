"""The images that a model generates, as features: decoded from N(0, I) or from a prior fitted to its codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from study.measure.comparison import COPY_IMAGES, FeatureSet, nearest_distances
from study.measure.context import Calibrated, EvaluationContext
from study.measure.instrument import Features
from study.measure.metrics import MetricError
from study.priors.choosing import fit_prior
from study.priors.density import Density
from study.priors.fitted import FittedPrior
from study.priors.mixture import Mixture

Source = Literal["normal", "fitted", "ten"]
"""Where codes come from: N(0, I), the fitted prior, or ten Gaussians without a least variance, as in the RAE paper."""
PRIOR_SEED = 20_190_329


class Generated:
    """Features of the images that one model generates. Both splits are compared with the same ones, made once.

    Args:
        context: What real images were measured with.
        networks: The networks of the first instrument and, if there is one, of the second, on the model's device.
        decode: Codes [n, d] -> batches of images. The model must not change while this object is in use.
        normal_codes: n -> draws from N(0, I), [n, d].
        training_codes: Gives codes of training images, [N, d], in random order.
        priors: Densities of the space's own, of which one may become the fitted prior.

    Attributes:
        warnings: Why some of `priors` were left out, a line each.
    """

    def __init__(
        self,
        context: EvaluationContext,
        networks: tuple[Features, Features | None],
        *,
        decode: Callable[[Tensor], Iterable[Tensor]],
        normal_codes: Callable[[int], Tensor],
        training_codes: Callable[[], Tensor],
        priors: Sequence[type[Density]] = (),
    ) -> None:
        self.warnings: list[str] = []
        self._priors = priors
        self._training = context.training
        self._instruments = tuple(zip((context.first, context.second), networks, strict=True))
        self._decode = decode
        self._normal_codes = normal_codes
        self._training_codes = training_codes
        self._sets: dict[tuple[Source, int, int], FeatureSet] = {}
        self._distances: dict[tuple[Source, int], np.ndarray] = {}

    def features(self, source: Source, n: int) -> FeatureSet:
        """Features of images decoded from n codes."""
        return self._set(source, n, 0)

    def second(self, source: Source, n: int) -> FeatureSet:
        """The second instrument's features of the same images."""
        return self._set(source, n, 1)

    def to_training(self, source: Source, n: int) -> np.ndarray:
        """Distances of the first of those images to their nearest training image."""
        if (source, n) not in self._distances:
            first = self.features(source, n).features[:COPY_IMAGES]
            self._distances[source, n] = nearest_distances(first, self._training)
        return self._distances[source, n]

    def images(self, n: int) -> Tensor:
        """The first n images decoded from N(0, I), [n, C, H, W]."""
        return torch.cat(list(self._decode(self._drawn("normal", n))))

    @cached_property
    def prior(self) -> FittedPrior:
        """The fitted prior, on the CPU."""
        return fit_prior(self._codes, PRIOR_SEED, own=self._priors, warn=self.warnings.append)

    @cached_property
    def _ten(self) -> FittedPrior:
        return fit_prior(
            self._codes,
            PRIOR_SEED,
            [lambda train, _, seed: Mixture.with_components(train, 10, seed, least_variance=1e-6)],
        )

    @cached_property
    def _codes(self) -> Tensor:
        codes = self._training_codes()
        if not torch.isfinite(codes).all():
            raise MetricError("not a finite metric: codes of training images are not finite")
        return codes

    def _drawn(self, source: Source, n: int) -> Tensor:
        if source == "normal":
            return self._normal_codes(n)
        prior = self.prior if source == "fitted" else self._ten
        return prior.sample(n, torch.Generator().manual_seed(PRIOR_SEED)).to(self._codes.device)

    def _set(self, source: Source, n: int, which: int) -> FeatureSet:
        if (source, n, which) not in self._sets:
            instrument, network = self._instruments[which]
            assert isinstance(instrument, Calibrated) and network is not None
            images = self._decode(self._drawn(source, n))
            self._sets[source, n, which] = instrument.feature_set(map(network, images))
        return self._sets[source, n, which]
