"""How a study was done, as its record says: units, data and splits, sample counts, versions and commands."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.plotting import style
from study.config import EXTRA_ORIGINS, TrialConfig
from study.results.frame import StudyFrames

SPLIT_SIZES = {"training": "train_size", "validation": "validation_size", "test": "test_size"}


def method_facts(frames: StudyFrames) -> list[tuple[str, str]]:
    """The method section: (what, how). Several studies share data and objectives; the rest is told of each."""
    study = frames.study
    facts = [fact for record in frames.records for fact in _study_facts(frames, record)]
    ways = "; ".join(f"{style.label(name)} ({name}), {way}" for name, way in frames.objectives.items())
    facts.append(("Objectives", f"{ways}. Values are those of a trial's last epoch, never its best."))
    units = "loss = D + w · m(t) · R(z), reconstruction term D in nats per image; MSE per pixel on [0, 1]"
    facts.append(("Units", units))
    facts += _data_facts(study.get("data") or {}) + _reference_facts(study.get("references") or {})
    texts = {name: sorted(set(frames.text(name))) for name in TrialConfig().to_params()}
    fixed = ", ".join(f"{name} = {values[0]}" for name, values in texts.items() if len(values) == 1)
    if fixed:
        facts.append(("The same in every trial", fixed))
    return facts


def _study_facts(frames: StudyFrames, study: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [("Study", f"{study.get('name')} ({study.get('outcome')}, begun {study.get('created')})")]
    facts.append(("Search space", f"{study.get('space')} (SHA-256 {str(study.get('space_hash'))[:12]})"))
    origins = frames.text("origin")[frames.text("study") == str(study.get("name"))]
    extra = {origin: int((origins == origin).sum()) for origin in EXTRA_ORIGINS}
    counts = [f"{len(origins) - sum(extra.values())} of {study.get('num_trials')}"]
    counts += [f"besides {style.count(number, origin)}" for origin, number in extra.items() if number]
    facts.append(("Trials", f"{', '.join(counts)}; sampler {study.get('sampler')}, seed {study.get('seed')}"))
    versions = ", ".join(f"{name} {version}" for name, version in study.get("versions", {}).items())
    code = f"; code {study['git_commit'][:12]}" if study.get("git_commit") else ""
    facts.append(("Versions", f"{versions}{code}"))
    if command := study.get("command"):
        facts.append(("Command", str(command)))
    return facts


def _data_facts(data: dict[str, Any]) -> list[tuple[str, str]]:
    if not data:
        return []
    sizes = ", ".join(f"{data.get(key)} {name}" for name, key in SPLIT_SIZES.items())
    shape = f"{data.get('height')} x {data.get('width')} pixels, {data.get('channels')} channel(s) in [0, 1]"
    rule = "Search and early stopping saw validation images only; test images once, after a trial's last epoch."
    return [
        ("Data", f"{data.get('name')}: {shape}; SHA-256 {str(data.get('hash'))[:12]}"),
        ("Splits", f"{sizes}. {rule}"),
        ("Total pixel variance V", style.number(float(data.get("total_variance", np.nan)))),
    ]


def _reference_facts(references: dict[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if judge := references.get("classifier"):
        words = "Fréchet distances are taken in the feature space of a classifier trained on the training images"
        accuracy = f"accuracy {100 * float(judge.get('accuracy', np.nan)):.1f} %"
        facts.append(("Judge", f"{words} ({accuracy}, SHA-256 {str(judge.get('hash'))[:12]})"))
    if samples := references.get("samples"):
        counts = ", ".join(f"{count:,} against {split}" for split, count in samples.items())
        facts.append(("Generated images", f"{counts}; equal counts, and the same z, for every trial"))
    if floor := references.get("floor"):
        floors = "; ".join(
            f"{split}: " + ", ".join(f"{style.short_label(name)} {style.number(v)}" for name, v in values.items())
            for split, values in floor.items()
        )
        facts.append(("Real training images against the split", f"{floors} (a reference, not a bound)"))
    return facts
