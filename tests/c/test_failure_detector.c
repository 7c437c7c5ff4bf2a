/* The failure detector: extremes that the Python tables do not reach, and that its states only ever
 * take the steps that its header allows, over random beats, checks and forgiveness.
 *
 * Build with csrc/proto/failure_detector.c, csrc/base/{check,status}.c and -lm.
 */
#include "../../csrc/base/check.h"
#include "../../csrc/proto/failure_detector.h"

#include <math.h>
#include <stdio.h>

static uint64_t random_state = 88172645463325252u;

static uint64_t dice(uint64_t sides) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (random_state >> 16) % sides;
}

static const dsm_detector_options missed = {
    .interval_us = 1000, .missed_suspected = 3, .missed_dead = 6};
static const dsm_detector_options accrual = {.interval_us = 1000,
                                             .missed_suspected = 3,
                                             .missed_dead = 6,
                                             .phi_suspected = 8,
                                             .phi_dead = 16,
                                             .deviation_min_us = 50,
                                             .samples = 16,
                                             .accrual = true};

static void phi_is_finite_everywhere(void) {
  for (double elapsed = 1e-3; elapsed < 1e18; elapsed *= 7)
    for (double deviation = 1; deviation < 1e15; deviation *= 11)
      DSM_ASSERT(isfinite(dsm_phi(elapsed, 1000, deviation)) &&
                 dsm_phi(elapsed, 1000, deviation) >= 0);
}

static void health_stays_in_its_range(void) {
  dsm_local_health health;
  dsm_local_health_init(&health, 7);
  for (int i = 0; i < 1000; i++) {
    dsm_local_health_note(&health, (int32_t)dice(21) - 10);
    DSM_ASSERT(health.score <= 7);
    DSM_ASSERT(dsm_local_health_stretch_us(&health, 10) == 10 * (health.score + 1));
  }
  dsm_local_health_note(&health, INT32_MAX);
  DSM_ASSERT(health.score == 7);
  dsm_local_health_note(&health, INT32_MIN);
  DSM_ASSERT(health.score == 0);
}

static void window_takes_any_interval(void) {
  dsm_phi_window window;
  DSM_ASSERT(dsm_phi_window_init(&window, 0) == DSM_USAGE);
  DSM_ASSERT(dsm_phi_window_init(&window, DSM_PHI_SAMPLES_MAX + 1) == DSM_USAGE);
  DSM_ASSERT(dsm_phi_window_init(&window, DSM_PHI_SAMPLES_MAX) == DSM_OK);
  DSM_ASSERT(dsm_phi_window_mean(&window) == 0 && dsm_phi_window_variance(&window) == 0);
  for (int i = 0; i < 3 * DSM_PHI_SAMPLES_MAX; i++) dsm_phi_window_add(&window, UINT64_MAX);
  DSM_ASSERT(dsm_phi_window_mean(&window) == (double)UINT32_MAX);
  DSM_ASSERT(dsm_phi_window_variance(&window) == 0); /* exact, where floating sums would drift */
}

static void states_take_allowed_steps_only(const dsm_detector_options *options) {
  dsm_detector detector;
  dsm_observer observer;
  uint64_t now_us = 0, deaths = 0;
  DSM_ASSERT(dsm_detector_init(&detector, 1, options, now_us) == DSM_OK);
  dsm_observer_init(&observer, 500, 8, now_us);
  for (int i = 0; i < 200000; i++) {
    dsm_peer_state before = detector.state;
    uint64_t incarnation = detector.incarnation;
    now_us += dice(900);
    bool changed = false;
    switch (dice(4)) {
    case 0:
      changed = dsm_detector_beat(&detector, incarnation - 1 + dice(2), now_us);
      DSM_ASSERT(before != DSM_PEER_DEAD || detector.state == DSM_PEER_DEAD);
      break;
    case 1:
      if (dice(50) == 0) changed = dsm_detector_beat(&detector, incarnation + 1, now_us);
      break;
    case 2:
      dsm_detector_forgive(&detector, dsm_observer_tick(&observer, now_us), now_us);
      DSM_ASSERT(detector.last_beat_us <= now_us);
      break;
    default:
      if (dice(40) == 0) now_us += 20000; /* a silence */
      changed = dsm_detector_check(&detector, &observer.health, now_us);
      DSM_ASSERT(before != DSM_PEER_ALIVE || detector.state != DSM_PEER_DEAD);
      DSM_ASSERT(before != DSM_PEER_DEAD || detector.state == DSM_PEER_DEAD);
      deaths += changed && detector.state == DSM_PEER_DEAD;
    }
    DSM_ASSERT(changed == (detector.state != before));
    DSM_ASSERT(detector.incarnation >= incarnation);
  }
  DSM_ASSERT(deaths > 20);
}

int main(void) {
  phi_is_finite_everywhere();
  health_stays_in_its_range();
  window_takes_any_interval();
  states_take_allowed_steps_only(&missed);
  states_take_allowed_steps_only(&accrual);
  puts("failure_detector: ok");
  return 0;
}
