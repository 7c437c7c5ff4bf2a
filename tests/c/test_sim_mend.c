/* Deaths within mending and rebuilding: whoever comes next has every value that a replica has.
 *
 * Damage of one kind is done to one node's segment; a process that mends it, or rebuilds the
 * segment, is killed at each planned crash point; another one goes on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/node/rebuild.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/check.h"
#include "../../csrc/store/heal.h"
#include "../../csrc/store/stripe.h"
#include "check_main.h"
#include "crash_hook.h"
#include "crash_story.h"
#include "fixture.h"
#include "leaks_ignored.h"

#define CLUSTER "ctest-mend"
#define KEYS 24u
#define STRIPES 2u

typedef struct scene {
  const char *name;
  void (*damage)(fixture *by);
  bool rebuilds; /* else it is mended in place */
  bool sole;     /* also with one copy nothing is lost */
} scene;

static unsigned deaths;

static uint64_t bytes_of(uint64_t key) {
  return key % 6 == 5 ? 3000 : 20 + key * 13 % 300;
}

static dsm_atomic_u64 *words_of(const fixture *by, uint32_t stripe) {
  return (dsm_atomic_u64 *)(void *)dsm_space_sub(by->call.space, 0, stripe);
}

static void flip_tables(fixture *by) {
  for (uint32_t stripe = 0; stripe < STRIPES; stripe++)
    dsm_store_relaxed_u64(words_of(by, stripe), dsm_load_relaxed_u64(words_of(by, stripe)) ^ 512);
}

static void zero_subs(fixture *by) {
  for (uint32_t stripe = 0; stripe < STRIPES; stripe++)
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
         by->call.space->layout.subs + STRIPES * sizeof(dsm_sub_shm));
  memset(by->call.space->nodes[0].base + by->call.space->layout.pages, 0,
         64 * sizeof(dsm_page_shm) + by->call.space->layout.data_page * sizeof(dsm_page_shm));
}

static void unlink_it(fixture *by) {
  (void)by;
  char name[DSM_SEGMENT_NAME_BYTES];
  dsm_segment_name(name, CLUSTER, 0);
  dsm_os_segment_unlink(name);
}

static const scene scenes[] = {
    {"table words", flip_tables, false, true},
    {"subs", zero_subs, false, true},
    {"objects and slots", flip_objects, false, false},
    {"everything", zero_all, true, false},
    {"unlinked", unlink_it, true, true},
};

typedef struct trial {
  const scene *scene;
  uint32_t replicas;
  fixture *by;
} trial;

static void mend(void *context) {
  const trial *self = context;
  dsm_call *call = &self->by->call;
  if (!self->scene->rebuilds) {
    for (uint32_t stripe = 0; stripe < STRIPES; stripe++) dsm_heal(call, stripe);
    return;
  }
  dsm_nodes_catch_up(call);
  dsm_loss loss = dsm_loss_look(call, 0, true);
  dsm_status status = loss == DSM_LOSS_NONE ? DSM_OK : dsm_rebuild(call, 0, loss);
  if (status != DSM_OK)
    fprintf(stderr, "%s: rebuilding: %s, %s\n", fixture_story, dsm_status_name(status),
            call->fault.what);
}

static void judge(trial *self, fixture *by) {
  self->by = by;
  for (uint64_t number = 0; number < KEYS; number++) {
    item wanted = {ITEM_VALUE, bytes_of(number), number + 7};
    fixture_require(item_equal(fixture_get(by, number), wanted), "reads are right at once");
  }
  /* Burying the dead raises an epoch that was about to be raised, as service threads do at once. */
  fixture_retire_dead(by);
  mend(self);
  dsm_check_report report;
  fixture_require(dsm_check(&by->call, true, NULL, NULL, &report) == DSM_OK, "check runs");
  for (uint64_t number = 0; number < KEYS; number++) {
    item wanted = {ITEM_VALUE, bytes_of(number), number + 7};
    fixture_require(item_equal(fixture_get(by, number), wanted), "nothing is lost");
    dsm_status status = fixture_put(by, number, number, 100);
    if (status != DSM_OK) fprintf(stderr, "%s, %s\n", dsm_status_name(status), by->call.fault.what);
    fixture_require(status == DSM_OK, "puts go on");
  }
  fixture_check_clean(by);
}

/* What stands in for the control segment's table is what that says. */
static void require_copies(const fixture *by) {
  const dsm_space *space = by->call.space;
  for (uint32_t node = 0; node < space->node_count; node++) {
    const dsm_node_table_shm *copy = dsm_space_node_table_copy(space, node);
    fixture_require(dsm_load_relaxed_u64(&copy->epoch) == dsm_nodes_epoch(space),
                    "the copy of the node table is up to date");
  }
}

static bool try_death(void *context, unsigned at) {
  trial *self = context;
  uint32_t next_pid, victim_pid;
  /* Both are there before the damage: an unlinked segment cannot be opened. */
  fixture next = crash_attach(CLUSTER, &next_pid), victim = crash_attach(CLUSTER, &victim_pid);
  self->by = &victim;
  self->scene->damage(&victim);
  bool left = crash_jump(at, mend, self);
  snprintf(fixture_story, sizeof fixture_story, "%s, replication %u, point %u %s",
           self->scene->name, self->replicas, at, crash_point_name());
  if (!left) require_copies(&victim);
  dsm_sim_process_kill(victim_pid);
  fixture_abandon(&victim);
  dsm_sim_process_run(next_pid);
  judge(self, &next);
  dsm_sim_process_kill(next_pid);
  fixture_abandon(&next);
  return left;
}

static void try_scene(const scene *scene, uint32_t replicas) {
  dsm_sim_start(replicas);
  fixture_shape shape = {CLUSTER, 3, replicas, STRIPES, 1u << 20};
  fixture owner = fixture_create(&shape);
  for (uint64_t number = 0; number < KEYS; number++)
    fixture_require(fixture_put(&owner, number, number + 7, bytes_of(number)) == DSM_OK, "put");
  trial self = {scene, replicas, NULL};
  deaths += crash_each(1, rounds_all() ? 1 : 3, try_death, &self);
  fixture_close(&owner, true);
  dsm_sim_stop();
}

int main(void) {
  for (unsigned i = 0; i < sizeof scenes / sizeof *scenes; i++)
    for (uint32_t replicas = scenes[i].sole ? 1 : 2; replicas <= 3; replicas++)
      try_scene(&scenes[i], replicas);
  CHECK(deaths > 100);
  printf("%u deaths\n", deaths);
  return check_result("sim_mend");
}
