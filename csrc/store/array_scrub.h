/* Looking for damage in the elements of an array, and mending it: one tile at a time.
 *
 * Writers leave no checksum. A scrub without a lock hashes a tile and, if the copies agree and
 * nobody wrote meanwhile, leaves the hash in the tile's words, together with the stamp that it is
 * of. From then until the next block there, a copy that differs is told from one that is right:
 *
 *   the copy whose bytes have that hash; without one, two copies that agree; else the primary
 *
 *   I  a hash belongs to one stamp: after the next block nobody believes it; a holder who wrote
 *      nothing, killed or not, takes it along to the stamp that its release gives
 *   I  nothing is compared once somebody may write beside the sessions (np.asarray)
 *   I  a tile is mended while it is held and not being written: killed anywhere, the next scrub or
 *      check does it again, and nothing is restored from a copy that was not right
 *
 * Arrays with one copy have nothing to be mended from, and no hashes. A scrub blocks nobody;
 * mending holds the tile, at most call->wait_ms for others.
 */
#ifndef DSM_STORE_ARRAY_SCRUB_H
#define DSM_STORE_ARRAY_SCRUB_H

#include "array.h"

/* Before a tile is released in which nothing was written: what is known of it stays known. */
void dsm_array_sum_carry(const dsm_array *array, uint64_t tile);
/* Returns the bytes looked at; *mended: the tile was damaged, and no longer is. */
uint64_t dsm_array_scrub_tile(dsm_call *call, const dsm_array *array, uint64_t tile, bool *mended);
/* The copy that is right, if they differ; -1 if they agree. The tile was like this at that stamp.
 */
int dsm_array_tile_best(const dsm_array *array, uint64_t tile, uint64_t stamp);
/* Makes all copies of the tile equal to the right one. False if it is held by others, or whole. */
bool dsm_array_tile_mend(dsm_call *call, const dsm_array *array, uint64_t tile, int *best);

#endif
