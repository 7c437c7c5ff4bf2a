/* Failure detection: has this peer been silent for too long, as seen by this observer?
 *
 * Two ways to judge silence: beats missed, counted against thresholds; and phi accrual (Hayashibara
 * et al., "The phi accrual failure detector", 2004), which learns the intervals' distribution. Both
 * are stretched by the observer's local health (Dadgar, Phillips, Currey, "Lifeguard", 2018): who
 * is late itself must not accuse others.
 *
 * The law: alive -> suspected -> dead, never alive -> dead in one check; a beat clears a suspicion;
 * dead is final for an incarnation, and only a higher one starts again. A verdict is a suspicion to
 * act upon, never a proof of death: that comes from the kernel.
 *
 * Pure: the caller owns every struct and passes `now_us`. One thread at a time per struct.
 */
#ifndef DSM_PROTO_FAILURE_DETECTOR_H
#define DSM_PROTO_FAILURE_DETECTOR_H

#include "../base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { DSM_PHI_SAMPLES_MAX = 256 };

/* Lifeguard section IV.A: 0 is healthy; every time-out is stretched by score + 1. */
typedef struct dsm_local_health {
  uint32_t score, score_max;
} dsm_local_health;

void dsm_local_health_init(dsm_local_health *health, uint32_t score_max);
void dsm_local_health_note(dsm_local_health *health, int32_t delta);
uint64_t dsm_local_health_stretch_us(const dsm_local_health *health, uint64_t timeout_us);

/* The observer watches its own clock: a tick that comes late shows that it was starved, or stopped.
 */
typedef struct dsm_observer {
  dsm_local_health health;
  uint64_t period_us, last_tick_us;
} dsm_observer;

void dsm_observer_init(dsm_observer *observer, uint64_t period_us, uint32_t score_max,
                       uint64_t now_us);
/* Returns how long this process itself was away: to be forgiven to every peer. A tick more than one
 * period late worsens the health by one, one in time improves it by one. */
uint64_t dsm_observer_tick(dsm_observer *observer, uint64_t now_us);

/* The last intervals between beats, with exact sums, so that they cannot drift. */
typedef struct dsm_phi_window {
  unsigned __int128 sum_of_squares;
  uint64_t sum;
  uint32_t intervals_us[DSM_PHI_SAMPLES_MAX];
  uint32_t count, next, capacity;
} dsm_phi_window;

dsm_status dsm_phi_window_init(dsm_phi_window *window, uint32_t capacity);
void dsm_phi_window_add(dsm_phi_window *window, uint64_t interval_us);
double dsm_phi_window_mean(const dsm_phi_window *window);
double dsm_phi_window_variance(const dsm_phi_window *window);
/* -log10 of the chance that a beat still comes after `elapsed`, for normally distributed intervals;
 * the tail by the logistic approximation of Bowling et al. (2009). Never infinite, never NaN for
 * deviation > 0. */
double dsm_phi(double elapsed, double mean, double deviation);

typedef enum dsm_peer_state { DSM_PEER_ALIVE, DSM_PEER_SUSPECTED, DSM_PEER_DEAD } dsm_peer_state;

typedef struct dsm_detector_options {
  uint64_t interval_us; /* expected between beats */
  /* Missed beats. */
  uint32_t missed_suspected, missed_dead;
  /* Phi accrual, when `accrual`. */
  double phi_suspected, phi_dead;
  uint64_t deviation_min_us; /* against a window so regular that any jitter looks like death */
  uint64_t pause_us;         /* silence beyond the mean that is acceptable */
  uint32_t samples;
  bool accrual;
} dsm_detector_options;

typedef struct dsm_detector {
  dsm_detector_options options;
  dsm_phi_window window;
  uint64_t incarnation;
  uint64_t last_beat_us;
  dsm_peer_state state;
} dsm_detector;

/* Counts `now_us` as the first beat, with intervals guessed at interval ± a quarter of it. */
dsm_status dsm_detector_init(dsm_detector *detector, uint64_t incarnation,
                             const dsm_detector_options *options, uint64_t now_us);
/* Returns true when the state changed. */
bool dsm_detector_beat(dsm_detector *detector, uint64_t incarnation, uint64_t now_us);
bool dsm_detector_check(dsm_detector *detector, const dsm_local_health *health, uint64_t now_us);
void dsm_detector_forgive(dsm_detector *detector, uint64_t stall_us, uint64_t now_us);
double dsm_detector_phi(const dsm_detector *detector, const dsm_local_health *health,
                        uint64_t now_us);

#endif
