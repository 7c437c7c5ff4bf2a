/* Locks: granted, refused with the owner's name, inherited from the dead, quarantined. */
#include <string.h>

#include "../../csrc/mem/lock.h"
#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/stripe.h"
#include "check_main.h"
#include "fixture.h"

static const fixture_shape shape = {"ctest-lock", 2, 2, 4, 1u << 20};

typedef struct two {
  fixture first, second;
  uint32_t first_pid, second_pid;
} two;

static two begin(void) {
  two self;
  dsm_sim_start(11);
  self.first_pid = dsm_sim_process_pid();
  self.first = fixture_create(&shape);
  self.second_pid = dsm_sim_process_new();
  dsm_sim_process_run(self.second_pid);
  self.second = fixture_attach(shape.name);
  return self;
}

static void end(two *self, bool first_is_alive) {
  dsm_sim_process_run(self->second_pid);
  fixture_close(&self->second, true);
  if (first_is_alive) {
    dsm_sim_process_run(self->first_pid);
    fixture_close(&self->first, false);
  } else {
    fixture_abandon(&self->first);
  }
  CHECK_EQUAL(dsm_sim_backed_bytes(), 0);
  dsm_sim_stop();
}

static void test_refused_names_the_owner(void) {
  two self = begin();
  bool must_repair = true;
  dsm_lock_shm *lock = dsm_space_lock(self.first.call.space, 1);
  dsm_sim_process_run(self.first_pid);
  CHECK_EQUAL(dsm_lock_take(&self.first.call, lock, &must_repair), DSM_OK);
  CHECK(!must_repair);
  dsm_sim_process_freeze(self.first_pid, true);
  dsm_sim_process_run(self.second_pid);
  uint64_t before = dsm_os_monotonic_ns();
  self.second.call.wait_ms = 70;
  CHECK_EQUAL(dsm_lock_take(&self.second.call, lock, &must_repair), DSM_LOCK_TIMEOUT);
  CHECK(dsm_os_monotonic_ns() - before >= 70000000u);
  CHECK_EQUAL(self.second.call.fault.process.pid, self.first_pid);
  CHECK_EQUAL(dsm_os_process_state(&self.second.call.fault.process), 'T');
  /* Other stripes are unaffected. */
  dsm_lock_shm *other = dsm_space_lock(self.first.call.space, 2);
  CHECK_EQUAL(dsm_lock_take(&self.second.call, other, &must_repair), DSM_OK);
  dsm_lock_drop(other);
  dsm_sim_process_freeze(self.first_pid, false);
  dsm_sim_process_run(self.first_pid);
  dsm_lock_drop(lock);
  dsm_sim_process_run(self.second_pid);
  CHECK_EQUAL(dsm_lock_take(&self.second.call, lock, &must_repair), DSM_OK);
  CHECK(!must_repair);
  dsm_lock_drop(lock);
  end(&self, true);
}

static void test_inherited_until_repaired(void) {
  two self = begin();
  bool must_repair;
  dsm_lock_shm *lock = dsm_space_lock(self.first.call.space, 0);
  dsm_sim_process_run(self.first_pid);
  CHECK_EQUAL(dsm_lock_take(&self.first.call, lock, &must_repair), DSM_OK);
  dsm_sim_process_kill(self.first_pid);
  dsm_sim_process_run(self.second_pid);
  for (int round = 0; round < 3; round++) {
    CHECK_EQUAL(dsm_lock_take(&self.second.call, lock, &must_repair), DSM_OK);
    CHECK(must_repair);
    /* A repair that could not be finished is owed by the next taker. */
    if (round < 2) dsm_lock_repaired(lock, DSM_LOCK_TIMEOUT);
    if (round == 2) dsm_lock_repaired(lock, DSM_OK);
    dsm_lock_drop(lock);
  }
  CHECK_EQUAL(dsm_lock_take(&self.second.call, lock, &must_repair), DSM_OK);
  CHECK(!must_repair);
  CHECK_EQUAL(dsm_load_relaxed_u32(&lock->repairs), 1);
  dsm_lock_drop(lock);
  end(&self, false);
}

static void test_failed_repair_is_mended(void) {
  two self = begin();
  bool must_repair;
  fixture_key key;
  fixture_key_make(&self.second, &key, 5);
  uint32_t stripe = dsm_key_stripe(self.first.call.space, key.key.hash);
  dsm_lock_shm *lock = dsm_space_lock(self.first.call.space, stripe);
  CHECK_EQUAL(fixture_put(&self.second, 5, 1, 64), DSM_OK);
  dsm_sim_process_run(self.first_pid);
  CHECK_EQUAL(dsm_lock_take(&self.first.call, lock, &must_repair), DSM_OK);
  /* An intent that verifies for nobody. */
  dsm_store_release_u64(&dsm_space_intent(self.first.call.space, stripe)->armed, 77);
  dsm_sim_process_kill(self.first_pid);
  dsm_sim_process_run(self.second_pid);
  /* Reads go on: what they see is validated by itself. */
  CHECK_EQUAL(fixture_get(&self.second, 5).seed, 1);
  /* The record is given up, and what the replicas tell counts. */
  CHECK_EQUAL(fixture_put(&self.second, 5, 2, 64), DSM_OK);
  CHECK_EQUAL(dsm_load_relaxed_u32(&lock->quarantined), 0);
  CHECK_EQUAL(fixture_get(&self.second, 5).seed, 2);
  fixture_check_clean(&self.second);
  end(&self, false);
}

/* A repair that needs an arena whose lock is held by a stopped process waits for the next taker. */
static void test_repair_waits_for_an_arena(void) {
  two self = begin();
  bool must_repair;
  uint32_t third_pid = dsm_sim_process_new();
  dsm_sim_process_run(third_pid);
  fixture third = fixture_attach(shape.name);
  CHECK_EQUAL(fixture_put(&third, 9, 1, 64), DSM_OK);
  fixture_key key;
  fixture_key_make(&third, &key, 9);
  uint32_t stripe = dsm_key_stripe(third.call.space, key.key.hash);
  dsm_lock_shm *arena = dsm_space_node_lock(third.call.space, 0);
  CHECK_EQUAL(dsm_lock_take(&third.call, arena, &must_repair), DSM_OK);
  dsm_sim_process_freeze(third_pid, true);
  dsm_sim_process_run(self.first_pid);
  CHECK_EQUAL(
      dsm_lock_take(&self.first.call, dsm_space_lock(third.call.space, stripe), &must_repair),
      DSM_OK);
  dsm_sim_process_kill(self.first_pid);
  dsm_sim_process_run(self.second_pid);
  self.second.call.wait_ms = 5;
  CHECK_EQUAL(fixture_put(&self.second, 9, 2, 64), DSM_LOCK_TIMEOUT);
  CHECK_EQUAL(self.second.call.fault.process.pid, third_pid);
  CHECK_EQUAL(fixture_put(&self.second, 9, 2, 64), DSM_LOCK_TIMEOUT);
  dsm_sim_process_freeze(third_pid, false);
  dsm_sim_process_run(third_pid);
  dsm_lock_drop(arena);
  dsm_sim_process_run(self.second_pid);
  CHECK_EQUAL(fixture_put(&self.second, 9, 2, 64), DSM_OK);
  CHECK_EQUAL(fixture_get(&self.second, 9).seed, 2);
  dsm_sim_process_run(third_pid);
  fixture_close(&third, false);
  end(&self, false);
}

int main(void) {
  test_refused_names_the_owner();
  test_inherited_until_repaired();
  test_failed_repair_is_mended();
  test_repair_waits_for_an_arena();
  return check_result("sim_lock");
}
