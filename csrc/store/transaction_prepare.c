/* Before the decision: finding slots, making room, taking extents, writing objects; and giving back
 * what the holds contain, before or after it.
 */
#include "../base/crash.h"
#include "transaction_steps.h"

/* The free slot after `at` where an insertion may go, or NULL. */
static dsm_atomic_u64 *next_free(const dsm_table *table, const dsm_atomic_u64 *at) {
  uint32_t index = (uint32_t)(at - table->slots);
  for (uint32_t step = 1; step < table->capacity; step++) {
    if (++index >= table->capacity) index = 0;
    if (dsm_load_relaxed_u64(&table->slots[index]) <= DSM_SLOT_TOMBSTONE)
      return &table->slots[index];
  }
  return NULL;
}

/* True if an insertion of the group before `at` goes to that slot. */
static bool slot_taken(const dsm_commit *self, uint32_t first, uint32_t at, uint32_t replica,
                       const dsm_atomic_u64 *slot) {
  for (uint32_t i = first; i < at; i++) {
    const dsm_access *other = self->accesses[i];
    if (other->kind == DSM_ACCESS_PUT && replica < other->replicas &&
        !other->found[replica].offset && other->found[replica].slot == slot)
      return true;
  }
  return false;
}

static dsm_status move_on(dsm_commit *self, uint32_t first, uint32_t at, uint32_t replica) {
  dsm_access *access = self->accesses[at];
  unsigned node = self->accesses[first]->group.route.nodes[replica];
  dsm_found *found = &access->found[replica];
  dsm_table table;
  DSM_TRY(dsm_table_read(self->call, node, access->stripe, &table));
  for (uint32_t step = 0; step < table.capacity; step++) {
    if (!slot_taken(self, first, at, replica, found->slot)) return DSM_OK;
    found->slot = next_free(&table, found->slot);
    if (!found->slot) return DSM_OK;
    found->slot_word = dsm_load_relaxed_u64(found->slot);
  }
  /* Before the reservation all free slots may be taken: they are found again after it. */
  found->slot = NULL;
  return DSM_OK;
}

dsm_status dsm_commit_find(dsm_commit *self, uint32_t first, uint32_t at) {
  dsm_access *access = self->accesses[at];
  uint32_t replicas = access->kind == DSM_ACCESS_READ ? 1 : access->replicas;
  for (uint32_t i = 0; i < replicas; i++) {
    unsigned node = self->accesses[first]->group.route.nodes[i];
    dsm_found *found = &access->found[i];
    DSM_TRY(dsm_table_find(self->call, node, access->stripe, &access->key, found));
    if (access->kind == DSM_ACCESS_PUT && !found->offset && found->slot && at > first)
      DSM_TRY(move_on(self, first, at, i));
  }
  return DSM_OK;
}

/* Slots for all insertions of the group at every replica; then they are found again. */
static dsm_status make_room(dsm_commit *self, uint32_t first) {
  const dsm_access_group *group = &self->accesses[first]->group;
  uint32_t end = first + group->members;
  bool any_moved = false, any_lost = false;
  for (uint32_t replica = 0; replica < group->route.count; replica++) {
    uint64_t more = 0;
    for (uint32_t at = first; at < end; at++) {
      const dsm_access *access = self->accesses[at];
      if (access->kind != DSM_ACCESS_PUT || replica >= access->replicas ||
          access->found[replica].offset)
        continue;
      any_lost |= access->found[replica].slot == NULL;
      more += access->found[replica].slot == NULL ||
              access->found[replica].slot_word != DSM_SLOT_TOMBSTONE;
    }
    if (!more) continue;
    bool moved;
    DSM_TRY(dsm_table_reserve_for(self->call, group->route.nodes[replica],
                                  self->accesses[first]->stripe, more, &moved));
    any_moved |= moved;
  }
  for (uint32_t at = first; (any_moved || any_lost) && at < end; at++)
    DSM_TRY(dsm_commit_find(self, first, at));
  return DSM_OK;
}

/* The next version of the stripe: above every replica's generation and every object replaced. */
static dsm_status next_gen(dsm_commit *self, uint32_t first) {
  dsm_access_group *group = &self->accesses[first]->group;
  uint32_t stripe = self->accesses[first]->stripe;
  for (uint32_t i = 0; i < group->route.count; i++) {
    unsigned node = group->route.nodes[i];
    dsm_log log = dsm_log_make(self->call, NULL, 0);
    uint64_t gen =
        dsm_log_read_sealed(&log, node + 1, &dsm_space_sub(self->call->space, node, stripe)->gen);
    if (log.status != DSM_OK) return log.status;
    if (gen > group->gen) group->gen = gen;
  }
  group->gen++;
  for (uint32_t at = first; at < first + group->members; at++) {
    const dsm_found *found = &self->accesses[at]->found[0];
    if (found->offset && found->header.version >= group->gen)
      return dsm_fail(self->call, DSM_CORRUPT, "object is newer than its stripe",
                      group->route.nodes[0], stripe, found->header.version, group->gen);
  }
  return DSM_OK;
}

/* A flipped bit in the length of an object must not free its neighbours, nor one in its flags a
 * slab with other objects in it. */
static dsm_status verify_old(dsm_commit *self, const dsm_access *access, unsigned node,
                             const dsm_found *found) {
  const dsm_header *header = &found->header;
  const uint8_t *object = (const uint8_t *)dsm_object_at(self->call->space, node, found->offset);
  dsm_run run;
  if (header->flags & DSM_OBJECT_ALIGNED) {
    DSM_TRY(dsm_run_read(self->call, node, found->offset / DSM_ARENA_PAGE_BYTES, &run));
    if (run.kind == DSM_RUN_VALUE && run.stripe == access->stripe &&
        found->offset % DSM_ARENA_PAGE_BYTES == 0)
      return DSM_OK;
    return dsm_fail(self->call, DSM_CORRUPT, "value is not the run that it lies in", (int)node,
                    access->stripe, run.kind, run.stripe);
  }
  uint64_t value_hash = header->flags & DSM_OBJECT_LAZY
                            ? 0
                            : dsm_value_hash(object + header->value_offset, header->value_bytes);
  uint32_t checksum = dsm_object_checksum(header->version, header->shape, header->binding,
                                          access->key.hash, value_hash);
  if (checksum == (uint32_t)(header->binding >> 32)) return DSM_OK;
  return dsm_fail(self->call, DSM_CORRUPT, "object's checksum differs", (int)node, access->stripe,
                  checksum, header->binding >> 32);
}

static dsm_status prepare_access(dsm_commit *self, const dsm_access_group *group,
                                 dsm_access *access) {
  const uint8_t *nodes = group->route.nodes;
  for (uint32_t i = 0; i < access->replicas; i++)
    if (access->found[i].offset) DSM_TRY(verify_old(self, access, nodes[i], &access->found[i]));
  if (access->kind != DSM_ACCESS_PUT) return DSM_OK;
  dsm_extent wanted = {access->draft.bytes, access->draft.flags & DSM_OBJECT_ALIGNED};
  DSM_TRY(dsm_holds_take(self->call, dsm_commit_hold(self, access, 0), nodes, access->replicas,
                         access->stripe, &wanted, access->offset));
  for (uint32_t i = 0; i < access->replicas; i++)
    dsm_draft_write(&access->draft, &access->key, &access->value, group->gen,
                    dsm_object_at(self->call->space, nodes[i], access->offset[i]));
  return DSM_OK;
}

static dsm_status prepare_group(dsm_commit *self, uint32_t first) {
  dsm_access_group *group = &self->accesses[first]->group;
  if (!group->writes) return DSM_OK;
  self->culprit = self->accesses[first];
  DSM_TRY(make_room(self, first));
  DSM_TRY(next_gen(self, first));
  for (uint32_t at = first; at < first + group->members; at++) {
    self->culprit = self->accesses[at];
    if (self->accesses[at]->kind != DSM_ACCESS_READ)
      DSM_TRY(prepare_access(self, group, self->accesses[at]));
  }
  self->culprit = NULL;
  return DSM_OK;
}

/* Places of all holds, then their number: from there on a later claim visits these stripes. */
static dsm_status open_holds(dsm_commit *self) {
  for (uint32_t i = 0; i < self->count; i += dsm_commit_members(self, i))
    for (uint32_t at = i; at < i + dsm_commit_members(self, i); at++) {
      const dsm_access *access = self->accesses[at];
      const dsm_route *route = &self->accesses[i]->group.route;
      if (access->kind == DSM_ACCESS_READ) continue;
      for (uint32_t replica = 0; replica < access->replicas; replica++)
        dsm_hold_place(self->call->space, dsm_commit_hold(self, access, replica),
                       route->nodes[replica], access->stripe);
    }
  return dsm_claim_begin(self->call, &self->claim, self->hold_count);
}

dsm_status dsm_commit_prepare(dsm_commit *self) {
  DSM_TRY(open_holds(self));
  for (uint32_t i = 0; i < self->count; i += dsm_commit_members(self, i)) {
    dsm_status status = prepare_group(self, i);
    if (DSM_LIKELY(status == DSM_OK)) continue;
    /* The failure is told, not what the way back meets. */
    dsm_fault fault = self->call->fault;
    if (!dsm_commit_give_back(self)) self->hold_count = UINT32_MAX;
    self->call->fault = fault;
    return status;
  }
  return DSM_OK;
}

static bool give_back_group(dsm_commit *self, uint32_t first) {
  const dsm_access_group *group = &self->accesses[first]->group;
  dsm_call own = *self->call;
  dsm_status status = DSM_OK;
  for (uint32_t at = first; at < first + group->members && status == DSM_OK; at++) {
    const dsm_access *access = self->accesses[at];
    if (access->kind != DSM_ACCESS_READ)
      status = dsm_holds_give(&own, dsm_commit_hold(self, access, 0), group->route.nodes,
                              access->replicas, access->stripe);
  }
  uint32_t stripe = self->accesses[first]->stripe;
  for (uint32_t i = 0; i < group->route.count && status == DSM_OK && group->deletes; i++)
    status = dsm_hold_tidy(&own, stripe, group->route.nodes[i]);
  if (status != DSM_OK)
    dsm_fetch_or_acq_rel_u32(&dsm_space_lock(self->call->space, stripe)->pending,
                             DSM_PENDING_HOLDS);
  return status == DSM_OK;
}

bool dsm_commit_give_back(dsm_commit *self) {
  bool clean = true;
  for (uint32_t i = 0; i < self->count; i += dsm_commit_members(self, i))
    if (self->accesses[i]->group.writes) clean &= give_back_group(self, i);
  return clean;
}
