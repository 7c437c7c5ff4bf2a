/* Threads of one process on one mapping, all kinds of calls at once, for ThreadSanitizer above all:
 * writers, readers, pinners, a scanner, a settler, an opener of regions. Values describe
 * themselves, so that a torn one is noticed; a key that a writer owns never goes back in time for a
 * reader; a counter loses nothing; keys that stay are listed by every scan exactly once.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../csrc/node/registry.h"
#include "../../csrc/node/service.h"
#include "../../csrc/store/scan.h"
#include "../../csrc/store/settle.h"
#include "check_main.h"
#include "fixture.h"

enum { WRITERS = 2, READERS = 2, OWN_KEYS = 8, STAY_KEYS = 60, COUNTER = 1000, STAY = 2000 };
enum { BYTES_MAX = 12000, BUFFER = 1 << 16 };

static fixture owner;
static dsm_atomic_u32 writers_left;
static dsm_atomic_u64 failures, reads, pins, scans, retries;
static unsigned writes_each;
static pthread_barrier_t start;

static void fail(const char *what) {
  fprintf(stderr, "does not hold: %s\n", what);
  dsm_fetch_add_relaxed_u64(&failures, 1);
}

static fixture own_call(void) {
  fixture self = owner;
  self.call = dsm_call_make(owner.call.space, 5000);
  pthread_barrier_wait(&start);
  return self;
}

static bool running(void) {
  return dsm_load_acquire_u32(&writers_left) > 0;
}

/* The seed carries the writer's count of its writes, so that a reader sees time go by. */
static void *write_all(void *argument) {
  uint64_t who = (uint64_t)(uintptr_t)argument, random = 77 + who;
  fixture self = own_call();
  uint8_t *bytes = malloc(BYTES_MAX);
  for (uint64_t count = 1; count <= writes_each; count++) {
    uint64_t number = who * OWN_KEYS + random_below(&random, OWN_KEYS), version;
    uint64_t length = 16 + random_below(&random, count % 8 ? 300 : BYTES_MAX - 16);
    fixture_key key;
    fixture_key_make(&self, &key, number);
    dsm_condition condition = {self.replicas, DSM_ANY_VERSION};
    dsm_status status;
    if (count % 13 == 0) {
      status = dsm_delete(&self.call, &key.key, condition, &version);
      if (status == DSM_NOT_FOUND) status = DSM_OK;
    } else {
      pattern_fill(bytes, length, count);
      dsm_part part = {bytes, length};
      dsm_value value = {&part, 1, 7, length};
      status = dsm_put(&self.call, &key.key, &value, condition, &version);
    }
    if (status != DSM_OK) fail("a write succeeds");
    int64_t result;
    if (fixture_add(&self, COUNTER, 1, &result) != DSM_OK) fail("an add succeeds");
  }
  free(bytes);
  atomic_fetch_sub(&writers_left, 1);
  return NULL;
}

static void note_seed(uint64_t *latest, uint64_t number, uint64_t seed) {
  if (seed < latest[number]) fail("what was read is not un-read");
  latest[number] = seed;
}

static void *read_all(void *argument) {
  uint64_t random = 99 + (uint64_t)(uintptr_t)argument, latest[WRITERS * OWN_KEYS] = {0};
  fixture self = own_call();
  uint8_t *bytes = malloc(BYTES_MAX);
  while (running()) {
    uint64_t number = random_below(&random, WRITERS * OWN_KEYS), seed;
    fixture_key key;
    dsm_read read;
    fixture_key_make(&self, &key, number);
    dsm_status status = dsm_read_begin(&self.call, &key.key, &read);
    if (status == DSM_NOT_FOUND) continue;
    if (status != DSM_OK || read.header.value_bytes > BYTES_MAX) {
      fail("a read begins");
      continue;
    }
    bool pin = random_below(&random, 2) && read.header.flags & DSM_OBJECT_ALIGNED;
    if (pin && dsm_read_pin(&self.call, &read) != DSM_OK) continue;
    status = dsm_read_copy(&self.call, &read, bytes);
    if (status == DSM_OK) {
      if (!pattern_holds(bytes, read.header.value_bytes, &seed)) fail("a value is whole");
      note_seed(latest, number, seed);
      if (pin && dsm_read_verify(&self.call, &read) != DSM_OK) fail("a pinned value verifies");
    } else if (status != DSM_RETRY) {
      fail("a copy is valid or tried again");
    }
    dsm_fetch_add_relaxed_u64(status == DSM_RETRY ? &retries : pin ? &pins : &reads, 1);
    dsm_read_unpin(self.call.space, &read);
  }
  free(bytes);
  return NULL;
}

static void *scan_all(void *argument) {
  (void)argument;
  fixture self = own_call();
  uint8_t *buffer = malloc(BUFFER);
  do {
    unsigned seen[STAY_KEYS] = {0};
    for (uint32_t stripe = 0; stripe < self.call.space->stripe_count; stripe++) {
      uint64_t used = 0;
      if (dsm_scan_stripe(&self.call, (uint16_t)self.region, stripe, buffer, BUFFER, &used) !=
          DSM_OK)
        fail("a scan succeeds");
      for (uint64_t at = 0; at < used;) {
        uint64_t word;
        char text[24] = {0};
        memcpy(&word, buffer + at, 8);
        memcpy(text, buffer + at + 8, word & 15);
        uint64_t number = strtoull(text + 4, NULL, 10);
        if (number >= STAY && number < STAY + STAY_KEYS) seen[number - STAY]++;
        at += 8 + (((word & UINT32_MAX) + 7) & ~7ull);
      }
    }
    for (unsigned i = 0; i < STAY_KEYS; i++)
      if (seen[i] != 1) fail("a key that stays is listed once");
    dsm_fetch_add_relaxed_u64(&scans, 1);
  } while (running());
  free(buffer);
  return NULL;
}

static void *settle_all(void *argument) {
  (void)argument;
  fixture self = own_call();
  while (running())
    for (unsigned node = 0; node < self.call.space->node_count; node++) {
      dsm_settle_node(&self.call, node);
      usleep(200);
    }
  return NULL;
}

static void *open_all(void *argument) {
  (void)argument;
  fixture self = own_call();
  for (unsigned i = 0; running(); i++) {
    char name[16];
    uint32_t region;
    uint64_t length;
    dsm_region_settings settings = {2, 1}, actual;
    int bytes = snprintf(name, sizeof name, "r%u", i % 20);
    if (dsm_region_open(&self.call, name, (uint32_t)bytes, &settings, true, &region, &actual) !=
        DSM_OK)
      fail("a region opens");
    if (dsm_region_length(&self.call, region, &length) != DSM_OK || length != 0)
      fail("it is empty");
    usleep(500);
  }
  return NULL;
}

static void *check_all(void *argument) {
  (void)argument;
  fixture self = own_call();
  while (running()) {
    fixture_check_clean(&self);
    usleep(2000);
  }
  return NULL;
}

static void run(uint32_t stripes, uint32_t replicas) {
  char name[32];
  enum { THREADS = WRITERS + READERS + 4 };
  pthread_t threads[THREADS];
  unsigned count = 0;
  snprintf(name, sizeof name, "ctest-thread-%d", (int)getpid());
  snprintf(fixture_story, sizeof fixture_story, "%u stripes, replication %u", stripes, replicas);
  owner = fixture_create(&(fixture_shape){name, 3, replicas, stripes, 16u << 20});
  CHECK_EQUAL(dsm_service_start(owner.cluster, 0, NULL), DSM_OK);
  for (uint64_t key = 0; key < STAY_KEYS; key++)
    CHECK_EQUAL(fixture_put(&owner, STAY + key, key, 20), DSM_OK);
  dsm_store_release_u32(&writers_left, WRITERS);
  pthread_barrier_init(&start, NULL, THREADS);
  for (uintptr_t i = 0; i < WRITERS; i++)
    pthread_create(&threads[count++], NULL, write_all, (void *)i);
  for (uintptr_t i = 0; i < READERS; i++)
    pthread_create(&threads[count++], NULL, read_all, (void *)i);
  pthread_create(&threads[count++], NULL, scan_all, NULL);
  pthread_create(&threads[count++], NULL, settle_all, NULL);
  pthread_create(&threads[count++], NULL, open_all, NULL);
  pthread_create(&threads[count++], NULL, check_all, NULL);
  for (unsigned i = 0; i < count; i++) pthread_join(threads[i], NULL);
  pthread_barrier_destroy(&start);
  CHECK_EQUAL(dsm_load_relaxed_u64(&failures), 0);
  CHECK_EQUAL(fixture_get(&owner, COUNTER).seed, (uint64_t)WRITERS * writes_each);
  fixture_check_clean(&owner);
  for (uint64_t key = 0; key < WRITERS * OWN_KEYS; key++) fixture_delete(&owner, key);
  for (uint64_t key = 0; key < STAY_KEYS; key++) fixture_delete(&owner, STAY + key);
  fixture_delete(&owner, COUNTER);
  CHECK_EQUAL(fixture_limbo_pages(&owner), 0);
  CHECK_EQUAL(fixture_used_pages(&owner), 0);
  fixture_close(&owner, true);
}

int main(void) {
  writes_each = rounds_all() ? 40000 : 1500;
  run(1, 2);
  run(16, 1);
  run(16, 3);
  CHECK(dsm_load_relaxed_u64(&reads) > 0);
  CHECK(dsm_load_relaxed_u64(&scans) > 0);
  printf("%" PRIu64 " reads, %" PRIu64 " pinned, %" PRIu64 " tried again, %" PRIu64 " scans\n",
         dsm_load_relaxed_u64(&reads), dsm_load_relaxed_u64(&pins), dsm_load_relaxed_u64(&retries),
         dsm_load_relaxed_u64(&scans));
  return check_result("thread_store");
}
