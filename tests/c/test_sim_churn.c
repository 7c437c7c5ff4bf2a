/* Churn: a hundred times the capacity in mixed sizes, with pins held, participants dying and
 * replication 2, at steady memory: what the first half asked of the kernel is enough for the
 * second.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/mem/pin.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "fixture.h"
#include "leaks_ignored.h"

enum { KEYS = 300, PINS = 12, CAPACITY = 6u << 20, TIMES = 100 };

static const fixture_shape shape = {"ctest-churn", 2, 2, 4, CAPACITY};

typedef struct held_pin {
  dsm_read read;
  uint64_t seed;
} held_pin;

static fixture self;
static item twin[KEYS];
static held_pin pins[PINS];

static uint64_t random_bytes(uint64_t *random) {
  switch (random_below(random, 16)) {
  case 0:
    return random_below(random, 60000);
  case 1:
  case 2:
    return random_below(random, 30000);
  default:
    return random_below(random, 2500);
  }
}

static void drop_pin(held_pin *pin) {
  uint64_t seed;
  if (pin->read.pin == DSM_PIN_NONE) return;
  CHECK(pattern_holds(dsm_read_value(self.call.space, &pin->read), pin->read.header.value_bytes,
                      &seed));
  CHECK_EQUAL(seed, pin->seed);
  dsm_read_unpin(self.call.space, &pin->read);
}

static void swap_pin(uint64_t key, uint64_t *random) {
  held_pin *pin = &pins[random_below(random, PINS)];
  fixture_key name;
  drop_pin(pin);
  fixture_key_make(&self, &name, key);
  if (dsm_read_begin(&self.call, &name.key, &pin->read) == DSM_OK &&
      dsm_read_pin(&self.call, &pin->read) == DSM_OK)
    pin->seed = twin[key].seed;
  else
    pin->read.pin = DSM_PIN_NONE;
}

static fixture victim;
static uint64_t victim_key, victim_seed, victim_bytes;

static void victim_puts(void *context) {
  (void)context;
  fixture_put(&victim, victim_key, victim_seed, victim_bytes);
}

/* Somebody attaches, pins a value, and dies in the middle of a put. */
static void lose_a_process(uint64_t *random) {
  uint32_t own = dsm_sim_process_pid(), pid = dsm_sim_process_new();
  fixture_key name;
  dsm_read read;
  dsm_sim_process_run(pid);
  victim = fixture_attach(shape.name);
  fixture_key_make(&victim, &name, random_below(random, KEYS));
  if (dsm_read_begin(&victim.call, &name.key, &read) == DSM_OK) dsm_read_pin(&victim.call, &read);
  victim_key = random_below(random, KEYS);
  victim_seed = random_next(random);
  victim_bytes = random_bytes(random);
  crash_jump(1 + (unsigned)random_below(random, 60), victim_puts, NULL);
  dsm_sim_process_kill(pid);
  fixture_abandon(&victim);
  dsm_sim_process_run(own);
  fixture_retire_dead(&self);
  item present = fixture_get(&self, victim_key);
  item wanted = {ITEM_VALUE, victim_bytes, victim_seed};
  CHECK(item_equal(present, twin[victim_key]) || item_equal(present, wanted));
  twin[victim_key] = item_equal(present, wanted) ? wanted : twin[victim_key];
}

static uint64_t churn(uint64_t *random, uint64_t bytes_wanted, unsigned deaths) {
  uint64_t written = 0, next_death = bytes_wanted / (deaths + 1);
  while (written < bytes_wanted) {
    uint64_t key = random_below(random, KEYS);
    if (random_below(random, 5) == 0) {
      dsm_status status = fixture_delete(&self, key);
      CHECK_EQUAL(status, twin[key].kind == ITEM_ABSENT ? DSM_NOT_FOUND : DSM_OK);
      twin[key] = (item){0};
    } else {
      item wanted = {ITEM_VALUE, random_bytes(random), random_next(random)};
      CHECK_EQUAL(fixture_put(&self, key, wanted.seed, wanted.bytes), DSM_OK);
      twin[key] = wanted;
      written += wanted.bytes;
    }
    if (random_below(random, 8) == 0) swap_pin(random_below(random, KEYS), random);
    if (random_below(random, 32) == 0) CHECK(item_equal(fixture_get(&self, key), twin[key]));
    if (written >= next_death) {
      lose_a_process(random);
      next_death += bytes_wanted / (deaths + 1);
    }
  }
  return written;
}

int main(int argc, char **argv) {
  uint64_t random = argc > 1 ? strtoull(argv[1], NULL, 0) : 991;
  printf("seed %" PRIu64 "\n", random);
  dsm_sim_start(random);
  self = fixture_create(&shape);
  for (unsigned i = 0; i < PINS; i++) pins[i].read.pin = DSM_PIN_NONE;
  uint64_t total = (uint64_t)CAPACITY * TIMES;
  uint64_t written = churn(&random, total / 2, 20);
  uint64_t steady = dsm_sim_backed_bytes();
  written += churn(&random, total / 2, 20);
  uint64_t after = dsm_sim_backed_bytes();
  for (uint64_t key = 0; key < KEYS; key++) {
    CHECK(item_equal(fixture_get(&self, key), twin[key]));
    fixture_check_replicas(&self, key);
  }
  for (unsigned i = 0; i < PINS; i++) drop_pin(&pins[i]);
  fixture_check_clean(&self);
  CHECK(written >= total);
  CHECK(after <= steady + steady / 4);
  for (uint64_t key = 0; key < KEYS; key++) fixture_delete(&self, key);
  CHECK_EQUAL(fixture_limbo_pages(&self), 0);
  CHECK_EQUAL(fixture_used_pages(&self), 0);
  printf("%" PRIu64 " MiB written, %" PRIu64 " KiB backed after one half, %" PRIu64 " at the end\n",
         written >> 20, steady >> 10, after >> 10);
  fixture_close(&self, true);
  dsm_sim_stop();
  return check_result("sim_churn");
}
