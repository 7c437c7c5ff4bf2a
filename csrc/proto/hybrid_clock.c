/* Send and receive of figure 5 of the paper; with both parts in one word each is a maximum. */
#include "hybrid_clock.h"

static dsm_status advance(dsm_hybrid_clock *clock, uint64_t now_us, uint64_t seen,
                          uint64_t *stamp) {
  uint64_t physical = dsm_hybrid_stamp(now_us, 0);
  if (seen == UINT64_MAX) return DSM_CLOCK_OVERFLOW;
  *stamp = clock->last = physical > seen ? physical : seen + 1;
  return DSM_OK;
}

void dsm_hybrid_clock_init(dsm_hybrid_clock *clock, uint64_t offset_us_max) {
  *clock = (dsm_hybrid_clock){.offset_us_max = offset_us_max};
}

dsm_status dsm_hybrid_clock_send(dsm_hybrid_clock *clock, uint64_t now_us, uint64_t *stamp) {
  if (now_us > DSM_HYBRID_PHYSICAL_US_MAX) return DSM_USAGE;
  return advance(clock, now_us, clock->last, stamp);
}

dsm_status dsm_hybrid_clock_receive(dsm_hybrid_clock *clock, uint64_t now_us, uint64_t message,
                                    uint64_t *stamp) {
  if (now_us > DSM_HYBRID_PHYSICAL_US_MAX) return DSM_USAGE;
  uint64_t sent_us = dsm_hybrid_physical_us(message);
  if (sent_us > now_us && sent_us - now_us > clock->offset_us_max) return DSM_CLOCK_OFFSET;
  return advance(clock, now_us, message > clock->last ? message : clock->last, stamp);
}

uint64_t dsm_hybrid_clock_drift_us(const dsm_hybrid_clock *clock, uint64_t now_us) {
  uint64_t last_us = dsm_hybrid_physical_us(clock->last);
  return last_us > now_us ? last_us - now_us : 0;
}
