/* Reading an object: no lock, no system call, no waiting for a writer, dead or alive (I-5).
 *
 * dsm_read_begin walks route → sub → slot → object of the primary and returns a header that was
 * true at one instant. The value is then copied and validated (dsm_read_copy), or pinned and used
 * where it lies (dsm_read_pin). What validates is memory that never changes its type: the route,
 * the sub's generation, and the epoch of the node table, by which both were found. A writer raises
 * the generation between unlinking an extent and reusing it. A reader repeats only when some writer
 * has finished a change meanwhile, the stripe has moved, or a node has come or gone.
 *
 * Damage at the primary is mended at once if nobody holds the stripe (heal.h), and otherwise read
 * around: a backup that validates has what the primary had (I-3), and whoever reads this key meets
 * the same damage. A miss is believed only if a backup, or with one copy the slots that were
 * passed, bear it out.
 *
 * operation              by           blocks   killed
 * dsm_read_begin, again  any thread   no       leaves nothing; while it mends: heal.h
 * dsm_read_copy          any thread   no       leaves nothing
 * dsm_read_pin           any thread   no       leaves a pin, cleared as the participant is retired
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
  uint32_t
      tried; /* bit per replica of the route that is no longer looked at; 0: the primary holds */
} dsm_read;

/* DSM_OK, DSM_NOT_FOUND (validated like a hit), DSM_CORRUPT if the route is damaged, or
 * DSM_NO_REPLICAS if no replica of the object validates. */
dsm_status dsm_read_begin(dsm_call *call, const dsm_key *key, dsm_read *out);

/* After DSM_CORRUPT from one of the functions below: as dsm_read_begin, without what was found. The
 * same replica is offered once more if it was mended meanwhile. */
dsm_status dsm_read_again(dsm_call *call, const dsm_key *key, dsm_read *read);

/* As dsm_read_begin, for who wants the version and no value: it is verified. */
dsm_status dsm_read_version(dsm_call *call, const dsm_key *key, uint64_t *version);

/* Copies header.value_bytes bytes. DSM_RETRY: begin again. DSM_CORRUPT: checksum differs. */
dsm_status dsm_read_copy(dsm_call *call, const dsm_read *read, void *target);

/* Pins the value's run, so that it stays as it is until dsm_read_unpin. DSM_RETRY: begin again.
 * DSM_TOO_MANY: the pin table is full; DSM_USAGE: the value lies in a slab and is copied instead.
 */
dsm_status dsm_read_pin(dsm_call *call, dsm_read *read);
void dsm_read_unpin(dsm_space *space, dsm_read *read);

/* For read_damaged.c: looks for the key at one replica of the route; DSM_CORRUPT if what is there
 * does not hold together, DSM_RETRY if it was changed meanwhile. */
dsm_status dsm_read_look(dsm_call *call, const dsm_key *key, uint32_t replica, dsm_read *out);
/* The same where the out->node was looked at, trusting no slot on the way. */
dsm_status dsm_read_look_alone(dsm_call *call, const dsm_key *key, dsm_read *out);
/* For read.c: what to make of a look that gave no value (read_damaged.c). */
dsm_status dsm_read_doubted(dsm_call *call, const dsm_key *key, dsm_status status, dsm_read *out);

/* Compares the settled checksum of a pinned value; DSM_OK while it is not settled. */
dsm_status dsm_read_verify(dsm_call *call, const dsm_read *read);

/* Where the object lies. By the sub, not by the node: a view may outlive the node's mapping. */
static inline const uint8_t *dsm_read_object(const dsm_space *space, const dsm_read *read) {
  return (const uint8_t *)(read->sub - read->stripe) - space->layout.subs + read->offset;
}

static inline const uint8_t *dsm_read_value(const dsm_space *space, const dsm_read *read) {
  return dsm_read_object(space, read) + read->header.value_offset;
}

static inline bool dsm_read_header_holds(const dsm_read *read, uint64_t value_hash) {
  return (uint32_t)(read->header.binding >> 32) ==
         dsm_object_checksum(read->header.version, read->header.shape, read->header.binding,
                             read->key_hash, value_hash);
}

static inline bool dsm_read_valid(const dsm_space *space, const dsm_read *read) {
  dsm_fence_acquire();
  return dsm_load_relaxed_u64(&read->sub->gen) == read->gen_word &&
         dsm_load_relaxed_u64(dsm_space_route(space, read->stripe)) == read->route_word &&
         dsm_space_current(space, read->epoch);
}

#endif
