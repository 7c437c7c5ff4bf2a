"""The list of bugs to plant stays true to the core: each text to change occurs exactly once."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUGS = runpy.run_path(str(ROOT / "tests" / "mutations" / "protocol_bugs.py"))["BUGS"]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_text_to_change_occurs_once(bug):
    text = (ROOT / "csrc" / "proto" / bug.file).read_text()
    assert text.count(bug.old) == 1
    assert bug.new != bug.old
