"""The benches: a quick run gives the whole table, and the arithmetic behind it is right.

Nothing here asserts a speed. What a missing package leaves unmeasured must be named with it.
"""

import importlib.util
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHES = Path(__file__).parent.parent / "benches"
sys.path.append(str(BENCHES))

import rounds  # noqa: E402
import table  # noqa: E402
import targets  # noqa: E402
import workload  # noqa: E402

LMDB_ROWS = {name for name in targets.BY_NAME if "lmdb" in name or name.startswith("view")}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One quick run: its text, its JSON and its folder. test_protocol_benches.py has the rest."""
    folder = tmp_path_factory.mktemp("results")
    parts = ("ratios", "scaling", "kill", "transactions", "sync", "tasks", "arrays", "lifetime")
    parts += ("membership", "rebuild", "rebalance", "checkpoint", "memory", "latency")
    command = [sys.executable, str(BENCHES / "compare.py"), "--quick", "--output", str(folder)]
    ran = subprocess.run(
        [*command, "--parts", *parts],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, json.loads((folder / "latest.json").read_text()), folder


def test_every_row_is_there_and_is_measured_or_says_why(quick):
    text, result, _ = quick
    has_lmdb = importlib.util.find_spec("lmdb") is not None
    assert [row["name"] for row in result["rows"]] == [t.name for t in targets.TARGETS]
    for row in result["rows"]:
        assert row["what"] in text
        assert row["verdict"] in text
        if row["name"] in ("heat_joblib", "heat_ray"):
            assert row["measured"] is None
            assert row["verdict"].split(": ", 1)[1].split(":")[0] in ("joblib", "ray")
        elif not has_lmdb and row["name"] in LMDB_ROWS:
            assert row["measured"] is None
            assert "py-lmdb: not installed" in row["verdict"]
        elif row["name"].endswith("_ray"):
            assert "left out of a quick run" in row["verdict"]
        else:
            assert row["low"] <= row["measured"] <= row["high"], row
            assert row["verdict"].split(" ")[0] in {"met", "met,", "missed", "the", "for"}


def test_figures_follow_from_the_raw_rounds(quick):
    _, result, _ = quick
    measured = {row["name"]: row["measured"] for row in result["rows"]}
    gets = result["raw"]["ns_per_get"]
    assert measured["get_dict"] == pytest.approx(
        statistics.median(a / b for a, b in zip(gets["get dsm"], gets["get dict"], strict=True))
    )
    same = result["raw"]["scaling_operations_per_second"]["same"]
    assert measured["same_share"] == pytest.approx(
        statistics.median(
            100 * min(turn["dsm together"]) / sum(turn["dsm together"]) for turn in same
        )
    )
    memory = result["raw"]["memory"]
    assert memory["stored"] == memory["objects"]
    assert measured["memory"] == pytest.approx(
        (memory["used_bytes_grown"] - memory["payload_bytes"]) / memory["objects"]
    )
    moves = result["raw"]["rebalance_moves"]
    assert measured["rebalance_share"] == pytest.approx(
        max(change["moved"] / change["ideal"] for change in moves)
    )
    puts = result["raw"]["rebalance_put_us"]
    assert measured["rebalance_put_p99"] == pytest.approx(
        statistics.median(
            moving["p99"] / quiet["p99"]
            for moving, quiet in zip(puts["beside"], puts["quiet"], strict=True)
        )
    )
    for kill in result["raw"]["kills_ns"]["after death"]:
        assert 0 < kill["died_ns"] < kill["put_done_ns"]


def test_latencies_are_ordered_and_absent_stores_have_a_reason(quick):
    text, result, _ = quick
    for store, actions in result["raw"]["latency_us"].items():
        for action in ("get", "put"):
            if action in actions:
                found = actions[action]
                assert 0 < found["p50"] <= found["p99"] <= found["p99.9"] <= found["max"], store
                counts = result["raw"]["latency_histograms"][store][action]["count"]
                assert sum(counts) == found["operations"]
    for name, reason in result["absent"].items():
        assert f"absent: {name}: {reason}" in text
    assert result["quick"]
    assert "THE FIGURES MEAN NOTHING" in text


def test_the_machine_is_named_and_the_plot_is_drawn(quick):
    text, result, folder = quick
    for part in ("cpu", "kernel", "python", "date"):
        assert result["machine"][part] in text
    assert (folder / "latest.png").exists() != ("plot" in result["absent"])


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        ("get_dict", 1.6, "met, the aim too"),
        ("get_dict", 1.87, "met, the aim missed by 10.0%"),
        ("get_dict", 2.5, "met, the aim missed by 47.1%"),
        ("get_dict", 3.0, "missed by 20.0%"),
        ("scale_read", 0.99, "met, the aim too"),
        ("scale_read", 0.93, "met, the aim missed by 5.1%"),
        ("scale_read", 0.465, "missed by 50.0%"),
        ("get_lmdb", 0.28, "met"),
        ("get_lmdb_long", 0.5, "the aim met"),
        ("get_lmdb_long", 1.0, "the aim missed by 100.0%"),
        ("same_share", 20.0, "missed by 20.0%"),
        ("kill_p50", 1.0, "for information"),
    ],
)
def test_verdicts(target, value, verdict):
    assert targets.BY_NAME[target].verdict(value) == verdict


def test_a_row_that_was_not_measured_stays_in_the_report():
    found = rounds.Findings(unmeasured={"get_lmdb": "py-lmdb: gone"})
    text = table.report(table.rows(found), {}, {"py-lmdb": "gone"}, "a machine")
    assert "not measured: py-lmdb: gone" in text
    assert text.count("not measured:") == len(targets.TARGETS)
    assert "absent: py-lmdb: gone" in text


@given(st.lists(st.integers(1, 10**9), min_size=1), st.sampled_from([0.5, 0.99, 0.999]))
def test_quantile_is_the_smallest_figure_that_enough_do_not_exceed(figures, q):
    ordered = sorted(figures)
    naive = next(f for f in ordered if sum(g <= f for g in figures) >= q * len(figures))
    assert rounds.quantile(ordered, q) == naive


def test_interleaved_rounds_alternate_and_leave_the_warm_up_out():
    order: list[str] = []

    def contender(name: str):
        return lambda: order.append(name) or (len(order), -len(order))

    taken = rounds.interleave({"a": contender("a"), "b": contender("b")}, 4)
    assert "".join(order[-8:]) == "abbaabba"
    assert [len(figures) for figures in taken.values()] == [4, 4, 4, 4]
    assert all(figure < 0 for figure in taken["a"] + taken["b"])
    assert all(figure > 0 for figure in taken[rounds.first_pass("a")])
    assert len(order) == 2 * (4 + rounds.WARM_UP_ROUNDS)


def test_a_round_that_was_interrupted_is_measured_anew(monkeypatch):
    switches = iter([0, 1, 1, 1])
    monkeypatch.setattr(rounds, "preemptions", lambda: next(switches))
    runs: list[int] = []
    assert min(rounds.one_round(lambda: (7,), runs.append, 1)()) > 0
    assert runs == [7, 7, 7, 7]
    monkeypatch.setattr(rounds, "preemptions", itertools.count().__next__)
    assert min(rounds.one_round(lambda: (7,), runs.append, 1)()) > 0
    assert len(runs) == 4 + 2 * rounds.ATTEMPTS


@pytest.mark.parametrize("kind", [str, bytes])
def test_keys_are_equal_but_not_identical_and_of_the_promised_size(kind):
    population = workload.Population(500)
    order = list(range(500))
    first, second = population.fresh(order, kind), population.fresh(order, kind)
    assert first == second
    assert len(set(first)) == 500
    assert all(a is not b for a, b in zip(first, second, strict=True))
    assert {len(key) for key in first} <= set(range(8, 17))
    assert sorted(population.shuffled()) == order


def test_zipf_draws_the_first_rank_most_often():
    population = workload.Population(1000)
    drawn = population.zipf_order(20_000)
    shares = sorted((drawn.count(i) for i in set(drawn)), reverse=True)
    harmonic = sum(rank**-workload.ZIPF_EXPONENT for rank in range(1, 1001))
    assert shares[0] / len(drawn) == pytest.approx(1 / harmonic, rel=0.15)
