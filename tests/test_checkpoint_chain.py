"""Incremental chains: whatever was done between, the newest checkpoint holds all of it."""

from __future__ import annotations

import shutil
import tempfile

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from test_checkpoint import assert_same, state

import dsm_native as dsm

KEYS = st.integers(0, 30)
VALUES = st.one_of(
    st.none(), st.integers(-5, 5), st.text(max_size=20), st.binary(max_size=2000),
    st.integers(4000, 70_000).map(bytes), st.integers(0, 3000).map(lambda n: np.arange(n)),
)  # fmt: skip


class Chains(RuleBasedStateMachine):
    """Objects and arrays change, checkpoints are taken, restored ones are compared."""

    @initialize(stripes=st.sampled_from([1, 4]))
    def begin(self, stripes):
        self.path = tempfile.mkdtemp(prefix="dsm-test-chain-")
        self.cluster = dsm.Cluster(nodes=2, stripes=stripes)
        self.saved = None
        self.kept = []

    def teardown(self):
        if hasattr(self, "cluster"):
            self.compare()
            self.cluster.close()
            shutil.rmtree(self.path)

    @rule(key=KEYS, value=VALUES, other=st.booleans())
    def put(self, key, value, other):
        region = self.cluster.region("other", replication_factor=1) if other else self.cluster
        region[key] = value

    @rule(key=KEYS)
    def delete(self, key):
        if key in self.cluster:
            del self.cluster[key]

    @rule(key=KEYS)
    def add(self, key):
        self.cluster.region("counters").add(key)

    @rule(keys=st.sets(KEYS, min_size=1, max_size=5), gone=st.sets(KEYS, max_size=3), value=VALUES)
    def transact(self, keys, gone, value):
        with self.cluster.transaction() as tx:
            for key in keys:
                tx[key] = value
            for key in gone - keys:
                if key in tx:
                    del tx[key]

    @rule(
        name=st.sampled_from("ab"), rows=st.integers(0, 40), order=st.sampled_from("CF"),
        tile_rows=st.integers(1, 9),
    )  # fmt: skip
    def make_array(self, name, rows, order, tile_rows):
        if name not in self.cluster.arrays:
            self.cluster.array(name, (rows, rows), "i2", order=order, tile_rows=tile_rows)

    @rule(name=st.sampled_from("ab"), part=st.tuples(st.integers(0, 40), st.integers(0, 40)))
    def write_array(self, name, part):
        if name in self.cluster.arrays:
            with self.cluster.array(name).writing(slice(*sorted(part))) as block:
                block[...] = part[0]

    @rule(name=st.sampled_from("ab"), rows=st.integers(0, 40), deletes=st.booleans())
    def change_array(self, name, rows, deletes):
        if name in self.cluster.arrays:
            array = self.cluster.array(name)
            array.delete() if deletes else array.resize((rows, rows + 1))

    @rule(full=st.booleans() | st.just(False))
    def checkpoint(self, full):
        report = self.cluster.checkpoint(self.path, full=full)
        self.saved = state(self.cluster)
        self.kept.append(report)

    @rule(nodes=st.integers(1, 3))
    def compare(self, nodes=1):
        if self.saved is None:
            return
        assert dsm.verify(self.path).sound
        with dsm.restore(self.path, nodes=nodes) as restored:
            assert_same(state(restored), self.saved)
            assert restored.check().clean

    @invariant()
    def numbers_grow(self):
        numbers = [report.number for report in getattr(self, "kept", [])]
        assert numbers == list(range(1, len(numbers) + 1))


TestChains = Chains.TestCase
TestChains.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
