/* The cut of a checkpoint: one instant, at which no writer stops.
 *
 * The instant is one store to control->cut. Every change reads that word once, after all its locks
 * are held. Who finds 0 is before the cut, who finds a number is after it and, the first time that
 * a stripe changes, notes the generation that it had; whatever it replaces that is not younger, it
 * saves first: a copy, or a pin on the run of a large value. So until the checkpoint has walked a
 * stripe (store/walk.h), what was in it at the cut is what is there and not younger than that
 * generation, and what was saved.
 *
 *   I  a change that returned before another began never reads the word later: the changes before
 *      the cut are closed under "came before", so a checkpoint is a state that could be read
 *   I  saved before the change is armed: a killed writer leaves a saved object too many, never one
 *      too few; the same object twice is harmless
 *   I  saved memory belongs to one number. It is handed out anew only when every stripe has been
 *      taken after that number's end, so that no writer still stores for it
 *   I  pins count while control->cut is not 0: a dead checkpoint holds nothing back for long
 *   I  who cannot save goes on and spoils the checkpoint: writers never wait for it, nor fail
 *
 */
#ifndef DSM_STORE_CUT_H
#define DSM_STORE_CUT_H

#include "table.h"

/* operation        by                         blocks                         may be killed
 * dsm_cut_begin    who takes a checkpoint     each stripe's lock, in turn    anywhere: see end
 * dsm_cut_open     the same                   no                             anywhere
 * dsm_cut_end      the same                   if not clean: as dsm_cut_begin anywhere
 * dsm_cut_keep     a change, with its locks   no                             anywhere
 * dsm_cut_bury     anyone, after a death      as dsm_cut_begin, once a death anywhere
 */

#define DSM_CUT_COPY_BYTES_MAX (64u << 10) /* larger values are pinned, if a pin is free */
#define DSM_CUT_AHEAD_BYTES (4u << 20)     /* memory for saved objects, kept ready */

/* An object that was replaced. What is pinned has its value in the run, else it follows the key. */
typedef struct dsm_saved_shm {
  uint64_t check; /* over all below, key and value */
  uint64_t next;  /* offset of the stripe's earlier one, 0: none */
  uint64_t stripe;
  uint64_t pinned; /* 0, or (node + 1) << 56 | offset of the object in the node's segment */
  uint64_t version, shape, binding;
  uint64_t bytes; /* of key and value that follow */
} dsm_saved_shm;
_Static_assert(sizeof(dsm_saved_shm) == 64, "one line, then key and value");

/* What one change replaces: an object with its copies, at the nodes of its route. */
typedef struct dsm_replaced {
  uint32_t stripe, count;
  uint64_t gen; /* of the stripe before the change */
  const uint8_t *nodes;
  const dsm_found *found;
  uint16_t region;
  uint64_t key_hash;
} dsm_replaced;

/* The word that a change reads once, with all its locks held; 0: no checkpoint runs. */
static inline uint64_t dsm_cut_word(const dsm_space *space) {
  return dsm_load_relaxed_u64(&dsm_space_control(space)->cut);
}

/* Notes and saves for the cut with that word. Never fails: what cannot be kept spoils the
 * checkpoint, which then says so. */
void dsm_cut_keep(dsm_call *call, uint64_t word, const dsm_replaced *replaced);

/* Becomes the one who takes a checkpoint. DSM_LOCK_TIMEOUT with the process that takes one now,
 * DSM_STORE_FULL, DSM_CORRUPT if a stripe is quarantined. */
dsm_status dsm_cut_begin(dsm_call *call, uint64_t *number);
/* The instant, if the names of arrays mean what they did when the sum was taken; else DSM_RETRY.
 * Blocks for the registry lock, under which they change: DSM_LOCK_TIMEOUT. */
dsm_status dsm_cut_open(dsm_call *call, uint64_t number, uint64_t arrays_sum);
/* Memory ahead of need for what writers save; what fails here fails there. */
void dsm_cut_back(dsm_call *call);
/* Lets go of everything. `clean`: every stripe has been walked, or the cut was never opened. If it
 * is not, and a stripe's lock is not had within the wait, saved memory stays for the next begin. */
void dsm_cut_end(dsm_call *call, uint64_t number, bool clean);
/* Ends the checkpoint of a dead process, if there is one. */
void dsm_cut_bury(dsm_call *call);

/* The generation of the stripe at the cut, whose lock is held. *walked, and the latest saved. */
typedef struct dsm_cut_look {
  uint64_t gen, saved;
  bool noted;
} dsm_cut_look;
dsm_status dsm_cut_look_at(dsm_call *call, uint64_t number, uint32_t stripe, dsm_cut_look *out);
/* From now on changes of the stripe save nothing. Its lock is held. */
void dsm_cut_walked(dsm_call *call, uint64_t number, uint32_t stripe);
/* A saved object by its offset, verified: DSM_CORRUPT. */
dsm_status dsm_cut_saved(dsm_call *call, uint64_t offset, uint32_t stripe,
                         const dsm_saved_shm **out);
/* True if something was not kept, or the cut is no longer ours. */
bool dsm_cut_spoiled(const dsm_space *space, uint64_t number);

#endif
