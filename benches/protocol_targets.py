"""What the protocol cores must reach, row by row; the same form as `targets.py`.

Rows without a bound are there because a figure alone misleads: the same look-up with nothing to
overlap it, the same proposals one at a time, the same simulator without faults.
"""

from targets import Target

TARGETS = (
    Target(
        "ring_python",
        "ring look-up from Python, 16 nodes x 160: uhashring's time / ours",
        12.0,
        20.0,
        at_least=True,
    ),
    Target("ring_python_ns", "the same look-up, its loop's step included", None, None, "ns"),
    Target("ring_key", "ring look-up in C, a 16-byte key hashed and found", 20.0, None, "ns"),
    Target("ring_key_chained", "the same, each key waiting for the node before", None, None, "ns"),
    Target("ring_hash", "the same, of a hash that is known", None, None, "ns"),
    Target("merge_near", "vector clock, merge of 64 entries in C", 15.0, None, "ns"),
    Target("merge_far", "the same, messages' clocks from 4 MiB", None, None, "ns"),
    Target("merge_plain", "the same loop in plain C, without the dispatch", None, None, "ns"),
    Target(
        "merge_python",
        "vector clock, merge of 64 entries from Python: a dict's time / ours",
        50.0,
        None,
        at_least=True,
    ),
    Target("merge_python_ns", "the same merge, its loop's step included", None, None, "ns"),
    Target(
        "raft_64",
        "Raft, three cores, 64-byte proposals in batches of 64: committed and applied by all",
        1_000_000.0,
        None,
        "per s",
        at_least=True,
    ),
    Target("raft_256", "the same in batches of 256", None, None, "per s", at_least=True),
    Target("raft_1", "the same one at a time", None, None, "per s", at_least=True),
    Target(
        "raft_pysyncobj",
        "Raft, three cores in batches of 64 / PySyncObj's better cluster of three",
        50.0,
        None,
        at_least=True,
    ),
    Target("pysyncobj", "PySyncObj's better cluster of three", None, None, "per s", at_least=True),
    Target(
        "raft_handles",
        "Raft, three Python handles, messages in memory, in batches of 64",
        None,
        None,
        "per s",
        at_least=True,
    ),
    Target(
        "simulator",
        "simulator: steps of Raft clusters under faults, all invariants checked",
        200_000.0,
        None,
        "per s",
        at_least=True,
    ),
    Target(
        "simulator_calm",
        "simulator: three Raft nodes, no faults, no invariants",
        None,
        None,
        "per s",
        at_least=True,
    ),
    Target("check_strong", "checker, strong: 2,000 operations of 5 sessions", None, None, "ms"),
    Target("check_sequential", "checker, sequential: the same size", None, None, "ms"),
    Target("check_causal", "checker, causal+: the same size", None, None, "ms"),
    Target("check_eventual", "checker, eventual: the same size", None, None, "ms"),
)
