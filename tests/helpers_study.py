"""Writes a study's folder with plausible numbers for the digits, without training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from study.config import DataSummary, TrialConfig

TOTAL_VARIANCE = 4.7
PCA_MSE = {1: 0.0611, 2: 0.0526, 4: 0.0385, 8: 0.0245, 16: 0.0112, 32: 0.0022, 64: 0.0}
REAL_DATA = {
    "validation": {"sample_fid": 2.8, "reconstruction_fid": 2.8},
    "test": {"sample_fid": 3.1, "reconstruction_fid": 3.1},
}
REASONS = {"failed": "loss is nan at epoch 3", "stopped": "dominated at epoch 6"}
SCALES = {"kl": 0.01, "mmd": 0.3, "none": 1.0, "adversarial": 0.3}
METHODS = (("deterministic", "mmd"), ("gaussian", "kl"), ("gaussian", "mmd"), ("deterministic", "adversarial"))


def data_summary() -> DataSummary:
    return DataSummary(
        name="digits", channels=1, height=8, width=8, train_size=1077, validation_size=360, test_size=360,
        num_classes=10, total_variance=TOTAL_VARIANCE, hash="d1" * 32, defaults={"network": "mlp", "epochs": 60},
    )  # fmt: skip


def study_record(name: str = "toy", **changes: Any) -> dict[str, Any]:
    """The content of `study.json`."""
    data = vars(data_summary())
    return {
        "format": 1,
        "id": "0c5b2f2e-4f3a-4a34-9c1c-3d9b3a4f8f11",
        "name": name,
        "space": "method",
        "space_hash": "5e" * 32,
        "question": "How much reconstruction must an autoencoder give up to sample well?",
        "grid": False,
        "objectives": {"val/reconstruction_mse": "minimize", "val/sample_fid": "minimize"},
        "data": {**data, "defaults": dict(data["defaults"])},
        "seed": 0,
        "epochs": 12,
        "num_trials": 24,
        "sampler": "TPESampler",
        "versions": {"python": "3.11.9", "torch": "2.15.0", "optuna": "5.0.0", "ray": "2.60.0", "mlflow": "3.17.2"},
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "command": "python -m study.run --space method",
        "created": "2026-11-20T18:00:00+00:00",
        "references": {
            "classifier": {"hash": "c1" * 32, "accuracy": 0.981},
            "floor": REAL_DATA,
            "pca": {split: {str(d): mse for d, mse in PCA_MSE.items()} for split in REAL_DATA},
            "samples": {"validation": 3000, "test": 3000},
        },
        "outcome": "completed",
        **changes,
    }


def configs(count: int, epochs: int, seed: int) -> list[tuple[str, TrialConfig]]:
    """(origin, config) of each trial: baseline trials first, as in a real study, then a random search."""
    generator = np.random.default_rng(seed)
    chosen: list[tuple[str, TrialConfig]] = [
        ("reference", TrialConfig(latent_dim=8, epochs=epochs)),
        ("reference", TrialConfig(encoder="gaussian", regularizer="kl", weight=0.047, latent_dim=8, epochs=epochs)),
    ]
    while len(chosen) < count:
        encoder, regularizer = METHODS[generator.integers(len(METHODS))]
        scale = SCALES[regularizer]
        drawn: dict[str, Any] = {
            "weight": TOTAL_VARIANCE * scale * float(10 ** generator.uniform(-1.5, 1.5)),
            "kernel": str(generator.choice(["imq", "rbf"])) if regularizer == "mmd" else "none",
            "latent_dim": int(generator.choice([2, 4, 8, 16])),
            "annealing": str(generator.choice(["constant", "linear"])),
            "annealing_fraction": float(generator.choice([0.0, 0.3])),
        }
        if not drawn["annealing_fraction"]:
            drawn["annealing"] = "constant"
        config = TrialConfig(encoder=encoder, regularizer=regularizer, epochs=epochs, **drawn)
        chosen.append(("first" if len(chosen) < 5 else "search", config))
    return chosen[:count]


def metrics_at(config: TrialConfig, epoch: int, generator: np.random.Generator) -> dict[str, float]:
    """Made-up metrics of one epoch: more weight harms reconstruction and, up to a point, improves samples."""
    strength = config.weight / TOTAL_VARIANCE / SCALES.get(config.regularizer, 1.0)
    noise = float(np.exp(0.04 * generator.standard_normal()))
    early = 1 + 2 * math.exp(-5 * epoch / config.epochs)
    mse = 0.033 * config.latent_dim**-0.45 * (1 + 0.15 * strength**0.8) * early * noise
    mse = min(mse, 0.073)
    fid = 6 + 75 / (1 + 12 * strength) + 1.5 * strength + 1.2 * config.latent_dim
    fid *= early**0.5 * float(np.exp(0.08 * generator.standard_normal()))
    rate = 12 / (1 + strength)
    ramp = 1.0
    if config.annealing == "linear" and config.annealing_fraction > 0:
        ramp = min(1.0, epoch / config.epochs / config.annealing_fraction)
    row = {
        "reconstruction_mse": mse,
        "reconstruction_fid": 4 + 200 * mse,
        "sample_fid": fid,
        "fitted_fid": 2 + 250 * mse + 0.3 * config.latent_dim,
        "latent_mmd": 0.05 / (1 + strength),
        "latent_rms": 1 + 1 / (1 + strength),
    }
    if config.encoder == "gaussian":
        row |= {"kl": rate, "active_units": float(round(min(config.latent_dim, 1 + rate))), "nll": 30 * mse * 64 + rate}
        row |= {"distortion": 36 * mse}
        row |= {"mu_low": -3.0 + epoch / config.epochs, "mu_high": 3.0, "sigma_low": 0.1, "sigma_high": 1.0}
    penalty = rate if config.regularizer == "kl" else 0.05 / (1 + strength)
    train = {
        "train/reconstruction": 32 * mse,
        "train/penalty": penalty,
        "train/weight": config.weight * ramp,
        "train/loss": 32 * mse + config.weight * ramp * penalty,
    }
    return {**train, **{f"val/{name}": value for name, value in row.items()}}


def arrays_of(config: TrialConfig, seed: int) -> dict[str, Any]:
    """Arrays in the shapes of `study.measure.pictures`: blobs for digits, one cloud of codes per class."""
    generator = np.random.default_rng(seed)

    def images(*shape: int) -> np.ndarray:
        y, x = np.mgrid[:8, :8]
        centre = generator.uniform(2, 6, (*shape, 2, 1, 1))
        blob = np.exp(-((y - centre[..., 0, :, :]) ** 2 + (x - centre[..., 1, :, :]) ** 2) / 4)
        return (255 * blob[..., None, :, :]).astype(np.uint8)

    labels = np.arange(200) % 10
    means = generator.standard_normal((10, config.latent_dim)) * (3 if config.regularizer == "none" else 0.8)
    return {
        "codes": (means[labels] + 0.4 * generator.standard_normal((200, config.latent_dim))).astype(np.float32),
        "labels": labels.astype(np.int64),
        "samples": images(49),
        "originals": images(20),
        "reconstructions": images(20),
        "first_stage": images(20),
        "interpolations": images(8, 11),
        "morphs": images(3, 11),
        "history": images(4, 10),
        "history_epochs": np.array([3, 6, 9, 12]),
        "morph_classes": np.array([[0, 1], [1, 2], [2, 3]]),
        "fitted_samples": images(49),
    }


def write_trial(
    directory: Path,
    number: int,
    config: TrialConfig,
    rows: list[dict[str, Any]],
    *,
    origin: str = "search",
    outcome: str = "completed",
    replicate_of: int | None = None,
    objectives: tuple[str, ...] = ("val/reconstruction_mse", "val/sample_fid"),
) -> Path:
    """Writes a trial's folder; with `outcome="running"` without `outcome.json`."""
    folder = directory / "trials" / f"{number:04d}"
    attempt = folder / "attempt-1"
    attempt.mkdir(parents=True)
    record = {"number": number, "origin": origin, "params": config.to_params(), "replicate_of": replicate_of}
    (folder / "trial.json").write_text(json.dumps({**record, "created": "2026-11-20T18:00:05+00:00"}))
    (attempt / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if outcome != "running":
        last = rows[-1] if rows else {}
        values = None if outcome == "failed" else {name: last.get(name) for name in objectives}
        end = {"outcome": outcome, "reason": REASONS.get(outcome), "values": values, "epochs": len(rows)}
        (folder / "outcome.json").write_text(json.dumps({**end, "ended": "2026-11-20T18:03:00+00:00"}))
    return folder


def make_study(
    runs_dir: Path,
    name: str = "toy",
    *,
    trials: int = 24,
    epochs: int = 12,
    seed: int = 0,
    mixed: bool = True,
    replicates: int = 0,
    arrays: bool = False,
    **study_changes: Any,
) -> Path:
    """Writes a whole study and returns its folder.

    Args:
        runs_dir: Parent of the study's folder.
        name: The study's name.
        trials: Number of trials without replicates; 0 writes only `study.json`.
        epochs: Planned epochs of each.
        seed: The same arguments write the same files.
        mixed: Every seventh trial is stopped half way, trial 9 fails with a NaN loss and the last one is running.
            Otherwise all complete; replicates always do.
        replicates: Number of replicates of each of the first two trials.
        arrays: Completed trials save an `arrays.npz`.
        study_changes: Replaced entries of `study.json`.
    """
    directory = runs_dir / name
    directory.mkdir(parents=True)
    changes = {"epochs": epochs, "num_trials": max(1, trials), "seed": seed, **study_changes}
    (directory / "study.json").write_text(json.dumps(study_record(name, **changes), indent=1))
    planned = [(origin, config, None) for origin, config in configs(trials, epochs, seed)]
    for copy in range(1, replicates + 1):
        planned += [("replicate", planned[of][1].replace(seed=copy), of) for of in range(min(2, trials))]
    for number, (origin, config, replicate_of) in enumerate(planned):
        generator = np.random.default_rng((seed, number))
        outcome, end = "completed", epochs
        if mixed and number % 7 == 6 and number < trials:
            outcome, end = "stopped", max(1, epochs // 2)
        if mixed and number == 9:
            outcome, end = "failed", min(3, epochs)
        if mixed and number == trials - 1 and number > 5:
            outcome, end = "running", max(1, epochs // 3)
        rows = []
        for epoch in range(1, end + 1):
            row = {"epoch": epoch, "time": 1.79e9 + 10.0 * number + 0.1 * epoch, "seconds": 0.05 + 0.01 * (number % 3)}
            row["evaluation_seconds"] = 0.02
            metrics = metrics_at(config, epoch, generator)
            if epoch % 3 and epoch != end:
                metrics = {key: value for key, value in metrics.items() if not key.startswith("val/")}
            if outcome == "failed" and epoch == end:
                metrics = {key: math.nan for key in metrics if key.startswith("train/")}
            if outcome == "completed" and epoch == epochs:
                row["final_seconds"] = 0.3
                metrics |= {key.replace("val/", "test/"): 1.03 * v for key, v in metrics.items() if "val/" in key}
            rows.append({**row, **metrics})
        folder = write_trial(directory, number, config, rows, origin=origin, outcome=outcome, replicate_of=replicate_of)
        if arrays and outcome == "completed":
            (folder / "attempt-1" / "images").mkdir()
            np.savez_compressed(folder / "attempt-1" / "arrays.npz", **arrays_of(config, number))
    return directory
