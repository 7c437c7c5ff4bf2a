"""The benches of the protocol cores: a quick run gives the whole table, the material is what it
says, and merging takes the widest vectors with every compiler that is here.

Nothing here asserts a speed.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from naive_checkers import is_causal, is_linearizable

from dsm_native.testing import (
    check_causal,
    check_eventual,
    check_linearizable,
    check_sequential,
)

ROOT = Path(__file__).parent.parent
BENCHES = ROOT / "benches"
sys.path.append(str(BENCHES))

import histories  # noqa: E402
import protocol_targets  # noqa: E402
import raft_clusters  # noqa: E402

RIVALS = {"ring_python": "uhashring", "raft_pysyncobj": "PySyncObj", "pysyncobj": "PySyncObj"}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One quick run: its text, its JSON and its folder."""
    folder = tmp_path_factory.mktemp("results")
    command = [sys.executable, str(BENCHES / "compare.py"), "--quick", "--parts", "protocols"]
    ran = subprocess.run(
        [*command, "--output", str(folder)], capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, json.loads((folder / "protocols.json").read_text()), folder


def test_every_row_is_there_and_is_measured_or_says_why(quick):
    text, result, folder = quick
    assert [row["name"] for row in result["rows"]] == [t.name for t in protocol_targets.TARGETS]
    for row in result["rows"]:
        assert row["what"] in text
        if row["measured"] is not None:
            assert 0 < row["low"] <= row["measured"] <= row["high"], row
            continue
        rival = RIVALS.get(row["name"])
        assert row["verdict"].startswith("not measured: ")
        assert rival in result["absent"] if rival else row["name"].startswith("check_"), row
    assert (folder / "protocols.png").exists() != ("plot" in result["absent"])
    assert not (folder / "latest.json").exists()


def test_figures_follow_from_the_raw_rounds(quick):
    _, result, _ = quick
    measured = {row["name"]: row["measured"] for row in result["rows"]}
    (native,) = result["raw"]["native_ns"].values()
    assert measured["ring_key"] == statistics.median(native["ring_key"])
    assert measured["raft_64"] == pytest.approx(1e9 / statistics.median(native["raft_64"]))
    merges = result["raw"]["merge_python_ns"]
    assert measured["merge_python"] == pytest.approx(
        statistics.median(a / b for a, b in zip(merges["dict"], merges["dsm"], strict=True))
    )
    steps = result["raw"]["simulator_steps_per_second"]
    assert measured["simulator"] == pytest.approx(statistics.median(steps["simulator"]))
    checked = result["raw"]["checker_seconds"]
    assert {tuple(sizes) for sizes in checked.values()} == {("100", "400")}
    assert len(checked) == 8


@pytest.mark.parametrize("seed", range(30))
def test_histories_are_of_their_level(seed):
    assert is_linearizable(histories.strong(9, seed, 3))
    assert check_linearizable(histories.strong(300, seed))
    assert check_sequential(histories.sequential(300, seed))
    causal, resting = histories.causal(300, seed)
    assert check_causal(causal, resting=resting)
    assert is_causal(histories.causal(8, seed, 3)[0], {})
    eventual, rest = histories.causal(300, seed, keeps_order=False)
    assert check_eventual(eventual, rest)


def test_weaker_histories_are_weaker_in_fact():
    seeds = range(30)
    assert not all(check_linearizable(histories.sequential(300, seed)) for seed in seeds)
    assert not all(check_sequential(histories.causal(300, seed)[0]) for seed in seeds)
    loose = [histories.causal(300, seed, keeps_order=False)[0] for seed in seeds]
    assert not all(map(check_causal, loose))


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (histories.strong, check_linearizable),
        (histories.sequential, check_sequential),
        (lambda count, seed: histories.causal(count, seed)[0], check_causal),
    ],
    ids=["strong", "sequential", "causal"],
)
@pytest.mark.parametrize("seed", range(5))
def test_one_stale_read_is_refused(make, check, seed):
    bad = histories.with_one_stale_read(make(400, seed))
    assert not check(bad)


def test_three_handles_apply_every_command_also_behind_snapshots():
    cluster = raft_clusters.HandleCluster()
    cluster.commit([b"%064d" % number for number in range(6_000)])
    cluster.commit([b"one"], batch=1)
    assert cluster.applied == [6_001] * 3


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX-512 and AVX2 are x86-64's")
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_merging_uses_the_widest_vectors(compiler, tmp_path):
    for tool in (compiler, "objdump"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    built = tmp_path / "vector_clock.o"
    flags = ["-std=gnu11", "-O3", "-fPIC", "-DNDEBUG", "-c"]
    source = ROOT / "csrc" / "proto" / "vector_clock.c"
    subprocess.run([compiler, *flags, str(source), "-o", str(built)], check=True)
    listed = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(built)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    functions = dict(re.findall(r"<(\w+)>:\n((?:.+\n)+)", listed))
    for name, register, other in (("avx512", "%zmm", "%ymm"), ("avx2", "%ymm", "%zmm")):
        body = functions[f"merge_{name}"]
        assert re.search(rf"vmovdqu\w* .*{register}", body), body
        assert re.search(rf"(?:vpmaxuq|vpcmp\w+) .*{register}", body), body
        assert other not in body, body
    # The dispatch looks at two words of the run-time library and jumps; it asks nobody.
    dispatch = functions["dsm_vector_clock_merge"]
    calls = set(re.findall(r"call\s+\w+ <(\w+)>", dispatch))
    assert calls <= {"merge_avx512", "merge_avx2"}, dispatch
    assert "cpuid" not in dispatch
