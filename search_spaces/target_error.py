"""What does it cost to ask for an error instead of searching for a weight? Eight VAEs, each with a requested error.

GECO (Rezende & Viola, arXiv 1810.00597) adapts the KL's weight while training until the error is the requested one, see
`study.model.target_error`. The requests are a ladder from 0.12 to 0.6 of the mean image's error, which is the pixels'
mean variance. No weight is searched: each begins at the request itself, the calibrated variance of a Gaussian (Rybkin
et al., sigma-VAE, arXiv 2006.13202). Beside them: a plain AE, and the VAE of that work, whose variance is the batch's
error at each step and which asks for nothing.

    python -m study.run --space target_error

Cost: about a minute and a half on two CPU cores for digits (estimated). Measured there (docs/experiments.md): 18 of 21
trials come within 3 % of the validation error that they request. The front has 98 % of the hypervolume of a search for
a VAE's weight and size (`vae_beta`), for 57 % of its epochs, but three quarters of `wae_weight`'s, whose WAE-MMDs
sample better from N(0, I). A request chooses a point of a method's curve, and no method.
"""

from __future__ import annotations

from study.space import SearchSpace

SHARES = (0.12, 0.15, 0.19, 0.24, 0.3, 0.38, 0.48, 0.6)
"""Requested errors, as shares of the mean image's."""


def requests(data):
    """The requested errors per pixel."""
    variance = data.total_variance / (data.channels * data.height * data.width)
    return [share * variance for share in SHARES]


def derive(point, data):
    return {"weight": point["target_error"]}


def baselines(data):
    plain = {"encoder": "deterministic", "regularizer": "none", "weight": 0.0}
    return [plain, {"likelihood": "gaussian_optimal", "weight": 1.0}]


SPACE = SearchSpace(
    question="What do eight requested errors find, compared with a search for weights?",
    base={"encoder": "gaussian", "regularizer": "kl", "latent_dim": 16},
    grid={"target_error": requests},
    derive=derive,
    baselines=baselines,
    num_trials=10,
    cost="estimated: about a minute and a half on two CPU cores (digits)",
)
