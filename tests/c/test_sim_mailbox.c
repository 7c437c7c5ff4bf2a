/* Mailboxes against a naive queue, damaged, full, and left half-way by a kill. */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/mem/mailbox.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "fixture.h"

enum { QUEUE_MAX = 4096, NODES = 4 };

static dsm_mailboxes_shm *boxes;
static uint8_t payload[DSM_MAILBOX_RECORD_BYTES_MAX];

static void begin(void) {
  size_t bytes = offsetof(dsm_mailboxes_shm, nodes) + NODES * sizeof(dsm_mailbox_shm);
  dsm_sim_start(31);
  if (!boxes) boxes = aligned_alloc(64, bytes);
  memset(boxes, 0, bytes);
}

static dsm_status append(dsm_ring_shm *ring, uint64_t serial, uint32_t bytes) {
  dsm_record_shm record = {.kind = 1, .slot = 7, .serial = serial, .bytes = bytes};
  uint64_t at = dsm_ring_tail(ring);
  pattern_fill(payload, bytes, serial);
  dsm_status status = dsm_ring_append(ring, &at, &record, payload);
  if (status == DSM_OK) dsm_ring_publish(ring, at);
  return status;
}

static dsm_status take(dsm_ring_shm *ring, dsm_record_shm *record) {
  const uint8_t *found;
  uint64_t at = dsm_ring_head(ring), seed;
  dsm_status status = dsm_ring_next(ring, &at, record, &found);
  if (status != DSM_OK) return status;
  if (record->bytes >= 16) {
    memcpy(payload, found, record->bytes);
    CHECK(pattern_holds(payload, record->bytes, &seed));
    CHECK_EQUAL(seed, record->serial);
  }
  dsm_ring_consume(ring, at);
  return DSM_OK;
}

/* Random appends and takes: what comes out is what went in, in order, whole. */
static void test_random_runs_equal_a_naive_queue(void) {
  static uint32_t queue[QUEUE_MAX];
  uint64_t random = 5, first = 0, next = 0;
  begin();
  dsm_ring_shm *ring = &boxes->nodes[3].to_node;
  dsm_record_shm record;
  unsigned refused = 0;
  for (unsigned step = 0; step < 60000; step++) {
    if (random_below(&random, 100) < 52) {
      static const uint64_t limits[] = {1, 40, 200, 9000, DSM_MAILBOX_RECORD_BYTES_MAX - 24};
      uint64_t limit = limits[random_below(&random, 5)];
      uint32_t bytes = (uint32_t)random_below(&random, limit + 1);
      if (bytes && bytes < 16) bytes = 16;
      dsm_status status = append(ring, next, bytes);
      refused += status == DSM_TOO_MANY;
      if (status == DSM_OK) queue[next++ % QUEUE_MAX] = bytes;
    } else if (first == next) {
      CHECK(!dsm_ring_news(ring));
      CHECK_EQUAL(take(ring, &record), DSM_NOT_FOUND);
    } else {
      CHECK_EQUAL(take(ring, &record), DSM_OK);
      CHECK_EQUAL(record.serial, first);
      CHECK_EQUAL(record.bytes, queue[first++ % QUEUE_MAX]);
    }
  }
  CHECK(refused > 100);
  CHECK(next > 5000);
}

static void test_records_have_a_largest_size_that_fits_wherever_the_ring_stands(void) {
  begin();
  dsm_ring_shm *ring = &boxes->nodes[0].to_owner;
  dsm_record_shm record;
  for (unsigned i = 0; i < 50; i++) {
    CHECK_EQUAL(append(ring, i, DSM_MAILBOX_RECORD_BYTES_MAX - 24), DSM_OK);
    CHECK_EQUAL(take(ring, &record), DSM_OK);
    CHECK_EQUAL(append(ring, i, 16 + 8 * i), DSM_OK);
    CHECK_EQUAL(take(ring, &record), DSM_OK);
  }
  CHECK_EQUAL(append(ring, 1, DSM_MAILBOX_RECORD_BYTES_MAX - 23), DSM_USAGE);
}

/* Whatever byte of ring or ends is changed: an error or the true record, nothing beyond the ring.
 */
static void test_damage_is_told(void) {
  uint64_t random = 9;
  unsigned told = 0;
  begin();
  for (unsigned round = 0; round < 3000; round++) {
    dsm_ring_shm *ring = &boxes->nodes[1].to_node;
    dsm_mailbox_reset(&boxes->nodes[1]);
    dsm_record_shm record;
    for (uint64_t i = 0; i < 4; i++) CHECK_EQUAL(append(ring, i, 16 + 24 * (uint32_t)i), DSM_OK);
    uint64_t used = dsm_ring_tail(ring);
    if (round % 10 == 0)
      dsm_store_relaxed_u64(&ring->tail, random_next(&random) >> random_below(&random, 60));
    else if (round % 10 == 1)
      dsm_store_relaxed_u64(&ring->head, random_next(&random) >> random_below(&random, 60));
    else
      ring->bytes[random_below(&random, used)] ^= (uint8_t)(1u << random_below(&random, 8));
    dsm_status status = DSM_OK;
    for (unsigned i = 0; i < 6 && status == DSM_OK; i++) status = take(ring, &record);
    told += status == DSM_CORRUPT;
  }
  CHECK(told > 2500);
}

static void act(void *context) {
  dsm_ring_shm *ring = context;
  append(ring, 77, 30000);
  append(ring, 78, 19000);
  append(ring, 79, 64);
}

/* Killed at each point, a producer leaves whole records or none. */
static void test_a_killed_producer_leaves_whole_records(void) {
  bool left = true;
  unsigned deaths = 0;
  for (unsigned at = 1; left; at++) {
    begin();
    dsm_ring_shm *ring = &boxes->nodes[2].to_owner;
    dsm_record_shm record;
    CHECK_EQUAL(append(ring, 1, 20000), DSM_OK);
    CHECK_EQUAL(take(ring, &record), DSM_OK);
    left = crash_jump(at, act, ring);
    deaths += left;
    uint64_t expected = 77;
    dsm_status status;
    while ((status = take(ring, &record)) == DSM_OK) CHECK_EQUAL(record.serial, expected++);
    CHECK_EQUAL(status, DSM_NOT_FOUND);
    dsm_mailbox_reset(&boxes->nodes[2]);
    CHECK(!dsm_ring_news(ring));
    CHECK_EQUAL(append(ring, 5, 64), DSM_OK);
    CHECK_EQUAL(take(ring, &record), DSM_OK);
  }
  CHECK(deaths > 3);
}

static void test_a_task_is_begun_or_taken_back_but_not_both(void) {
  begin();
  dsm_mailbox_shm *box = &boxes->nodes[0];
  dsm_store_release_u64(&box->claims[9], 41);
  CHECK(!dsm_mailbox_claim(box, 9, 40, 1));
  CHECK(dsm_mailbox_claim(box, 9, 41, 5));
  CHECK(!dsm_mailbox_claim(box, 9, 41, 6));
  CHECK(!dsm_mailbox_revoke(box, 9, 41));
  CHECK_EQUAL(dsm_load_relaxed_u64(&box->claims[9]), 41 | DSM_CLAIM_STARTED);
  dsm_store_release_u64(&box->claims[9], 42);
  CHECK(dsm_mailbox_revoke(box, 9, 42));
  CHECK(!dsm_mailbox_claim(box, 9, 42, 7));
}

static void test_the_listener_on_duty_is_woken(void) {
  begin();
  uint32_t spin_ns = 0;
  dsm_doorbell_shm *bell = &boxes->bell;
  CHECK(!dsm_mailbox_wait(boxes, 2, -1, 0, DSM_LISTENER_FIRST, &spin_ns, 1000));
  dsm_doorbell_ring(bell); /* nobody sleeps: nothing to do */
  CHECK_EQUAL(dsm_load_relaxed_u32(&bell->rung[0]), 0);
  dsm_doorbell_lead(bell);
  dsm_doorbell_leave(boxes, 2, 0);
  CHECK_EQUAL(append(&boxes->nodes[1].to_owner, 3, 16), DSM_OK);
  dsm_doorbell_ring(bell);
  dsm_doorbell_ring(bell);
  CHECK_EQUAL(dsm_load_relaxed_u32(&bell->rung[0]), 0);
  CHECK_EQUAL(dsm_load_relaxed_u32(&bell->rung[1]), 1);
  CHECK(dsm_mailbox_wait(boxes, 2, -1, 0, DSM_LISTENER_SECOND, &spin_ns, 1000));
  dsm_doorbell_lead(bell); /* what is there belongs to the first listener now */
  CHECK(!dsm_mailbox_wait(boxes, 2, -1, 0, DSM_LISTENER_SECOND, &spin_ns, 1000));
  dsm_doorbell_leave(boxes, 2, 0); /* … and to the second again */
  CHECK_EQUAL(dsm_load_relaxed_u32(&bell->rung[1]), 2);
  dsm_record_shm record;
  CHECK_EQUAL(take(&boxes->nodes[1].to_owner, &record), DSM_OK);
  CHECK(!dsm_mailbox_news(boxes, 2, -1, 0));
  dsm_doorbell_tell_death(bell);
  CHECK(dsm_mailbox_news(boxes, 2, -1, 0));
  CHECK(!dsm_mailbox_news(boxes, 2, -1, 1));
}

/* A task comes after *ns of the node's sleep, and the kernel takes long to wake the node. */
static void send_and_wake_late(void *ns) {
  dsm_sim_clock_advance(*(uint64_t *)ns);
  CHECK_EQUAL(append(&boxes->nodes[1].to_node, 9, 16), DSM_OK);
  dsm_doorbell_ring(&boxes->nodes[1].bell);
  dsm_sim_clock_advance(400000);
}

/* How long node 1 would spin next, after a task that came so late in its sleep. */
static uint32_t patience_after(uint64_t ns, uint32_t spin_ns) {
  dsm_record_shm record;
  dsm_sim_while_waiting(send_and_wake_late, &ns);
  CHECK(dsm_mailbox_wait(boxes, 2, 1, 0, DSM_LISTENER_FIRST, &spin_ns, 50000));
  CHECK_EQUAL(take(&boxes->nodes[1].to_node, &record), DSM_OK);
  return spin_ns;
}

/* What counts is when the task came, not when the kernel had woken the sleeper: a node whose tasks
 * follow closely would else sleep before each one for ever. */
static void test_patience_is_for_what_comes_soon(void) {
  begin();
  CHECK(patience_after(40000, 0) >= 40000);
  CHECK_EQUAL(patience_after(900000, 0), 0);
  CHECK_EQUAL(patience_after(900000, 64000), 32000);
  CHECK(patience_after(40000, 32000) >= 40000);
}

/* When the sleep began, and what came then. */
static void note_and_send(void *began_ns) {
  *(uint64_t *)began_ns = dsm_os_monotonic_ns();
  CHECK_EQUAL(append(&boxes->nodes[1].to_node, 9, 16), DSM_OK);
}

/* Ns that the listener at `node` spun before it slept, if it slept; it had patience for 64,000. */
static uint64_t spun(int node, dsm_listener listener) {
  dsm_record_shm record;
  uint32_t spin_ns = 64000;
  uint64_t start = dsm_os_monotonic_ns(), slept = 0;
  dsm_sim_while_waiting(note_and_send, &slept);
  dsm_mailbox_wait(boxes, 2, node, 0, listener, &spin_ns, 50000);
  while (take(&boxes->nodes[1].to_node, &record) == DSM_OK) {
  }
  return slept - start;
}

static void test_who_shares_a_processor_with_the_other_does_not_spin(void) {
  begin();
  CHECK(spun(1, DSM_LISTENER_FIRST) >= 64000);
  dsm_sim_processor_set(5);
  dsm_doorbell_ring(&boxes->nodes[1].bell);
  dsm_doorbell_ring(&boxes->bell);
  dsm_sim_processor_set(6);
  CHECK(spun(1, DSM_LISTENER_FIRST) >= 64000);
  CHECK(spun(-1, DSM_LISTENER_FIRST) >= 64000);
  CHECK_EQUAL(dsm_os_processor(), 6);
  /* The owner stays where it is and sleeps; the node moves away and spins there. */
  dsm_sim_processor_set(5);
  CHECK(spun(-1, DSM_LISTENER_FIRST) < 1000);
  CHECK_EQUAL(dsm_os_processor(), 5);
  CHECK(spun(1, DSM_LISTENER_FIRST) >= 60000);
  CHECK(dsm_os_processor() != 5);
  /* Brought together again at once, it sleeps; later it moves again. */
  dsm_sim_processor_set(5);
  CHECK(spun(1, DSM_LISTENER_FIRST) < 1000);
  CHECK_EQUAL(dsm_os_processor(), 5);
  dsm_sim_clock_advance(5000000);
  CHECK(spun(1, DSM_LISTENER_FIRST) >= 60000);
  CHECK(dsm_os_processor() != 5);
}

int main(void) {
  test_random_runs_equal_a_naive_queue();
  test_records_have_a_largest_size_that_fits_wherever_the_ring_stands();
  test_damage_is_told();
  test_a_killed_producer_leaves_whole_records();
  test_a_task_is_begun_or_taken_back_but_not_both();
  test_the_listener_on_duty_is_woken();
  test_patience_is_for_what_comes_soon();
  test_who_shares_a_processor_with_the_other_does_not_spin();
  free(boxes);
  dsm_sim_stop();
  return check_result("sim_mailbox");
}
