"""What is trained once, before the first trial that needs it."""

from __future__ import annotations

import dataclasses
import itertools

from study.components import NO_COMPONENTS
from study.config import TrialConfig
from study.search.ledger import Ledger


def kinds(ledger: Ledger, num_trials: int) -> list[TrialConfig]:
    """One fixed trial of each kind that needs something pretrained, so that it is made before the first trial.

    If only the sampler suggests a kind, its first trial makes it.

    Args:
        ledger: The study's trials.
        num_trials: Trials the study is to have.
    """
    found: dict[tuple[bool, bool], TrialConfig] = {}
    for config in itertools.islice(ledger.fixed_configs(), num_trials):
        # Without the space's own components: another process may not be able to import them.
        plain = dataclasses.replace(config, components=NO_COMPONENTS)
        found.setdefault((config.reads_codes, config.perceptual_weight > 0), plain)
    return [config for needs, config in found.items() if any(needs)]
