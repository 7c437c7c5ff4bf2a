/* The contents of the small cluster, and the scenarios that change it. */
#include "world.h"

#include <stdio.h>
#include <string.h>

#include "../../csrc/store/read.h"
#include "picture.h"

/* A stripe's first table holds 7 slots and grows at the sixth key, the one of 251 at the 204th. */
const scenario scenarios[] = {
    {"put new", true, false, 3, 64, 0, CHANGE_PUT, 3, 64},
    {"put first", true, false, 0, 64, 0, CHANGE_PUT, 0, 64},
    {"overwrite, same class", true, false, 3, 64, 0, CHANGE_PUT, 1, 64},
    {"overwrite, other class", true, false, 3, 64, 0, CHANGE_PUT, 1, 700},
    {"put new, table grows", true, false, 5, 64, 0, CHANGE_PUT, 5, 64},
    {"put new, table becomes a run", false, true, 203, 16, 0, CHANGE_PUT, 203, 16},
    {"put new of pages", false, false, 2, 64, 0, CHANGE_PUT, 2, 9000},
    {"overwrite of pages", false, false, 2, 64, 9000, CHANGE_PUT, 2, 9000},
    {"overwrite, pages to small", false, false, 2, 64, 9000, CHANGE_PUT, 2, 64},
    {"delete", true, false, 3, 64, 0, CHANGE_DELETE, 1, 0},
    {"delete last key", true, false, 1, 64, 0, CHANGE_DELETE, 0, 0},
    {"delete of pages", false, false, 2, 64, 9000, CHANGE_DELETE, 2, 0},
    {"add", false, false, 2, 64, 8, CHANGE_ADD, 2, 8},
    {"add to an absent key", false, false, 2, 64, 0, CHANGE_ADD, 2, 8},
};
const unsigned scenario_count = sizeof scenarios / sizeof *scenarios;

dsm_key world_key(const world *self, const dsm_space *space, uint32_t index) {
  const char *bytes = self->keys[index];
  uint32_t length = (uint32_t)strlen(bytes);
  return (dsm_key){bytes, length, DSM_KEY_TEXT, (uint16_t)self->region,
                   dsm_key_hash(space, bytes, length, DSM_KEY_TEXT, (uint16_t)self->region)};
}

void world_value(uint32_t index, const item *item, uint8_t *out) {
  if (item->counter) {
    memcpy(out, &item->tag, sizeof item->tag);
    return;
  }
  uint64_t state = (uint64_t)item->tag * 0x9E3779B97F4A7C15u + index;
  for (uint32_t i = 0; i < item->length; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    out[i] = (uint8_t)(state >> 56);
  }
}

/* The bytes of the value that is put next, made once: the stepped process finds them ready. */
const uint8_t *world_value_ready(uint32_t index, const item *it) {
  static uint8_t bytes[WORLD_VALUE_BYTES_MAX];
  static item made;
  static uint32_t made_index;
  if (!made.present || made_index != index || memcmp(&made, it, sizeof made) != 0) {
    world_value(index, it, bytes);
    memcpy(&made, it, sizeof made);
    made_index = index;
  }
  return bytes;
}

static dsm_status put(const world *self, dsm_call *call, uint32_t index, const item *item) {
  uint64_t version;
  dsm_key key = world_key(self, call->space, index);
  dsm_part part = {world_value_ready(index, item), item->length};
  dsm_value value = {&part, 1, item->counter ? DSM_CODEC_INT64 : 7, item->length};
  return dsm_put(call, &key, &value, (dsm_condition){self->replicas, DSM_ANY_VERSION}, &version);
}

dsm_status world_change(const world *self, dsm_call *call, const change *change) {
  dsm_key key = world_key(self, call->space, change->target);
  dsm_condition condition = {self->replicas, DSM_ANY_VERSION};
  uint64_t version;
  int64_t result,
      before = self->items[change->target].present ? self->items[change->target].tag : 0;
  if (change->kind == CHANGE_PUT) return put(self, call, change->target, &change->after);
  if (change->kind == CHANGE_DELETE) return dsm_delete(call, &key, condition, &version);
  return dsm_add(call, &key, change->after.tag - before, self->replicas, &result, &version);
}

static void choose_keys(world *self, const dsm_space *space) {
  self->stripe = space->stripe_count - 1;
  for (unsigned number = 0; self->key_count < WORLD_KEYS_MAX; number++) {
    snprintf(self->keys[self->key_count], sizeof self->keys[0], "key:%06u", number);
    dsm_key key = world_key(self, space, self->key_count);
    if (dsm_key_stripe(space, key.hash) == self->stripe) self->key_count++;
  }
}

void world_build(world *self, dsm_call *call, uint32_t replicas, const scenario *plan,
                 change *out) {
  dsm_region_settings settings = {replicas, 1}, actual;
  *self = (world){.replicas = replicas};
  dsm_status status = dsm_region_open(call, "world", 5, &settings, true, &self->region, &actual);
  choose_keys(self, call->space);
  for (uint32_t i = 0; i < plan->present && status == DSM_OK; i++) {
    self->items[i] = (item){true, false, plan->length, 1};
    status = put(self, call, i, &self->items[i]);
  }
  if (plan->also && status == DSM_OK) {
    bool counter = plan->kind == CHANGE_ADD;
    self->items[plan->present] = (item){true, counter, plan->also, 41};
    status = put(self, call, plan->present, &self->items[plan->present]);
  }
  if (status != DSM_OK) give_up("%s: %s %s", plan->name, dsm_status_name(status), call->fault.what);
  *out = (change){.kind = plan->kind, .target = plan->target};
  if (plan->kind != CHANGE_DELETE)
    out->after = (item){true, plan->kind == CHANGE_ADD, plan->target_length,
                        self->items[plan->target].tag + 1};
}

dsm_status world_read(const world *self, dsm_call *call, uint32_t index, const item *candidates,
                      unsigned candidate_count, int *which) {
  uint8_t found[WORLD_VALUE_BYTES_MAX], wanted[WORLD_VALUE_BYTES_MAX];
  dsm_key key = world_key(self, call->space, index);
  dsm_read read;
  *which = -1;
  dsm_status status = dsm_read_begin(call, &key, &read);
  bool present = status == DSM_OK;
  if (present && read.header.value_bytes > sizeof found) return DSM_CORRUPT;
  if (present) status = dsm_read_copy(call, &read, found);
  if (status != DSM_OK && status != DSM_NOT_FOUND) return status;
  for (unsigned i = 0; i < candidate_count; i++) {
    const item *it = &candidates[i];
    if (it->present != present) continue;
    world_value(index, it, wanted);
    if (!present || (read.header.value_bytes == it->length &&
                     read.header.codec == (it->counter ? DSM_CODEC_INT64 : 7) &&
                     memcmp(found, wanted, it->length) == 0))
      *which = (int)i;
  }
  return DSM_OK;
}
