"""The ring at scale: what one more member moves, how evenly keys lie, how large the ring is.

Every node computes the same ring from the members it knows, so a change costs no message of its
own: the news travels with membership's. What does travel is data, from the members that held it.
"""

from __future__ import annotations

from dsm_native._native.ring import Ring

COPIES = 3
CIRCLE = 1 << 64
KEYS_PER_NODE = 40
POINT_BYTES, INDEX_BYTES = 8, 4


def change(nodes, seed):
    """One member joins a ring of `nodes`; shares are of all places on the circle."""
    before = Ring(range(nodes), seed=seed)
    after = before.copy()
    after.add(nodes)
    moves = before.moved(after, copies=COPIES)
    gained = sources = 0
    senders = set()
    for first, last, old, new in moves:
        if nodes in new:
            gained += last - first + 1
            sources += 1
            senders.add(old[0])
    moved = sum(last - first + 1 for first, last, _, _ in before.moved(after))
    shares = dict.fromkeys(range(nodes), 0)
    previous = before.points[-1][0] - CIRCLE
    for end, node in before.points:
        shares[node] += end - previous
        previous = end
    loads = dict.fromkeys(range(nodes), 0)
    for key in range(KEYS_PER_NODE * nodes):
        loads[before.prefer_bounded(f"key {key}", loads)] += 1
    points = sum(before.nodes.values())
    index = 1 << (points - 1).bit_length()
    return {
        "moved_share": moved / CIRCLE,
        "ideal_share": 1 / (nodes + 1),
        "copied_share": gained / CIRCLE,
        "ranges": sources,
        "senders": len(senders),
        "most_loaded": max(shares.values()) * nodes / CIRCLE,
        "most_loaded_bounded": max(loads.values()) / KEYS_PER_NODE,
        "ring_bytes": points * POINT_BYTES + index * INDEX_BYTES,
    }
