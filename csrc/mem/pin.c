/* The tables of pinned runs. */
#include "pin.h"

#include "../base/crash.h"

static uint64_t pin_word(unsigned node, uint64_t page) {
  return (uint64_t)(node + 1) << 32 | page;
}

uint32_t dsm_pin_claim(dsm_space *space, unsigned node, uint64_t page) {
  dsm_participant_shm *self = dsm_space_participant(space, space->participant);
  dsm_atomic_u64 *pins = dsm_space_pins(space, space->participant);
  for (uint32_t i = 0; i < DSM_PINS_MAX; i++) {
    uint64_t empty = 0;
    if (dsm_load_relaxed_u64(&pins[i]) != 0) continue;
    /* The mark is raised first: a scan that misses it would miss the pin. */
    for (uint32_t high = dsm_load_relaxed_u32(&self->pins_high);
         high < i + 1 && !dsm_cas_acq_rel_u32(&self->pins_high, &high, i + 1);) {
    }
    if (!dsm_cas_acq_rel_u64(&pins[i], &empty, pin_word(node, page))) continue;
    DSM_CRASH_POINT("pin.claimed");
    dsm_fence_seq_cst();
    return i;
  }
  return DSM_PIN_NONE;
}

/* Only a run in limbo waits for a pin; its arena says so in one word, read without a lock: a stale
 * zero is harmless, because who puts a run into limbo scans the pins once more afterwards. */
static void hint_if_limbo(dsm_space *space, unsigned node) {
  dsm_arena_shm *arena = &dsm_space_node(space, node)->arena;
  bool ok;
  dsm_locator locator = dsm_space_locator(space, node + 1, &arena->limbo_pages);
  uint64_t waiting = dsm_unseal(dsm_load_seq_cst_u64(&arena->limbo_pages), locator, &ok);
  if (!ok || waiting > 0) dsm_store_release_u32(&arena->limbo_hint, 1);
}

void dsm_pin_release(dsm_space *space, uint32_t index) {
  dsm_atomic_u64 *pin = dsm_space_pins(space, space->participant) + index;
  uint64_t node = (dsm_load_relaxed_u64(pin) >> 32) - 1;
  dsm_store_seq_cst_u64(pin, 0);
  DSM_CRASH_POINT("pin.released");
  if (node < DSM_NODES_MAX && dsm_space_present(space, (unsigned)node))
    hint_if_limbo(space, (unsigned)node);
}

void dsm_pin_clear(dsm_space *space, uint32_t participant) {
  dsm_participant_shm *slot = dsm_space_participant(space, participant);
  dsm_atomic_u64 *pins = dsm_space_pins(space, participant);
  uint32_t high = dsm_load_acquire_u32(&slot->pins_high);
  if (high > DSM_PINS_MAX) high = DSM_PINS_MAX;
  for (uint32_t i = 0; i < high; i++) {
    dsm_exchange_acq_rel_u64(&pins[i], 0);
    DSM_CRASH_POINT("pin.cleared");
  }
  dsm_fence_seq_cst();
  /* Every node, not those of the pins just dropped: the process may have died between dropping one
   * and the hint, in dsm_pin_release or here. */
  for (uint32_t node = 0; node < space->node_count; node++)
    if (dsm_space_present(space, node)) hint_if_limbo(space, node);
  dsm_store_release_u32(&slot->pins_high, 0);
}

void dsm_pin_copy(dsm_space *space, uint32_t from, uint32_t to) {
  uint32_t high = dsm_load_acquire_u32(&dsm_space_participant(space, from)->pins_high);
  dsm_atomic_u64 *source = dsm_space_pins(space, from), *target = dsm_space_pins(space, to);
  dsm_store_release_u32(&dsm_space_participant(space, to)->pins_high, high);
  for (uint32_t i = 0; i < high && i < DSM_PINS_MAX; i++)
    dsm_store_relaxed_u64(&target[i], dsm_load_relaxed_u64(&source[i]));
  dsm_fence_seq_cst();
}

/* Runs that writers keep for the checkpoint that runs (store/cut.h). */
static bool cut_holds(const dsm_space *space, uint64_t word, uint64_t mask) {
  if (dsm_load_seq_cst_u64(&dsm_space_control(space)->cut) == 0) return false;
  uint64_t count = dsm_load_acquire_u64(&dsm_space_cut(space)->pin_count);
  if (count > DSM_CUT_PINS_MAX) count = DSM_CUT_PINS_MAX;
  const dsm_atomic_u64 *pins = dsm_space_cut_pins(space);
  for (uint64_t i = 0; i < count; i++)
    if ((dsm_load_seq_cst_u64(&pins[i]) & mask) == word) return true;
  return false;
}

/* Whether a pin whose masked word is that one is held by anybody. */
static bool held(const dsm_space *space, uint64_t word, uint64_t mask) {
  dsm_fence_seq_cst();
  if (cut_holds(space, word, mask)) return true;
  uint32_t participants = dsm_load_acquire_u32(&dsm_space_control(space)->participants_high);
  if (participants > DSM_PARTICIPANTS_MAX) participants = DSM_PARTICIPANTS_MAX;
  for (uint32_t who = 0; who < participants; who++) {
    const dsm_participant_shm *slot = dsm_space_participant(space, who);
    uint32_t high = dsm_load_acquire_u32(&slot->pins_high);
    if (high == 0) continue;
    if (high > DSM_PINS_MAX) high = DSM_PINS_MAX;
    const dsm_atomic_u64 *pins = dsm_space_pins(space, who);
    for (uint32_t i = 0; i < high; i++)
      if ((dsm_load_seq_cst_u64(&pins[i]) & mask) == word) return true;
  }
  return false;
}

bool dsm_pin_holds(const dsm_space *space, unsigned node, uint64_t page) {
  return held(space, pin_word(node, page), UINT64_MAX);
}

bool dsm_pin_holds_any(const dsm_space *space, unsigned node) {
  return held(space, pin_word(node, 0), ~(uint64_t)UINT32_MAX);
}

uint32_t dsm_pin_count(const dsm_space *space, uint32_t participant) {
  uint32_t high = dsm_load_acquire_u32(&dsm_space_participant(space, participant)->pins_high);
  const dsm_atomic_u64 *pins = dsm_space_pins(space, participant);
  uint32_t count = 0;
  for (uint32_t i = 0; i < high && i < DSM_PINS_MAX; i++)
    count += dsm_load_relaxed_u64(&pins[i]) != 0;
  return count;
}
