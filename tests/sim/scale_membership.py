"""Membership by gossip at scale: how news of joins and deaths spread, and what that costs.

Times are in probe intervals, the protocol's own unit (SWIM section 4). A message's bytes are those
of its fields as the C core holds them, only as many news as it carries: 28 and 20 for each news.
"""

from __future__ import annotations

from dsm_native._native.detector import MembershipNode
from dsm_native.testing.faults import Fault
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.network import Conditions
from dsm_native.testing.simulator import Simulation

INTERVAL_US = 200_000
TICK_US = INTERVAL_US // 8
OPTIONS = {
    "probe_interval_us": INTERVAL_US,
    "probe_timeout_us": INTERVAL_US * 3 // 10,
    "suspicion_min_us": 4 * INTERVAL_US,
    "suspicion_max_us": 24 * INTERVAL_US,
    "confirmations": 3,
}
HEADER_BYTES, NEWS_BYTES = 28, 20
SETTLED, RUN = 5, 35
"""Intervals before a death, and after it. All know all from a list when they start."""


class Traffic(Invariant):
    """Counts messages and bytes, and who has learnt what when. Checks nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.messages = self.bytes = 0
        self.learnt: dict[str, list[tuple[int, int, int]]] = {
            "alive": [],
            "suspect": [],
            "dead": [],
        }
        """By state: (moment, observer, member)."""

    def stepped(self, node, protocol, outputs, now):
        for message in outputs.send_now:
            self.messages += 1
            self.bytes += HEADER_BYTES + NEWS_BYTES * message.news_count
        for news in outputs.apply:
            if news.state in self.learnt:
                self.learnt[news.state].append((now, node, news.node))

    def take(self):
        """Messages and bytes since the last call."""
        taken = self.messages, self.bytes
        self.messages = self.bytes = 0
        return taken


def simulation(nodes, seed, *, seeds=(), plan=(), drop=0.0):
    traffic = Traffic()
    everybody = dict.fromkeys(range(nodes), 1)

    def factory(node, durable, node_seed, now):
        made = MembershipNode(node, durable, node_seed, now, capacity=nodes, seeds=seeds, **OPTIONS)
        if not seeds:
            made.know(everybody)
        return made

    conditions = Conditions(delay_us_min=200, delay_us_max=2_000, drop=drop)
    simulated = Simulation(
        factory, nodes, seed=seed, plan=plan, conditions=conditions, invariants=[traffic],
        tick_us=TICK_US,
    )  # fmt: skip
    return simulated, traffic


def per_node(taken, nodes, intervals):
    messages, size = taken
    return {
        "messages_per_node_interval": messages / nodes / intervals,
        "bytes_per_node_interval": size / nodes / intervals,
    }


def joins(nodes, seed):
    """Everybody starts at once and knows three seeds: until everybody knows everybody."""
    simulated, traffic = simulation(nodes, seed, seeds=(0, 1, 2))
    complete = None
    for interval in range(1, 400):
        simulated.run_until(interval * INTERVAL_US)
        if all(node.counts == (nodes - 1, 0) for node in simulated.protocols().values()):
            complete = interval
            break
    if complete is None:
        raise RuntimeError(f"{nodes} nodes did not find each other")
    row = {"intervals": complete, "messages": traffic.messages, "bytes": traffic.bytes}
    return row | per_node((traffic.messages, traffic.bytes), nodes, complete)


def death(nodes, seed):
    """One member of a settled cluster is killed: until the first and the last have buried it."""
    crash_us = SETTLED * INTERVAL_US + INTERVAL_US // 3
    end_us = crash_us + RUN * INTERVAL_US
    plan = [Fault("crash", crash_us, end_us + 1, (nodes - 1,), 0.5)]
    simulated, traffic = simulation(nodes, seed, plan=plan)
    simulated.run_until(crash_us)
    traffic.take()
    simulated.run_until(end_us)
    row = per_node(traffic.take(), nodes, RUN)
    for state, name in (("suspect", "suspected"), ("dead", "buried")):
        moments = [
            (moment - crash_us) / INTERVAL_US
            for moment, _, member in traffic.learnt[state]
            if member == nodes - 1 and moment >= crash_us
        ]
        row[f"first_{name}"] = min(moments)
        row[f"last_{name}"] = max(moments)
        row[f"{name}_by"] = len(moments)
    if row["buried_by"] < nodes - 1:
        raise RuntimeError(f"only {row['buried_by']} of {nodes - 1} learnt of the death")
    row["others_buried"] = sum(member != nodes - 1 for _, _, member in traffic.learnt["dead"])
    return row


def lossy(nodes, seed):
    """A settled cluster that loses every twentieth message: whom does it accuse wrongly?"""
    simulated, traffic = simulation(nodes, seed, drop=0.05)
    simulated.run_until(SETTLED * INTERVAL_US)
    traffic.take()
    simulated.run_until((SETTLED + RUN) * INTERVAL_US)
    accused = {(member, moment // INTERVAL_US) for moment, _, member in traffic.learnt["suspect"]}
    row = per_node(traffic.take(), nodes, RUN)
    row["suspected_members"] = len({member for member, _ in accused})
    row["buried_members"] = len({member for _, _, member in traffic.learnt["dead"]})
    return row
