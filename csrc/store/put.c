/* Putting objects: values, counters, and copies made by repairs. */
#include "change.h"
#include "draft.h"
#include "heal.h"
#include "stripe.h"
#include "swap.h"

/* Where the new object goes at each replica. */
typedef struct place {
  dsm_swap swap; /* beside the old object, or else */
  uint64_t slab; /* the slab to take it from, 0 for the spare page */
} place;

typedef struct put {
  dsm_change change;
  const dsm_value *value;
  const dsm_object_shm *whole; /* of a transfer: the object that is copied as it is */
  dsm_draft wanted;
  place places[DSM_REPLICAS_MAX];
} put;

/* True if the new object fits beside the old one, so that nothing need be reserved. */
static bool fits_beside(put *self, uint32_t replica, dsm_log *log) {
  const dsm_found *found = &self->change.found[replica];
  self->places[replica].swap.page = 0;
  if (!found->offset || (found->header.flags | self->wanted.flags) & DSM_OBJECT_ALIGNED)
    return false;
  self->places[replica].swap =
      dsm_swap_find(log, self->change.route.nodes[replica], self->change.stripe, found->offset,
                    found->header.value_offset + found->header.value_bytes, self->wanted.bytes);
  return self->places[replica].swap.page != 0;
}

static dsm_status reserve(put *self) {
  dsm_change *change = &self->change;
  const dsm_draft *wanted = &self->wanted;
  bool any_moved = false;
  dsm_log log = dsm_log_make(change->call, NULL, 0);
  for (uint32_t i = 0; i < change->replicas; i++) {
    unsigned node = change->route.nodes[i];
    if (DSM_LIKELY(fits_beside(self, i, &log))) continue;
    if (log.status != DSM_OK) return log.status;
    if (!change->found[i].offset && change->found[i].slot_word != DSM_SLOT_TOMBSTONE) {
      bool moved;
      DSM_TRY(dsm_table_reserve(change->call, node, change->stripe, &moved));
      any_moved |= moved;
    }
    if (wanted->flags & DSM_OBJECT_ALIGNED)
      DSM_TRY(dsm_stripe_reserve_run(change->call, node, change->stripe, DSM_RUN_VALUE,
                                     (wanted->bytes + DSM_ARENA_PAGE_BYTES - 1) /
                                         DSM_ARENA_PAGE_BYTES));
    else
      DSM_TRY(dsm_stripe_reserve_extent(change->call, node, change->stripe, wanted->bytes,
                                        &self->places[i].slab));
  }
  return any_moved ? dsm_change_find(change) : DSM_OK;
}

static uint64_t take_reserved(dsm_log *log, unsigned node, uint32_t stripe) {
  const dsm_layout *layout = &log->call->space->layout;
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  uint64_t page = dsm_log_get_sealed(log, node + 1, &sub->reserved);
  if (log->status == DSM_OK && (page < layout->data_page || page >= layout->page_count))
    dsm_log_corrupt(log, "reserved run outside the segment", node + 1, page, 0);
  dsm_log_set_sealed(log, node + 1, &sub->reserved, 0);
  return page * DSM_ARENA_PAGE_BYTES;
}

/* The extent of the new object at one replica, taken within the log. */
static uint64_t take_extent(const put *self, dsm_log *log, uint32_t replica) {
  const place *place = &self->places[replica];
  unsigned node = self->change.route.nodes[replica];
  if (DSM_LIKELY(place->swap.page)) return place->swap.offset;
  if (self->wanted.flags & DSM_OBJECT_ALIGNED) return take_reserved(log, node, self->change.stripe);
  return dsm_slab_take(log, node, self->change.stripe, self->wanted.bytes, place->slab);
}

/* Lists the end of the old object, if there is one, and what that means for the slabs. */
static void list_old(put *self, dsm_log *log, uint32_t replica) {
  dsm_change *change = &self->change;
  unsigned node = change->route.nodes[replica];
  const dsm_swap *swap = &self->places[replica].swap;
  if (DSM_LIKELY(swap->page)) {
    dsm_swap_list(log, node, change->stripe, swap, change->found[replica].offset);
    return;
  }
  if (change->found[replica].offset) dsm_change_free(change, log, replica);
  dsm_slab_finish(log, node, change->stripe);
}

static void list_put(put *self, dsm_log *log, uint32_t replica) {
  dsm_change *change = &self->change;
  const dsm_space *space = change->call->space;
  unsigned node = change->route.nodes[replica], segment = node + 1;
  dsm_sub_shm *sub = dsm_space_sub(space, node, change->stripe);
  const dsm_found *found = &change->found[replica];
  log->first = log->count;
  if (self->places[replica].swap.page && log->status == DSM_OK)
    log->status = dsm_change_verify_length(change, replica);
  uint64_t offset = take_extent(self, log, replica);
  if (DSM_UNLIKELY(log->status != DSM_OK)) return;
  dsm_object_shm *object = dsm_object_at(space, node, offset);
  if (DSM_UNLIKELY(self->whole != NULL))
    dsm_draft_copy(&self->wanted, self->whole, object);
  else
    dsm_draft_write(&self->wanted, change->key, self->value, change->version, object);
  dsm_log_once(log, segment, &object->version, change->version);
  dsm_log_once(log, segment, found->slot, dsm_slot_make(offset, change->key->hash));
  if (!found->offset)
    dsm_log_once_sealed(log, segment, &sub->used,
                        dsm_log_read_sealed(log, segment, &sub->used) + DSM_LIVE_ONE +
                            (found->slot_word == DSM_SLOT_EMPTY ? DSM_USED_ONE : 0));
  dsm_log_once_sealed(log, segment, &sub->gen, change->gen);
  list_old(self, log, replica);
}

static dsm_status put_locked(put *self) {
  dsm_change *change = &self->change;
  DSM_TRY(reserve(self));
  DSM_TRY(dsm_change_next(change));
  dsm_log log = dsm_change_log(change);
  for (uint32_t i = change->replicas; i-- > 0;) list_put(self, &log, i);
  if (!change->found[0].offset && !change->copies) dsm_change_count(change, &log, 1);
  DSM_TRY(dsm_log_commit(&log));
  if (self->wanted.flags & DSM_OBJECT_LAZY)
    for (uint32_t i = 0; i < change->replicas; i++)
      dsm_stripe_unsettled(change->call->space, change->route.nodes[i], change->stripe);
  return DSM_OK;
}

static inline dsm_status begin(put *self, dsm_call *call, const dsm_key *key,
                               const dsm_value *value, uint32_t replicas) {
  dsm_change_ahead(call, key);
  self->value = value;
  self->whole = NULL;
  DSM_TRY(dsm_draft_make(call, key, value, &self->wanted));
  return dsm_change_begin(&self->change, call, key, replicas);
}

dsm_status dsm_put(dsm_call *call, const dsm_key *key, const dsm_value *value,
                   dsm_condition condition, uint64_t *version) {
  put self;
  DSM_TRY(begin(&self, call, key, value, condition.replicas));
  dsm_status status;
  do {
    status = dsm_change_check(&self.change, condition.if_version, version);
    if (status == DSM_OK) status = put_locked(&self);
  } while (DSM_UNLIKELY(status == DSM_CORRUPT) && dsm_change_heal(&self.change));
  if (status == DSM_OK) *version = self.change.gen;
  return dsm_change_end(&self.change, status);
}

/* The counter that the primary holds, verified; an absent key is 0. */
static dsm_status read_counter(dsm_change *self, int64_t *out) {
  const dsm_found *found = &self->found[0];
  *out = 0;
  if (!found->offset) return dsm_change_known(self);
  DSM_TRY(dsm_change_verify(self, 0));
  DSM_TRY(dsm_change_known(self));
  if (found->header.codec != DSM_CODEC_INT64 || found->header.value_bytes != sizeof *out)
    return dsm_fail(self->call, DSM_WRONG_TYPE, "counter", self->route.nodes[0], self->stripe,
                    found->header.codec, DSM_CODEC_INT64);
  const uint8_t *object =
      (const uint8_t *)dsm_object_at(self->call->space, self->route.nodes[0], found->offset);
  dsm_copy_out(out, object + found->header.value_offset, sizeof *out);
  return DSM_OK;
}

static dsm_status add_locked(put *self, int64_t difference, int64_t *result) {
  dsm_change *change = &self->change;
  int64_t before, after = 0;
  DSM_TRY(read_counter(change, &before));
  if (__builtin_add_overflow(before, difference, &after))
    return dsm_fail(change->call, DSM_OVERFLOW, "counter", change->route.nodes[0], change->stripe,
                    (uint64_t)before, (uint64_t)difference);
  dsm_part part = {&after, sizeof after};
  dsm_value value = {&part, 1, DSM_CODEC_INT64, sizeof after};
  self->value = &value;
  self->whole = NULL;
  DSM_TRY(dsm_draft_make(change->call, change->key, &value, &self->wanted));
  DSM_TRY(put_locked(self));
  *result = after;
  return DSM_OK;
}

dsm_status dsm_add(dsm_call *call, const dsm_key *key, int64_t difference, uint32_t replicas,
                   int64_t *result, uint64_t *version) {
  put self;
  dsm_change_ahead(call, key);
  DSM_TRY(dsm_change_begin(&self.change, call, key, replicas));
  dsm_status status;
  do status = add_locked(&self, difference, result);
  while (DSM_UNLIKELY(status == DSM_CORRUPT) && dsm_change_heal(&self.change));
  if (status == DSM_OK) *version = self.change.gen;
  return dsm_change_end(&self.change, status);
}

dsm_status dsm_put_back(dsm_call *call, const dsm_key *key, const dsm_value *value,
                        uint64_t version, uint32_t replicas, bool *stored) {
  put self;
  *stored = false;
  DSM_TRY(begin(&self, call, key, value, replicas));
  self.change.transfer = version;
  *stored = !self.change.found[0].offset;
  dsm_status status = *stored ? put_locked(&self) : DSM_OK;
  *stored &= status == DSM_OK;
  return dsm_change_end(&self.change, status);
}

/* Whether an older copy of the key may be put. */
static dsm_status look_for_loss(dsm_change *self, bool *lost) {
  const dsm_found *found = &self->found[0];
  self->finds = !found->offset && dsm_heal_losses(self->call->space, self->stripe) > 0;
  *lost = self->finds;
  if (!found->offset) return DSM_OK;
  DSM_TRY(dsm_change_verify(self, 0));
  *lost = found->header.codec == DSM_CODEC_LOST;
  return DSM_OK;
}

dsm_status dsm_put_lost(dsm_call *call, const dsm_key *key, const dsm_value *value,
                        uint32_t replicas, bool *stored) {
  put self;
  *stored = false;
  DSM_TRY(begin(&self, call, key, value, replicas));
  dsm_status status;
  do {
    status = look_for_loss(&self.change, stored);
    if (status == DSM_OK && *stored) status = put_locked(&self);
  } while (status == DSM_CORRUPT && dsm_change_heal(&self.change));
  *stored &= status == DSM_OK;
  return dsm_change_end(&self.change, status);
}

dsm_status dsm_transfer(dsm_call *call, uint32_t stripe, unsigned source, unsigned target,
                        const dsm_key *key, uint64_t slot, const dsm_header *header) {
  const dsm_object_shm *object = dsm_object_at(call->space, source, dsm_slot_offset(slot));
  put self = {.change = {.call = call,
                         .key = key,
                         .stripe = stripe,
                         .replicas = 1,
                         .route = {.count = 1, .nodes = {(uint8_t)target}},
                         .transfer = header->version,
                         .copies = true},
              .whole = object,
              .wanted = dsm_draft_of(header)};
  DSM_TRY(dsm_change_find(&self.change));
  DSM_TRY(put_locked(&self));
  return dsm_stripe_settle(call, stripe, target);
}

dsm_status dsm_put_counted(dsm_call *call, const dsm_key *key, const dsm_value *value,
                           const dsm_route *route, uint32_t copies) {
  put self = {.change = {.call = call,
                         .key = key,
                         .stripe = dsm_key_stripe(call->space, key->hash),
                         .replicas = copies < route->count ? copies : route->count,
                         .route = *route,
                         .copies = true},
              .value = value};
  DSM_TRY(dsm_draft_make(call, key, value, &self.wanted));
  DSM_TRY(dsm_change_find(&self.change));
  DSM_TRY(put_locked(&self));
  for (uint32_t i = 0; i < self.change.replicas; i++)
    DSM_TRY(dsm_stripe_settle(call, self.change.stripe, route->nodes[i]));
  return DSM_OK;
}
