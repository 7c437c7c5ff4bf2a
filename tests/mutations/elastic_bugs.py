"""Bugs to plant in moving stripes and in following the node table: csrc/mem, csrc/store, csrc/node.

Each is a change of a few words and must be caught by the C programs that `plant.py` runs for the
engine. `old` occurs exactly once in its file.
"""

from __future__ import annotations

from bug import Bug

BUGS = (
    Bug(
        "a read does not look at the epoch again",
        "engine",
        "store/read.h",
        " == read->route_word &&\n         dsm_space_current(space, read->epoch);",
        " == read->route_word;",
    ),
    Bug(
        "a writer does not look whether its mappings are behind",
        "engine",
        "store/stripe.c",
        "DSM_UNLIKELY(behind(call->space))",
        "false",
    ),
    Bug(
        "a new build of a node is not mapped",
        "engine",
        "mem/nodes.c",
        "segment->base && space->builds[node] == entry.build",
        "segment->base != NULL",
    ),
    Bug(
        "what was written while a stripe was copied is not caught up",
        "engine",
        "store/move.c",
        "  DSM_TRY(source_moved(call, self, &moved));\n",
        "  DSM_TRY(source_moved(call, self, &moved));\n  moved = false;\n",
    ),
    Bug(
        "what was deleted while a stripe was copied comes back",
        "engine",
        "store/move.c",
        "      DSM_TRY(dsm__move_prune(call, self, place, &whole));",
        "      whole = true;",
    ),
    Bug(
        "a generation falls where a stripe goes",
        "engine",
        "store/move.c",
        "  DSM_TRY(raise_generations(call, self, route));\n",
        "",
    ),
    Bug(
        "nobody remembers where a move has left something",
        "engine",
        "store/move.c",
        "  dsm_strays_add(call->space, self->stripe, surplus);\n",
        "",
    ),
    Bug(
        "whoever repairs does not look where a move has been",
        "engine",
        "store/stripe.c",
        "  uint64_t nodes = dsm_strays_read(space, stripe) & "
        "dsm_load_relaxed_u64(&space->nodes_present);",
        "  uint64_t nodes = 0;",
    ),
    Bug(
        "a stripe is moved to a node that drains",
        "engine",
        "store/move.c",
        "entry.state != DSM_NODE_UP || ",
        "",
    ),
    Bug(
        "a node leaves that a route still names",
        "engine",
        "node/birth.c",
        "    if (dsm_route_names(&route, node))\n",
        "    if (false)\n",
    ),
    Bug(
        "regions with fewer copies lose their own place",
        "engine",
        "store/move_copy.c",
        "  return copies >= 1 && copies < count ? copies : count;",
        "  return count;",
    ),
)
