/* Condition: a table of entries under the record's lock. */
#include "sync_condition.h"

#include "../base/crash.h"
#include "lock.h"
#include "sync_kind.h"

#define TICKETS 0 /* words of the record: the next ticket; two waiters with one do no harm */
#define FREE 0u   /* states of an entry */
#define WAITING 1u
#define NOTIFIED 2u
#define TICKET_SHIFT 2
#define TICKET_BITS 20
#define TICKET_MASK ((1u << TICKET_BITS) - 1)
#define PARTICIPANT_SHIFT 22
#define INCARNATION_SHIFT 31
#define INCARNATION_BITS 13
#define INCARNATION_MASK ((1u << INCARNATION_BITS) - 1)

static dsm_atomic_u64 *entry_of(const dsm_sync *sync, uint32_t entry) {
  return (dsm_atomic_u64 *)(void *)sync->heap + entry;
}

static uint32_t state_of(uint64_t entry) {
  return entry & 3;
}

static uint32_t ticket_of(uint64_t entry) {
  return entry >> TICKET_SHIFT & TICKET_MASK;
}

void dsm__sync_condition_init(const dsm_space *space, const dsm_sync *sync) {
  dsm_sync_set(space, &sync->record->words[TICKETS], 0);
  for (uint32_t i = 0; i < DSM_SYNC_WAITERS_MAX; i++) dsm_sync_set(space, entry_of(sync, i), FREE);
}

static dsm_status read_word(dsm_call *call, const dsm_sync *sync, const dsm_atomic_u64 *word,
                            uint64_t *value) {
  bool ok;
  *value = dsm_sync_get(call->space, word, &ok);
  return ok ? DSM_OK : dsm_sync_damaged(call, sync, "entry of a condition");
}

static void change_state(dsm_call *call, const dsm_sync *sync, uint32_t entry, uint64_t value,
                         uint32_t state) {
  dsm_sync_set(call->space, entry_of(sync, entry), state == FREE ? FREE : (value & ~3ull) | state);
}

static dsm_status enlist_locked(dsm_call *call, const dsm_sync *sync, uint32_t *entry) {
  uint64_t ticket, value;
  dsm_sync_party self = dsm_sync_party_self(call->space);
  DSM_TRY(read_word(call, sync, &sync->record->words[TICKETS], &ticket));
  for (*entry = 0; *entry < DSM_SYNC_WAITERS_MAX; ++*entry) {
    DSM_TRY(read_word(call, sync, entry_of(sync, *entry), &value));
    if (state_of(value) != FREE) continue;
    value = (uint64_t)(self >> 9 & INCARNATION_MASK) << INCARNATION_SHIFT |
            (uint64_t)(self & 511) << PARTICIPANT_SHIFT | ticket << TICKET_SHIFT | WAITING;
    dsm_sync_set(call->space, &sync->record->words[TICKETS], (ticket + 1) & TICKET_MASK);
    DSM_CRASH_POINT("sync.condition.ticket");
    dsm_sync_set(call->space, entry_of(sync, *entry), value);
    return DSM_OK;
  }
  return dsm_fail(call, DSM_TOO_MANY, "waiters of a condition", -1, -1, DSM_SYNC_WAITERS_MAX, 0);
}

dsm_status dsm_sync_condition_enlist(dsm_call *call, const dsm_sync *sync, uint32_t *entry) {
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = enlist_locked(call, sync, entry);
  dsm_lock_drop(&sync->record->lock);
  return status;
}

dsm_status dsm_sync_condition_poll(dsm_call *call, const dsm_sync *sync, uint32_t entry) {
  uint64_t value;
  DSM_TRY(read_word(call, sync, entry_of(sync, entry), &value));
  return state_of(value) == WAITING ? DSM_RETRY : DSM_OK;
}

dsm_status dsm_sync_condition_leave(dsm_call *call, const dsm_sync *sync, uint32_t entry) {
  uint64_t value;
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = read_word(call, sync, entry_of(sync, entry), &value);
  if (status == DSM_OK) {
    change_state(call, sync, entry, value, FREE);
    status = state_of(value) == NOTIFIED ? DSM_OK : DSM_RETRY;
  }
  dsm_lock_drop(&sync->record->lock);
  return status;
}

/* Notifies the one with the oldest ticket; *none if nobody waits. */
static dsm_status notify_one(dsm_call *call, const dsm_sync *sync, bool *none) {
  uint64_t value, chosen = 0;
  uint32_t at = DSM_SYNC_WAITERS_MAX;
  for (uint32_t i = 0; i < DSM_SYNC_WAITERS_MAX; i++) {
    DSM_TRY(read_word(call, sync, entry_of(sync, i), &value));
    if (state_of(value) != WAITING) continue;
    bool older = at < DSM_SYNC_WAITERS_MAX &&
                 dsm_sync_up_to(ticket_of(chosen), ticket_of(value), TICKET_BITS);
    if (older) continue;
    chosen = value;
    at = i;
  }
  *none = at == DSM_SYNC_WAITERS_MAX;
  if (!*none) change_state(call, sync, at, chosen, NOTIFIED);
  DSM_CRASH_POINT("sync.condition.notified");
  return DSM_OK;
}

static dsm_status notify_all(dsm_call *call, const dsm_sync *sync) {
  for (uint32_t i = 0; i < DSM_SYNC_WAITERS_MAX; i++) {
    uint64_t value;
    DSM_TRY(read_word(call, sync, entry_of(sync, i), &value));
    if (state_of(value) == WAITING) change_state(call, sync, i, value, NOTIFIED);
  }
  return DSM_OK;
}

dsm_status dsm_sync_condition_notify(dsm_call *call, const dsm_sync *sync, uint32_t waiters) {
  bool none = false;
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = waiters >= DSM_SYNC_WAITERS_MAX ? notify_all(call, sync) : DSM_OK;
  for (uint32_t i = 0; i < waiters && waiters < DSM_SYNC_WAITERS_MAX && !none; i++) {
    status = notify_one(call, sync, &none);
    if (status != DSM_OK) break;
  }
  dsm_lock_drop(&sync->record->lock);
  dsm_sync_wake(sync, 0, DSM_SYNC_EVERYONE);
  return status;
}

static bool is_dead(uint64_t value, uint32_t participant, uint32_t incarnation) {
  return state_of(value) != FREE && (value >> PARTICIPANT_SHIFT & 511) == participant + 1 &&
         dsm_sync_up_to((uint32_t)(value >> INCARNATION_SHIFT), incarnation, INCARNATION_BITS);
}

dsm_status dsm__sync_condition_bury(dsm_call *call, const dsm_sync *sync, uint32_t participant,
                                    uint32_t incarnation, bool killed, bool *changed) {
  (void)killed;
  uint64_t value;
  bool none, any = dsm_load_relaxed_u32(&sync->record->lock.owner) == participant + 1;
  for (uint32_t i = 0; i < DSM_SYNC_WAITERS_MAX && !any; i++) {
    DSM_TRY(read_word(call, sync, entry_of(sync, i), &value));
    any = is_dead(value, participant, incarnation);
  }
  if (!any) return DSM_OK;
  DSM_TRY(dsm_sync_take(call, sync));
  dsm_status status = DSM_OK;
  for (uint32_t i = 0; i < DSM_SYNC_WAITERS_MAX && status == DSM_OK; i++) {
    status = read_word(call, sync, entry_of(sync, i), &value);
    if (status != DSM_OK || !is_dead(value, participant, incarnation)) continue;
    /* Those of the dead who still wait go first: their notification would be lost again. */
    if (state_of(value) == WAITING) change_state(call, sync, i, value, FREE);
    *changed = true;
  }
  for (uint32_t i = 0; i < DSM_SYNC_WAITERS_MAX && status == DSM_OK; i++) {
    status = read_word(call, sync, entry_of(sync, i), &value);
    if (status != DSM_OK || !is_dead(value, participant, incarnation)) continue;
    /* The next one first: killed in between, somebody is notified twice and nobody in vain. */
    status = notify_one(call, sync, &none);
    change_state(call, sync, i, value, FREE);
  }
  dsm_lock_drop(&sync->record->lock);
  return status;
}
