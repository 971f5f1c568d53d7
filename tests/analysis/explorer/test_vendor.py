"""The libraries that the page carries are the published ones."""

from __future__ import annotations

import hashlib
import re

from analysis.explorer.data import FOLDER, SCRIPTS

VENDOR = FOLDER / "vendor"


def test_the_files_have_the_sums_that_the_readme_says() -> None:
    said = dict(
        re.findall(r"^\| `(\S+\.js)` .* `([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text(), re.MULTILINE)
    )
    assert set(said) == {path.name for path in VENDOR.glob("*.js")} == {p.name for p in SCRIPTS if p.parent == VENDOR}
    for name, digest in said.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest


def test_no_script_can_end_its_element_or_reach_the_network() -> None:
    for script in SCRIPTS:
        text = script.read_text()
        assert "</script" not in text.lower()
        if script.parent != VENDOR:  # D3 can fetch; nothing of ours asks it to
            assert not any(word in text for word in ("fetch(", "XMLHttp", "import(", "http:", "https:", "innerHTML"))
