/* The stories of synchronisation objects, one per kind and change. */
#include "sync_story.h"

#include <string.h>

#include "../../csrc/mem/sync_barrier.h"
#include "../../csrc/mem/sync_condition.h"
#include "../../csrc/mem/sync_event.h"
#include "../../csrc/mem/sync_lock.h"
#include "../../csrc/mem/sync_queue.h"
#include "../../csrc/mem/sync_semaphore.h"

void (*sync_story_run_as)(uint32_t pid);

static void must(bool holds, const char *what) {
  fixture_require(holds, what);
}

static bool is(const char *last, const char *name) {
  return last && strcmp(last, name) == 0;
}

/* ---- lock */

static dsm_status take(sync_world *world, fixture *by, bool *died) {
  uint32_t pid = 0;
  dsm_status status = dsm_sync_lock_try(&by->call, &world->sync, 7, died, &pid);
  if (status == DSM_OK && *died)
    must(pid == world->victim_pid, "the pid of the dead owner is told");
  return status;
}

static void act_take(sync_world *world) {
  bool died;
  must(take(world, &world->victim, &died) == DSM_OK && !died, "a free lock is taken");
}

static void act_take_and_release(sync_world *world) {
  act_take(world);
  must(dsm_sync_lock_release(&world->victim.call, &world->sync, 7) == DSM_OK, "released");
}

static void judge_taken(sync_world *world, fixture *by, const char *last) {
  bool died;
  must(take(world, by, &died) == DSM_OK, "the lock of the dead is taken");
  must(died == !is(last, "sync.lock.released"), "and its death is told");
  must(dsm_sync_lock_release(&by->call, &world->sync, 7) == DSM_OK, "and is given back");
  must(take(world, by, &died) == DSM_OK && !died, "the next owner is told nothing");
}

static void judge_released(sync_world *world, fixture *by, const char *last) {
  bool died;
  must(take(world, by, &died) == DSM_OK, "the lock is taken");
  must(died == is(last, "sync.lock.taken"), "a death is told if it was in between");
}

/* ---- semaphore of 2 */

static void act_acquire(sync_world *world) {
  uint32_t left;
  must(dsm_sync_semaphore_try(&world->victim.call, &world->sync, &left) == DSM_OK, "acquired");
}

static void act_release_more(sync_world *world) {
  must(dsm_sync_semaphore_release(&world->victim.call, &world->sync, 3) == DSM_OK, "released");
}

static uint32_t drain(sync_world *world, fixture *by) {
  uint32_t taken = 0, left;
  while (dsm_sync_semaphore_try(&by->call, &world->sync, &left) == DSM_OK) taken++;
  return taken;
}

static void judge_two_permits(sync_world *world, fixture *by, const char *last) {
  (void)last;
  must(drain(world, by) == 2, "the permits of the dead are back");
}

static void judge_released_more(sync_world *world, fixture *by, const char *last) {
  uint32_t permits = drain(world, by);
  bool before = is(last, "lock.taken");
  must(permits == (before ? 2 : 4), "the addition happened as a whole or not at all");
}

/* ---- barrier of 2 */

static void prepare_first_arrives(sync_world *world) {
  uint32_t index;
  sync_story_run_as(world->owner_pid);
  must(dsm_sync_barrier_arrive(&world->owner.call, &world->sync, &index, &world->number) ==
           DSM_RETRY,
       "the first to arrive waits");
}

static void act_arrive(sync_world *world) {
  uint32_t index, generation;
  dsm_status status =
      dsm_sync_barrier_arrive(&world->victim.call, &world->sync, &index, &generation);
  must(status == DSM_OK || status == DSM_RETRY, "arrived");
}

static uint32_t arrive_acting(sync_world *world) {
  uint32_t index, generation;
  dsm_call *call = &world->victim.call;
  must(dsm_sync_barrier_arrive_acting(call, &world->sync, &index, &generation) == DSM_OK,
       "the last to arrive is to act");
  return generation;
}

static void act_begin(sync_world *world) {
  arrive_acting(world);
}

static void act_begin_and_pass(sync_world *world) {
  uint32_t generation = arrive_acting(world);
  must(dsm_sync_barrier_pass(&world->victim.call, &world->sync, generation) == DSM_OK, "passed");
}

static void judge_ended(sync_world *world, fixture *by, const char *last) {
  dsm_status status = dsm_sync_barrier_poll(&by->call, &world->sync, world->number);
  must(status != DSM_RETRY || is(last, "lock.taken") || is(last, "sync.barrier.acting"),
       "nobody waits for the dead, unless they had not arrived");
}

static void judge_not_passed(sync_world *world, fixture *by, const char *last) {
  dsm_status status = dsm_sync_barrier_poll(&by->call, &world->sync, world->number);
  must(status != DSM_OK, "nobody goes on before the action is done");
  judge_ended(world, by, last);
}

static void judge_passed(sync_world *world, fixture *by, const char *last) {
  dsm_status status = dsm_sync_barrier_poll(&by->call, &world->sync, world->number);
  if (is(last, "lock.taken"))
    must(status == DSM_RETRY, "who never arrived is no party");
  else
    must(status != DSM_RETRY, "nobody waits for the dead");
}

static void judge_broken(sync_world *world, fixture *by, const char *last) {
  uint32_t index;
  dsm_status status = dsm_sync_barrier_arrive(&by->call, &world->sync, &index, &world->number);
  must(status == (is(last, "lock.taken") ? DSM_RETRY : DSM_BROKEN), "a dead party breaks it");
  must(dsm_sync_barrier_reset(&by->call, &world->sync) == DSM_OK, "reset");
  must(dsm_sync_barrier_arrive(&by->call, &world->sync, &index, &world->number) == DSM_RETRY,
       "it is whole again, and the dead are not missed twice");
}

/* ---- condition */

static void prepare_notified(sync_world *world) {
  uint32_t entry;
  sync_story_run_as(world->victim_pid);
  must(dsm_sync_condition_enlist(&world->victim.call, &world->sync, &entry) == DSM_OK, "enlisted");
  sync_story_run_as(world->owner_pid);
  must(dsm_sync_condition_enlist(&world->owner.call, &world->sync, &world->number) == DSM_OK,
       "enlisted");
  must(dsm_sync_condition_notify(&world->owner.call, &world->sync, 1) == DSM_OK, "notified");
  must(dsm_sync_condition_poll(&world->owner.call, &world->sync, entry) == DSM_OK,
       "the first is notified first");
  must(dsm_sync_condition_poll(&world->owner.call, &world->sync, world->number) == DSM_RETRY,
       "and nobody else");
}

static void act_leave(sync_world *world) {
  must(dsm_sync_condition_leave(&world->victim.call, &world->sync, 0) == DSM_OK, "left, notified");
}

static void judge_passed_on(sync_world *world, fixture *by, const char *last) {
  dsm_status status = dsm_sync_condition_poll(&by->call, &world->sync, world->number);
  must(status == (is(last, "lock.taken") ? DSM_OK : DSM_RETRY),
       "a notification that nobody took goes to the next");
}

static void act_notify(sync_world *world) {
  must(dsm_sync_condition_notify(&world->victim.call, &world->sync, 1) == DSM_OK, "notified");
}

static void prepare_enlisted(sync_world *world) {
  sync_story_run_as(world->owner_pid);
  must(dsm_sync_condition_enlist(&world->owner.call, &world->sync, &world->number) == DSM_OK,
       "enlisted");
}

static void judge_notified(sync_world *world, fixture *by, const char *last) {
  dsm_status status = dsm_sync_condition_poll(&by->call, &world->sync, world->number);
  must(status == (is(last, "lock.taken") ? DSM_RETRY : DSM_OK), "notified or not");
  sync_story_run_as(world->owner_pid);
  must(dsm_sync_condition_leave(&world->owner.call, &world->sync, world->number) == status,
       "who leaves is told the same");
}

/* ---- event */

static void act_set(sync_world *world) {
  must(dsm_sync_event_change(&world->victim.call, &world->sync, true) == DSM_OK, "set");
}

static void judge_set(sync_world *world, fixture *by, const char *last) {
  uint64_t word;
  (void)last;
  must(dsm_sync_event_read(&by->call, &world->sync, &word) == DSM_OK && word & 1, "it is set");
}

/* ---- queues of 4 with 3 items, numbered from 0 */

static dsm_status put(sync_world *world, fixture *by, uint8_t number) {
  uint8_t bytes[40];
  bool more;
  memset(bytes, number, sizeof bytes);
  return dsm_sync_queue_put(&by->call, &world->sync, 6, bytes, sizeof bytes, &more);
}

static void prepare_items(sync_world *world) {
  sync_story_run_as(world->owner_pid);
  for (uint8_t i = 0; i < STORY_ITEMS; i++)
    must(put(world, &world->owner, i) == DSM_OK, "there is room");
}

static void act_put(sync_world *world) {
  must(put(world, &world->victim, STORY_ITEMS) == DSM_OK, "put");
}

static void act_get(sync_world *world) {
  dsm_sync_item item;
  must(dsm_sync_queue_get(&world->victim.call, &world->sync, &item) == DSM_OK, "got");
  must(item.bytes[0] == 0, "the first");
}

static void act_get_and_acknowledge(sync_world *world) {
  dsm_sync_item item;
  must(dsm_sync_queue_get(&world->victim.call, &world->sync, &item) == DSM_OK, "got");
  must(dsm_sync_queue_acknowledge(&world->victim.call, &world->sync, item.place, item.receipt) ==
           DSM_OK,
       "acknowledged");
}

static void act_get_and_give_back(sync_world *world) {
  dsm_sync_item item;
  must(dsm_sync_queue_get(&world->victim.call, &world->sync, &item) == DSM_OK, "got");
  must(dsm_sync_queue_give_back(&world->victim.call, &world->sync, item.place, item.receipt) ==
           DSM_OK,
       "given back");
}

/* Takes everything; items must come in order, from `first` on. Returns the number after the last.
 * What is taken is acknowledged, and a second acknowledgement is refused. */
static uint32_t take_all(sync_world *world, fixture *by, uint32_t first, uint32_t *times) {
  dsm_sync_item item;
  bool acknowledge = world->sync.settings[DSM_SYNC_QUEUE_ACKNOWLEDGE];
  *times = 0;
  for (;; first++) {
    dsm_status status = dsm_sync_queue_get(&by->call, &world->sync, &item);
    if (status == DSM_RETRY) break;
    must(status == DSM_OK && item.length == 40, "an item is whole");
    for (uint32_t i = 0; i < 40; i++) must(item.bytes[i] == first, "items come in order");
    if (*times == 0) *times = item.times;
    if (!acknowledge) continue;
    must(dsm_sync_queue_acknowledge(&by->call, &world->sync, item.place, item.receipt) == DSM_OK,
         "acknowledged");
    must(dsm_sync_queue_acknowledge(&by->call, &world->sync, item.place, item.receipt) ==
             DSM_NOT_OWNER,
         "once");
  }
  dsm_sync_queue_counts counts;
  must(dsm_sync_queue_count(&by->call, &world->sync, &counts) == DSM_OK && counts.waiting == 0,
       "the queue is empty");
  if (acknowledge) must(counts.unfinished == 0, "and nothing is open");
  for (uint32_t i = 0; i < 4; i++) must(put(world, by, 0) == DSM_OK, "all its room can be used");
  must(put(world, by, 0) == DSM_RETRY, "and no more");
  return first;
}

static void judge_put(sync_world *world, fixture *by, const char *last) {
  uint32_t times, end = take_all(world, by, 0, &times);
  bool before = is(last, "lock.taken") || is(last, "sync.queue.filled");
  must(end == STORY_ITEMS + !before, "the item was put, or it was not");
}

static void judge_got(sync_world *world, fixture *by, const char *last) {
  uint32_t times;
  bool before = is(last, "lock.taken") || is(last, "sync.queue.copied");
  must(take_all(world, by, !before, &times) == STORY_ITEMS, "one item at most went with the dead");
}

static void judge_delivered_again(sync_world *world, fixture *by, const char *last) {
  uint32_t times;
  bool before =
      is(last, "lock.taken") || is(last, "sync.queue.placed") || is(last, "sync.queue.marked");
  must(take_all(world, by, 0, &times) == STORY_ITEMS, "no item is lost");
  must(times == (before ? 1 : 2), "the first one is known to be delivered again");
}

/* "lock.taken" is met twice: before the get and before the acknowledgement; both lose nothing. */
static void judge_acknowledged(sync_world *world, fixture *by, const char *last) {
  uint32_t times;
  dsm_sync_queue_counts counts;
  must(dsm_sync_queue_count(&by->call, &world->sync, &counts) == DSM_OK, "counted");
  bool gone = counts.waiting == STORY_ITEMS - 1;
  if (!last || is(last, "sync.queue.settled")) must(gone, "what was acknowledged is done");
  if (is(last, "lock.taken") || is(last, "sync.queue.taken")) must(!gone, "what was not, is not");
  must(take_all(world, by, gone, &times) == STORY_ITEMS, "no other item is lost");
}

static void judge_all_there(sync_world *world, fixture *by, const char *last) {
  uint32_t times;
  (void)last;
  must(take_all(world, by, 0, &times) == STORY_ITEMS, "no item is lost");
}

#define STORY(name, kind, a, b, prepare, act, judge)                                               \
  { name, DSM_SYNC_##kind, {a, b}, prepare, act, judge }

const sync_story sync_stories[] = {
    STORY("lock is taken", LOCK, 0, 0, NULL, act_take, judge_taken),
    STORY("lock is given back", LOCK, 0, 0, NULL, act_take_and_release, judge_released),
    STORY("permit is taken", SEMAPHORE, 2, 0, NULL, act_acquire, judge_two_permits),
    STORY("permits are added", SEMAPHORE, 2, 0, act_acquire, act_release_more, judge_released_more),
    STORY("last party arrives", BARRIER, 2, 0, prepare_first_arrives, act_arrive, judge_passed),
    STORY("last party acts", BARRIER, 2, 0, prepare_first_arrives, act_begin, judge_not_passed),
    STORY("its action is done", BARRIER, 2, 0, prepare_first_arrives, act_begin_and_pass,
          judge_ended),
    STORY("first party arrives", BARRIER, 2, 0, NULL, act_arrive, judge_broken),
    STORY("notified one leaves", CONDITION, 0, 0, prepare_notified, act_leave, judge_passed_on),
    STORY("one is notified", CONDITION, 0, 0, prepare_enlisted, act_notify, judge_notified),
    STORY("event is set", EVENT, 0, 0, NULL, act_set, judge_set),
    STORY("item is put", QUEUE, 4, 0, prepare_items, act_put, judge_put),
    STORY("item is got", QUEUE, 4, 0, prepare_items, act_get, judge_got),
    STORY("item is put, acknowledged queue", QUEUE, 4, 1, prepare_items, act_put, judge_put),
    STORY("item is taken", QUEUE, 4, 1, prepare_items, act_get, judge_delivered_again),
    STORY("item is acknowledged", QUEUE, 4, 1, prepare_items, act_get_and_acknowledge,
          judge_acknowledged),
    STORY("item is given back", QUEUE, 4, 1, prepare_items, act_get_and_give_back, judge_all_there),
};
const unsigned sync_story_count = sizeof sync_stories / sizeof *sync_stories;

dsm_sync sync_story_open(const sync_story *self, fixture *by) {
  dsm_sync sync;
  dsm_sync_request request = {.kind = self->kind, .name = "story", .name_bytes = 5};
  memcpy(request.settings, self->settings, sizeof self->settings);
  if (self->kind == DSM_SYNC_SEMAPHORE) request.heap_bytes = DSM_SYNC_SEMAPHORE_HEAP_BYTES;
  if (self->kind == DSM_SYNC_BARRIER) request.heap_bytes = DSM_SYNC_BARRIER_HEAP_BYTES;
  if (self->kind == DSM_SYNC_CONDITION) request.heap_bytes = DSM_SYNC_CONDITION_HEAP_BYTES;
  if (self->kind == DSM_SYNC_QUEUE)
    request.heap_bytes = dsm_sync_queue_bytes(self->settings[0], self->settings[1]);
  must(dsm_sync_open(&by->call, &request, &sync) == DSM_OK, "opened");
  return sync;
}
