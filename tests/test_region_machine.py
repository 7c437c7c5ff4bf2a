"""Regions against a plain dict: random operations by hypothesis, through two attachments at once.

Every rule does the same to a region and to a dict and compares what came back. The cluster has few
stripes, so that keys share tables, which grow, shrink and fill with tombstones. Versions must grow
for a key for ever; at the end the structure check must be clean.
"""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from processes import fresh_name, gone

import dsm_native as dsm

KEYS = st.one_of(
    st.integers(0, 12),
    st.sampled_from(["a", "b", "ä", "", "x" * 300]),
    st.sampled_from([b"a", b"", b"\x00"]),
    st.tuples(st.integers(0, 2), st.sampled_from(["a", b"a"])),
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.integers(0, 6000)),
    st.lists(st.integers(), max_size=3),
)
MISSING = object()


class RegionMachine(RuleBasedStateMachine):
    """One region per run, seen through the owner's handle and through an attached one."""

    clusters: tuple[dsm.Cluster, dsm.Cluster]
    replicas: int
    serial = 0

    @initialize()
    def start(self) -> None:
        RegionMachine.serial += 1
        name = f"machine.{RegionMachine.serial}"
        self.sides = [
            cluster.region(name, replication_factor=self.replicas) for cluster in self.clusters
        ]
        self.model: dict[Any, Any] = {}
        self.versions: dict[Any, int] = {}

    def wrote(self, key: Any, version: int) -> None:
        assert version > self.versions.get(key, 0)
        self.versions[key] = version

    @rule(side=st.integers(0, 1), key=KEYS, value=VALUES)
    def put(self, side: int, key: Any, value: Any) -> None:
        self.wrote(key, self.sides[side].put(key, value))
        self.model[key] = value

    @rule(side=st.integers(0, 1), key=KEYS, value=VALUES, slack=st.integers(0, 2))
    def put_if(self, side: int, key: Any, value: Any, slack: int) -> None:
        region = self.sides[side]
        present = region.get_versioned(key)[1] if key in self.model else 0
        if slack == 0:
            self.wrote(key, region.put(key, value, if_version=present))
            self.model[key] = value
            return
        with pytest.raises(dsm.VersionConflictError) as caught:
            region.put(key, value, if_version=present + slack)
        assert caught.value.version == present

    @rule(side=st.integers(0, 1), key=KEYS)
    def get(self, side: int, key: Any) -> None:
        found = self.sides[side].get(key, MISSING)
        expected = self.model.get(key, MISSING)
        assert found is expected or (found == expected and type(found) is type(expected))
        assert (key in self.sides[side]) is (key in self.model)

    @rule(side=st.integers(0, 1), key=KEYS)
    def delete(self, side: int, key: Any) -> None:
        if key in self.model:
            self.wrote(key, self.sides[side].delete(key))
            del self.model[key]
        else:
            with pytest.raises(KeyError):
                self.sides[side].delete(key)

    @rule(side=st.integers(0, 1), key=KEYS, default=VALUES)
    def setdefault_and_pop(self, side: int, key: Any, default: Any) -> None:
        region = self.sides[side]
        assert region.setdefault(key, default) == self.model.setdefault(key, default)
        assert region.pop(key) == self.model.pop(key)
        assert region.pop(key, MISSING) is MISSING

    @rule(side=st.integers(0, 1), key=KEYS, difference=st.integers(-(2**63), 2**63 - 1))
    def add(self, side: int, key: Any, difference: int) -> None:
        before = self.model.get(key, 0)
        small = type(before) is int and -(2**63) <= before < 2**63
        if not small:
            with pytest.raises(dsm.ValueTypeError):
                self.sides[side].add(key, difference)
        elif not -(2**63) <= before + difference < 2**63:
            with pytest.raises(dsm.CounterOverflowError):
                self.sides[side].add(key, difference)
        else:
            assert self.sides[side].add(key, difference) == before + difference
            self.model[key] = before + difference

    @rule(side=st.integers(0, 1), items=st.dictionaries(KEYS, VALUES, max_size=40))
    def put_many(self, side: int, items: dict[Any, Any]) -> None:
        self.sides[side].put_many(items)
        self.model.update(items)

    @rule(side=st.integers(0, 1), keys=st.lists(KEYS, max_size=40))
    def get_many(self, side: int, keys: list[Any]) -> None:
        assert self.sides[side].get_many(keys, None) == [self.model.get(key) for key in keys]

    @precondition(lambda self: len(self.model) > 8)
    @rule(side=st.integers(0, 1))
    def clear(self, side: int) -> None:
        self.sides[side].clear()
        self.model.clear()

    @invariant()
    def same_contents(self) -> None:
        if not hasattr(self, "sides"):
            return
        for region in self.sides:
            assert len(region) == len(self.model)
            assert sorted(map(repr, region)) == sorted(map(repr, self.model))

    def teardown(self) -> None:
        report = self.clusters[0].check()
        assert report.clean, report.texts


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_regions_behave_as_a_dict(replicas: int) -> None:
    name = fresh_name()
    with (
        dsm.Cluster(nodes=3, replication_factor=3, name=name, stripes=4) as owner,
        dsm.attach(name) as attached,
    ):
        machine = type(
            "Machine", (RegionMachine,), {"clusters": (owner, attached), "replicas": replicas}
        )
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    gone(name)
