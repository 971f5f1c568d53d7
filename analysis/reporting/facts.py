"""How a study was done, from its record: units, data and splits, sample counts, versions and commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.plotting import naming
from study.config import EXTRA_ORIGINS, DataSummary, TrialConfig
from study.disk.study_json import StudyRecord
from study.results.frame import StudyFrames

SPLIT_SIZES = {"training": "train_size", "validation": "validation_size", "test": "test_size"}


def method_facts(frames: StudyFrames) -> list[tuple[str, str]]:
    """The method section as (term, description). Joined studies share data and objectives; each lists the rest."""
    study = frames.study
    facts = [fact for record in frames.records for fact in _study_facts(frames, record)]
    ways = "; ".join(f"{naming.label(name)} ({name}), {way}" for name, way in frames.objectives.items())
    facts.append(("Objectives", f"{ways}. Values are from a trial's last epoch, never from its best."))
    units = "loss = D + w · m(t) · R(z), reconstruction term D in nats per image; MSE per pixel on [0, 1]"
    facts.append(("Units", units))
    facts += _data_facts(study.data) + _evaluation_facts(study.evaluation)
    texts = {name: sorted(set(frames.text(name))) for name in TrialConfig().to_params()}
    fixed = ", ".join(f"{name} = {values[0]}" for name, values in texts.items() if len(values) == 1)
    if fixed:
        facts.append(("The same in every trial", fixed))
    return facts


def _study_facts(frames: StudyFrames, study: StudyRecord) -> list[tuple[str, str]]:
    facts = [("Study", f"{study.name} ({study.outcome}, started {study.created})")]
    facts.append(("Search space", f"{study.space} (SHA-256 {study.space_hash[:12]})"))
    origins = frames.text("origin")[frames.text("study") == study.name]
    extra = {origin: int((origins == origin).sum()) for origin in EXTRA_ORIGINS}
    counts = [f"{len(origins) - sum(extra.values())} of {study.num_trials}"]
    counts += [f"plus {naming.count(number, origin)}" for origin, number in extra.items() if number]
    facts.append(("Trials", f"{', '.join(counts)}; sampler {study.sampler}, seed {study.seed}"))
    versions = ", ".join(f"{name} {version}" for name, version in (study.versions or {}).items())
    code = f"; code {study.git_commit[:12]}" if study.git_commit else ""
    facts.append(("Versions", f"{versions}{code}"))
    if study.command:
        facts.append(("Command", study.command))
    facts += [("Changed by hand", change.line) for change in study.changes]
    return facts


def _data_facts(data: DataSummary) -> list[tuple[str, str]]:
    sizes = ", ".join(f"{getattr(data, key)} {name}" for name, key in SPLIT_SIZES.items())
    shape = f"{data.height} x {data.width} pixels, {data.channels} channel(s) in [0, 1]"
    rule = "Search and early stopping use validation images; test images are used once, after a trial's last epoch."
    return [
        ("Data", f"{data.name}: {shape}; SHA-256 {data.hash[:12]}"),
        ("Splits", f"{sizes}. {rule}"),
        ("Total pixel variance V", naming.number(data.total_variance)),
    ]


_TRAINED = {
    "classes": "trained to tell classes apart, and whole from broken images",
    "contrast": "trained without classes to tell images apart, and whole from broken ones",
}


def _network(network: Mapping[str, Any]) -> str:
    """What is known of a feature network; version 0.1 knew one kind and recorded no name."""
    family = str(network.get("name", "a classifier"))
    trained = _TRAINED.get(family.partition(",")[0])
    many = int(network.get("networks", 1))
    what = f"{many} networks {trained}" if many > 1 else f"a network {trained}" if trained else family
    parts = [f"accuracy {100 * float(network['accuracy']):.1f} %"] if network.get("accuracy") is not None else []
    parts.append(f"hash {str(network.get('hash'))[:12]}")
    return f"{what} ({', '.join(parts)})"


def _evaluation_facts(context: dict[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if network := context.get("instrument") or context.get("classifier"):
        facts.append(("Feature network", f"Fréchet distances use the features of {_network(network)}"))
    if network := context.get("second_instrument"):
        facts.append(("Second feature network", f"{naming.label('second_fid')} uses those of {_network(network)}"))
    facts += [("Note", str(note)) for note in context.get("notes", ())]
    if samples := context.get("samples"):
        counts = ", ".join(f"{count:,} for the {split} split" for split, count in samples.items())
        facts.append(("Generated images", f"{counts}; the same z for every trial"))
    if real_data := context.get("real_data"):
        values = "; ".join(
            f"{split}: " + ", ".join(f"{naming.short_label(name)} {naming.number(v)}" for name, v in metrics.items())
            for split, metrics in real_data.items()
        )
        facts.append(("Real-data baseline", f"training images in place of generated ones, {values} (not a bound)"))
    return facts
