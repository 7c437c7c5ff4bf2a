"""docs/testing.md runs and names what exists; every public name of dsm_native.testing is told."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path

import pytest

from dsm_native import testing
from dsm_native.testing.faults import KINDS
from dsm_native.testing.trials import TRIALS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "testing.md").read_text()


def test_its_examples_print_what_it_says():
    failed, tried = doctest.testfile(str(ROOT / "docs" / "testing.md"), module_relative=False)
    assert (failed, tried) == (0, 2)


def test_every_kind_of_fault_and_every_checker_is_told():
    for name in (*KINDS, *(name for name in testing.__all__ if name.startswith("check_"))):
        assert re.search(rf"^\| `{name}` \|", PAGE, re.MULTILINE), name
    assert PAGE.count("\n| two-phase commit |") == 1
    for protocol in TRIALS:
        assert f"| {protocol.split(',')[0]} |".lower() in PAGE.lower(), protocol


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_is_documented(name):
    found = getattr(testing, name)
    if not callable(found):
        return
    assert len(inspect.getdoc(found) or "") > 30
    if not inspect.isclass(found) or issubclass(found, tuple | Exception):
        return
    for method, value in vars(found).items():
        if not method.startswith(("_", "do_")) and inspect.isfunction(value):
            assert inspect.getdoc(value), f"{name}.{method}"


@pytest.mark.parametrize("file", re.findall(r"\]\((?!http)([\w./]+)\)", PAGE))
def test_links_lead_somewhere(file):
    assert (ROOT / "docs" / file).exists()
