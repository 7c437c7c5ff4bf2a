/* Pins: hazard records that keep a value run from being reused while somebody reads it (I-5).
 *
 * Each participant has a table of words in the control segment; a pinned run stands there as
 * node << 32 | page, sealed by nothing: a stray bit can only keep memory, never free it.
 *
 * operation         by             blocks  order
 * dsm_pin_claim     any thread     no      store, full fence; the caller then validates its read
 * dsm_pin_release   any thread     no      store, full fence, then the hint if the run is in limbo
 * dsm_pin_holds     arena's holder no      full fence, then all tables; the run must be unlinked
 *
 * Claim-then-validate against unlink-then-scan is the hazard-pointer protocol (Michael 2004):
 * either the reader's validation fails or the scan sees the pin. A dead process's table is cleared
 * by whoever retires the participant; until then its pins only delay reuse.
 */
#ifndef DSM_MEM_PIN_H
#define DSM_MEM_PIN_H

#include "space.h"

#define DSM_PIN_NONE UINT32_MAX

/* Index of the claimed pin, or DSM_PIN_NONE if the table is full. */
uint32_t dsm_pin_claim(dsm_space *space, unsigned node, uint64_t page);
void dsm_pin_release(dsm_space *space, uint32_t index);
/* Drops all pins of a participant that is dead or leaving; safe to repeat. */
void dsm_pin_clear(dsm_space *space, uint32_t participant);
/* Copies our pins into another participant's table, for a child about to be forked. */
void dsm_pin_copy(dsm_space *space, uint32_t from, uint32_t to);
bool dsm_pin_holds(const dsm_space *space, unsigned node, uint64_t page);
/* Whether any run of the node is pinned. */
bool dsm_pin_holds_any(const dsm_space *space, unsigned node);
uint32_t dsm_pin_count(const dsm_space *space, uint32_t participant);

#endif
