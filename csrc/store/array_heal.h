/* Giving an array back the copies that it has lost.
 *
 * Copies are files of the cluster and belong to no node, so that neither a node's death nor its
 * removal nor the rebuilding of its segment takes one. What can happen to them, and what follows:
 *
 *   name gone, a process has it open   its bytes are used as ever, and a new file takes its place
 *   gone, zeroed, cut, header damaged  a new file, filled from the primary or else from a backup
 *   the primary's header alone         written anew in place: its words tell that the rest is there
 *   stamps of single tiles             written anew in place
 *   every copy                         DSM_NO_REPLICAS, until the array is given up
 *
 * A file that has taken damage is never used again. The array gets another number, whose files are
 * new ones for what was lost and the old ones, by a second name, for what is sound; so views of a
 * sound primary stay views of the array. Who works by the old number finds it out with its tiles
 * held (array_session.h) and maps the array anew.
 */
#ifndef DSM_STORE_ARRAY_HEAL_H
#define DSM_STORE_ARRAY_HEAL_H

#include "array.h"

/* The healer is the directory's worker (array_directory.h), so there is one at a time.
 *
 *   reserve   the next number                     killed: the next finder throws its files away
 *   doubt     a lost primary gets its own magic   killed: nothing is begun or published there
 *   make      new files, filled while writers go on; links for sound ones
 *   hold      all tiles, where the primary's words can be read
 *   catch up  what changed since; compare
 *   publish   one store                           killed before: as it was; after: settled by
 * others settle    the old names go
 *
 *   I  nothing is taken from a primary whose words were zeroed, and nothing of what is begun in it
 *      reaches a copy: its magic goes before anything is taken from a backup
 *   I  a number is published only after each of its copies was compared with what it was filled
 *      from
 *
 * Blocks for open blocks at most call->wait_ms each; never for the dead. Killed anywhere: as above.
 */

typedef struct dsm_array_healed {
  uint32_t copies; /* files that were replaced, headers that were written anew */
  uint64_t bytes;  /* copied */
} dsm_array_healed;

/* DSM_OK: it is sound, whatever had to be done. DSM_RETRY: it has another number by now.
 * DSM_LOCK_TIMEOUT with the process that holds a tile, heals it already, or hides its files;
 * DSM_STORE_FULL; DSM_NO_REPLICAS. */
dsm_status dsm_array_heal(dsm_call *call, uint32_t entry, uint64_t number, dsm_array_healed *done);

/* Whether the stamps of all tiles verify, and their locks name sessions. */
bool dsm_array_words_hold(const dsm_array *array);
/* Whether so many copies of a number have their names and that size, by the kernel's word alone. */
bool dsm_array_named(const dsm_space *space, uint64_t number, uint32_t copies, uint64_t bytes);

#endif
