"""`study.json` is accepted only if each field is of the kind that other code relies on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from study.config import UserError
from study.disk.study_json import read_study, write_study
from tests.helpers_study import study_record

LATER = {"scheduler": "asha", "eta": 2.0, "storage": None, "warm_start": {"study": "a", "points": [{"weight": 1.5}]}}


def write(directory: Path, record: object) -> None:
    (directory / "study.json").write_text(json.dumps(record))


@pytest.mark.parametrize("record", [study_record(), study_record(**LATER)], ids=["earlier", "now"])
def test_a_record_comes_back_with_every_field(tmp_path: Path, record: dict[str, Any]) -> None:
    write(tmp_path, {**record, "of a later version": [1]})
    found = read_study(tmp_path)
    assert found is not None
    kept = found.model_dump(mode="json")
    evaluation = kept.pop("evaluation")
    expected = record.pop("references")
    assert evaluation == {"real_data": expected.pop("floor"), **expected}
    assert record.items() <= kept.items() and kept["of a later version"] == [1]
    write_study(tmp_path, found)
    assert read_study(tmp_path) == found


def test_where_no_study_is_there_is_no_record(tmp_path: Path) -> None:
    assert read_study(tmp_path) is None


@pytest.mark.parametrize("field", ["id", "name", "space", "space_hash", "objectives", "data", "seed", "num_trials"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    record = study_record()
    del record[field]
    write(tmp_path, record)
    with pytest.raises(UserError, match=f"{field} is missing"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "x' OR 1=1"),
        ("name", "../x"),
        ("space", 3),
        ("objectives", {}),
        ("objectives", {"val/sample_fid": "down"}),
        ("data", {"name": "digits", "hash": None}),
        ("seed", -1),
        ("seed", True),
        ("epochs", 0),
        ("epochs", 2.5),
        ("num_trials", 0),
        ("num_trials", 10**12),
        ("eta", 1),
        ("eta", math.nan),
        ("storage", ["postgresql://h/d"]),
        ("warm_start", {"study": "a"}),
        ("warm_start", {"study": "a", "points": [{"weight": [1]}]}),
        ("references", "none"),
        ("versions", []),
    ],
)
def test_a_field_of_another_kind_is_named_in_one_line(tmp_path: Path, field: str, value: Any) -> None:
    write(tmp_path, study_record(**{field: value}))
    with pytest.raises(UserError, match=f"{field} is ") as caught:
        read_study(tmp_path)
    assert "\n" not in str(caught.value)
