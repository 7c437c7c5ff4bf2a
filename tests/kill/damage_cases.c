/* Planned damage: each case is a wrong value, or a lost neighbour, that a mutation once led to. */
#include <string.h>

#include "../../csrc/mem/arena.h"
#include "../../csrc/store/scan.h"
#include "../../csrc/store/stripe.h"
#include "damage_cases.h"

/* A key's slot and object at its primary. */
typedef struct place {
  unsigned node;
  uint32_t stripe;
  dsm_found found;
} place;

static place find(const damage_world *world, dsm_call *call, uint32_t index) {
  dsm_key key = damage_key(world, index);
  place at = {.stripe = dsm_key_stripe(call->space, key.hash)};
  dsm_route route;
  uint64_t word = dsm_load_acquire_u64(dsm_space_route(call->space, at.stripe));
  if (!dsm_route_unseal(call->space, word, at.stripe, &route)) give_up("route");
  at.node = route.nodes[0];
  if (dsm_table_find(call, at.node, at.stripe, &key, &at.found) != DSM_OK) give_up("find");
  return at;
}

static dsm_object_shm *object_of(const dsm_call *call, const place *at) {
  return dsm_object_at(call->space, at->node, at->found.offset);
}

static dsm_status remove_key(const damage_world *world, dsm_call *call, uint32_t index) {
  uint64_t version;
  dsm_key key = damage_key(world, index);
  return dsm_delete(call, &key, (dsm_condition){2, DSM_ANY_VERSION}, &version);
}

static dsm_status look_up(const damage_world *world, dsm_call *call, uint32_t index) {
  dsm_read read;
  dsm_key key = damage_key(world, index);
  return dsm_read_begin(call, &key, &read);
}

/* True if all keys but one hold what the image says. */
static bool others_hold(damage_world *world, dsm_call *call, uint32_t but) {
  static uint8_t found[DAMAGE_VALUE_BYTES_MAX], wanted[DAMAGE_VALUE_BYTES_MAX];
  for (uint32_t index = 0; index < DAMAGE_KEYS; index++) {
    const damage_item *item = &world->images[0].items[index];
    dsm_read read;
    dsm_key key = damage_key(world, index);
    if (index == but) continue;
    damage_value(index, item, wanted);
    if (dsm_read_begin(call, &key, &read) != DSM_OK || read.header.value_bytes != item->length ||
        dsm_read_copy(call, &read, found) != DSM_OK || memcmp(found, wanted, item->length) != 0)
      return false;
  }
  return true;
}

static bool all_hold(damage_world *world, dsm_call *call) {
  return others_hold(world, call, UINT32_MAX);
}

/* A zeroed slot in front of a key: put and delete of the key must not bring its old value back. */
static const char *zeroed_slot(damage_world *world, dsm_call *call) {
  for (uint32_t key = 0; key < DAMAGE_KEYS; key++) {
    dsm_key name = damage_key(world, key);
    dsm_table table;
    place at = find(world, call, key);
    if (dsm_table_read(call, at.node, at.stripe, &table) != DSM_OK) return "no table";
    dsm_atomic_u64 *home = &table.slots[dsm_slot_home(name.hash, table.capacity)];
    if (home == at.found.slot) continue; /* nothing lies before it */
    dsm_store_relaxed_u64(home, 0);
    damage_item item = {true, 7, 64, 1};
    if (damage_put(world, call, key, &item, DSM_ANY_VERSION) != DSM_OK) return "put refused";
    if (remove_key(world, call, key) != DSM_OK) return "delete refused";
    return look_up(world, call, key) == DSM_NOT_FOUND ? NULL : "a deleted key came back";
  }
  return "no key lies behind another";
}

/* A flipped bit in the flags of a small object: its slab, full of others, is not given away. */
static const char *flag_of_a_neighbour(damage_world *world, dsm_call *call) {
  place at = find(world, call, 0);
  dsm_object_shm *object = object_of(call, &at);
  dsm_store_relaxed_u64(&object->shape,
                        dsm_load_relaxed_u64(&object->shape) ^ (uint64_t)DSM_OBJECT_ALIGNED << 48);
  damage_item item = {true, 7, 64, 1};
  if (damage_put(world, call, 0, &item, DSM_ANY_VERSION) != DSM_OK)
    return "a put over the damaged object was refused";
  dsm_run run;
  if (dsm_run_read(call, at.node, at.found.offset / DSM_ARENA_PAGE_BYTES, &run) != DSM_OK ||
      run.kind != DSM_RUN_SLAB)
    return "the slab of the damaged object was given away";
  return others_hold(world, call, 0) ? NULL : "a neighbour was damaged";
}

/* A length of gigabytes is not believed. */
static const char *long_length(damage_world *world, dsm_call *call) {
  place at = find(world, call, 0);
  dsm_object_shm *object = object_of(call, &at);
  dsm_store_relaxed_u64(&object->shape, dsm_load_relaxed_u64(&object->shape) ^ 1ull << 17);
  return all_hold(world, call) ? NULL : "a damaged length was not mended";
}

/* A flipped bit in the length: a put over the object must not free its neighbours' memory. */
static const char *length_over_neighbours(damage_world *world, dsm_call *call) {
  place at = find(world, call, 0);
  dsm_object_shm *object = object_of(call, &at);
  dsm_store_relaxed_u64(&object->shape, dsm_load_relaxed_u64(&object->shape) ^ 128);
  damage_item item = {true, 7, 64, 1};
  if (damage_put(world, call, 0, &item, DSM_ANY_VERSION) != DSM_OK) return "a put was refused";
  if (!others_hold(world, call, 0)) return "a put believed a damaged length";
  at = find(world, call, 0);
  object = object_of(call, &at);
  dsm_store_relaxed_u64(&object->shape, dsm_load_relaxed_u64(&object->shape) ^ 128);
  if (remove_key(world, call, 0) != DSM_OK) return "a delete was refused";
  return others_hold(world, call, 0) ? NULL : "a delete believed a damaged length";
}

/* A slot that names the run of an older value of its key, pinned and in limbo. */
static const char *slot_to_limbo(damage_world *world, dsm_call *call) {
  place at = find(world, call, world->view_key);
  dsm_key key = damage_key(world, world->view_key);
  dsm_store_relaxed_u64(at.found.slot, dsm_slot_make(world->view.offset, key.hash));
  return all_hold(world, call) ? NULL : "an older value was found";
}

/* A flipped bit in the region of an object must not hide the key from scans of its own region. */
static const char *region_of_a_key(damage_world *world, dsm_call *call) {
  static uint8_t buffer[16384];
  place at = find(world, call, 0);
  dsm_object_shm *object = object_of(call, &at);
  uint64_t used;
  dsm_store_relaxed_u64(&object->binding, dsm_load_relaxed_u64(&object->binding) ^ 1ull << 20);
  dsm_status status =
      dsm_scan_stripe(call, (uint16_t)world->regions[0], at.stripe, buffer, sizeof buffer, &used);
  const char *name = world->keys[0];
  for (uint64_t i = 0; status == DSM_OK && i + strlen(name) <= used; i++)
    if (memcmp(buffer + i, name, strlen(name)) == 0) return NULL;
  return "a scan missed a key without a word";
}

/* add to an object whose codec was flipped, and a conditional put: both damage, not the caller's
 * mistake. */
static const char *codec_of_a_counter(damage_world *world, dsm_call *call) {
  place at = find(world, call, 1);
  dsm_object_shm *object = object_of(call, &at);
  uint64_t version;
  int64_t result;
  dsm_key key = damage_key(world, 1);
  dsm_store_relaxed_u64(&object->shape, dsm_load_relaxed_u64(&object->shape) ^ 2ull << 40);
  if (dsm_add(call, &key, 1, 2, &result, &version) != DSM_OK)
    return "add blames the type of a damaged counter";
  if (result != world->images[0].items[1].tag + 1) return "add went on from another number";
  at = find(world, call, 1);
  object = object_of(call, &at);
  dsm_store_relaxed_u64(&object->version, dsm_load_relaxed_u64(&object->version) ^ 4);
  damage_item item = {true, 7, 64, 1};
  return damage_put(world, call, 1, &item, version) == DSM_OK
             ? NULL
             : "a conditional put believes a damaged header";
}

const damage_case damage_cases[] = {
    {"a zeroed slot", zeroed_slot},
    {"the flags of an object", flag_of_a_neighbour},
    {"the length of an object", long_length},
    {"the length of an object with neighbours", length_over_neighbours},
    {"a slot that names a run in limbo", slot_to_limbo},
    {"the region of an object", region_of_a_key},
    {"the codec of a counter", codec_of_a_counter},
};
const unsigned damage_case_count = sizeof damage_cases / sizeof *damage_cases;
