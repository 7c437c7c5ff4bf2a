/* Missed beats, phi accrual and the observer's own health. */
#include "failure_detector.h"

#include <math.h>
#include <string.h>

void dsm_local_health_init(dsm_local_health *health, uint32_t score_max) {
  *health = (dsm_local_health){0, score_max};
}

void dsm_local_health_note(dsm_local_health *health, int32_t delta) {
  int64_t score = (int64_t)health->score + delta;
  if (score < 0) score = 0;
  if (score > health->score_max) score = health->score_max;
  health->score = (uint32_t)score;
}

uint64_t dsm_local_health_stretch_us(const dsm_local_health *health, uint64_t timeout_us) {
  uint64_t stretched_us;
  bool over = __builtin_mul_overflow(timeout_us, health->score + UINT64_C(1), &stretched_us);
  return over ? UINT64_MAX : stretched_us;
}

void dsm_observer_init(dsm_observer *observer, uint64_t period_us, uint32_t score_max,
                       uint64_t now_us) {
  dsm_local_health_init(&observer->health, score_max);
  observer->period_us = period_us;
  observer->last_tick_us = now_us;
}

uint64_t dsm_observer_tick(dsm_observer *observer, uint64_t now_us) {
  uint64_t gap_us = now_us > observer->last_tick_us ? now_us - observer->last_tick_us : 0;
  observer->last_tick_us = now_us;
  bool late = gap_us > observer->period_us && gap_us - observer->period_us > observer->period_us;
  dsm_local_health_note(&observer->health, late ? 1 : -1);
  return late ? gap_us - observer->period_us : 0;
}

dsm_status dsm_phi_window_init(dsm_phi_window *window, uint32_t capacity) {
  if (capacity == 0 || capacity > DSM_PHI_SAMPLES_MAX) return DSM_USAGE;
  memset(window, 0, sizeof *window);
  window->capacity = capacity;
  return DSM_OK;
}

void dsm_phi_window_add(dsm_phi_window *window, uint64_t interval_us) {
  uint64_t added = interval_us > UINT32_MAX ? UINT32_MAX : interval_us;
  if (window->count == window->capacity) {
    uint64_t dropped = window->intervals_us[window->next];
    window->sum -= dropped;
    window->sum_of_squares -= (unsigned __int128)dropped * dropped;
  } else {
    window->count++;
  }
  window->intervals_us[window->next] = (uint32_t)added;
  window->next = (window->next + 1) % window->capacity;
  window->sum += added;
  window->sum_of_squares += (unsigned __int128)added * added;
}

double dsm_phi_window_mean(const dsm_phi_window *window) {
  return window->count == 0 ? 0.0 : (double)window->sum / window->count;
}

double dsm_phi_window_variance(const dsm_phi_window *window) {
  if (window->count == 0) return 0.0;
  /* n·Σx² - (Σx)² in integers: no cancellation, however regular the beats are. */
  unsigned __int128 spread =
      window->sum_of_squares * window->count - (unsigned __int128)window->sum * window->sum;
  return (double)spread / window->count / window->count;
}

double dsm_phi(double elapsed, double mean, double deviation) {
  double y = (elapsed - mean) / deviation;
  double z = y * (1.5976 + 0.070566 * y * y);
  /* -log10(1 - 1/(1 + e^-z)) = ln(1 + e^z) / ln 10, written so that no exponential overflows. */
  double softplus = z > 0 ? z + log1p(exp(-z)) : log1p(exp(z));
  return softplus / M_LN10;
}

dsm_status dsm_detector_init(dsm_detector *detector, uint64_t incarnation,
                             const dsm_detector_options *options, uint64_t now_us) {
  if (options->interval_us == 0) return DSM_USAGE;
  if (options->missed_suspected == 0 || options->missed_dead <= options->missed_suspected)
    return DSM_USAGE;
  memset(detector, 0, sizeof *detector);
  detector->options = *options;
  detector->incarnation = incarnation;
  detector->last_beat_us = now_us;
  if (!options->accrual) return DSM_OK;
  if (!(options->phi_suspected > 0) || !(options->phi_dead > options->phi_suspected) ||
      options->deviation_min_us == 0)
    return DSM_USAGE;
  DSM_TRY(dsm_phi_window_init(&detector->window, options->samples));
  dsm_phi_window_add(&detector->window, options->interval_us - options->interval_us / 4);
  dsm_phi_window_add(&detector->window, options->interval_us + options->interval_us / 4);
  return DSM_OK;
}

bool dsm_detector_beat(dsm_detector *detector, uint64_t incarnation, uint64_t now_us) {
  if (incarnation < detector->incarnation) return false;
  bool was_alive = detector->state == DSM_PEER_ALIVE;
  if (incarnation > detector->incarnation) {
    /* The options were valid once, so the new life's detector cannot be refused. */
    dsm_detector_options options = detector->options;
    (void)dsm_detector_init(detector, incarnation, &options, now_us);
    return !was_alive;
  }
  if (detector->state == DSM_PEER_DEAD) return false;
  /* The silence that raised a suspicion is an outlier, not a sample. */
  if (detector->options.accrual && was_alive && now_us > detector->last_beat_us)
    dsm_phi_window_add(&detector->window, now_us - detector->last_beat_us);
  if (now_us > detector->last_beat_us) detector->last_beat_us = now_us;
  detector->state = DSM_PEER_ALIVE;
  return !was_alive;
}

static uint64_t silence_us(const dsm_detector *detector, uint64_t now_us) {
  return now_us > detector->last_beat_us ? now_us - detector->last_beat_us : 0;
}

double dsm_detector_phi(const dsm_detector *detector, const dsm_local_health *health,
                        uint64_t now_us) {
  double deviation = sqrt(dsm_phi_window_variance(&detector->window));
  double deviation_min = (double)detector->options.deviation_min_us;
  double mean = dsm_phi_window_mean(&detector->window) + (double)detector->options.pause_us;
  double elapsed = (double)silence_us(detector, now_us) / (health->score + 1.0);
  return dsm_phi(elapsed, mean, deviation > deviation_min ? deviation : deviation_min);
}

bool dsm_detector_check(dsm_detector *detector, const dsm_local_health *health, uint64_t now_us) {
  bool suspicious, hopeless;
  if (detector->options.accrual) {
    double phi = dsm_detector_phi(detector, health, now_us);
    suspicious = phi >= detector->options.phi_suspected;
    hopeless = phi >= detector->options.phi_dead;
  } else {
    uint64_t interval_us = dsm_local_health_stretch_us(health, detector->options.interval_us);
    uint64_t missed = silence_us(detector, now_us) / interval_us;
    suspicious = missed >= detector->options.missed_suspected;
    hopeless = missed >= detector->options.missed_dead;
  }
  dsm_peer_state before = detector->state;
  if (before == DSM_PEER_ALIVE && suspicious) detector->state = DSM_PEER_SUSPECTED;
  if (before == DSM_PEER_SUSPECTED && hopeless) detector->state = DSM_PEER_DEAD;
  /* Health that improved, or silence that was forgiven, is a reason to take a suspicion back. */
  if (before == DSM_PEER_SUSPECTED && !suspicious) detector->state = DSM_PEER_ALIVE;
  return detector->state != before;
}

void dsm_detector_forgive(dsm_detector *detector, uint64_t stall_us, uint64_t now_us) {
  uint64_t silent_us = silence_us(detector, now_us);
  detector->last_beat_us += stall_us < silent_us ? stall_us : silent_us;
}
