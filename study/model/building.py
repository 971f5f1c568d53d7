"""The parts that a trial names, built: each a component of the space's own, or a built-in one."""

from __future__ import annotations

from study.built_in import classes_in
from study.config import TrialConfig
from study.errors import UserError
from study.model.divergences import KERNELS
from study.model.regularizers.base import Regularizer

REGULARIZERS: dict[str, type[Regularizer]] = classes_in("study.model.regularizers", Regularizer)


def build_regularizer(config: TrialConfig) -> Regularizer:
    """The regularizer that a trial names.

    Raises:
        UserError: `regularizer` is neither in `REGULARIZERS` nor a component of the space, or encoder or kernel do not
            suit it.
    """
    regularizer = config.build("regularizer", REGULARIZERS, config)
    if regularizer.methods and config.encoder not in regularizer.methods:
        raise UserError(f"regularizer={config.regularizer} needs encoder={' or '.join(regularizer.methods)}")
    if regularizer.uses_kernel and config.kernel not in KERNELS:
        raise UserError(f"kernel={config.kernel!r}: regularizer {config.regularizer} needs {' or '.join(KERNELS)}")
    return regularizer
