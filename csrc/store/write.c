/* The write path. */
#include "write.h"

#include "../base/crash.h"
#include "prefetch.h"
#include "stripe.h"

#define LIVE_ONE (1ull << 22)
#define USED_ONE 1ull

/* One change of one key: what was found and what was reserved at each replica. */
typedef struct change {
  dsm_call *call;
  const dsm_key *key;
  uint32_t stripe, replicas;
  dsm_route route;
  dsm_found found[DSM_REPLICAS_MAX];
  uint64_t slab[DSM_REPLICAS_MAX]; /* to take the extent from; 0: the spare page */
  uint64_t gen;                    /* the generation that the subs have afterwards */
  uint64_t version;                /* of the object that is put */
  uint64_t transfer;               /* 0, or the version that a transferred object keeps */
} change;

static dsm_status find_all(change *self) {
  for (uint32_t i = 0; i < self->replicas; i++)
    DSM_TRY(
        dsm_table_find(self->call, self->route.nodes[i], self->stripe, self->key, &self->found[i]));
  return DSM_OK;
}

static dsm_status begin(change *self, dsm_call *call, const dsm_key *key, uint32_t replicas) {
  self->call = call;
  self->key = key;
  self->stripe = dsm_key_stripe(call->space, key->hash);
  self->transfer = 0;
  DSM_TRY(dsm_stripe_take(call, self->stripe, &self->route));
  self->replicas = replicas < self->route.count ? replicas : self->route.count;
  if (!call->prefetched) dsm_prefetch_change_object(call->space, key->hash);
  dsm_status status = find_all(self);
  if (DSM_UNLIKELY(status != DSM_OK)) dsm_stripe_drop(call, self->stripe, &self->route);
  return status;
}

static dsm_status end(change *self, dsm_status status) {
  dsm_stripe_drop(self->call, self->stripe, &self->route);
  return status;
}

/* The next version: above every replica's generation, so that it repeats at none of them. */
static dsm_status next_gen(change *self) {
  self->gen = 0;
  for (uint32_t i = 0; i < self->route.count; i++) {
    unsigned node = self->route.nodes[i];
    dsm_log log = dsm_log_make(self->call, NULL, 0);
    uint64_t gen = dsm_log_read_sealed(&log, node + 1,
                                       &dsm_space_sub(self->call->space, node, self->stripe)->gen);
    if (log.status != DSM_OK) return log.status;
    if (gen > self->gen) self->gen = gen;
  }
  if (self->transfer > self->gen) self->gen = self->transfer;
  self->version = ++self->gen;
  if (self->transfer) self->version = self->transfer;
  const dsm_header *old = &self->found[0].header;
  if (self->found[0].offset && !self->transfer && old->version >= self->gen)
    return dsm_fail(self->call, DSM_CORRUPT, "object is newer than its stripe",
                    self->route.nodes[0], self->stripe, old->version, self->gen);
  return DSM_OK;
}

/* Before an answer, or a change of what lies around it, that rests on the old object's header. */
static dsm_status verify_found(const change *self, uint32_t replica) {
  const dsm_header *header = &self->found[replica].header;
  unsigned node = self->route.nodes[replica];
  const uint8_t *object =
      (const uint8_t *)dsm_object_at(self->call->space, node, self->found[replica].offset);
  uint64_t value_hash = header->flags & DSM_OBJECT_LAZY
                            ? 0
                            : dsm_value_hash(object + header->value_offset, header->value_bytes);
  uint32_t checksum = dsm_object_checksum(header->version, header->shape, header->binding,
                                          self->key->hash, value_hash);
  if (checksum == (uint32_t)(header->binding >> 32)) return DSM_OK;
  return dsm_fail(self->call, DSM_CORRUPT, "object's checksum differs", (int)node, self->stripe,
                  checksum, header->binding >> 32);
}

static dsm_status check_condition(const change *self, uint64_t if_version, uint64_t *version) {
  uint64_t present = self->found[0].offset ? self->found[0].header.version : 0;
  if (if_version == DSM_ANY_VERSION || if_version == present) return DSM_OK;
  if (present) DSM_TRY(verify_found(self, 0));
  *version = present;
  return dsm_fail(self->call, DSM_VERSION_CONFLICT, "version", self->route.nodes[0], self->stripe,
                  if_version, present);
}

/* Size, shape and place of the new object, the same at every replica. */
typedef struct plan {
  uint64_t bytes, shape, binding;
  uint64_t value_offset;
  uint32_t key_offset;
  uint8_t flags;
} plan;

static plan make_plan(const dsm_key *key, const dsm_value *value) {
  plan result = {.flags = value->length >= DSM_LAZY_BYTES_MIN ? DSM_OBJECT_LAZY : 0};
  dsm_header header;
  if (dsm_header_bytes(result.flags) + key->length + value->length > DSM_SMALL_BYTES_MAX)
    result.flags |= DSM_OBJECT_ALIGNED;
  result.shape = value->length | (uint64_t)value->codec << 40 | (uint64_t)result.flags << 48 |
                 (uint64_t)key->kind << 56;
  result.binding = (uint64_t)key->region << 16 | key->length;
  dsm_header_decode(&header, 1, result.shape, result.binding);
  result.key_offset = header.key_offset;
  result.value_offset = header.value_offset;
  result.bytes = header.value_offset + value->length;
  return result;
}

static dsm_status reserve(change *self, const plan *wanted) {
  bool any_moved = false;
  for (uint32_t i = 0; i < self->replicas; i++) {
    unsigned node = self->route.nodes[i];
    if (!self->found[i].offset && self->found[i].slot_word != DSM_SLOT_TOMBSTONE) {
      bool moved;
      DSM_TRY(dsm_table_reserve(self->call, node, self->stripe, &moved));
      any_moved |= moved;
    }
    if (wanted->flags & DSM_OBJECT_ALIGNED)
      DSM_TRY(dsm_stripe_reserve_run(self->call, node, self->stripe, DSM_RUN_VALUE,
                                     (wanted->bytes + DSM_ARENA_PAGE_BYTES - 1) /
                                         DSM_ARENA_PAGE_BYTES));
    else
      DSM_TRY(
          dsm_stripe_reserve_extent(self->call, node, self->stripe, wanted->bytes, &self->slab[i]));
  }
  return any_moved ? find_all(self) : DSM_OK;
}

/* Writes the object into memory that nothing refers to; the version word stays 0. */
static void fill(const change *self, dsm_object_shm *object, const plan *wanted,
                 const dsm_value *value, uint64_t value_hash) {
  uint8_t *bytes = (uint8_t *)object;
  uint64_t checksum = dsm_object_checksum(self->version, wanted->shape, wanted->binding,
                                          self->key->hash, value_hash);
  /* A reader that meets a byte of this object in memory that it still takes for another one's must
   * see the generation that freed that memory. The same holds for slabs and tables. */
  dsm_fence_release();
  dsm_store_relaxed_u64(&object->version, 0);
  dsm_store_relaxed_u64(&object->shape, wanted->shape);
  dsm_store_relaxed_u64(&object->binding, checksum << 32 | wanted->binding);
  if (wanted->flags & DSM_OBJECT_LAZY) dsm_store_relaxed_u64(dsm_object_settled(object), 0);
  DSM_CRASH_POINT("put.header");
  dsm_copy_in(bytes + wanted->key_offset, self->key->bytes, self->key->length);
  uint64_t at = wanted->value_offset;
  for (uint32_t i = 0; i < value->part_count; i++) {
    dsm_copy_in(bytes + at, value->parts[i].bytes, value->parts[i].length);
    at += value->parts[i].length;
    DSM_CRASH_POINT("put.part");
  }
}

/* Lists the freeing of the object that a replica held. After the generation, so that no reader who
 * still sees it validates. */
static void list_free(const change *self, dsm_log *log, uint32_t replica) {
  unsigned node = self->route.nodes[replica];
  uint32_t stripe = self->stripe;
  const dsm_found *found = &self->found[replica];
  if (!(found->header.flags & DSM_OBJECT_ALIGNED)) {
    /* A flipped bit in the length must not free the neighbours. */
    if (log->status == DSM_OK) log->status = verify_found(self, replica);
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

static void list_count(dsm_log *log, const change *self, int difference) {
  dsm_atomic_u64 *count = dsm_space_region_count(log->call->space, self->key->region, self->stripe);
  uint64_t value = dsm_log_get_sealed(log, DSM_CONTROL_SEGMENT, count);
  if (log->status == DSM_OK && difference < 0 && value == 0)
    dsm_log_corrupt(log, "count of the region is below one", DSM_CONTROL_SEGMENT, value, 0);
  dsm_log_set_sealed(log, DSM_CONTROL_SEGMENT, count, value + (uint64_t)(int64_t)difference);
}

/* The extent of the new object at one replica, taken within the log. */
static uint64_t take_extent(dsm_log *log, unsigned node, uint32_t stripe, const plan *wanted,
                            uint64_t slab) {
  if (!(wanted->flags & DSM_OBJECT_ALIGNED))
    return dsm_slab_take(log, node, stripe, wanted->bytes, slab);
  dsm_sub_shm *sub = dsm_space_sub(log->call->space, node, stripe);
  uint64_t page = dsm_log_get_sealed(log, node + 1, &sub->reserved);
  if (log->status == DSM_OK &&
      (page < log->call->space->layout.data_page || page >= log->call->space->layout.page_count))
    dsm_log_corrupt(log, "reserved run outside the segment", node + 1, page, 0);
  dsm_log_set_sealed(log, node + 1, &sub->reserved, 0);
  return page * DSM_ARENA_PAGE_BYTES;
}

static void list_put(change *self, dsm_log *log, uint32_t replica, const plan *wanted,
                     const dsm_value *value, uint64_t *value_hash) {
  const dsm_space *space = self->call->space;
  unsigned node = self->route.nodes[replica], segment = node + 1;
  dsm_sub_shm *sub = dsm_space_sub(space, node, self->stripe);
  const dsm_found *found = &self->found[replica];
  log->first = log->count;
  uint64_t offset = take_extent(log, node, self->stripe, wanted, self->slab[replica]);
  if (log->status != DSM_OK) return;
  dsm_object_shm *object = dsm_object_at(space, node, offset);
  bool lazy = wanted->flags & DSM_OBJECT_LAZY;
  if (!lazy && *value_hash == 0) {
    fill(self, object, wanted, value, 0);
    *value_hash = dsm_value_hash((const uint8_t *)object + wanted->value_offset, value->length);
  }
  fill(self, object, wanted, value, lazy ? 0 : *value_hash);
  dsm_log_once(log, segment, &object->version, self->version);
  dsm_log_once(log, segment, found->slot, dsm_slot_make(offset, self->key->hash));
  if (!found->offset)
    dsm_log_once_sealed(log, segment, &sub->used,
                        dsm_log_read_sealed(log, segment, &sub->used) + LIVE_ONE +
                            (found->slot_word == DSM_SLOT_EMPTY ? USED_ONE : 0));
  dsm_log_once_sealed(log, segment, &sub->gen, self->gen);
  if (found->offset) list_free(self, log, replica);
  dsm_slab_finish(log, node, self->stripe);
}

/* Hash of a small value in one part, before the lock; 0: lazy, or known once it is laid out. */
static uint64_t hash_ahead(const dsm_value *value) {
  if (value->length >= DSM_LAZY_BYTES_MIN || value->part_count != 1) return 0;
  return dsm_value_hash(value->parts[0].bytes, value->length);
}

static dsm_status put_locked(change *self, const dsm_value *value, uint64_t value_hash) {
  plan wanted = make_plan(self->key, value);
  DSM_TRY(reserve(self, &wanted));
  DSM_TRY(next_gen(self));
  dsm_log log =
      dsm_log_make(self->call, dsm_space_intent(self->call->space, self->stripe), self->stripe);
  for (uint32_t i = self->replicas; i-- > 0;) list_put(self, &log, i, &wanted, value, &value_hash);
  if (!self->found[0].offset && !self->transfer) list_count(&log, self, 1);
  DSM_TRY(dsm_log_commit(&log));
  if (wanted.flags & DSM_OBJECT_LAZY)
    for (uint32_t i = 0; i < self->replicas; i++)
      dsm_stripe_unsettled(self->call->space, self->route.nodes[i], self->stripe);
  return DSM_OK;
}

static dsm_status check_sizes(dsm_call *call, const dsm_key *key, const dsm_value *value) {
  if (key->length > DSM_KEY_BYTES_MAX)
    return dsm_fail(call, DSM_KEY_TOO_LONG, "key bytes", -1, -1, key->length, DSM_KEY_BYTES_MAX);
  uint64_t room = call->space->layout.node_bytes - call->space->layout.data;
  if (value->length >= DSM_VALUE_BYTES_MAX || value->length + key->length + 192 > room)
    return dsm_fail(call, DSM_STORE_FULL, "value is larger than a node's segment", -1, -1,
                    value->length, room);
  return DSM_OK;
}

dsm_status dsm_put(dsm_call *call, const dsm_key *key, const dsm_value *value,
                   dsm_condition condition, uint64_t *version) {
  change self;
  DSM_TRY(check_sizes(call, key, value));
  if (!call->prefetched) dsm_prefetch_change_head(call->space, key->hash);
  uint64_t value_hash = hash_ahead(value);
  DSM_TRY(begin(&self, call, key, condition.replicas));
  dsm_status status = check_condition(&self, condition.if_version, version);
  if (status == DSM_OK) status = put_locked(&self, value, value_hash);
  if (status == DSM_OK) *version = self.gen;
  return end(&self, status);
}

/* Lists the end of the key at one replica; a sub that becomes empty gives its table up as well. */
static void list_delete(change *self, dsm_log *log, uint32_t replica) {
  const dsm_space *space = self->call->space;
  unsigned node = self->route.nodes[replica], segment = node + 1;
  dsm_sub_shm *sub = dsm_space_sub(space, node, self->stripe);
  const dsm_found *found = &self->found[replica];
  log->first = log->count;
  if (!found->offset) return;
  uint64_t used = dsm_log_get_sealed(log, segment, &sub->used);
  if (log->status == DSM_OK && used < LIVE_ONE)
    dsm_log_corrupt(log, "count of live slots is below one", segment, used, self->stripe);
  bool last = used < 2 * LIVE_ONE;
  dsm_log_set(log, segment, found->slot, DSM_SLOT_TOMBSTONE);
  if (!last) dsm_log_set_sealed(log, segment, &sub->used, used - LIVE_ONE);
  if (last) {
    dsm_log_set_sealed(log, segment, &sub->table, 0);
    dsm_log_set_sealed(log, segment, &sub->used, 0);
  }
  dsm_log_set_sealed(log, segment, &sub->gen, self->gen);
  list_free(self, log, replica);
  if (last) dsm_table_drop(log, node, self->stripe);
  dsm_slab_finish(log, node, self->stripe);
  if (last) dsm_slab_give_spare(log, node, self->stripe);
}

static dsm_status delete_locked(change *self) {
  DSM_TRY(next_gen(self));
  dsm_log log =
      dsm_log_make(self->call, dsm_space_intent(self->call->space, self->stripe), self->stripe);
  for (uint32_t i = self->replicas; i-- > 0;) list_delete(self, &log, i);
  list_count(&log, self, -1);
  return dsm_log_commit(&log);
}

dsm_status dsm_delete(dsm_call *call, const dsm_key *key, dsm_condition condition,
                      uint64_t *version) {
  change self;
  DSM_TRY(begin(&self, call, key, condition.replicas));
  dsm_status status = check_condition(&self, condition.if_version, version);
  if (status == DSM_OK) status = self.found[0].offset ? delete_locked(&self) : DSM_NOT_FOUND;
  if (status == DSM_OK) *version = self.gen;
  return end(&self, status);
}

/* The counter that the primary holds, verified; an absent key is 0. */
static dsm_status read_counter(const change *self, int64_t *out) {
  const dsm_found *found = &self->found[0];
  *out = 0;
  if (!found->offset) return DSM_OK;
  DSM_TRY(verify_found(self, 0));
  if (found->header.codec != DSM_CODEC_INT64 || found->header.value_bytes != sizeof *out)
    return dsm_fail(self->call, DSM_WRONG_TYPE, "counter", self->route.nodes[0], self->stripe,
                    found->header.codec, DSM_CODEC_INT64);
  const uint8_t *object =
      (const uint8_t *)dsm_object_at(self->call->space, self->route.nodes[0], found->offset);
  dsm_copy_out(out, object + found->header.value_offset, sizeof *out);
  return DSM_OK;
}

dsm_status dsm_add(dsm_call *call, const dsm_key *key, int64_t difference, uint32_t replicas,
                   int64_t *result, uint64_t *version) {
  change self;
  if (key->length > DSM_KEY_BYTES_MAX)
    return dsm_fail(call, DSM_KEY_TOO_LONG, "key bytes", -1, -1, key->length, DSM_KEY_BYTES_MAX);
  DSM_TRY(begin(&self, call, key, replicas));
  int64_t before, after = 0;
  dsm_status status = read_counter(&self, &before);
  if (status == DSM_OK && __builtin_add_overflow(before, difference, &after))
    status = dsm_fail(call, DSM_OVERFLOW, "counter", self.route.nodes[0], self.stripe,
                      (uint64_t)before, (uint64_t)difference);
  if (status == DSM_OK) {
    dsm_part part = {&after, sizeof after};
    dsm_value value = {&part, 1, DSM_CODEC_INT64, sizeof after};
    status = put_locked(&self, &value, hash_ahead(&value));
  }
  if (status == DSM_OK) {
    *result = after;
    *version = self.gen;
  }
  return end(&self, status);
}

dsm_status dsm_transfer(dsm_call *call, uint32_t stripe, unsigned source, unsigned target,
                        const dsm_key *key, uint64_t slot, const dsm_header *header) {
  const uint8_t *object =
      (const uint8_t *)dsm_object_at(call->space, source, dsm_slot_offset(slot));
  dsm_part part = {object + header->value_offset, header->value_bytes};
  dsm_value value = {&part, 1, header->codec, header->value_bytes};
  change self = {.call = call,
                 .key = key,
                 .stripe = stripe,
                 .replicas = 1,
                 .route = {.count = 1, .nodes = {(uint8_t)target}},
                 .transfer = header->version};
  DSM_TRY(find_all(&self));
  DSM_TRY(put_locked(&self, &value, hash_ahead(&value)));
  return dsm_stripe_settle(call, stripe, target);
}
