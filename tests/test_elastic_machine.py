"""A cluster whose nodes come and go against a plain dict: random operations by hypothesis.

Keys lie in a region with two copies and in one with a single copy; a change of the nodes is waited
for or not, so that operations meet stripes in all states of a move.
"""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from processes import fresh_name, gone

import dsm_native as dsm

KEYS = st.integers(0, 40)
VALUES = st.builds(
    lambda byte, size: bytes([byte]) * size,
    st.integers(0, 255),
    st.sampled_from([0, 5, 70, 900, 3000, 9000]),
)
NODES_MAX = 5


class ElasticMachine(RuleBasedStateMachine):
    """Two attachments see the same cluster; one of them changes its nodes."""

    clusters: tuple[dsm.Cluster, dsm.Cluster]
    serial = 0

    @initialize()
    def start(self) -> None:
        ElasticMachine.serial += 1
        self.sides = [
            [
                cluster.region(f"{copies}.{ElasticMachine.serial}", replication_factor=copies)
                for copies in (1, 2)
            ]
            for cluster in self.clusters
        ]
        self.models: list[dict[int, bytes]] = [{}, {}]
        self.versions: dict[tuple[int, int], int] = {}

    def wrote(self, which: int, key: int, version: int) -> None:
        assert version > self.versions.get((which, key), 0)
        self.versions[which, key] = version

    @rule(side=st.integers(0, 1), which=st.integers(0, 1), key=KEYS, value=VALUES)
    def put(self, side: int, which: int, key: int, value: bytes) -> None:
        self.wrote(which, key, self.sides[side][which].put(key, value))
        self.models[which][key] = value

    @rule(side=st.integers(0, 1), which=st.integers(0, 1), key=KEYS)
    def delete(self, side: int, which: int, key: int) -> None:
        if key in self.models[which]:
            self.wrote(which, key, self.sides[side][which].delete(key))
            del self.models[which][key]
        else:
            with pytest.raises(KeyError):
                self.sides[side][which].delete(key)

    @rule(side=st.integers(0, 1), which=st.integers(0, 1), key=KEYS)
    def get(self, side: int, which: int, key: int) -> None:
        assert self.sides[side][which].get(key) == self.models[which].get(key)

    @rule(side=st.integers(0, 1))
    def compare_all(self, side: int) -> None:
        for region, model in zip(self.sides[side], self.models, strict=True):
            assert dict(region.items()) == model
            assert len(region) == len(model)

    @rule(waits=st.booleans(), weight=st.sampled_from([0.5, 1.0, 4.0]), which=st.integers(0, 4))
    def change_nodes(self, waits: bool, weight: float, which: int) -> None:
        cluster = self.clusters[0]
        present = [node.id for node in cluster.nodes if node.state != "draining"]
        if len(present) <= 2 or (len(present) < NODES_MAX and which % 2):
            cluster.add_node(weight)
        elif which < 4:
            cluster.remove_node(present[which % len(present)], timeout=30)
        else:
            cluster.set_weight(present[0], weight)
        if waits:
            assert cluster.rebalance(timeout=30).done

    def teardown(self) -> None:
        if hasattr(self, "sides"):
            self.compare_all(0)
            self.compare_all(1)
            for region in self.sides[0]:
                region.clear()
            report = self.clusters[0].check()
            assert report.clean, report.texts
            self.clusters[0].rebalance(timeout=30)
            assert self.clusters[1].check().clean


def test_regions_are_dicts_whatever_nodes_there_are() -> None:
    name = fresh_name()
    with dsm.Cluster(nodes=3, replication_factor=2, name=name, stripes=8) as cluster:
        cluster.rebalance(bytes_per_s=4_000_000)
        other = dsm.attach(name)
        ElasticMachine.clusters = (cluster, other)
        run_state_machine_as_test(
            ElasticMachine,
            settings=settings(
                max_examples=8,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        other.close()
    gone(name)
