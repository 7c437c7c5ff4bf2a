"""Bugs to plant in the read and write path of the engine: csrc/store and csrc/mem.

Each is a change of a few words and must be caught by the C programs that `plant.py` runs for the
engine. `old` occurs exactly once in its file.
"""

from __future__ import annotations

from bug import Bug

BUGS = (
    Bug(
        "a short read does not look at the generation again",
        "engine",
        "store/peek.h",
        "  return dsm_load_relaxed_u64(&peek->sub->gen) == peek->gen_word &&\n",
        "  return\n",
    ),
    Bug(
        "a short read does not look at the route again",
        "engine",
        "store/peek.h",
        "dsm_load_relaxed_u64(dsm_space_route(space, peek->stripe)) == peek->route_word &&",
        "",
    ),
    Bug(
        "a copy is not validated before it is believed",
        "engine",
        "store/read.c",
        "  if (read->pin == DSM_PIN_NONE && DSM_UNLIKELY(!dsm_read_valid(space, read)))"
        " return DSM_RETRY;\n",
        "",
    ),
    Bug(
        "what a read found in the table is believed without looking again",
        "engine",
        "store/read.c",
        "  if (DSM_UNLIKELY(!dsm_read_valid(space, out))) return DSM_RETRY;\n",
        "",
    ),
    Bug(
        "the primary is written before the backups",
        "engine",
        "store/put.c",
        "  for (uint32_t i = change->replicas; i-- > 0;) list_put(self, &log, i);",
        "  for (uint32_t i = 0; i < change->replicas; i++) list_put(self, &log, i);",
    ),
    Bug(
        "the slot is published before the object has its version",
        "engine",
        "store/put.c",
        "  dsm_log_once(log, segment, &object->version, change->version);\n"
        "  dsm_log_once(log, segment, found->slot, dsm_slot_make(offset, change->key->hash));\n",
        "  dsm_log_once(log, segment, found->slot, dsm_slot_make(offset, change->key->hash));\n"
        "  dsm_log_once(log, segment, &object->version, change->version);\n",
    ),
    Bug(
        "a put does not raise the generation",
        "engine",
        "store/put.c",
        "  dsm_log_once_sealed(log, segment, &sub->gen, change->gen);\n",
        "",
    ),
    Bug(
        "the old object's memory is free before the generation is raised",
        "engine",
        "store/put.c",
        "  dsm_log_once_sealed(log, segment, &sub->gen, change->gen);\n"
        "  list_old(self, log, replica);\n",
        "  list_old(self, log, replica);\n"
        "  dsm_log_once_sealed(log, segment, &sub->gen, change->gen);\n",
    ),
    Bug(
        "an object that was overwritten keeps its version",
        "engine",
        "store/swap.c",
        "  dsm_log_once(log, node + 1, (const dsm_atomic_u64 *)(const void *)extent, 0);\n",
        "  (void)extent;\n",
    ),
    Bug(
        "an overwritten object's memory stays taken",
        "engine",
        "store/swap.c",
        "  swap.bits = (bits | dsm_slab_mask(swap.offset, bytes)) & ~old;",
        "  swap.bits = bits | dsm_slab_mask(swap.offset, bytes);",
    ),
    Bug(
        "an intent is armed after its effects",
        "engine",
        "mem/intent.c",
        "  dsm_store_release_u64(&intent->armed, checksum(intent, log->count, log->salt, 0, 0));",
        "  carry_out(log->call->space, intent, log->count);\n"
        "  dsm_store_release_u64(&intent->armed, checksum(intent, log->count, log->salt, 0, 0));",
    ),
    Bug(
        "whoever repairs leaves out the last word of an intent",
        "engine",
        "mem/intent.c",
        "  if (carried) carry_out(space, intent, count);",
        "  if (carried) carry_out(space, intent, count - (count > 1));",
    ),
    Bug(
        "an intent that does not verify is carried out",
        "engine",
        "mem/intent.c",
        " || checksum(intent, count, salt, decision, decided) != armed)",
        ")",
    ),
    Bug(
        "a change saves nothing for the checkpoint",
        "engine",
        "store/change.c",
        "  if (DSM_UNLIKELY(cut != 0) && !self->copies) keep(self, cut);",
        "  (void)cut, (void)keep;",
    ),
    Bug(
        "a commit saves nothing for the checkpoint",
        "engine",
        "store/transaction.c",
        "  if (DSM_UNLIKELY(cut != 0)) keep(self, cut);",
        "  (void)cut, (void)keep;",
    ),
    Bug(
        "a move notes a generation for the checkpoint as if it were a change",
        "engine",
        "store/change.c",
        "DSM_UNLIKELY(cut != 0) && !self->copies",
        "DSM_UNLIKELY(cut != 0)",
    ),
    Bug(
        "a checkpoint takes what is younger than its cut",
        "engine",
        "store/walk_slice.c",
        "  if (header.version > walk->gen || ",
        "  if (",
    ),
    Bug(
        "runs that are kept for a checkpoint are used again",
        "engine",
        "mem/pin.c",
        "  if (cut_holds(space, word, mask)) return true;",
        "  (void)cut_holds;",
    ),
)
