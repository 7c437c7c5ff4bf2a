/* Synchronisation objects whose users are killed at every planned point, in the simulated system.
 *
 * Each story × point of the victim × who buries it (the registry, as the service thread does, or a
 * waiter after a slice), and then × every point at which the one who buries is killed as well, so
 * that a third one finishes. Then: making a record, limits, damage, slots that are taken anew.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/mem/sync_event.h"
#include "../../csrc/mem/sync_lock.h"
#include "../../csrc/mem/sync_queue.h"
#include "../../csrc/mem/sync_semaphore.h"
#include "../../csrc/node/registry.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "crash_story.h"
#include "leaks_ignored.h"
#include "sync_story.h"

#define CLUSTER "ctest-sync"

static const sync_story *told;
static sync_world world;
static bool by_registry;
static unsigned deaths, second_deaths;

static void begin(uint64_t seed) {
  fixture_shape shape = {CLUSTER, 1, 1, 1, 4ull << 20};
  dsm_sim_start(seed);
  memset(&world, 0, sizeof world);
  world.owner_pid = dsm_sim_process_pid();
  world.owner = fixture_create(&shape);
  world.victim = crash_attach(CLUSTER, &world.victim_pid);
  world.first = crash_attach(CLUSTER, &world.first_pid);
  world.second = crash_attach(CLUSTER, &world.second_pid);
}

static void end(void) {
  dsm_sim_process_run(world.owner_pid);
  fixture_close(&world.owner, true);
  fixture_abandon(&world.victim);
  fixture_abandon(&world.first);
  fixture_abandon(&world.second);
  dsm_sim_stop();
}

static void act(void *context) {
  (void)context;
  told->act(&world);
}

static void bury(fixture *by) {
  if (by_registry)
    fixture_retire_dead(by);
  else
    fixture_require(dsm_sync_watch(&by->call, &world.sync) == DSM_OK, "a waiter buries");
}

static void bury_first(void *context) {
  (void)context;
  bury(&world.first);
}

/* What a death leaves, apart from the simulated world. */
typedef struct aftermath {
  sync_world then;
  const char *last; /* the victim's point, NULL if it had finished */
} aftermath;

/* The one who buries dies at its n-th point; the second goes on. */
static bool try_second_death(void *context, unsigned at) {
  const aftermath *self = context;
  size_t length = strlen(fixture_story);
  world = self->then;
  dsm_sim_process_run(world.first_pid);
  bool left = crash_jump(at, bury_first, NULL);
  snprintf(fixture_story + length, sizeof fixture_story - length, ", burial %u %s", at,
           crash_point_name());
  if (left) dsm_sim_process_kill(world.first_pid);
  dsm_sim_process_run(world.second_pid);
  if (left) bury(&world.second);
  told->judge(&world, &world.second, self->last);
  fixture_story[length] = 0;
  return left;
}

static bool try_death(void *context, unsigned at) {
  world = *(const sync_world *)context;
  dsm_sim_process_run(world.victim_pid);
  bool left = crash_jump(at, act, NULL);
  aftermath self = {world, left ? crash_point_name() : NULL};
  snprintf(fixture_story, sizeof fixture_story, "%s, point %u %s, buried by %s", told->name, at,
           left ? self.last : "(end)", by_registry ? "the registry" : "a waiter");
  dsm_sim_process_kill(world.victim_pid);
  second_deaths += crash_each(1, 1, try_second_death, &self);
  return left;
}

static void try_story(void) {
  begin(7);
  dsm_sim_process_run(world.owner_pid);
  world.sync = sync_story_open(told, &world.owner);
  dsm_sim_process_run(world.victim_pid);
  if (told->prepare) told->prepare(&world);
  sync_world then = world;
  deaths += 1 + crash_each(1, 1, try_death, &then);
  world = then;
  end();
}

static const sync_story making = {.name = "made", .kind = DSM_SYNC_QUEUE, .settings = {4, 1}};

static void make(void *context) {
  (void)context;
  sync_story_open(&making, &world.victim);
}

/* A record that was being made is there as a whole or not at all, and can be made by the next. */
static bool try_making(void *context, unsigned at) {
  (void)context;
  dsm_sim_process_run(world.victim_pid);
  bool left = crash_jump(at, make, NULL);
  snprintf(fixture_story, sizeof fixture_story, "making, point %u %s", at, crash_point_name());
  dsm_sim_process_kill(world.victim_pid);
  dsm_sim_process_run(world.first_pid);
  dsm_sync sync = sync_story_open(&making, &world.first);
  CHECK_EQUAL(sync.index, 0);
  bool more;
  CHECK_EQUAL(dsm_sync_queue_put(&world.first.call, &sync, 6, "x", 1, &more), DSM_OK);
  return left;
}

static void test_making(void) {
  begin(8);
  CHECK(crash_each(1, 1, try_making, NULL) > 0);
  end();
}

static dsm_status open_numbered(fixture *by, uint32_t number, uint64_t heap, dsm_sync *out) {
  char name[16];
  dsm_sync_request request = {.kind = DSM_SYNC_ATOMIC, .name = name, .heap_bytes = heap};
  request.name_bytes = (uint32_t)snprintf(name, sizeof name, "n%u", number);
  return dsm_sync_open(&by->call, &request, out);
}

static void test_limits(void) {
  begin(9);
  dsm_sync sync;
  dsm_sim_process_run(world.owner_pid);
  CHECK_EQUAL(open_numbered(&world.owner, 0, DSM_SYNC_HEAP_BYTES + 1ull, &sync), DSM_TOO_MANY);
  dsm_sim_refuse_after(0);
  CHECK_EQUAL(open_numbered(&world.owner, 0, 8, &sync), DSM_STORE_FULL);
  dsm_sim_refuse_after(UINT64_MAX);
  for (uint32_t i = 0; i < DSM_SYNCS_MAX; i++) {
    CHECK_EQUAL(open_numbered(&world.owner, i, 8, &sync), DSM_OK);
    CHECK_EQUAL(sync.index, i);
    for (uint32_t byte = 0; byte < 8; byte++) CHECK_EQUAL(sync.heap[byte], 0);
    sync.heap[0] = 1; /* shares of the heap do not overlap */
  }
  CHECK_EQUAL(open_numbered(&world.owner, DSM_SYNCS_MAX, 8, &sync), DSM_TOO_MANY);
  CHECK_EQUAL(open_numbered(&world.owner, 5, 8, &sync), DSM_OK);
  CHECK_EQUAL(sync.index, 5);
  sync.record->heap_offset ^= 1ull << 40;
  CHECK_EQUAL(open_numbered(&world.owner, 5, 8, &sync), DSM_CORRUPT);
  CHECK_EQUAL(open_numbered(&world.owner, 4, 8, &sync), DSM_OK);
  end();
}

/* Every word of a queue, one flipped bit at a time: told as damage or without effect. */
static void test_damage(void) {
  begin(10);
  dsm_sim_process_run(world.owner_pid);
  fixture *by = &world.owner;
  dsm_sync sync = sync_story_open(&making, by);
  dsm_sync_item item;
  bool more;
  for (int i = 0; i < 3; i++)
    CHECK_EQUAL(dsm_sync_queue_put(&by->call, &sync, 6, "abcdefgh", 8, &more), DSM_OK);
  CHECK_EQUAL(dsm_sync_queue_get(&by->call, &sync, &item), DSM_OK);
  dsm_sim_picture *picture = dsm_sim_picture_take();
  uint32_t offsets[] = {256, 264, 272, 280, 320, 0, 0, 0};
  uint8_t *places[8];
  for (int i = 0; i < 5; i++) places[i] = (uint8_t *)sync.record + offsets[i];
  for (int i = 5; i < 8; i++) places[i] = sync.heap + 256 + (uint64_t)(i - 5) * 8;
  for (int i = 0; i < 8; i++)
    for (int bit = 0; bit < 64; bit++) {
      dsm_sim_picture_restore(picture);
      places[i][bit / 8] ^= (uint8_t)(1 << bit % 8);
      dsm_status status = dsm_sync_queue_get(&by->call, &sync, &item);
      bool right = item.length == 8 && memcmp(item.bytes, "abcdefgh", 8) == 0;
      CHECK(status == DSM_CORRUPT || (status == DSM_OK && right));
      /* What the get passed over, or what it stumbled on, must not stop those who repair. */
      if (i >= 5 && status == DSM_CORRUPT)
        CHECK_EQUAL(dsm_sync_queue_get(&by->call, &sync, &item), DSM_OK);
    }
  dsm_sim_picture_restore(picture);
  dsm_sim_picture_free(picture);
  end();
}

/* A later process in the slot of a dead one inherits nothing, and loses nothing when the dead one
 * is buried late. */
static void test_slots_taken_anew(void) {
  begin(11);
  told = &sync_stories[0];
  dsm_sim_process_run(world.owner_pid);
  world.sync = sync_story_open(told, &world.owner);
  dsm_sim_process_run(world.victim_pid);
  uint32_t slot = world.victim.cluster->space.participant;
  uint32_t before =
      dsm_load_relaxed_u32(&dsm_space_participant(world.victim.call.space, slot)->incarnation);
  told->act(&world);
  dsm_sim_process_kill(world.victim_pid);
  dsm_sim_process_run(world.first_pid);
  fixture_retire_dead(&world.first);
  uint32_t pid;
  fixture heir = crash_attach(CLUSTER, &pid);
  CHECK_EQUAL(heir.cluster->space.participant, slot);
  bool died;
  uint32_t died_pid;
  CHECK_EQUAL(dsm_sync_lock_release(&heir.call, &world.sync, 7), DSM_NOT_OWNER);
  CHECK_EQUAL(dsm_sync_lock_try(&heir.call, &world.sync, 7, &died, &died_pid), DSM_OK);
  CHECK(died);
  dsm_sim_process_run(world.first_pid);
  CHECK_EQUAL(dsm_sync_bury_all(&world.first.call, slot, before, true), DSM_OK);
  CHECK_EQUAL(dsm_sync_lock_try(&world.first.call, &world.sync, 7, &died, &died_pid), DSM_RETRY);
  /* Who leaves in good order leaves nothing taken. */
  dsm_sim_process_run(pid);
  fixture_close(&heir, false);
  dsm_sim_process_run(world.first_pid);
  CHECK_EQUAL(dsm_sync_lock_try(&world.first.call, &world.sync, 7, &died, &died_pid), DSM_OK);
  end();
}

/* A process that is stopped inside a record blocks that record for those who ask, by name, and is
 * not taken for dead. */
static void test_stopped_inside(void) {
  begin(12);
  told = &sync_stories[2];
  dsm_sim_process_run(world.owner_pid);
  world.sync = sync_story_open(told, &world.owner);
  dsm_sim_process_run(world.victim_pid);
  CHECK_EQUAL(dsm_sync_take(&world.victim.call, &world.sync), DSM_OK);
  dsm_sim_process_freeze(world.victim_pid, true);
  dsm_sim_process_run(world.first_pid);
  uint32_t left;
  world.first.call.wait_ms = 50;
  CHECK_EQUAL(dsm_sync_semaphore_try(&world.first.call, &world.sync, &left), DSM_LOCK_TIMEOUT);
  CHECK_EQUAL(world.first.call.fault.process.pid, world.victim_pid);
  dsm_sim_process_kill(world.victim_pid);
  CHECK_EQUAL(dsm_sync_semaphore_try(&world.first.call, &world.sync, &left), DSM_OK);
  end();
}

static void test_counter(void) {
  begin(13);
  dsm_sync sync;
  int64_t result;
  dsm_sim_process_run(world.owner_pid);
  CHECK_EQUAL(open_numbered(&world.owner, 1, 0, &sync), DSM_OK);
  CHECK_EQUAL(dsm_sync_counter_add(&world.owner.call, &sync, INT64_MAX, &result), DSM_OK);
  CHECK_EQUAL(dsm_sync_counter_add(&world.owner.call, &sync, 1, &result), DSM_OVERFLOW);
  CHECK_EQUAL(dsm_sync_counter_read(&sync), INT64_MAX);
  CHECK_EQUAL(dsm_sync_counter_exchange(&sync, INT64_MIN), INT64_MAX);
  CHECK_EQUAL(dsm_sync_counter_add(&world.owner.call, &sync, -1, &result), DSM_OVERFLOW);
  end();
}

int main(void) {
  sync_story_run_as = dsm_sim_process_run;
  for (unsigned i = 0; i < sync_story_count; i++)
    for (int registry = 0; registry < 2; registry++) {
      told = &sync_stories[i];
      by_registry = registry;
      try_story();
    }
  test_making();
  test_limits();
  test_damage();
  test_slots_taken_anew();
  test_stopped_inside();
  test_counter();
  CHECK(deaths > 100);
  CHECK(second_deaths > 300);
  printf("%u deaths, %u second deaths\n", deaths, second_deaths);
  return check_result("sim_sync");
}
