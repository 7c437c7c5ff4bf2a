/* Beginning and ending a change; what every change lists. */
#include "change.h"

#include "cut.h"
#include "heal.h"
#include "stripe.h"

/* Two passes, so that the misses of all replicas overlap: where the objects lie, then the objects.
 */
dsm_status dsm_change_find(dsm_change *self) {
  const dsm_space *space = self->call->space;
  dsm_table tables[DSM_REPLICAS_MAX];
  for (uint32_t i = 0; i < self->replicas; i++) {
    unsigned node = self->route.nodes[i];
    DSM_TRY(dsm_table_read(self->call, node, self->stripe, &tables[i]));
    if (!self->call->prefetched && tables[i].slots)
      dsm_prefetch_home(space, node, &tables[i], self->key->hash);
  }
  for (uint32_t i = 0; i < self->replicas; i++)
    DSM_TRY(dsm_table_probe(self->call, self->route.nodes[i], self->stripe, &tables[i], self->key,
                            &self->found[i]));
  return DSM_OK;
}

bool dsm_change_heal(dsm_change *self) {
  if (self->healed) return false;
  self->healed = true;
  self->verified = false;
  return dsm_heal_locked(self->call, self->stripe, &self->route) == DSM_OK &&
         dsm_change_find(self) == DSM_OK;
}

/* One copy: the slots on the way to where the key would go must be true ones, or one of them may be
 * the key's. */
static bool way_holds(dsm_change *self) {
  dsm_table table;
  unsigned node = self->route.nodes[0];
  return dsm_table_read(self->call, node, self->stripe, &table) == DSM_OK &&
         dsm_table_way_holds(self->call, node, self->stripe, &table, self->key->hash);
}

/* What no kill leaves behind: replicas that disagree about the key. */
static inline bool doubtful(dsm_change *self) {
  const dsm_found *first = &self->found[0];
  if (DSM_UNLIKELY(self->replicas == 1)) return !first->offset && !way_holds(self);
  for (uint32_t i = 1; i < self->replicas; i++) {
    const dsm_found *found = &self->found[i];
    if (DSM_UNLIKELY(!found->offset != !first->offset ||
                     (found->offset && found->header.version != first->header.version)))
      return true;
  }
  return false;
}

dsm_status dsm_change_known(dsm_change *self) {
  const dsm_found *found = &self->found[0];
  if (found->offset ? found->header.codec != DSM_CODEC_LOST
                    : dsm_heal_losses(self->call->space, self->stripe) == 0)
    return DSM_OK;
  return dsm_fail(self->call, DSM_NO_REPLICAS,
                  found->offset ? "the object was lost with its last replica"
                                : "keys of the stripe were lost, and this may be one of them",
                  self->route.nodes[0], self->stripe, found->offset, 0);
}

dsm_status dsm_change_begin(dsm_change *self, dsm_call *call, const dsm_key *key,
                            uint32_t replicas) {
  self->call = call;
  self->key = key;
  self->stripe = dsm_key_stripe(call->space, key->hash);
  self->transfer = 0;
  self->verified = self->copies = self->healed = self->finds = false;
  DSM_TRY(dsm_stripe_take(call, self->stripe, &self->route));
  self->replicas = replicas < self->route.count ? replicas : self->route.count;
  dsm_status status = dsm_change_find(self);
  if (DSM_UNLIKELY(status == DSM_CORRUPT || (status == DSM_OK && doubtful(self))))
    status = dsm_change_heal(self) ? DSM_OK : DSM_CORRUPT;
  if (DSM_UNLIKELY(status != DSM_OK)) dsm_stripe_drop(call, self->stripe, &self->route);
  return status;
}

dsm_status dsm_change_end(dsm_change *self, dsm_status status) {
  dsm_stripe_drop(self->call, self->stripe, &self->route);
  return status;
}

/* For the checkpoint that runs: the lock is held, and nothing has changed yet. */
static void keep(dsm_change *self, uint64_t cut) {
  dsm_replaced replaced = {.stripe = self->stripe,
                           .count = self->replicas,
                           .gen = self->gen - 1,
                           .nodes = self->route.nodes,
                           .found = self->found,
                           .region = self->key->region,
                           .key_hash = self->key->hash};
  dsm_cut_keep(self->call, cut, &replaced);
}

dsm_status dsm_change_next(dsm_change *self) {
  self->gen = 0;
  for (uint32_t i = 0; i < self->route.count; i++) {
    unsigned node = self->route.nodes[i];
    const dsm_atomic_u64 *word = &dsm_space_sub(self->call->space, node, self->stripe)->gen;
    bool ok;
    uint64_t raw = dsm_load_relaxed_u64(word);
    uint64_t gen = dsm_unseal(raw, dsm_space_locator(self->call->space, node + 1, word), &ok);
    if (DSM_UNLIKELY(!ok))
      return dsm_fail(self->call, DSM_CORRUPT, "generation does not verify", (int)node,
                      self->stripe, raw, 0);
    if (gen > self->gen) self->gen = gen;
  }
  if (self->transfer > self->gen) self->gen = self->transfer;
  self->version = ++self->gen;
  if (self->transfer) self->version = self->transfer;
  const dsm_header *old = &self->found[0].header;
  if (self->found[0].offset && !self->transfer && old->version >= self->gen)
    return dsm_fail(self->call, DSM_CORRUPT, "object is newer than its stripe",
                    self->route.nodes[0], self->stripe, old->version, self->gen);
  uint64_t cut = dsm_cut_word(self->call->space);
  if (DSM_UNLIKELY(cut != 0) && !self->copies) keep(self, cut);
  return DSM_OK;
}

dsm_status dsm_change_verify(dsm_change *self, uint32_t replica) {
  if (replica == 0 && self->verified) return DSM_OK;
  const dsm_header *header = &self->found[replica].header;
  unsigned node = self->route.nodes[replica];
  const uint8_t *object =
      (const uint8_t *)dsm_object_at(self->call->space, node, self->found[replica].offset);
  uint64_t value_hash = header->flags & DSM_OBJECT_LAZY
                            ? 0
                            : dsm_value_hash(object + header->value_offset, header->value_bytes);
  uint32_t checksum = dsm_object_checksum(header->version, header->shape, header->binding,
                                          self->key->hash, value_hash);
  if (DSM_UNLIKELY(checksum != (uint32_t)(header->binding >> 32)))
    return dsm_fail(self->call, DSM_CORRUPT, "object's checksum differs", (int)node, self->stripe,
                    checksum, header->binding >> 32);
  if (replica == 0) self->verified = true;
  return DSM_OK;
}

dsm_status dsm_change_check(dsm_change *self, uint64_t if_version, uint64_t *version) {
  uint64_t present = self->found[0].offset ? self->found[0].header.version : 0;
  if (DSM_LIKELY(if_version == DSM_ANY_VERSION)) return DSM_OK;
  if (present == 0) DSM_TRY(dsm_change_known(self));
  if (if_version == present) return DSM_OK;
  if (present) DSM_TRY(dsm_change_verify(self, 0));
  *version = present;
  return dsm_fail(self->call, DSM_VERSION_CONFLICT, "version", self->route.nodes[0], self->stripe,
                  if_version, present);
}

dsm_status dsm_change_verify_length(dsm_change *self, uint32_t replica) {
  const dsm_header *own = &self->found[replica].header, *first = &self->found[0].header;
  bool same = self->found[0].offset && own->version == first->version &&
              own->shape == first->shape && own->binding == first->binding;
  return dsm_change_verify(self, same ? 0 : replica);
}

void dsm_change_free(dsm_change *self, dsm_log *log, uint32_t replica) {
  unsigned node = self->route.nodes[replica];
  uint32_t stripe = self->stripe;
  const dsm_found *found = &self->found[replica];
  if (!(found->header.flags & DSM_OBJECT_ALIGNED)) {
    if (log->status == DSM_OK) log->status = dsm_change_verify_length(self, replica);
    dsm_slab_give(log, node, stripe, found->offset,
                  found->header.value_offset + found->header.value_bytes);
    return;
  }
  /* A flipped bit in the flags must not give away a slab with other objects in it. */
  dsm_run run;
  if (log->status == DSM_OK)
    log->status = dsm_run_read(log->call, node, found->offset / DSM_ARENA_PAGE_BYTES, &run);
  if (log->status == DSM_OK && (run.kind != DSM_RUN_VALUE || run.stripe != stripe ||
                                found->offset % DSM_ARENA_PAGE_BYTES != 0))
    dsm_log_corrupt(log, "value is not the run that it lies in", node + 1, run.kind, run.stripe);
  if (log->status != DSM_OK) return;
  /* The value may be pinned and stays as it is; who pinned it has a copy of the header. Without a
   * version, no damaged slot can find the old object while it waits in limbo. */
  dsm_log_once(log, node + 1, &dsm_object_at(log->call->space, node, found->offset)->version, 0);
  dsm_slab_retire(log, node, stripe, found->offset / DSM_ARENA_PAGE_BYTES);
}

void dsm_change_count(const dsm_change *self, dsm_log *log, int difference) {
  dsm_atomic_u64 *count = dsm_space_region_count(log->call->space, self->key->region, self->stripe);
  uint64_t value = dsm_log_get_sealed(log, DSM_CONTROL_SEGMENT, count);
  if (log->status == DSM_OK && difference < 0 && value == 0)
    dsm_log_corrupt(log, "count of the region is below one", DSM_CONTROL_SEGMENT, value, 0);
  dsm_log_set_sealed(log, DSM_CONTROL_SEGMENT, count, value + (uint64_t)(int64_t)difference);
  if (DSM_LIKELY(!self->finds)) return;
  dsm_atomic_u64 *losses = dsm_space_losses(log->call->space, self->stripe);
  uint64_t lost = dsm_log_get_sealed(log, DSM_CONTROL_SEGMENT, losses);
  if (lost) dsm_log_set_sealed(log, DSM_CONTROL_SEGMENT, losses, lost - 1);
}
