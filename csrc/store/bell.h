/* Bells: waiting for a change of a stripe without polling.
 *
 * Who waits notes the stripe's bell word, says in the lock's `pending` that somebody waits, looks
 * at the object, and sleeps while the word stays the same. Who drops the stripe's lock, after a
 * change or a repair, sees the mark in the line that it touches anyway, and only then rings. A bell
 * tells when to look, never what happened (I-4).
 *
 *   I  ringing takes the mark back before it moves the word: whoever marks later is rung by the
 *      next change, whoever marked earlier sees the word move
 *   I  a ring can be missed by who marks at the very moment of a drop, so sleeps are sliced
 *
 * operation        by           blocks             killed
 * dsm_bell_arm     any thread   no                 leaves a mark, and so one ring too many
 * dsm_bell_wait    any thread   at most wait_us    leaves nothing
 * dsm_bell_ring    any thread   no                 the ring is missed: waiters look after a slice
 */
#ifndef DSM_STORE_BELL_H
#define DSM_STORE_BELL_H

#include "../mem/space.h"

/* Announces a waiter; what it returns is what dsm_bell_wait compares. Look at the object after. */
uint32_t dsm_bell_arm(dsm_space *space, uint32_t stripe);
void dsm_bell_wait(dsm_space *space, uint32_t stripe, uint32_t armed, uint32_t wait_us);
void dsm_bell_ring(dsm_space *space, uint32_t stripe);
/* After a death: whoever waits for anything looks whether the dead one had it. */
void dsm_bell_ring_all(dsm_space *space);

#endif
