/* Events: recorded once each, in order, whoever posts and wherever a poster is killed; slow readers
 * and damage are told from each other.
 */
#include <string.h>

#include "../../csrc/node/event.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "fixture.h"
#include "leaks_ignored.h"

static const fixture_shape shape = {"ctest-event", 2, 1, 4, 1u << 20};

static dsm_event death_of(uint32_t participant, uint32_t incarnation) {
  return (dsm_event){.kind = DSM_EVENT_DEAD,
                     .fact = DSM_FACT_DEATH,
                     .subject = participant,
                     .value = incarnation,
                     .node = (int32_t)participant - 1,
                     .incarnation = incarnation,
                     .found = DSM_FINDING_KERNEL,
                     .status = DSM_STATUS_UNKNOWN};
}

static uint64_t post(fixture *self, dsm_event event) {
  CHECK_EQUAL(dsm_event_post(&self->call, &event), DSM_OK);
  return event.sequence;
}

static dsm_event_outcome read_at(fixture *self, uint64_t sequence, dsm_event *out) {
  return dsm_event_read(self->call.space, sequence, out);
}

static void test_a_fact_is_recorded_once(void) {
  dsm_sim_start(1);
  fixture self = fixture_create(&shape);
  dsm_event event;
  CHECK_EQUAL(dsm_event_latest(self.call.space), 0);
  CHECK_EQUAL(dsm_event_oldest(self.call.space), 1);
  CHECK_EQUAL(read_at(&self, 1, &event), DSM_EVENT_NONE_YET);
  CHECK_EQUAL(post(&self, death_of(1, 5)), 1);
  CHECK_EQUAL(post(&self, death_of(1, 5)), 0);
  CHECK_EQUAL(post(&self, death_of(1, 4)), 0);
  CHECK_EQUAL(post(&self, death_of(2, 5)), 2);
  CHECK_EQUAL(post(&self, death_of(1, 6)), 3);
  CHECK_EQUAL(dsm_event_known(self.call.space, DSM_FACT_DEATH, 1), 6);
  CHECK_EQUAL(dsm_event_known(self.call.space, DSM_FACT_REPAIR, 1), 0);
  dsm_event again = {.kind = DSM_EVENT_CHECKPOINT_DONE, .node = -1, .amount = 77};
  CHECK_EQUAL(post(&self, again), 4);
  CHECK_EQUAL(post(&self, again), 5);
  CHECK_EQUAL(read_at(&self, 2, &event), DSM_EVENT_READ);
  CHECK_EQUAL(event.subject, 2);
  CHECK_EQUAL(event.incarnation, 5);
  CHECK(event.realtime_ns > 0);
  CHECK_EQUAL(event.by, self.call.space->participant);
  CHECK_EQUAL(read_at(&self, 5, &event), DSM_EVENT_READ);
  CHECK_EQUAL(event.amount, 77);
  fixture_close(&self, true);
  dsm_sim_stop();
}

static void test_the_oldest_are_overwritten(void) {
  dsm_sim_start(2);
  fixture self = fixture_create(&shape);
  dsm_event event;
  uint64_t last = 3 * DSM_EVENTS_MAX + 5;
  for (uint64_t i = 1; i <= last; i++)
    CHECK_EQUAL(post(&self, (dsm_event){.kind = DSM_EVENT_REBUILD_DONE, .node = -1, .amount = i}),
                i);
  uint64_t oldest = dsm_event_oldest(self.call.space);
  CHECK_EQUAL(oldest, last - DSM_EVENTS_MAX + 2);
  CHECK_EQUAL(read_at(&self, oldest - 1, &event), DSM_EVENT_OVERWRITTEN);
  for (uint64_t i = oldest; i <= last; i++) {
    CHECK_EQUAL(read_at(&self, i, &event), DSM_EVENT_READ);
    CHECK_EQUAL(event.amount, i);
  }
  CHECK_EQUAL(read_at(&self, last + 1, &event), DSM_EVENT_NONE_YET);
  fixture_close(&self, true);
  dsm_sim_stop();
}

static void test_damage_is_told(void) {
  dsm_sim_start(3);
  fixture self = fixture_create(&shape);
  dsm_events_shm *events = dsm_space_events(self.call.space);
  dsm_event event;
  for (uint32_t i = 1; i <= 10; i++) CHECK_EQUAL(post(&self, death_of(1, i)), i);
  for (unsigned word = 0; word < DSM_EVENT_WORDS; word++) {
    uint64_t before = dsm_load_relaxed_u64(&events->ring[4].words[word]);
    dsm_store_relaxed_u64(&events->ring[4].words[word], before ^ 1ull << (word * 3));
    CHECK_EQUAL(read_at(&self, 4, &event), DSM_EVENT_DAMAGED);
    CHECK_EQUAL(read_at(&self, 5, &event), DSM_EVENT_READ);
    dsm_store_relaxed_u64(&events->ring[4].words[word], before);
  }
  CHECK_EQUAL(read_at(&self, 4, &event), DSM_EVENT_READ);
  /* Without its head the ring is as long as its records say, and goes on behind them. */
  dsm_store_relaxed_u64(&events->head, 12345);
  CHECK_EQUAL(dsm_event_latest(self.call.space), 10);
  CHECK_EQUAL(post(&self, death_of(1, 11)), 11);
  /* A damaged fact is rather recorded twice than never. */
  dsm_store_relaxed_u64(&events->facts[DSM_FACT_DEATH][1], 1);
  CHECK_EQUAL(post(&self, death_of(1, 12)), 12);
  CHECK_EQUAL(post(&self, death_of(1, 12)), 0);
  fixture_close(&self, true);
  dsm_sim_stop();
}

static void post_action(void *context) {
  dsm_event event = death_of(1, 8);
  CHECK_EQUAL(dsm_event_post(&((fixture *)context)->call, &event), DSM_OK);
}

/* Whatever the killed poster had done: the next one records its fact if need be, and once. */
static void test_a_poster_is_killed(void) {
  bool left = true;
  for (unsigned at = 1; left; at++) {
    dsm_sim_start(at);
    fixture self = fixture_create(&shape);
    CHECK_EQUAL(post(&self, death_of(1, 7)), 1);
    uint32_t survivor = dsm_sim_process_pid(), victim = dsm_sim_process_new();
    dsm_sim_process_run(victim);
    fixture other = fixture_attach(shape.name);
    left = crash_jump(at, post_action, &other);
    snprintf(fixture_story, sizeof fixture_story, "poster killed at %u %s", at, crash_point_name());
    dsm_sim_process_kill(victim);
    dsm_sim_process_run(survivor);
    uint64_t seen = dsm_event_latest(self.call.space);
    CHECK(seen == 1 || seen == 2);
    CHECK_EQUAL(post(&self, death_of(1, 8)), seen == 1 ? 2 : 0);
    CHECK_EQUAL(post(&self, death_of(2, 1)), 3);
    dsm_event event;
    CHECK_EQUAL(read_at(&self, 2, &event), DSM_EVENT_READ);
    CHECK_EQUAL(event.incarnation, 8);
    CHECK_EQUAL(dsm_event_known(self.call.space, DSM_FACT_DEATH, 1), 8);
    fixture_abandon(&other);
    fixture_close(&self, true);
    dsm_sim_stop();
  }
}

int main(void) {
  test_a_fact_is_recorded_once();
  test_the_oldest_are_overwritten();
  test_damage_is_told();
  test_a_poster_is_killed();
  return check_result("test_sim_event");
}
