/* The steps that a session's phases are made of, shared by its owner and by whoever recovers it.
 *
 * Internal to store/array_*.c. Every step is a function of shared words alone and may be repeated,
 * so that the owner, a recoverer and a recoverer's recoverer all do the same.
 */
#ifndef DSM_STORE_ARRAY_PHASE_H
#define DSM_STORE_ARRAY_PHASE_H

#include "array_session.h"

/* FREE or damaged → CLAIMED with a new serial; by the owner only. */
void dsm_array_phase_next(const dsm_array *array, uint32_t session);
/* Another phase of the same serial; a full fence. */
void dsm_array_phase_set(const dsm_array *array, uint32_t session, dsm_array_phase phase);
/* Wakes writers that wait for a reader to leave. */
void dsm_array_session_wake(const dsm_array *array, uint32_t session);

/* The next odd (held) or even stamp. False if it does not verify: then it stays as it is. */
bool dsm_array_stamp_raise(const dsm_array *array, uint64_t tile, bool held);

/* Makes the image of the block if it needs one, then enters WRITING. DSM_STORE_FULL. */
dsm_status dsm_array_image(dsm_call *call, const dsm_array *array, const dsm_array_block *block);
/* Primary to all copies that replicate, or only to the image; [low, high). Pages copied: none from
 * a primary that is not trusted. */
uint64_t dsm_array_copy_out(const dsm_array *array, uint64_t low, uint64_t high);
/* The same of a session's block for its publication, with a mark in each copy as long as it takes.
 */
uint64_t dsm_array_publish_out(const dsm_array *array, uint32_t session);
/* Whether the session was publishing to that copy, and which tiles. */
bool dsm_array_marked(const dsm_array *array, uint32_t copy, uint32_t session, uint64_t *first,
                      uint64_t *last);
/* The image to the primary; false if there is none. */
bool dsm_array_copy_back(const dsm_array *array, uint64_t low, uint64_t high);
/* Frees the tiles that the session holds, then the session. */
void dsm_array_release(const dsm_array *array, uint32_t session, uint64_t first, uint64_t last);

#endif
