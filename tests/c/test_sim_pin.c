/* Pins and limbo: a pinned value stays as it is through overwrite, delete and the death of others;
 * its memory comes back when the last pin goes, however it goes.
 */
#include <string.h>

#include "../../csrc/mem/arena.h"
#include "../../csrc/mem/pin.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "fixture.h"

static const fixture_shape shape = {"ctest-pin", 3, 2, 2, 4u << 20};

enum { BYTES = 9000 };

static fixture owner, other;
static uint32_t owner_pid, other_pid;

static void begin(void) {
  dsm_sim_start(21);
  owner_pid = dsm_sim_process_pid();
  owner = fixture_create(&shape);
  other_pid = dsm_sim_process_new();
  dsm_sim_process_run(other_pid);
  other = fixture_attach(shape.name);
  dsm_sim_process_run(owner_pid);
}

static void end(bool other_is_alive) {
  CHECK_EQUAL(fixture_limbo_pages(&owner), 0);
  fixture_check_clean(&owner);
  if (other_is_alive) {
    dsm_sim_process_run(other_pid);
    fixture_close(&other, false);
    dsm_sim_process_run(owner_pid);
  } else {
    fixture_abandon(&other);
  }
  fixture_close(&owner, true);
  CHECK_EQUAL(dsm_sim_backed_bytes(), 0);
  dsm_sim_stop();
}

static dsm_read pin(fixture *by, uint64_t key) {
  fixture_key name;
  dsm_read read;
  fixture_key_make(by, &name, key);
  CHECK_EQUAL(dsm_read_begin(&by->call, &name.key, &read), DSM_OK);
  CHECK_EQUAL(dsm_read_pin(&by->call, &read), DSM_OK);
  return read;
}

static uint64_t seed_of(const fixture *by, const dsm_read *read) {
  uint64_t seed;
  CHECK(pattern_holds(dsm_read_value(by->call.space, read), read->header.value_bytes, &seed));
  return seed;
}

static uint64_t pages_of(uint64_t bytes) {
  return (bytes + 64 + DSM_ARENA_PAGE_BYTES - 1) / DSM_ARENA_PAGE_BYTES;
}

static void test_overwritten_and_deleted_while_pinned(void) {
  begin();
  CHECK_EQUAL(fixture_put(&owner, 1, 10, BYTES), DSM_OK);
  dsm_read first = pin(&owner, 1), second = pin(&other, 1);
  CHECK_EQUAL(dsm_pin_count(owner.call.space, owner.call.space->participant), 1);
  CHECK_EQUAL(fixture_put(&owner, 1, 11, BYTES), DSM_OK);
  dsm_read third = pin(&other, 1);
  CHECK_EQUAL(fixture_delete(&owner, 1), DSM_OK);
  for (uint64_t key = 2; key < 40; key++) CHECK_EQUAL(fixture_put(&owner, key, key, BYTES), DSM_OK);
  CHECK_EQUAL(seed_of(&owner, &first), 10);
  CHECK_EQUAL(seed_of(&other, &second), 10);
  CHECK_EQUAL(seed_of(&other, &third), 11);
  CHECK_EQUAL(fixture_limbo_pages(&owner), 2 * pages_of(BYTES));
  dsm_read_unpin(owner.call.space, &first);
  CHECK_EQUAL(fixture_limbo_pages(&owner), 2 * pages_of(BYTES));
  dsm_read_unpin(other.call.space, &second);
  CHECK_EQUAL(fixture_limbo_pages(&owner), pages_of(BYTES));
  CHECK_EQUAL(seed_of(&other, &third), 11);
  dsm_read_unpin(other.call.space, &third);
  end(true);
}

static void test_the_dead_let_go(void) {
  begin();
  CHECK_EQUAL(fixture_put(&owner, 1, 10, BYTES), DSM_OK);
  dsm_read read = pin(&other, 1);
  CHECK_EQUAL(fixture_put(&owner, 1, 11, BYTES), DSM_OK);
  uint32_t participant = other.call.space->participant;
  dsm_sim_process_kill(other_pid);
  /* Until the dead one is retired its pins only keep memory. */
  CHECK_EQUAL(fixture_limbo_pages(&owner), pages_of(BYTES));
  CHECK_EQUAL(seed_of(&owner, &read), 10);
  fixture_retire_dead(&owner);
  CHECK_EQUAL(dsm_pin_count(owner.call.space, participant), 0);
  end(false);
}

static void test_leaving_lets_go(void) {
  begin();
  CHECK_EQUAL(fixture_put(&owner, 1, 10, BYTES), DSM_OK);
  pin(&other, 1);
  CHECK_EQUAL(fixture_delete(&owner, 1), DSM_OK);
  CHECK_EQUAL(fixture_limbo_pages(&owner), pages_of(BYTES));
  dsm_sim_process_run(other_pid);
  fixture_close(&other, false);
  dsm_sim_process_run(owner_pid);
  end(false);
}

/* More runs in limbo than one look at them covers. */
static void test_many_in_limbo(void) {
  enum { MANY = 150 };
  begin();
  dsm_read reads[MANY];
  for (uint64_t key = 0; key < MANY; key++) {
    CHECK_EQUAL(fixture_put(&owner, key, key, 3000), DSM_OK);
    reads[key] = pin(&other, key);
    CHECK_EQUAL(fixture_delete(&owner, key), DSM_OK);
  }
  CHECK_EQUAL(fixture_limbo_pages(&owner), MANY * pages_of(3000));
  for (uint64_t key = 0; key < MANY; key++) {
    CHECK_EQUAL(seed_of(&other, &reads[key]), key);
    if (key % 2) dsm_read_unpin(other.call.space, &reads[key]);
  }
  for (int look = 0; look < 4; look++) fixture_limbo_pages(&owner);
  CHECK_EQUAL(fixture_limbo_pages(&owner), MANY / 2 * pages_of(3000));
  for (uint64_t key = 0; key < MANY; key += 2) dsm_read_unpin(other.call.space, &reads[key]);
  for (int look = 0; look < 4; look++) fixture_limbo_pages(&owner);
  end(true);
}

static void test_small_values_are_not_pinned(void) {
  begin();
  fixture_key name;
  dsm_read read;
  CHECK_EQUAL(fixture_put(&owner, 1, 1, 64), DSM_OK);
  fixture_key_make(&owner, &name, 1);
  CHECK_EQUAL(dsm_read_begin(&owner.call, &name.key, &read), DSM_OK);
  CHECK_EQUAL(dsm_read_pin(&owner.call, &read), DSM_USAGE);
  /* A read that was overtaken cannot be pinned. */
  CHECK_EQUAL(fixture_put(&owner, 1, 2, BYTES), DSM_OK);
  CHECK_EQUAL(dsm_read_begin(&owner.call, &name.key, &read), DSM_OK);
  CHECK_EQUAL(fixture_put(&owner, 1, 3, BYTES), DSM_OK);
  CHECK_EQUAL(dsm_read_pin(&owner.call, &read), DSM_RETRY);
  CHECK_EQUAL(dsm_pin_count(owner.call.space, owner.call.space->participant), 0);
  end(true);
}

static void test_the_table_is_full(void) {
  begin();
  fixture_key name;
  dsm_read read;
  CHECK_EQUAL(fixture_put(&owner, 1, 1, BYTES), DSM_OK);
  fixture_key_make(&owner, &name, 1);
  for (uint32_t i = 0; i < DSM_PINS_MAX; i++) {
    CHECK_EQUAL(dsm_read_begin(&owner.call, &name.key, &read), DSM_OK);
    CHECK_EQUAL(dsm_read_pin(&owner.call, &read), DSM_OK);
  }
  dsm_read last = read;
  CHECK_EQUAL(dsm_read_begin(&owner.call, &name.key, &read), DSM_OK);
  CHECK_EQUAL(dsm_read_pin(&owner.call, &read), DSM_TOO_MANY);
  dsm_read_unpin(owner.call.space, &last);
  CHECK_EQUAL(dsm_read_pin(&owner.call, &read), DSM_OK);
  dsm_pin_clear(owner.call.space, owner.call.space->participant);
  end(true);
}

static void test_a_fork_keeps_them(void) {
  begin();
  CHECK_EQUAL(fixture_put(&owner, 1, 10, BYTES), DSM_OK);
  dsm_read read = pin(&owner, 1);
  uint32_t slot = dsm_cluster_fork_prepare(owner.cluster);
  CHECK(slot != DSM_NOBODY);
  CHECK_EQUAL(fixture_put(&owner, 1, 11, BYTES), DSM_OK);
  dsm_read_unpin(owner.call.space, &read);
  CHECK_EQUAL(fixture_limbo_pages(&owner), pages_of(BYTES));
  CHECK_EQUAL(seed_of(&owner, &read), 10);
  dsm_pin_clear(owner.call.space, slot);
  end(true);
}

int main(void) {
  test_overwritten_and_deleted_while_pinned();
  test_the_dead_let_go();
  test_leaving_lets_go();
  test_many_in_limbo();
  test_small_values_are_not_pinned();
  test_the_table_is_full();
  test_a_fork_keeps_them();
  return check_result("sim_pin");
}
