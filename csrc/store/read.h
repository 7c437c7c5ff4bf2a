/* Reading an object: no lock, no system call, no waiting for a writer, dead or alive (I-5).
 *
 * dsm_read_begin walks route → sub → slot → object of the primary and returns a header that was
 * true at one instant. The value is then copied and validated (dsm_read_copy), or pinned and used
 * where it lies (dsm_read_pin). What validates is memory that never changes its type: the route and
 * the sub's generation, and the epoch of the node table, by which both were found. A writer raises
 * the generation between unlinking an extent and reusing it, so an unchanged generation says that
 * nothing read in between was overwritten. A reader repeats only when some writer has finished a
 * change meanwhile, the stripe has moved, or a node has come or gone.
 *
 * operation         by           blocks   killed
 * dsm_read_begin    any thread   no       leaves nothing
 * dsm_read_copy     any thread   no       leaves nothing
 * dsm_read_pin      any thread   no       leaves a pin, cleared when the participant is retired
 */
#ifndef DSM_STORE_READ_H
#define DSM_STORE_READ_H

#include "table.h"

typedef struct dsm_read {
  const dsm_sub_shm *sub;
  uint64_t epoch; /* that our mappings followed when the read began */
  uint64_t route_word, gen_word;
  uint64_t offset;
  uint64_t key_hash;
  dsm_header header;
  uint32_t stripe;
  unsigned node;
  uint32_t pin; /* DSM_PIN_NONE unless pinned */
} dsm_read;

/* DSM_OK, DSM_NOT_FOUND (validated like a hit), or DSM_CORRUPT. */
dsm_status dsm_read_begin(dsm_call *call, const dsm_key *key, dsm_read *out);

/* Copies header.value_bytes bytes. DSM_RETRY: begin again. DSM_CORRUPT: checksum differs. */
dsm_status dsm_read_copy(dsm_call *call, const dsm_read *read, void *target);

/* Pins the value's run, so that it stays as it is until dsm_read_unpin. DSM_RETRY: begin again.
 * DSM_TOO_MANY: the pin table is full; DSM_USAGE: the value lies in a slab and is copied instead.
 */
dsm_status dsm_read_pin(dsm_call *call, dsm_read *read);
void dsm_read_unpin(dsm_space *space, dsm_read *read);

/* Compares the settled checksum of a pinned value; DSM_OK while it is not settled. */
dsm_status dsm_read_verify(dsm_call *call, const dsm_read *read);

/* Where the object lies. By the sub, not by the node: a view may outlive the node's mapping. */
static inline const uint8_t *dsm_read_object(const dsm_space *space, const dsm_read *read) {
  return (const uint8_t *)(read->sub - read->stripe) - space->layout.subs + read->offset;
}

static inline const uint8_t *dsm_read_value(const dsm_space *space, const dsm_read *read) {
  return dsm_read_object(space, read) + read->header.value_offset;
}

static inline bool dsm_read_valid(const dsm_space *space, const dsm_read *read) {
  dsm_fence_acquire();
  return dsm_load_relaxed_u64(&read->sub->gen) == read->gen_word &&
         dsm_load_relaxed_u64(dsm_space_route(space, read->stripe)) == read->route_word &&
         dsm_space_current(space, read->epoch);
}

#endif
