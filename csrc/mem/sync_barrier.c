/* Barrier: one word for all, a cell per participant. */
#include "sync_barrier.h"

#include "../base/crash.h"
#include "lock.h"
#include "sync_kind.h"

#define STATE 0 /* words of the record */
#define WAITING 1
#define GENERATION_BITS 22
#define GENERATION_MASK ((1u << GENERATION_BITS) - 1)
#define BROKEN (1ull << GENERATION_BITS)
#define HISTORY_SHIFT (GENERATION_BITS + 1)
#define HISTORY_MASK 0xFFFFu
#define ACTING (1ull << (HISTORY_SHIFT + 16))
/* A cell: generation 22 | threads 10 | incarnation 12. */
#define THREADS_SHIFT GENERATION_BITS
#define THREADS_MASK 1023u
#define INCARNATION_SHIFT 32
#define INCARNATION_BITS 12
#define INCARNATION_MASK ((1u << INCARNATION_BITS) - 1)

static dsm_atomic_u64 *cell_of(const dsm_sync *sync, uint32_t participant) {
  return (dsm_atomic_u64 *)(void *)sync->heap + participant;
}

static uint32_t generation_of(uint64_t word) {
  return word & GENERATION_MASK;
}

static uint32_t threads_of(uint64_t cell) {
  return cell >> THREADS_SHIFT & THREADS_MASK;
}

void dsm__sync_barrier_init(const dsm_space *space, const dsm_sync *sync) {
  dsm_sync_set(space, &sync->record->words[STATE], 0);
  dsm_sync_set(space, &sync->record->words[WAITING], 0);
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++) dsm_sync_set(space, cell_of(sync, i), 0);
}

static dsm_status read_word(dsm_call *call, const dsm_sync *sync, const dsm_atomic_u64 *word,
                            uint64_t *value) {
  bool ok;
  *value = dsm_sync_get(call->space, word, &ok);
  return ok ? DSM_OK : dsm_sync_damaged(call, sync, "word of a barrier");
}

/* The generation ends: passed, or broken and reset. */
static void next_generation(dsm_call *call, const dsm_sync *sync, uint64_t state, bool failed) {
  uint64_t history = (state >> HISTORY_SHIFT << 1 | failed) & HISTORY_MASK;
  uint64_t generation = (generation_of(state) + 1) & GENERATION_MASK;
  dsm_sync_set(call->space, &sync->record->words[STATE], history << HISTORY_SHIFT | generation);
  DSM_CRASH_POINT("sync.barrier.passed");
  dsm_sync_set(call->space, &sync->record->words[WAITING], 0);
}

dsm_status dsm__sync_barrier_repair(dsm_call *call, const dsm_sync *sync) {
  uint64_t state, cell, waiting = 0;
  DSM_TRY(read_word(call, sync, &sync->record->words[STATE], &state));
  for (uint32_t i = 0; i < DSM_PARTICIPANTS_MAX; i++) {
    DSM_TRY(read_word(call, sync, cell_of(sync, i), &cell));
    if (generation_of(cell) == generation_of(state)) waiting += threads_of(cell);
  }
  dsm_sync_set(call->space, &sync->record->words[WAITING], waiting);
  /* The last to arrive was killed before it let the others pass: it had arrived. */
  if (!(state & (BROKEN | ACTING)) && waiting >= sync->settings[DSM_SYNC_BARRIER_PARTIES]) {
    next_generation(call, sync, state, false);
    dsm_sync_wake(sync, 0, DSM_SYNC_EVERYONE);
  }
  return DSM_OK;
}

static dsm_status arrive_locked(dsm_call *call, const dsm_sync *sync, bool acts, uint32_t *index,
                                uint32_t *generation) {
  uint64_t state, waiting, cell;
  uint32_t self = call->space->participant;
  uint64_t incarnation = dsm_sync_party_self(call->space) >> 9 & INCARNATION_MASK;
  DSM_TRY(read_word(call, sync, &sync->record->words[STATE], &state));
  DSM_TRY(read_word(call, sync, &sync->record->words[WAITING], &waiting));
  DSM_TRY(read_word(call, sync, cell_of(sync, self), &cell));
  if (state & BROKEN) return dsm_fail(call, DSM_BROKEN, "barrier is broken", -1, -1, 0, 0);
  *generation = generation_of(state);
  *index = (uint32_t)waiting;
  uint64_t parties = sync->settings[DSM_SYNC_BARRIER_PARTIES];
  bool last = waiting + 1 >= parties;
  if (state & ACTING && waiting >= parties) return DSM_RETRY;
  bool again = generation_of(cell) == *generation && cell >> INCARNATION_SHIFT == incarnation;
  uint64_t threads = (again ? threads_of(cell) : 0) + 1;
  if (threads > THREADS_MASK)
    return dsm_fail(call, DSM_TOO_MANY, "threads of one process at a barrier", -1, -1, THREADS_MASK,
                    0);
  if (last && acts) {
    dsm_sync_set(call->space, &sync->record->words[STATE], state | ACTING);
    DSM_CRASH_POINT("sync.barrier.acting");
  }
  dsm_sync_set(call->space, cell_of(sync, self),
               incarnation << INCARNATION_SHIFT | threads << THREADS_SHIFT | *generation);
  DSM_CRASH_POINT("sync.barrier.arrived");
  if (last && !acts) {
    next_generation(call, sync, state, false);
    return DSM_OK;
  }
  dsm_sync_set(call->space, &sync->record->words[WAITING], waiting + 1);
  return last ? DSM_OK : DSM_RETRY;
}

dsm_status dsm_sync_barrier_arrive(dsm_call *call, const dsm_sync *sync, uint32_t *index,
                                   uint32_t *generation) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = arrive_locked(call, sync, false, index, generation);
  dsm_lock_drop(&sync->record->lock);
  if (status == DSM_OK) dsm_sync_wake(sync, 0, DSM_SYNC_EVERYONE);
  return status;
}

dsm_status dsm_sync_barrier_arrive_acting(dsm_call *call, const dsm_sync *sync, uint32_t *index,
                                          uint32_t *generation) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = arrive_locked(call, sync, true, index, generation);
  dsm_lock_drop(&sync->record->lock);
  return status;
}

dsm_status dsm_sync_barrier_pass(dsm_call *call, const dsm_sync *sync, uint32_t generation) {
  uint64_t state;
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = read_word(call, sync, &sync->record->words[STATE], &state);
  if (status == DSM_OK && (state & BROKEN || generation_of(state) != generation))
    status = dsm_fail(call, DSM_BROKEN, "barrier is broken", -1, -1, 0, 0);
  if (status == DSM_OK) next_generation(call, sync, state, false);
  dsm_lock_drop(&sync->record->lock);
  if (status == DSM_OK) dsm_sync_wake(sync, 0, DSM_SYNC_EVERYONE);
  return status;
}

dsm_status dsm_sync_barrier_poll(dsm_call *call, const dsm_sync *sync, uint32_t generation) {
  uint64_t state;
  DSM_TRY(read_word(call, sync, &sync->record->words[STATE], &state));
  uint32_t since = (generation_of(state) - generation) & GENERATION_MASK;
  if (since == 0 && !(state & BROKEN)) return DSM_RETRY;
  /* Longer ago than is remembered, which only a stopped process can meet: nobody can say that the
   * generation passed. */
  bool failed = since == 0 || since > 16 || state >> HISTORY_SHIFT >> (since - 1) & 1;
  return failed ? dsm_fail(call, DSM_BROKEN, "barrier is broken", -1, -1, 0, 0) : DSM_OK;
}

static dsm_status break_locked(dsm_call *call, const dsm_sync *sync, uint32_t generation) {
  uint64_t state;
  DSM_TRY(read_word(call, sync, &sync->record->words[STATE], &state));
  if (generation == DSM_SYNC_EVERYONE || generation_of(state) == generation)
    dsm_sync_set(call->space, &sync->record->words[STATE], state | BROKEN);
  return DSM_OK;
}

dsm_status dsm_sync_barrier_break(dsm_call *call, const dsm_sync *sync, uint32_t generation) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = break_locked(call, sync, generation);
  dsm_lock_drop(&sync->record->lock);
  dsm_sync_wake(sync, 0, DSM_SYNC_EVERYONE);
  return status;
}

static dsm_status reset_locked(dsm_call *call, const dsm_sync *sync) {
  uint64_t state, waiting;
  DSM_TRY(read_word(call, sync, &sync->record->words[STATE], &state));
  DSM_TRY(read_word(call, sync, &sync->record->words[WAITING], &waiting));
  if (waiting || state & BROKEN) next_generation(call, sync, state, true);
  return DSM_OK;
}

dsm_status dsm_sync_barrier_reset(dsm_call *call, const dsm_sync *sync) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = reset_locked(call, sync);
  dsm_lock_drop(&sync->record->lock);
  dsm_sync_wake(sync, 0, DSM_SYNC_EVERYONE);
  return status;
}

dsm_status dsm_sync_barrier_read(dsm_call *call, const dsm_sync *sync,
                                 dsm_sync_barrier_state *out) {
  uint64_t state, waiting;
  DSM_TRY(read_word(call, sync, &sync->record->words[STATE], &state));
  DSM_TRY(read_word(call, sync, &sync->record->words[WAITING], &waiting));
  *out = (dsm_sync_barrier_state){.waiting = (uint32_t)waiting, .broken = state & BROKEN};
  return DSM_OK;
}

/* Who leaves in good order is missed only if its threads are waiting. */
static bool is_missed(uint64_t cell, uint64_t state, uint32_t incarnation, bool killed) {
  uint32_t since = (generation_of(state) - generation_of(cell)) & GENERATION_MASK;
  return threads_of(cell) && since <= (killed ? 1u : 0u) &&
         dsm_sync_up_to((uint32_t)(cell >> INCARNATION_SHIFT), incarnation, INCARNATION_BITS);
}

dsm_status dsm__sync_barrier_bury(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                                  uint32_t incarnation, bool killed, bool *changed) {
  uint64_t state, cell;
  DSM_TRY(read_word(call, sync, &sync->record->words[STATE], &state));
  DSM_TRY(read_word(call, sync, cell_of(sync, participant), &cell));
  bool inherited = dsm_load_relaxed_u32(&sync->record->lock.owner) == participant + 1;
  if (!is_missed(cell, state, incarnation, killed) && !inherited) return DSM_OK;
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = read_word(call, sync, &sync->record->words[STATE], &state);
  if (status == DSM_OK) status = read_word(call, sync, cell_of(sync, participant), &cell);
  if (status == DSM_OK && is_missed(cell, state, incarnation, killed)) {
    dsm_sync_set(call->space, &sync->record->words[STATE], state | BROKEN);
    DSM_CRASH_POINT("sync.barrier.broken");
    /* So that it is missed once, and not again after a reset. */
    dsm_sync_set(call->space, cell_of(sync, participant), 0);
    *changed = true;
  }
  dsm_lock_drop(&sync->record->lock);
  return status;
}
