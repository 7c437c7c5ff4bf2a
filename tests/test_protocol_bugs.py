"""The lists of bugs to plant stay true to the core: each text to change occurs exactly once."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MUTATIONS = ROOT / "tests" / "mutations"


def planted():
    """What `plant.py` defines, without leaving its folder on the path."""
    sys.path.insert(0, str(MUTATIONS))
    try:
        return runpy.run_path(str(MUTATIONS / "plant.py"))
    finally:
        sys.path.remove(str(MUTATIONS))


PLANT = planted()
BUGS = PLANT["BUGS"]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_text_to_change_occurs_once(bug):
    text = (ROOT / "csrc" / bug.path).read_text()
    assert text.count(bug.old) == 1
    assert bug.new != bug.old


def test_every_core_has_bugs_and_every_bug_is_told_once():
    assert {bug.face for bug in BUGS} == set(PLANT["FACES"])
    assert len({bug.name for bug in BUGS}) == len(BUGS)


def test_the_page_holds_every_bug_and_each_was_caught():
    page = (ROOT / "docs" / "mutations.md").read_text()
    assert f"**{len(BUGS)} of {len(BUGS)} bugs caught**" in page
    for bug in BUGS:
        assert page.count(f"| {bug.face} | {bug.name} (`{bug.file}`) | `") == 1
