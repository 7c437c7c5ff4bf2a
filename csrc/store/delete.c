/* Deleting objects. */
#include "change.h"
#include "stripe.h"

/* Lists the end of the key at one replica; a sub that becomes empty gives its table up as well. */
static void list_delete(dsm_change *self, dsm_log *log, uint32_t replica) {
  const dsm_space *space = self->call->space;
  unsigned node = self->route.nodes[replica], segment = node + 1;
  dsm_sub_shm *sub = dsm_space_sub(space, node, self->stripe);
  const dsm_found *found = &self->found[replica];
  log->first = log->count;
  if (!found->offset) return;
  uint64_t used = dsm_log_get_sealed(log, segment, &sub->used);
  if (log->status == DSM_OK && used < DSM_LIVE_ONE)
    dsm_log_corrupt(log, "count of live slots is below one", segment, used, self->stripe);
  bool last = used < 2 * DSM_LIVE_ONE;
  dsm_log_set(log, segment, found->slot, DSM_SLOT_TOMBSTONE);
  if (!last) dsm_log_set_sealed(log, segment, &sub->used, used - DSM_LIVE_ONE);
  if (last) {
    dsm_log_set_sealed(log, segment, &sub->table, 0);
    dsm_log_set_sealed(log, segment, &sub->used, 0);
  }
  dsm_log_set_sealed(log, segment, &sub->gen, self->gen);
  dsm_change_free(self, log, replica);
  if (last) dsm_table_drop(log, node, self->stripe);
  dsm_slab_finish(log, node, self->stripe);
  if (last) dsm_slab_give_spare(log, node, self->stripe);
}

static dsm_status delete_locked(dsm_change *self) {
  DSM_TRY(dsm_change_next(self));
  dsm_log log = dsm_change_log(self);
  for (uint32_t i = self->replicas; i-- > 0;) list_delete(self, &log, i);
  dsm_change_count(self, &log, -1);
  return dsm_log_commit(&log);
}

dsm_status dsm_delete(dsm_call *call, const dsm_key *key, dsm_condition condition,
                      uint64_t *version) {
  dsm_change self;
  dsm_change_ahead(call, key);
  DSM_TRY(dsm_change_begin(&self, call, key, condition.replicas));
  dsm_status status;
  do {
    status = dsm_change_check(&self, condition.if_version, version);
    if (status == DSM_OK && !self.found[0].offset) {
      status = dsm_change_known(&self);
      if (status == DSM_OK) status = DSM_NOT_FOUND;
    }
    if (status == DSM_OK) status = delete_locked(&self);
  } while (DSM_UNLIKELY(status == DSM_CORRUPT) && dsm_change_heal(&self));
  if (status == DSM_OK) *version = self.gen;
  return dsm_change_end(&self, status);
}

dsm_status dsm_erase(dsm_call *call, uint32_t stripe, unsigned node, const dsm_key *key) {
  dsm_change self = {.call = call,
                     .key = key,
                     .stripe = stripe,
                     .replicas = 1,
                     .route = {.count = 1, .nodes = {(uint8_t)node}},
                     .copies = true};
  DSM_TRY(dsm_change_find(&self));
  if (!self.found[0].offset) return DSM_OK;
  DSM_TRY(dsm_change_next(&self));
  dsm_log log = dsm_change_log(&self);
  list_delete(&self, &log, 0);
  DSM_TRY(dsm_log_commit(&log));
  return dsm_stripe_settle(call, stripe, node);
}
