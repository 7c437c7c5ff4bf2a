"""Transactions under SIGKILL: the sum never changes, and the history is strictly serialisable.

DSM_KILL_SECONDS lengthens the load; DSM_KILL_SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import environment
from transaction_clients import EACH, amount_of

import dsm_native as dsm
from dsm_native.testing import TransactionRecord, check_strictly_serializable

SECONDS = float(os.environ.get("DSM_KILL_SECONDS", "9"))
SEED = int(os.environ.get("DSM_KILL_SEED", str(random.randrange(1, 10_000))))
CLIENTS = Path(__file__).with_name("transaction_clients.py")


def lines_of(folder):
    """What the clients noted; the last line of a killed one may be torn."""
    for path in sorted(Path(folder).glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def history_of(folder):
    begun, ended = {}, {}
    for line in lines_of(folder):
        (begun if "invoked" in line else ended)[line["name"]] = line
    records = []
    for name, line in begun.items():
        end = ended.get(name)
        if end is None:
            writes = dict.fromkeys(line["writes"])
            records.append(TransactionRecord(name, line["invoked"], None, {}, writes))
        elif "aborted" not in end:
            reads = {int(key): tuple(seen) for key, seen in end["reads"].items()}
            writes = {int(key): version for key, version in end["writes"].items()}
            records.append(TransactionRecord(name, line["invoked"], end["returned"], reads, writes))
    return records


@pytest.mark.parametrize(("replicas", "stripes"), [(1, 64), (2, 2), (2, 64), (3, 2)])
def test_the_sum_never_changes_and_the_order_holds(name, tmp_path, replicas, stripes):
    accounts = 12
    print(f"DSM_KILL_SEED={SEED}")
    with dsm.Cluster(nodes=3, replication_factor=replicas, name=name, stripes=stripes) as cluster:
        regions = [cluster.region("bank 0"), cluster.region("bank 1")]
        for number in range(accounts):
            regions[number % 2][number] = f"{EACH}:"
        before = {
            number: regions[number % 2].get_versioned(number)[1] for number in range(accounts)
        }
        seed = SEED + 10 * replicas + stripes
        arguments = [name, str(tmp_path), str(accounts), str(SECONDS / 10), str(seed)]
        result = subprocess.run(
            [sys.executable, str(CLIENTS), *arguments],
            env=environment(), capture_output=True, text=True, timeout=SECONDS + 60, check=False,
        )  # fmt: skip
        assert (result.returncode, result.stderr) == (0, "")
        assert int(result.stdout) >= SECONDS / 10 * 4
        start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        with regions[0].transaction() as tx:
            seen = {number: tx.region(regions[number % 2])[number] for number in range(accounts)}
        assert sum(amount_of(value) for value in seen.values()) == EACH * accounts
        last = {number: (version, seen[number].split(":")[1])
                for (_region, number), version in tx.reads.items()}  # fmt: skip
        records = history_of(tmp_path)
        assert len(records) > 20
        first = TransactionRecord("initially", 0, 1, {}, dict(before))
        named = [
            TransactionRecord(
                item.name, item.invoked, item.returned,
                {key: (version, writer or "initially")
                 for key, (version, writer) in item.reads.items()},
                item.writes,
            )
            for item in [*records, TransactionRecord("finally", start, start + 1, last)]
        ]  # fmt: skip
        verdict = check_strictly_serializable([first, *named])
        assert verdict, str(verdict)
        report = cluster.check()
        assert report.clean, report.texts
        assert len(regions[0]) + len(regions[1]) == accounts
        for region in regions:
            region.clear()
        left = cluster.check()
        assert (left.clean, left.objects) == (True, 0)
