/* Vector clocks (Fidge 1988, Mattern 1989): one counter per node, in an array that the caller owns.
 *
 * The index is the node; both clocks of a call have the same count, and a node that was never heard
 * of has counter 0. Any values are valid clocks, so bytes from outside need no check. Hundreds of
 * entries are merged and compared in the widest vectors that the processor has.
 *
 * Pure; concurrency is the caller's. Counters end at UINT64_MAX, where tick refuses.
 */
#ifndef DSM_PROTO_VECTOR_CLOCK_H
#define DSM_PROTO_VECTOR_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/status.h"

/* How the left clock lies to the right one. A bit per direction: before means that some counter is
 * lower and none is higher. */
typedef enum dsm_clock_order {
  DSM_CLOCK_EQUAL = 0,
  DSM_CLOCK_BEFORE = 1,
  DSM_CLOCK_AFTER = 2,
  DSM_CLOCK_CONCURRENT = 3,
} dsm_clock_order;

/* One more event at a node. DSM_USAGE for a node outside the clock,
 * DSM_CLOCK_OVERFLOW at the end. */
dsm_status dsm_vector_clock_tick(uint64_t *clock, size_t count, size_t node);

/* Raises every counter of clock to that of other where it is lower. */
void dsm_vector_clock_merge(uint64_t *clock, const uint64_t *other, size_t count);

dsm_clock_order dsm_vector_clock_compare(const uint64_t *left, const uint64_t *right, size_t count);

/* Causal delivery (Birman, Schiper and Stephenson 1991, section 5.1): whether a message stamped
 * with its sender's clock is the next one from that sender and all that it depends on has arrived.
 */
bool dsm_vector_clock_deliverable(const uint64_t *clock, const uint64_t *message, size_t count,
                                  size_t sender);

#endif
