/* A read that is overtaken between any two of its own loads: a writer gets a turn there, overwrites
 * the key, lets the table grow, neighbours come and go, memory be used again. A key that is there
 * all the time is found all the time, and its copy is whole or refused.
 *
 * The read path is compiled into this program, with a turn before each acquiring load of it.
 */
#include <string.h>

#include "../../csrc/os/os_sim.h"
#include "../../csrc/store/read.h"
#include "check_main.h"
#include "fixture.h"

enum { KEY = 1, LOADS_MAX = 12, BYTES = 200 };

static fixture self;
static int loads_left; /* until the writer's turn; negative: it had it */
static int kind;

static void put_many(uint64_t from, uint64_t count, uint64_t bytes) {
  for (uint64_t key = from; key < from + count; key++)
    CHECK_EQUAL(fixture_put(&self, key, key, bytes), DSM_OK);
}

static void delete_many(uint64_t from, uint64_t count) {
  for (uint64_t key = from; key < from + count; key++) fixture_delete(&self, key);
}

/* Between two loads of the read. */
static void turn(void) {
  if (loads_left-- != 0) return;
  if (kind == 0)
    for (uint64_t again = 2; again < 5; again++)
      CHECK_EQUAL(fixture_put(&self, KEY, again, BYTES), DSM_OK);
  put_many(100, 60, BYTES);
  if (kind == 1) put_many(200, 300, 16);
  if (kind == 2) {
    delete_many(100, 60);
    put_many(300, 40, 500);
  }
}

static inline uint64_t load_after_turn(const dsm_atomic_u64 *word) {
  turn();
  return dsm_load_acquire_u64(word);
}

#define dsm_load_acquire_u64 load_after_turn
#include "../../csrc/store/read.c"
#undef dsm_load_acquire_u64

static void overtake(int load, int how, uint64_t neighbours) {
  static uint8_t copy[BYTES];
  fixture_key name;
  dsm_read read;
  uint64_t seed;
  snprintf(fixture_story, sizeof fixture_story, "turn %d before load %d, %d neighbours", how, load,
           (int)neighbours);
  dsm_sim_start(1);
  self = fixture_create(&(fixture_shape){"ctest-overtaken", 2, 1, 1, 8u << 20});
  put_many(10, neighbours, 40);
  CHECK_EQUAL(fixture_put(&self, KEY, KEY, BYTES), DSM_OK);
  fixture_key_make(&self, &name, KEY);
  kind = how;
  loads_left = load;
  dsm_status status = DSM_RETRY;
  for (int attempt = 0; status == DSM_RETRY && attempt < 3; attempt++) {
    CHECK_EQUAL(dsm_read_begin(&self.call, &name.key, &read), DSM_OK);
    status = dsm_read_copy(&self.call, &read, copy);
  }
  CHECK_EQUAL(status, DSM_OK);
  CHECK(pattern_holds(copy, BYTES, &seed) && seed >= KEY && seed < 5);
  loads_left = -1;
  fixture_check_clean(&self);
  fixture_close(&self, true);
  dsm_sim_stop();
}

int main(void) {
  loads_left = -1;
  for (int load = 0; load < LOADS_MAX; load++)
    for (int how = 0; how < 3; how++)
      for (uint64_t neighbours = 0; neighbours < 24; neighbours += 3)
        overtake(load, how, neighbours);
  return check_result("sim_overtaken");
}
