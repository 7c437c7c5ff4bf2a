/* Stepping through a change; verifying each state; keeping those that recovery is stepped from. */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/base/hash.h"
#include "../../csrc/mem/intent.h"
#include "../../csrc/store/stripe.h"
#include "step.h"

static dsm_status operate(dsm_call *call, const void *context) {
  const stage *self = context;
  return world_change(&self->world, call, &self->change);
}

static uint64_t mix(uint64_t digest, uint64_t value) {
  return (digest ^ value) * 0x9E3779B97F4A7C15u + (digest >> 29);
}

/* How far an armed intent was carried out; 0 if it is not armed. */
static uint64_t intent_progress(const outside *copy, const dsm_intent_shm *intent) {
  if (dsm_load_relaxed_u64(&intent->armed) == 0) return 0;
  uint64_t done = 1, count = dsm_load_relaxed_u64(&intent->count);
  for (uint64_t i = 0; i < count && i < DSM_INTENT_ENTRIES_MAX; i++) {
    dsm_locator locator = dsm_load_relaxed_u64(&intent->entries[i].locator);
    const uint8_t *base = copy->segment[dsm_locator_segment(locator)].base;
    uint64_t now = *(const uint64_t *)(const void *)(base + dsm_locator_offset(locator));
    done += now == dsm_load_relaxed_u64(&intent->entries[i].value);
  }
  return count << 8 | done;
}

/* What recovery will find: locks, intents and their progress, what the subs have reserved. Two
 * states of the same digest differ in memory that nothing refers to. */
static uint64_t recovery_digest(const stage *self) {
  const dsm_space *space = &self->owner->space;
  const dsm_layout *layout = &space->layout;
  const uint8_t *control = self->copy.segment[0].base;
  uint64_t digest = 1;
  for (uint32_t i = 0; i < space->stripe_count + space->node_count; i++) {
    bool stripe = i < space->stripe_count;
    uint32_t at = stripe ? i : i - space->stripe_count;
    const dsm_lock_shm *lock =
        (const dsm_lock_shm *)(const void *)(control +
                                             (stripe ? layout->locks : layout->node_locks)) +
        at;
    const dsm_intent_shm *intent =
        (const dsm_intent_shm *)(const void *)(control +
                                               (stripe ? layout->intents : layout->arena_intents)) +
        at;
    digest = mix(digest, (uint32_t)lock->mutex.words[0]);
    digest = mix(digest, dsm_load_relaxed_u32(&lock->pending));
    digest = mix(digest, intent_progress(&self->copy, intent));
  }
  for (uint32_t node = 0; node < space->node_count; node++)
    for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++) {
      const dsm_sub_shm *sub =
          (const dsm_sub_shm *)(const void *)(self->copy.segment[1 + node].base + layout->subs) +
          stripe;
      digest = mix(digest, dsm_load_relaxed_u64(&sub->spare) & DSM_SEAL_VALUE_MASK);
      digest = mix(digest, dsm_load_relaxed_u64(&sub->reserved) & DSM_SEAL_VALUE_MASK);
      for (unsigned i = 0; i < DSM_RETIRE_MAX; i++)
        digest = mix(digest, dsm_load_relaxed_u64(&sub->retire[i]) & DSM_SEAL_VALUE_MASK);
    }
  return digest;
}

static void keep(stage *self, const trace *run, uint64_t digest, bool bytes) {
  if (self->kept_count == self->kept_room) {
    self->kept_room = self->kept_room ? self->kept_room * 2 : 64;
    self->kept = realloc(self->kept, self->kept_room * sizeof *self->kept);
    if (!self->kept) give_up("out of memory");
  }
  kept_state *state = &self->kept[self->kept_count++];
  *state = (kept_state){
      .step = run->steps, .place = run->place, .digest = digest, .thread = (uint32_t)run->child};
  if (bytes) picture_copy(&run->shadow, &state->bytes);
}

static bool seen(const stage *self, uint64_t digest) {
  for (uint64_t i = 0; i < self->kept_count; i++)
    if (self->kept[i].digest == digest && self->kept[i].bytes.count) return true;
  return false;
}

/* Lays the state into the copy, as the victim's death would leave it. */
static void lay_dead(const stage *self, const picture *bytes, const outside *copy,
                     uint32_t thread) {
  picture_lay(bytes, copy);
  outside_rename(copy);
  outside_bury(copy, thread, &self->owner->space.layout, self->owner->space.stripe_count);
}

static survivor_outcome verify_state(stage *self, const outside *copy, const char *phase,
                                     uint64_t step, step_counts *counts) {
  survivor_outcome outcome = SAW_OLD;
  const char *wrong =
      survivor_verify(copy->name, &self->world, &self->change, DSM_NOBODY, &outcome);
  counts->states++;
  counts->saw_old += !wrong && outcome == SAW_OLD;
  counts->saw_new += !wrong && outcome == SAW_NEW;
  counts->wrong += wrong != NULL;
  if (wrong) step_report(self, phase, step, wrong);
  return outcome;
}

static void finish(stage *self, trace *run, const char *phase, step_counts *counts) {
  const char *wrong = NULL;
  if (run->touched_unbacked) wrong = "a store went to memory that was not asked of the kernel";
  if (trace_unwatched(run)) wrong = "a store went to a page that was not compared";
  if (trace_finish(run) != DSM_OK) wrong = "the operation failed";
  counts->instructions += run->steps;
  counts->wrong += wrong != NULL;
  if (wrong) step_report(self, phase, run->steps, wrong);
}

step_counts step_change(stage *self, step_thoroughness thoroughness) {
  step_counts counts = {0};
  trace run = {0};
  picture_lay(&self->before, &self->victim);
  world_value_ready(self->change.target, &self->change.after);
  trace_start(&run, &self->victim, operate, self);
  while (trace_step(&run)) {
    if (!trace_changed(&run)) continue;
    lay_dead(self, &run.shadow, &self->copy, (uint32_t)run.child);
    uint64_t digest = recovery_digest(self);
    keep(self, &run, digest, thoroughness == STEP_LONG || !seen(self, digest));
    self->kept[self->kept_count - 1].outcome =
        verify_state(self, &self->copy, "change", run.steps, &counts);
  }
  finish(self, &run, "change", &counts);
  trace_close(&run);
  return counts;
}

static dsm_status recover(dsm_call *call, const void *context) {
  const stage *self = context;
  dsm_route route;
  DSM_TRY(dsm_stripe_take(call, self->world.stripe, &route));
  dsm_stripe_drop(call, self->world.stripe, &route);
  return DSM_OK;
}

step_counts step_recovery(stage *self) {
  step_counts counts = {0};
  for (uint64_t i = 0; i < self->kept_count; i++) {
    const kept_state *from = &self->kept[i];
    if (!from->bytes.count) continue;
    trace run = {0};
    lay_dead(self, &from->bytes, &self->copy, from->thread);
    trace_start(&run, &self->copy, recover, self);
    while (trace_step(&run)) {
      if (!trace_changed(&run)) continue;
      lay_dead(self, &run.shadow, &self->second, (uint32_t)run.child);
      verify_state(self, &self->second, "recovery", run.steps, &counts);
    }
    finish(self, &run, "recovery", &counts);
    trace_close(&run);
  }
  return counts;
}
