/* What is damaged, how it is made good, what must hold. */
#include "mend_story.h"

#include <stdio.h>
#include <string.h>

#include "../../csrc/node/adopt.h"
#include "../../csrc/node/rebuild.h"
#include "../../csrc/store/check.h"
#include "../../csrc/store/heal.h"
#include "../../csrc/store/stripe.h"
#include "balance_story.h"

#define KEYS 24u

static uint64_t bytes_of(uint64_t key) {
  return key % 6 == 5 ? 3000 : 20 + key * 13 % 300;
}

static dsm_atomic_u64 *words_of(const fixture *by, uint32_t stripe) {
  return (dsm_atomic_u64 *)(void *)dsm_space_sub(by->call.space, 0, stripe);
}

static void flip_tables(fixture *by) {
  for (uint32_t stripe = 0; stripe < MEND_STRIPES; stripe++)
    dsm_store_relaxed_u64(words_of(by, stripe), dsm_load_relaxed_u64(words_of(by, stripe)) ^ 512);
}

static void zero_subs(fixture *by) {
  for (uint32_t stripe = 0; stripe < MEND_STRIPES; stripe++)
    memset(words_of(by, stripe), 0, sizeof(dsm_sub_shm));
}

/* A bit of every third object, and of every fourth slot. */
static void flip_objects(fixture *by) {
  for (uint64_t number = 0; number < KEYS; number++) {
    fixture_key key;
    dsm_found found;
    fixture_key_make(by, &key, number);
    uint32_t stripe = dsm_key_stripe(by->call.space, key.key.hash);
    if (dsm_table_find(&by->call, 0, stripe, &key.key, &found) != DSM_OK || !found.offset) continue;
    uint8_t *object = (uint8_t *)dsm_object_at(by->call.space, 0, found.offset);
    if (number % 3 == 0) object[found.header.value_offset + 3] ^= 4;
    if (number % 4 == 1) dsm_store_relaxed_u64(found.slot, found.slot_word ^ 1ull << 50);
  }
}

static void zero_all(fixture *by) {
  memset(by->call.space->nodes[0].base, 0,
         by->call.space->layout.subs + MEND_STRIPES * sizeof(dsm_sub_shm));
  memset(by->call.space->nodes[0].base + by->call.space->layout.pages, 0,
         64 * sizeof(dsm_page_shm) + by->call.space->layout.data_page * sizeof(dsm_page_shm));
}

static void unlink_it(fixture *by) {
  char name[DSM_SEGMENT_NAME_BYTES];
  dsm_segment_name(name, dsm_space_control(by->call.space)->config.name, 0);
  dsm_os_segment_unlink(name);
}

/* Of each part that a node's next process verifies, something: header, arena, sub, copy of a route.
 */
static void flip_parts(fixture *by) {
  const dsm_space *space = by->call.space;
  dsm_node_shm *header = dsm_space_node(space, 0);
  header->config_check ^= 32;
  dsm_atomic_u64 *words[] = {&header->arena.free_pages, &header->arena.unbacked,
                             dsm_space_node_route(space, 0, 1), words_of(by, 1)};
  for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
    dsm_store_relaxed_u64(words[i], dsm_load_relaxed_u64(words[i]) ^ 1024);
}

const mend_story mend_stories[] = {
    {"table words", flip_tables, MEND_IN_PLACE, 3, 1},
    {"subs", zero_subs, MEND_IN_PLACE, 3, 1},
    {"objects and slots", flip_objects, MEND_IN_PLACE, 3, 2},
    {"parts", flip_parts, MEND_ADOPT, 3, 1},
    {"everything", zero_all, MEND_REPLACE, 3, 2},
    {"unlinked", unlink_it, MEND_REPLACE, 3, 1},
    {"an only node, unlinked", unlink_it, MEND_REPLACE, 1, 1},
};
const unsigned mend_story_count = sizeof mend_stories / sizeof *mend_stories;

fixture mend_story_begin(const mend_story *self, const char *cluster, uint32_t replicas) {
  fixture_shape shape = {cluster, self->nodes, replicas, MEND_STRIPES, 1u << 20};
  fixture owner = fixture_create(&shape);
  for (uint64_t number = 0; number < KEYS; number++)
    fixture_require(fixture_put(&owner, number, number + 7, bytes_of(number)) == DSM_OK, "put");
  return owner;
}

/* As the keeper does it, segment by segment. Then the helper goes, if there was one, and stripes go
 * back to where they belong. */
static void replace(fixture *by) {
  dsm_call *call = &by->call;
  bool whole = true;
  dsm_nodes_catch_up(call);
  for (unsigned node = 0; node < call->space->node_count; node++) {
    dsm_loss loss = dsm_loss_look(call, node, true);
    if (loss == DSM_LOSS_NONE) continue;
    dsm_status status = dsm_rebuild(call, node, loss);
    if (status == DSM_OK) continue;
    whole = false;
    fprintf(stderr, "%s: rebuilding: %s, %s\n", fixture_story, dsm_status_name(status),
            call->fault.what);
  }
  if (whole) dsm_rebuild_dismiss(call);
  balance_story_settle(by, false);
}

void mend_story_mend(const mend_story *self, fixture *by) {
  if (self->way == MEND_REPLACE) replace(by);
  if (self->way == MEND_ADOPT) dsm_adopt(&by->call, 0);
  for (uint32_t stripe = 0; self->way == MEND_IN_PLACE && stripe < MEND_STRIPES; stripe++)
    dsm_heal(&by->call, stripe);
}

static void require_keys(fixture *by, const char *what) {
  for (uint64_t number = 0; number < KEYS; number++) {
    item wanted = {ITEM_VALUE, bytes_of(number), number + 7};
    fixture_require(item_equal(fixture_get_despite(by, number), wanted), what);
  }
}

static uint32_t nodes_up(fixture *by) {
  uint32_t up = 0;
  for (unsigned node = 0; node < DSM_NODES_MAX; node++) {
    dsm_node_entry entry;
    fixture_require(dsm_nodes_read(&by->call, node, &entry) == DSM_OK, "the table holds");
    fixture_require(entry.state == DSM_NODE_UP || entry.state == DSM_NODE_FREE, "at rest");
    up += entry.state == DSM_NODE_UP;
  }
  return up;
}

void mend_story_judge(const mend_story *self, fixture *by) {
  require_keys(by, "reads are right at once");
  /* Burying the dead raises an epoch that was about to be raised, as service threads do at once. */
  fixture_retire_dead(by);
  mend_story_mend(self, by);
  dsm_check_report report;
  fixture_require(dsm_check(&by->call, true, NULL, NULL, &report) == DSM_OK, "check runs");
  require_keys(by, "nothing is lost");
  fixture_require(nodes_up(by) == self->nodes, "there are as many nodes as before");
  for (uint64_t number = 0; number < KEYS; number++) {
    dsm_status status = fixture_put(by, number, number, 100);
    if (status != DSM_OK) fprintf(stderr, "%s, %s\n", dsm_status_name(status), by->call.fault.what);
    fixture_require(status == DSM_OK, "puts go on");
  }
  fixture_check_clean(by);
}
