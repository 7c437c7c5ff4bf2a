/* A barrier that breaks when one of its parties dies.
 *
 *   I  one word is the barrier: generation (22), broken (1), of the last 16 generations whether
 *      they were broken or reset (1) or passed (0), and acting (1): the last to arrive, or its
 *      death, says whether the generation passes, and nobody else. A change stores it once.
 *   I  a participant's cell says in which generation it arrived last, with how many threads; the
 *      number of those waiting is derived from the cells.
 *   I  a party is a participant that arrived in this generation or the one before. Its death breaks
 *      the barrier, since the others would wait for it for ever.
 */
#ifndef DSM_MEM_SYNC_BARRIER_H
#define DSM_MEM_SYNC_BARRIER_H

#include "sync.h"

#define DSM_SYNC_BARRIER_PARTIES 0u /* setting */
#define DSM_SYNC_BARRIER_HEAP_BYTES (DSM_PARTICIPANTS_MAX * 8u)
#define DSM_SYNC_PARTIES_MAX 65535u

typedef struct dsm_sync_barrier_state {
  uint32_t waiting;
  bool broken;
} dsm_sync_barrier_state;

/* *index: how many came before. DSM_OK for the last one, which lets all pass; DSM_RETRY: wait for
 * the generation by dsm_sync_barrier_poll, and if the index is that of no party, since all are here
 * and one of them acts, arrive anew after that; DSM_BROKEN; DSM_TOO_MANY threads of one process. */
dsm_status dsm_sync_barrier_arrive(dsm_call *call, const dsm_sync *sync, uint32_t *index,
                                   uint32_t *generation);
/* The same, but DSM_OK asks the last one to do what is to be done before the others go on, and then
 * to call dsm_sync_barrier_pass, or dsm_sync_barrier_break. */
dsm_status dsm_sync_barrier_arrive_acting(dsm_call *call, const dsm_sync *sync, uint32_t *index,
                                          uint32_t *generation);
/* Lets all pass; DSM_BROKEN if the barrier was broken or reset meanwhile. */
dsm_status dsm_sync_barrier_pass(dsm_call *call, const dsm_sync *sync, uint32_t generation);
/* DSM_RETRY while the generation waits, DSM_OK once it has passed, DSM_BROKEN. No lock. */
dsm_status dsm_sync_barrier_poll(dsm_call *call, const dsm_sync *sync, uint32_t generation);
/* Breaks that generation, if it still waits. DSM_SYNC_EVERYONE: the present one. */
dsm_status dsm_sync_barrier_break(dsm_call *call, const dsm_sync *sync, uint32_t generation);
/* Whoever waits is told that the barrier broke; the barrier is empty and whole afterwards. */
dsm_status dsm_sync_barrier_reset(dsm_call *call, const dsm_sync *sync);
dsm_status dsm_sync_barrier_read(dsm_call *call, const dsm_sync *sync, dsm_sync_barrier_state *out);

#endif
