/* Arming, ringing and waiting for bells. */
#include "bell.h"

#include "../base/crash.h"

uint32_t dsm_bell_arm(dsm_space *space, uint32_t stripe) {
  uint32_t armed = dsm_load_acquire_u32(dsm_space_bell(space, stripe));
  dsm_fetch_or_acq_rel_u32(&dsm_space_lock(space, stripe)->pending, DSM_PENDING_BELL);
  dsm_fence_seq_cst();
  return armed;
}

void dsm_bell_wait(dsm_space *space, uint32_t stripe, uint32_t armed, uint32_t wait_us) {
  dsm_os_word_wait(dsm_space_bell(space, stripe), armed, wait_us);
}

void dsm_bell_ring(dsm_space *space, uint32_t stripe) {
  dsm_fetch_and_acq_rel_u32(&dsm_space_lock(space, stripe)->pending, ~DSM_PENDING_BELL);
  DSM_CRASH_POINT("bell.unmarked");
  dsm_fetch_add_relaxed_u32(dsm_space_bell(space, stripe), 1);
  dsm_os_word_wake(dsm_space_bell(space, stripe), INT32_MAX);
}

void dsm_bell_ring_all(dsm_space *space) {
  for (uint32_t stripe = 0; stripe < space->stripe_count; stripe++)
    if (dsm_load_acquire_u32(&dsm_space_lock(space, stripe)->pending) & DSM_PENDING_BELL)
      dsm_bell_ring(space, stripe);
}
