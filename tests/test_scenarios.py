"""Scenarios as text: commands and expected trace (`--rewrite-scenarios` writes the latter anew)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsm_native.testing.raft_script import RaftScript
from dsm_native.testing.scenario import rewritten

FOLDER = Path(__file__).parent / "scenarios"


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("raft_*.txt")))
def test_raft(name, request):
    path = FOLDER / name
    text = path.read_text()
    now = rewritten(text, RaftScript().execute)
    if request.config.getoption("--rewrite-scenarios"):
        path.write_text(now)
    else:
        assert now == text


def test_a_block_is_compared_with_what_it_prints_now():
    text = "# why\ncount 2\n----\n1\n\n# only a comment\n"
    assert rewritten(text, lambda line: ["1", "2"]) == (
        "# why\ncount 2\n----\n1\n2\n\n# only a comment\n"
    )
    assert rewritten("quiet\n", lambda line: []) == "quiet\n----\nnothing\n"


def test_an_unknown_command_is_named():
    with pytest.raises(ValueError, match="no command 'dance'"):
        RaftScript().execute("dance 1")
