/* Open blocks on an array: who holds which tiles, and what follows if its process is killed.
 *
 * A session is claimed, takes its tiles in ascending order, and goes through phases; the phase is
 * one word, so that all tiles of a block change at one instant, for readers and for recovery alike.
 *
 *   phase        primary          copies             if the owner is dead
 *   CLAIMED      true             true               the tiles are released
 *   READING      true, held still true               the session is dropped
 *   IMAGING      true             being made true    the copies are made true
 *   WRITING      being written    true (the image)   the primary is restored; without image: torn
 *   RESTORING    being restored   true               as WRITING
 *   PUBLISHING   true, new        being made true    the copies are made true
 *   DONE         true             true               the tiles are released
 */
#ifndef DSM_STORE_ARRAY_SESSION_H
#define DSM_STORE_ARRAY_SESSION_H

#include "array.h"

/* What must hold, and who waits.
 *
 *   I  only bytes in [low, high) of a session differ between primary and copies, and only by it
 *   I  writers hold tile locks; readers hold none: they announce themselves in their session, and a
 *      writer that has its locks waits for those announced before. New readers wait for the lock.
 *   I  what stores to copies looks, with its tiles held, whether the array still has the number
 * that the mapping is of, and whether its primary is trusted; who replaces a copy holds all tiles
 *   I  recovery begins by making the session one's own, so a killed recoverer is recovered in turn
 *
 * operation              blocks                                      may be killed
 * dsm_array_write_begin  tiles' locks, then readers; ≤ wait_ms       anywhere
 * dsm_array_read_begin   tiles' locks; ≤ wait_ms                     anywhere
 * publish, restore, end  no                                          anywhere
 *
 * A begin that ends in DSM_LOCK_TIMEOUT keeps what it has, so that the caller may look at signals
 * and go on by calling again; dsm_array_cancel gives it up.
 */

#define DSM_ARRAY_AWAITED 0x80000000u /* in a tile's lock: somebody sleeps on it */

typedef enum dsm_array_phase {
  DSM_ARRAY_FREE,
  DSM_ARRAY_CLAIMED,
  DSM_ARRAY_READING,
  DSM_ARRAY_IMAGING,
  DSM_ARRAY_WRITING,
  DSM_ARRAY_RESTORING,
  DSM_ARRAY_PUBLISHING,
  DSM_ARRAY_DONE,
  DSM_ARRAY_PHASES
} dsm_array_phase;

#define DSM_ARRAY_NO_SESSION UINT32_MAX

/* One open block, in private memory. */
typedef struct dsm_array_block {
  uint32_t session;
  bool accepts_torn;    /* torn tiles are no error: the block mends them */
  bool holds;           /* keeps others away and writes nothing: CLAIMED, no image, then cancel */
  uint64_t owner;       /* dsm_array_self when it was claimed */
  uint64_t first, last; /* tiles */
  uint64_t low, high;   /* bytes */
  uint64_t taken;       /* tiles from `first` on that are held */
} dsm_array_block;

/* A block over the bytes [low, high); an empty range takes no tile. */
dsm_array_block dsm_array_block_make(const dsm_array *array, uint64_t low, uint64_t high);

/* DSM_RETRY if the build is no longer meant; DSM_TORN with tile and pid in the fault;
 * DSM_STORE_FULL for the image; DSM_LOCK_TIMEOUT with the holder or reader. All but the last have
 * released everything. */
dsm_status dsm_array_write_begin(dsm_call *call, const dsm_array *array, dsm_array_block *block);
dsm_status dsm_array_read_begin(dsm_call *call, const dsm_array *array, dsm_array_block *block);
/* Copies what changed to the backups and releases; *pages were copied. Torn tiles are whole.
 * DSM_CORRUPT: the primary was damaged under the block, and nothing of it was published. */
dsm_status dsm_array_write_publish(dsm_call *call, const dsm_array *array, dsm_array_block *block,
                                   uint64_t *pages);
/* Brings the bytes back from the image and releases. DSM_TORN: there is none, and the tiles are
 * torn; DSM_CORRUPT: as for publish. */
dsm_status dsm_array_write_restore(dsm_call *call, const dsm_array *array, dsm_array_block *block);
/* Ends a reading block, or a begin that has not succeeded. */
void dsm_array_cancel(dsm_call *call, const dsm_array *array, dsm_array_block *block);

/* Copies the whole primary to the backups, for a build that is not yet published. */
void dsm_array_replicate(const dsm_array *array);

/* Finishes or undoes the session if its owner is dead. DSM_CORRUPT if its words do not verify;
 * DSM_RETRY if the array has another number by now. */
dsm_status dsm_array_recover(dsm_call *call, const dsm_array *array, uint32_t session);
/* The same for all sessions. */
dsm_status dsm_array_recover_all(dsm_call *call, const dsm_array *array);
/* Every array of the cluster, for the retirement of a participant: entries, then sessions. */
dsm_status dsm_array_release_dead(dsm_call *call);

/* Phase of a session's state word; DSM_ARRAY_PHASES if it does not verify. */
dsm_array_phase dsm_array_phase_read(const dsm_array *array, uint32_t session, uint64_t *state);
/* Sessions to look at. */
uint32_t dsm_array_sessions(const dsm_array *array);

#endif
