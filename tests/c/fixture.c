/* Driving a cluster from a test. */
#include "fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/mem/arena.h"
#include "../../csrc/mem/pin.h"
#include "../../csrc/node/registry.h"
#include "../../csrc/store/check.h"
#include "../../csrc/store/stripe.h"

#define CALL_WAIT_MS 20000u

char fixture_story[256] = "-";

static void must(dsm_status status, const fixture *self, const char *what) {
  if (status == DSM_OK) return;
  const dsm_fault *fault = &self->call.fault;
  fprintf(stderr, "%s: %s: %s (%s, node %d, stripe %d, %#" PRIx64 " %#" PRIx64 ")\n", fixture_story,
          what, dsm_status_name(status), fault->what ? fault->what : "-", fault->node,
          (int)fault->stripe, fault->left, fault->right);
  exit(1);
}

void fixture_require(bool holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "%s: does not hold: %s\n", fixture_story, what);
  exit(1);
}

static void open_region(fixture *self) {
  self->call = dsm_call_make(&self->cluster->space, CALL_WAIT_MS);
  self->replicas = self->cluster->space.replicas;
  dsm_region_settings settings = {self->replicas, 1}, actual;
  must(dsm_region_open(&self->call, "main", 4, &settings, true, &self->region, &actual), self,
       "open region");
}

fixture fixture_create(const fixture_shape *shape) {
  fixture self = {0};
  dsm_options options = {
      shape->name, shape->nodes, shape->replicas, shape->stripes, shape->node_bytes, {0}, 0, 0};
  must(dsm_cluster_create(&options, &self.cluster, &self.call.fault), &self, "create");
  open_region(&self);
  return self;
}

fixture fixture_attach(const char *name) {
  fixture self = {0};
  must(dsm_cluster_attach(name, -1, &self.cluster, &self.call.fault), &self, "attach");
  open_region(&self);
  return self;
}

void fixture_close(fixture *self, bool unlink) {
  if (unlink) dsm_cluster_unlink(self->cluster->name);
  dsm_cluster_drop(self->cluster);
  self->cluster = NULL;
}

void fixture_abandon(fixture *self) {
  if (!self->cluster) return;
  dsm_os_fork_flag_close(self->cluster->fork_flag);
  free(self->cluster);
  self->cluster = NULL;
}

void fixture_key_make(const fixture *self, fixture_key *out, uint64_t number) {
  int length = snprintf(out->text, sizeof out->text, "key:%" PRIu64, number);
  out->key = (dsm_key){.bytes = out->text,
                       .length = (uint32_t)length,
                       .kind = DSM_KEY_TEXT,
                       .region = (uint16_t)self->region};
  out->key.hash =
      dsm_key_hash(self->call.space, out->text, out->key.length, DSM_KEY_TEXT, out->key.region);
}

dsm_status fixture_put(fixture *self, uint64_t number, uint64_t seed, uint64_t bytes) {
  /* Static, so that a jump out of the call leaves no memory behind. */
  static uint8_t *buffer;
  static uint64_t room;
  fixture_key key;
  uint64_t version;
  if (bytes > room) {
    buffer = realloc(buffer, bytes);
    room = bytes;
  }
  fixture_key_make(self, &key, number);
  if (bytes) pattern_fill(buffer, bytes, seed);
  /* Two parts, so that the seam is tested; small odd ones go as one, whose hash is taken early. */
  dsm_part parts[2] = {{buffer, bytes / 2}, {buffer + bytes / 2, bytes - bytes / 2}};
  dsm_part whole = {buffer, bytes};
  dsm_value value = seed % 2 ? (dsm_value){&whole, 1, 7, bytes} : (dsm_value){parts, 2, 7, bytes};
  return dsm_put(&self->call, &key.key, &value, (dsm_condition){self->replicas, DSM_ANY_VERSION},
                 &version);
}

dsm_status fixture_delete(fixture *self, uint64_t number) {
  fixture_key key;
  uint64_t version;
  fixture_key_make(self, &key, number);
  return dsm_delete(&self->call, &key.key, (dsm_condition){self->replicas, DSM_ANY_VERSION},
                    &version);
}

dsm_status fixture_add(fixture *self, uint64_t number, int64_t difference, int64_t *result) {
  fixture_key key;
  uint64_t version;
  fixture_key_make(self, &key, number);
  return dsm_add(&self->call, &key.key, difference, self->replicas, result, &version);
}

static item item_of(const uint8_t *bytes, uint64_t length, uint8_t codec, uint64_t number) {
  item found = {.kind = ITEM_VALUE, .bytes = length};
  if (codec == DSM_CODEC_INT64) {
    found.kind = ITEM_COUNTER;
    memcpy(&found.seed, bytes, 8);
    return found;
  }
  bool whole = pattern_holds(bytes, length, &found.seed);
  if (!whole) fprintf(stderr, "key %" PRIu64 ": %" PRIu64 " bytes are torn\n", number, length);
  fixture_require(whole, "value is whole");
  return found;
}

static item get(fixture *self, uint64_t number, bool despite) {
  fixture_key key;
  dsm_read read;
  fixture_key_make(self, &key, number);
  dsm_status status = dsm_read_begin(&self->call, &key.key, &read);
  for (;;) {
    if (status == DSM_NOT_FOUND) return (item){.kind = ITEM_ABSENT};
    must(status, self, "read");
    uint8_t *bytes = malloc(read.header.value_bytes + 1);
    status = dsm_read_copy(&self->call, &read, bytes);
    item found = {0};
    if (status == DSM_OK)
      found = item_of(bytes, read.header.value_bytes, read.header.codec, number);
    free(bytes);
    if (status == DSM_OK) return found;
    if (status == DSM_CORRUPT && despite) {
      status = dsm_read_again(&self->call, &key.key, &read);
      continue;
    }
    if (status != DSM_RETRY) must(status, self, "copy");
    dsm_os_yield(); /* without end, the simulated kernel ends the test */
    status = dsm_read_begin(&self->call, &key.key, &read);
  }
}

item fixture_get(fixture *self, uint64_t number) {
  return get(self, number, false);
}

item fixture_get_despite(fixture *self, uint64_t number) {
  return get(self, number, true);
}

bool item_equal(item left, item right) {
  if (left.kind != right.kind) return false;
  if (left.kind == ITEM_ABSENT) return true;
  if (left.kind == ITEM_COUNTER) return left.seed == right.seed;
  /* A value too short for its whole seed shows what fits of it. */
  uint64_t shown = left.bytes >= 8 ? UINT64_MAX : (1ull << (left.bytes * 8)) - 1;
  return left.bytes == right.bytes && ((left.seed ^ right.seed) & shown) == 0;
}

void fixture_check_replicas(fixture *self, uint64_t number) {
  fixture_key key;
  dsm_route route;
  dsm_found found[DSM_REPLICAS_MAX];
  fixture_key_make(self, &key, number);
  uint32_t stripe = dsm_key_stripe(self->call.space, key.key.hash);
  must(dsm_stripe_take(&self->call, stripe, &route), self, "take stripe");
  for (uint32_t i = 0; i < self->replicas; i++)
    must(dsm_table_find(&self->call, route.nodes[i], stripe, &key.key, &found[i]), self, "find");
  for (uint32_t i = 1; i < self->replicas; i++) {
    bool same = !found[i].offset == !found[0].offset;
    if (same && found[0].offset) {
      const dsm_header *left = &found[0].header, *right = &found[i].header;
      const uint8_t *a = self->call.space->nodes[route.nodes[0]].base + found[0].offset;
      const uint8_t *b = self->call.space->nodes[route.nodes[i]].base + found[i].offset;
      same = left->version == right->version && left->shape == right->shape &&
             left->binding == right->binding &&
             memcmp(a + left->key_offset, b + left->key_offset, left->key_bytes) == 0 &&
             memcmp(a + left->value_offset, b + left->value_offset, left->value_bytes) == 0;
    }
    fixture_require(same, "replica equals the primary");
  }
  dsm_stripe_drop(&self->call, stripe, &route);
}

static void tell(void *context, const dsm_fault *problem) {
  (void)context;
  fprintf(stderr, "%s: %s, node %d, stripe %d, %#" PRIx64 " %#" PRIx64 "\n", fixture_story,
          problem->what, problem->node, (int)problem->stripe, problem->left, problem->right);
}

void fixture_check_clean(fixture *self) {
  dsm_check_report report;
  dsm_nodes_catch_up(&self->call);
  for (uint32_t node = 0; node < self->call.space->node_count; node++)
    if (dsm_space_present(self->call.space, node))
      must(dsm_arena_valid(&self->call, node, NULL, NULL), self, "check");
  must(dsm_check(&self->call, false, tell, NULL, &report), self, "check");
  fixture_require(report.problems == 0, "check is clean");
}

uint64_t fixture_used_pages(fixture *self) {
  const dsm_space *space = self->call.space;
  uint64_t used = 0;
  for (uint32_t node = 0; node < space->node_count; node++) {
    if (!dsm_space_present(space, node)) continue;
    dsm_arena_usage usage;
    must(dsm_arena_usage_read(&self->call, node, &usage), self, "usage");
    used += usage.total_pages - usage.free_pages - usage.unbacked_pages - usage.limbo_pages;
    for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++) {
      const dsm_atomic_u64 *word = &dsm_space_sub(space, node, stripe)->spare;
      bool ok;
      used -= dsm_unseal(dsm_load_relaxed_u64(word), dsm_space_locator(space, node + 1, word),
                         &ok) != 0;
    }
  }
  return used;
}

uint64_t fixture_limbo_pages(fixture *self) {
  uint64_t pages = 0;
  for (uint32_t node = 0; node < self->call.space->node_count; node++) {
    if (!dsm_space_present(self->call.space, node)) continue;
    dsm_arena_usage usage;
    must(dsm_arena_repair(&self->call, node), self, "reclaim");
    must(dsm_arena_usage_read(&self->call, node, &usage), self, "usage");
    pages += usage.limbo_pages;
  }
  return pages;
}

void fixture_retire_dead(fixture *self) {
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++) {
    bool retired;
    must(dsm_registry_retire(&self->call, i, &retired), self, "retire");
  }
}

static uint64_t pattern_word(uint64_t seed, uint64_t length, uint64_t index) {
  if (index == 0) return seed;
  if (index == 1) return length;
  uint64_t mixed = (seed + index * 0x9E3779B97F4A7C15ull) * 0xD6E8FEB86659FD93ull;
  return mixed ^ mixed >> 32 ^ length;
}

void pattern_fill(void *bytes, uint64_t length, uint64_t seed) {
  for (uint64_t at = 0; at < length; at += 8) {
    uint64_t word = pattern_word(seed, length, at / 8);
    memcpy((uint8_t *)bytes + at, &word, length - at < 8 ? length - at : 8);
  }
}

bool pattern_holds(const void *bytes, uint64_t length, uint64_t *seed) {
  *seed = 0;
  memcpy(seed, bytes, length < 8 ? length : 8);
  for (uint64_t at = 0; at < length; at += 8) {
    uint64_t word = pattern_word(*seed, length, at / 8);
    if (memcmp((const uint8_t *)bytes + at, &word, length - at < 8 ? length - at : 8) != 0)
      return false;
  }
  return true;
}

uint64_t random_next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

uint64_t random_below(uint64_t *state, uint64_t bound) {
  return random_next(state) % bound;
}

bool rounds_all(void) {
  const char *rounds = getenv("DSM_TEST_ROUNDS");
  return rounds && strcmp(rounds, "all") == 0;
}
