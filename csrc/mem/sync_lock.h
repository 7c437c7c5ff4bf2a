/* A lock that says when its previous owner died.
 *
 * One word: thread (32) | abandoned (1) | party (29). 0 is free; a word with the abandoned bit is
 * free too, and tells who it was. Taking and giving back are one exchange each; the record's own
 * mutex is not used. The depth of a re-entrant lock is the owner's alone.
 *
 *             take   release  bury
 *   take      one wins the word, by compare-exchange
 *   release   -      only the owner's word is exchanged
 *   bury      marks the word that it saw, or nothing
 *
 * A thread that ends while it holds the lock, in a process that lives on, leaves it taken, as with
 * threading.Lock.
 */
#ifndef DSM_MEM_SYNC_LOCK_H
#define DSM_MEM_SYNC_LOCK_H

#include "sync.h"

#define DSM_SYNC_LOCK_REENTRANT 0u /* setting */

typedef struct dsm_sync_holder {
  dsm_sync_party party; /* 0: nobody */
  uint32_t thread;
  uint32_t pid; /* 0 if its slot is another's by now */
  uint64_t start_ticks;
} dsm_sync_holder;

/* DSM_RETRY if it is taken. *died: the previous owner's end freed it, *died_pid: its pid or 0. */
dsm_status dsm_sync_lock_try(dsm_call *call, const dsm_sync *sync, uint32_t thread, bool *died,
                             uint32_t *died_pid);
/* Looks for some microseconds whether a holder in another process gives it back; whether it did. It
 * is cheaper than falling asleep, and than making the holder wake us. */
bool dsm_sync_lock_spin(const dsm_space *space, const dsm_sync *sync);
/* DSM_NOT_OWNER. Wakes the next one. */
dsm_status dsm_sync_lock_release(dsm_call *call, const dsm_sync *sync, uint32_t thread);
/* Whether this thread owns it. */
bool dsm_sync_lock_mine(const dsm_space *space, const dsm_sync *sync, uint32_t thread);
/* Who has it, as of about now. */
void dsm_sync_lock_holder(const dsm_space *space, const dsm_sync *sync, dsm_sync_holder *out);
/* How often the owner has taken it; to give it up and take it up again as a whole. Owner only. */
uint32_t dsm_sync_lock_depth(const dsm_sync *sync);
void dsm_sync_lock_depth_set(const dsm_sync *sync, uint32_t depth);

#endif
