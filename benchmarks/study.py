"""Compares our study with the stock recipe on sixteen short trials on digits: wall time, packing and fixed cost.

    python -m benchmarks.study

Ours is the command that a user types. The stock recipe below follows the manuals of Ray, Optuna and MLflow: a function
trainable with a DataLoader, OptunaSearch and MLflowLoggerCallback. Both train the trials of `benchmarks.short_trials`
in their own process with an empty cache, with the same number of trials at once, threads and epochs, and evaluate with
the same functions after the same epochs and in full at the end. Ours also writes checkpoints and pictures.

Packing efficiency is the share of the slots' time in which a trial ran, by its own records, from the start of the first
trial to the start of the last. The fixed cost is the command's time before the first trial starts and after the last
one ends.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.options import EpochsOption, SlotsOption
from benchmarks.rows import Row, print_rows
from benchmarks.short_trials import LATENT_DIMS, NUM_TRIALS, WEIGHTS, points, settings
from benchmarks.studies import phase_rows, run_module, trial_intervals, trial_records, usable_cores
from study.cli import run_command
from study.disk.files import write_json

LEAST_RATIO = 4
MOST_FIXED_SECONDS = 30
OBJECTIVES = ("val/reconstruction_mse", "val/sample_fid")
_SPACE = Path(__file__).with_name("short_trials.py")
_RESULTS = "results.json"


def stock_recipe(scratch: Path, epochs: int | None, slots: int) -> None:
    """Runs the stock recipe and writes its trials' last reports to a file."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    from study.data.datasets import load_dataset
    from study.measure.context import prepare_context

    ray.init(num_cpus=slots, include_dashboard=False)
    data = load_dataset("digits")
    context = prepare_context(data, scratch / "cache")
    space = {
        "regularizer": tune.choice(list(WEIGHTS)),
        "weight": tune.uniform(0, data.summary.total_variance),
        "latent_dim": tune.choice(list(LATENT_DIMS)),
    }
    tuner = tune.Tuner(
        tune.with_parameters(stock_trainable, data=data, context=context, epochs=epochs),
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                metric=list(OBJECTIVES),
                mode=["min", "min"],
                points_to_evaluate=points(data.summary.total_variance),
            ),
            num_samples=NUM_TRIALS,
            max_concurrent_trials=slots,
        ),
        run_config=tune.RunConfig(
            storage_path=str(scratch / "stock"),
            callbacks=[MLflowLoggerCallback(f"sqlite:///{scratch}/stock.db", experiment_name="stock")],
        ),
    )
    results = tuner.fit()
    if results.errors:
        raise results.errors[0]
    write_json(scratch / _RESULTS, {"trials": [result.metrics for result in results]})


def stock_trainable(config: dict[str, Any], *, data: Any, context: Any, epochs: int | None) -> None:
    """One trial of the recipe, with a report after every epoch."""
    import torch
    from ray import tune
    from torch.utils.data import DataLoader, TensorDataset

    from study.config import TrialConfig
    from study.measure.evaluate import Evaluator
    from study.model.building import build_autoencoder, build_regularizer
    from study.model.loss import compute_loss
    from study.training.loop import evaluation_epochs

    torch.set_num_threads(1)
    changes = {} if epochs is None else {"epochs": epochs}
    trial = TrialConfig.from_params({**data.summary.defaults, **config, **settings(config["regularizer"]), **changes})
    torch.manual_seed(trial.seed)
    model, regularizer = build_autoencoder(trial, data.summary), build_regularizer(trial)
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.learning_rate)
    dataset = TensorDataset(data.train.images.float() / 255, data.train.labels)
    loader = DataLoader(dataset, batch_size=trial.batch_size, shuffle=True, drop_last=True)
    evaluator = Evaluator(data, context)
    metrics: dict[str, float] = dict.fromkeys(OBJECTIVES, float("inf"))
    for epoch in range(1, trial.epochs + 1):
        model.train()
        total = 0.0
        for x, _ in loader:
            terms = compute_loss(model, regularizer, x, trial.weight, None)
            optimizer.zero_grad()
            terms.loss.backward()
            optimizer.step()
            total += terms.loss.item()
        if epoch in evaluation_epochs(trial.epochs):
            metrics |= {f"val/{name}": value for name, value in evaluator.search_metrics(model).items()}
        if epoch == trial.epochs:
            metrics |= evaluator.final_metrics(model)
        tune.report({"epoch": epoch, "train/loss": total / len(loader), **metrics})


def measure(epochs: int | None, slots: int) -> list[Row]:
    """Runs both and compares them."""
    changed = [] if epochs is None else ["--epochs", str(epochs)]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        study = scratch / "short"
        command = ["--space", str(_SPACE), "--name", study.name, "--runs-dir", folder, "--max-concurrent", str(slots)]
        ours = run_module("study.run", *command, *changed, log=scratch / "ours.log")
        intervals = trial_intervals(study)
        phases = phase_rows(study, ours, slots)
        finals = [records[-1] for records in trial_records(study)]
        command = ["--stock", folder, "--slots", str(slots)]
        stock = run_module("benchmarks.study", *command, *changed, log=scratch / "stock.log")
        stock_finals = json.loads((scratch / _RESULTS).read_text())["trials"]
    if not len(finals) == len(stock_finals) == NUM_TRIALS:
        raise RuntimeError(f"{len(finals)} and {len(stock_finals)} trials ended, not {NUM_TRIALS}")
    fixed = ours.seconds - (max(interval.end for interval in intervals) - intervals[0].start)
    errors = [statistics.mean(final[OBJECTIVES[0]] for final in side) for side in (finals, stock_finals)]
    return [
        Row("ours, s", ours.seconds),
        Row("stock recipe, s", stock.seconds),
        Row("stock recipe over ours", stock.seconds / ours.seconds, LEAST_RATIO),
        Row("median trial, s", statistics.median(interval.seconds for interval in intervals)),
        Row("fixed cost, s (goal 20)", fixed, MOST_FIXED_SECONDS, at_most=True),
        *phases,
        Row("mean reconstruction MSE, ours over stock", errors[0] / errors[1]),
    ]


def main(
    epochs: EpochsOption = None,
    slots: SlotsOption = None,
    stock: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> int:
    """Prints the rows; with `stock`, is the recipe's process."""
    if stock:
        stock_recipe(stock, epochs, slots or usable_cores())
        return 0
    return print_rows(measure(epochs, slots or usable_cores()))


if __name__ == "__main__":
    run_command(main)
