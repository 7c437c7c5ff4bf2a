/* The decision and what follows from it: listing, arming, deciding, carrying out. */
#include "../base/crash.h"
#include "transaction_steps.h"

#define LIVE_ONE (1ull << 22)
#define USED_ONE 1ull

/* The part of the record's log that is being written. */
typedef struct listing {
  dsm_commit *commit;
  dsm_intent_entry_shm *entries;
  uint64_t count;
} listing;

static void append(listing *self, unsigned segment, const dsm_atomic_u64 *word, uint64_t value) {
  DSM_ASSERT(self->count < DSM_DECISION_ENTRIES_MAX);
  dsm_intent_entry_shm *entry = &self->entries[self->count++];
  dsm_store_relaxed_u64(&entry->locator,
                        dsm_space_locator(self->commit->call->space, segment, word));
  dsm_store_relaxed_u64(&entry->value, value);
}

static void append_sealed(listing *self, unsigned segment, const dsm_atomic_u64 *word,
                          uint64_t value) {
  dsm_locator locator = dsm_space_locator(self->commit->call->space, segment, word);
  append(self, segment, word, dsm_seal(value, locator));
}

static dsm_status read_sealed(const dsm_commit *self, unsigned segment, const dsm_atomic_u64 *word,
                              uint64_t *value) {
  dsm_log log = dsm_log_make(self->call, NULL, 0);
  *value = dsm_log_read_sealed(&log, segment, word);
  return log.status;
}

/* Change of the number of the region's keys by one access: -1, 0 or 1. */
static int difference_of(const dsm_access *access) {
  bool before = access->found[0].offset != 0;
  return (access->kind == DSM_ACCESS_PUT && !before) -
         (access->kind == DSM_ACCESS_DELETE && before);
}

/* Published words of one access at one replica; the change of the sub's counts. */
static uint64_t list_slot(listing *self, const dsm_access_group *group, const dsm_access *access,
                          uint32_t replica) {
  const dsm_space *space = self->commit->call->space;
  unsigned node = group->route.nodes[replica];
  const dsm_found *found = &access->found[replica];
  if (access->kind == DSM_ACCESS_DELETE) {
    if (!found->offset) return 0;
    append(self, node + 1, found->slot, DSM_SLOT_TOMBSTONE);
    return 0 - LIVE_ONE;
  }
  uint64_t offset = access->offset[replica];
  append(self, node + 1, &dsm_object_at(space, node, offset)->version, group->gen);
  append(self, node + 1, found->slot, dsm_slot_make(offset, access->key.hash));
  if (found->offset) return 0;
  return LIVE_ONE + (found->slot_word == DSM_SLOT_EMPTY ? USED_ONE : 0);
}

/* The old object ceases to be, and its extent takes the new one's place in the hold. */
static void list_hold(listing *self, const dsm_access_group *group, const dsm_access *access,
                      uint32_t replica) {
  const dsm_space *space = self->commit->call->space;
  unsigned node = group->route.nodes[replica];
  const dsm_found *found = &access->found[replica];
  const dsm_hold_shm *hold = dsm_commit_hold(self->commit, access, replica);
  uint64_t word = 0;
  if (found->offset) {
    append(self, node + 1, &dsm_object_at(space, node, found->offset)->version, 0);
    dsm_extent old = {found->header.value_offset + found->header.value_bytes,
                      found->header.flags & DSM_OBJECT_ALIGNED};
    word = dsm_hold_word(space, hold, found->offset, &old);
  } else if (access->kind == DSM_ACCESS_DELETE) {
    return;
  }
  append(self, DSM_CONTROL_SEGMENT, &hold->extent, word);
}

static dsm_status list_replica(listing *self, uint32_t first, uint32_t replica) {
  dsm_commit *commit = self->commit;
  const dsm_access_group *group = &commit->accesses[first]->group;
  unsigned node = group->route.nodes[replica];
  dsm_sub_shm *sub = dsm_space_sub(commit->call->space, node, commit->accesses[first]->stripe);
  uint32_t end = first + group->members;
  uint64_t used, before, change = 0;
  bool any = false;
  DSM_TRY(read_sealed(commit, node + 1, &sub->used, &used));
  before = used;
  for (uint32_t at = first; at < end; at++) {
    const dsm_access *access = commit->accesses[at];
    if (access->kind == DSM_ACCESS_READ || replica >= access->replicas) continue;
    any = true;
    change = list_slot(self, group, access, replica);
    if ((int64_t)change < 0 && used < LIVE_ONE)
      return dsm_fail(commit->call, DSM_CORRUPT, "count of live slots is below one", (int)node,
                      commit->accesses[first]->stripe, used, 0);
    used += change;
  }
  if (!any) return DSM_OK;
  if (used != before) append_sealed(self, node + 1, &sub->used, used);
  append_sealed(self, node + 1, &sub->gen, group->gen);
  for (uint32_t at = first; at < end; at++) {
    const dsm_access *access = commit->accesses[at];
    if (access->kind != DSM_ACCESS_READ && replica < access->replicas)
      list_hold(self, group, access, replica);
  }
  return DSM_OK;
}

/* The numbers of keys of the regions that the group changes. */
static dsm_status list_counts(listing *self, uint32_t first) {
  const dsm_commit *commit = self->commit;
  uint32_t stripe = commit->accesses[first]->stripe;
  uint32_t end = first + commit->accesses[first]->group.members;
  for (uint32_t at = first; at < end; at++) {
    uint16_t region = commit->accesses[at]->key.region;
    int64_t change = 0;
    bool earlier = false;
    for (uint32_t i = first; i < at && !earlier; i++)
      earlier = commit->accesses[i]->key.region == region;
    if (earlier) continue;
    for (uint32_t i = at; i < end; i++)
      if (commit->accesses[i]->key.region == region) change += difference_of(commit->accesses[i]);
    if (change == 0) continue;
    const dsm_atomic_u64 *word = dsm_space_region_count(commit->call->space, region, stripe);
    uint64_t count;
    DSM_TRY(read_sealed(commit, DSM_CONTROL_SEGMENT, word, &count));
    if ((int64_t)count + change < 0)
      return dsm_fail(commit->call, DSM_CORRUPT, "count of the region is below one", -1, stripe,
                      count, 0);
    append_sealed(self, DSM_CONTROL_SEGMENT, word, count + (uint64_t)change);
  }
  return DSM_OK;
}

/* Backups first, the primary last, so that what was read once is never un-read (I-3). */
static dsm_status list_group(listing *self, uint32_t first) {
  dsm_access *head = self->commit->accesses[first];
  dsm_access_group *group = &head->group;
  group->part.record = self->commit->claim.record;
  group->part.stripe = head->stripe;
  group->part.first = self->count;
  for (uint32_t i = group->route.count; i-- > 0;) DSM_TRY(list_replica(self, first, i));
  DSM_TRY(list_counts(self, first));
  group->part.count = self->count - group->part.first;
  return DSM_OK;
}

/* After the decision: the outcome for the caller, and what services will look at. */
static void finish_group(const dsm_commit *self, uint32_t first) {
  const dsm_access_group *group = &self->accesses[first]->group;
  for (uint32_t at = first; at < first + group->members; at++) {
    dsm_access *access = self->accesses[at];
    if (access->kind == DSM_ACCESS_READ) continue;
    access->version = group->gen;
    if (access->kind == DSM_ACCESS_PUT && access->draft.flags & DSM_OBJECT_LAZY)
      for (uint32_t i = 0; i < access->replicas; i++)
        dsm_stripe_unsettled(self->call->space, group->route.nodes[i], access->stripe);
  }
}

dsm_status dsm_commit_publish(dsm_commit *self) {
  listing list = {.commit = self,
                  .entries = dsm_space_decision_log(self->call->space, self->claim.record)};
  for (uint32_t i = 0; i < self->count; i += dsm_commit_members(self, i))
    if (self->accesses[i]->group.writes) DSM_TRY(list_group(&list, i));
  DSM_CRASH_POINT("transaction.listed");
  for (uint32_t i = 0; i < self->count; i += dsm_commit_members(self, i))
    if (self->accesses[i]->group.writes)
      dsm_decision_arm(self->call, &self->accesses[i]->group.part, self->claim.number);
  dsm_decision_make(self->call, self->claim.record, self->claim.number);
  for (uint32_t i = 0; i < self->count; i += dsm_commit_members(self, i))
    if (self->accesses[i]->group.writes) {
      dsm_decision_carry(self->call, &self->accesses[i]->group.part);
      finish_group(self, i);
    }
  return DSM_OK;
}
