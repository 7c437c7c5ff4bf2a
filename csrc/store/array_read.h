/* A consistent copy of an array's bytes, without a lock.
 *
 * What every touched tile holds is told by three words: its lock (whose session), its stamp, and
 * that session's phase. They are collected, the bytes are copied from the primary or, where a block
 * is being written, from the image, and the words are collected again. If none has changed, all
 * tiles were as copied at every instant between the two collections: one instant for all of them.
 * A block's tiles change together, since its phase is one word.
 *
 * Blocks on nobody, dead or alive, and makes no system call. May be killed anywhere.
 */
#ifndef DSM_STORE_ARRAY_READ_H
#define DSM_STORE_ARRAY_READ_H

#include "array.h"

/* Copies [low, high) to the target. DSM_RETRY if something changed meanwhile; DSM_LOCK_TIMEOUT if a
 * tile is being written and has no image; DSM_TORN with tile and pid; DSM_CORRUPT; DSM_OS. */
dsm_status dsm_array_snapshot_try(dsm_call *call, const dsm_array *array, uint64_t low,
                                  uint64_t high, void *target);
/* Version of a tile: grows with every block that wrote to it, published or restored. */
uint64_t dsm_array_tile_version(const dsm_array *array, uint64_t tile);

/* Pid of who left the tile torn, or 0. */
static inline uint32_t dsm_array_tile_torn(const dsm_array *array, uint64_t tile) {
  return dsm_load_acquire_u32(&dsm_array_tile(array, tile)->torn);
}

typedef struct dsm_array_usage {
  uint64_t writers, readers, torn; /* open blocks; torn tiles */
} dsm_array_usage;
void dsm_array_usage_read(const dsm_array *array, dsm_array_usage *out);

#endif
