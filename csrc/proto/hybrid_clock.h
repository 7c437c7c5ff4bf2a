/* The hybrid logical clock (Kulkarni et al. 2014) in one word: 52 bits of microseconds since 1970,
 * good until 2112, above 12 bits of logical count. Stamps compare as plain integers.
 *
 * Adding one to the word is the paper's "next logical count". When the 4,096 counts of a
 * microsecond are used up the carry runs into the microseconds, so the clock borrows from the near
 * future and stays monotonic where a separate counter would overflow; drift shows how much is
 * borrowed.
 *
 * Rules: a stamp is greater than every stamp sent or received before it; a physical clock that
 * jumps back never takes the stamps back; a received stamp that is more than offset_us_max ahead of
 * the physical clock is refused and changes nothing, so one broken clock cannot drag the others
 * along.
 *
 * Pure: the physical time is an input. One owner at a time.
 */
#ifndef DSM_PROTO_HYBRID_CLOCK_H
#define DSM_PROTO_HYBRID_CLOCK_H

#include <stdint.h>

#include "../base/status.h"

enum { DSM_HYBRID_LOGICAL_BITS = 12 };

#define DSM_HYBRID_LOGICAL_MAX ((UINT64_C(1) << DSM_HYBRID_LOGICAL_BITS) - 1)
#define DSM_HYBRID_PHYSICAL_US_MAX (UINT64_MAX >> DSM_HYBRID_LOGICAL_BITS)

typedef struct dsm_hybrid_clock {
  uint64_t last; /* the greatest stamp so far */
  uint64_t offset_us_max;
} dsm_hybrid_clock;

static inline uint64_t dsm_hybrid_stamp(uint64_t physical_us, uint64_t logical) {
  return physical_us << DSM_HYBRID_LOGICAL_BITS | logical;
}

static inline uint64_t dsm_hybrid_physical_us(uint64_t stamp) {
  return stamp >> DSM_HYBRID_LOGICAL_BITS;
}

static inline uint64_t dsm_hybrid_logical(uint64_t stamp) {
  return stamp & DSM_HYBRID_LOGICAL_MAX;
}

/* A clock that has stamped nothing; last may also be restored from what was made durable. */
void dsm_hybrid_clock_init(dsm_hybrid_clock *clock, uint64_t offset_us_max);

/* Stamps a local event or a message to send. DSM_USAGE for a time past 2112,
 * DSM_CLOCK_OVERFLOW when the clock itself has got there. */
dsm_status dsm_hybrid_clock_send(dsm_hybrid_clock *clock, uint64_t now_us, uint64_t *stamp);

/* Stamps the receipt of a message. As above, and DSM_CLOCK_OFFSET when the message's stamp is
 * more than offset_us_max ahead of now_us. */
dsm_status dsm_hybrid_clock_receive(dsm_hybrid_clock *clock, uint64_t now_us, uint64_t message,
                                    uint64_t *stamp);

/* By how much the stamps run ahead of the physical clock. */
uint64_t dsm_hybrid_clock_drift_us(const dsm_hybrid_clock *clock, uint64_t now_us);

#endif
