"""docs/scale.md: its counts come again from their seeds, its tables are what was counted, and its
sentences about growth are true of the counts."""

from __future__ import annotations

import json
import sys
from math import log
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "sim"))

import scale  # noqa: E402
import scale_report  # noqa: E402

RESULTS = json.loads(scale_report.RESULTS.read_text())


@pytest.mark.parametrize("nodes", [10, 32])
@pytest.mark.parametrize("name", scale.MEASURES)
def test_the_same_seed_counts_the_same(name, nodes):
    kept = [row for row in RESULTS[name] if (row["nodes"], row["seed"]) == (nodes, 1)]
    _, row, _ = scale.measure((name, nodes, 1))
    assert [json.loads(json.dumps(row))] == kept


def test_all_sizes_and_seeds_are_there():
    for rows in RESULTS.values():
        found = [(row["nodes"], row["seed"]) for row in rows]
        assert found == [(nodes, seed) for nodes in scale.NODES for seed in range(3)]
    assert set(RESULTS) == set(scale.MEASURES) == set(scale_report.TABLES)


def test_the_tables_are_what_was_counted():
    page = scale_report.PAGE.read_text()
    assert scale_report.written(page, RESULTS) == page
    assert scale_report.PLOT.exists()


def mean(name, field):
    return scale_report.means(RESULTS[name], field)


def test_what_the_page_says_of_growth():
    spread = mean("replicas", "intervals")
    assert spread[1000] < spread[10] + 2 * log(1000 / 10, 2)
    assert max(mean("death", "first_suspected").values()) < 5
    assert mean("death", "last_buried")[1000] < mean("death", "last_buried")[10] + log(100, 2)
    assert set(mean("death", "others_buried").values()) == {0}
    assert set(mean("lossy", "buried_members").values()) == {0}
    assert max(mean("joins", "bytes_per_node_interval").values()) < 2 * (28 + 32 * 20)
    assert mean("joins", "intervals")[1000] > mean("joins", "intervals")[100] * 10
    for nodes, moved in mean("ring", "moved_share").items():
        assert moved == pytest.approx(1 / (nodes + 1), rel=0.1)
    assert max(mean("ring", "most_loaded_bounded").values()) <= 1.25
