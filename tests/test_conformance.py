"""docs/conformance.md names tests that exist, and all of the 26 of raft_paper_test.go."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "conformance.md").read_text()


def test_every_test_named_exists():
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", PAGE)
    assert len(named) > 50
    for file, name in named:
        text = (ROOT / file).read_text()
        assert re.search(rf"^(?:def|static void) {name}\(", text, re.MULTILINE), f"{file}::{name}"


def test_c_tests_named_are_also_called():
    for file, name in re.findall(r"`(tests/c/[\w/.]+)::(\w+)`", PAGE):
        assert re.search(rf"^  {name}\(", (ROOT / file).read_text(), re.MULTILINE), name


def test_all_26_tests_from_the_paper_are_named():
    table = PAGE.split("by its names", 1)[1].split("Message flow", 1)[0]
    rows = [line for line in table.splitlines() if "test_raft_paper.py::" in line]
    names = [name.strip() for row in rows for name in row.split("|")[1].split(",")]
    assert len(names) == len(set(names)) == 26
