"""Runs a small study and uses what it found: python first_study.py

A second run finds the study complete and trains nothing; with more trials it goes on where it was.
"""

import study


def suggest(trial, data):
    low, high = study.weight_range(data, "kl")
    return {
        "weight": trial.suggest_float("weight", low, high, log=True),
        "latent_dim": trial.suggest_categorical("latent_dim", (4, 8)),
    }


SPACE = study.SearchSpace(
    question="Which KL weight samples best for what it costs in reconstruction?",
    base={"encoder": "gaussian", "regularizer": "kl"},
    suggest=suggest,
)

if __name__ == "__main__":
    found = study.run_study(SPACE, data="digits", num_trials=4, epochs=24, resume=True, create=True)

    print(found.front[["number", "latent_dim", "weight", "val/reconstruction_mse", "val/sample_fid"]])
    if found.recommended is not None:
        print("recommended: trial", found.recommended["number"])

    found.figure("tradeoff").savefig("tradeoff.png")
    found.sample(25, seed=1).save("samples.png")
    model = found.model("nearly_best:sample_fid")
    images = model.sample(100, prior="fitted")  # a tensor, [100, 1, 8, 8] in [0, 1]
    print("mean pixel of new images:", round(float(images.mean()), 2))
    print(found.report(), found.export("model"))
