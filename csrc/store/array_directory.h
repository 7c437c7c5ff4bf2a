/* The directory of arrays in the control segment: which build a name means (I-2).
 *
 * Making, replacing and removing an array takes long, so it is done by a *worker* that an entry
 * names, without a lock, and becomes true by one store to `current`. Before it `next` names what is
 * to be thrown away if the worker dies, after it `last` does; whoever meets a dead worker does so.
 *
 *   reserve   worker = me, next = a new build's number     (nobody else may change the entry)
 *   publish   last = current, then current = next or 0     (the one instant)
 *   settle    unlink what `next` and `last` name but `current` does not; clear them and the worker
 *
 *   I  the words are changed under the registry lock, `current` also read without it
 *   I  the numbers of builds never repeat in a cluster, so an entry read twice the same is the same
 *
 * operation   blocks                          may be killed
 * find        registry lock                   anywhere
 * reserve     registry lock; a living worker: DSM_LOCK_TIMEOUT names it
 * publish, settle   registry lock             anywhere: settled by the next find, or on retirement
 */
#ifndef DSM_STORE_ARRAY_DIRECTORY_H
#define DSM_STORE_ARRAY_DIRECTORY_H

#include "array.h"

/* The entry and build of a name. DSM_NOT_FOUND; DSM_LOCK_TIMEOUT while it is being made. */
dsm_status dsm_array_find(dsm_call *call, const char *name, uint32_t name_bytes, uint32_t *entry,
                          uint64_t *build);
/* Becomes the worker of a new name and gets a number: DSM_RETRY if the name exists by now. */
dsm_status dsm_array_reserve_new(dsm_call *call, const char *name, uint32_t name_bytes,
                                 uint32_t *entry, uint64_t *build);
/* Becomes the worker of an entry that means `current`: DSM_RETRY if it no longer does. */
dsm_status dsm_array_reserve(dsm_call *call, uint32_t entry, uint64_t current, uint64_t *build);
/* As the worker: from now on the name means the build; 0: it means nothing. */
dsm_status dsm_array_publish(dsm_call *call, uint32_t entry, uint64_t build);
/* As the worker: removes what is not meant, and is the worker no longer. */
dsm_status dsm_array_settle(dsm_call *call, uint32_t entry);

/* The build that an entry means now; 0 if none, or if the word is damaged. */
uint64_t dsm_array_current(const dsm_space *space, uint32_t entry);
/* Whether the entry still means what was mapped, or the mapping is of none. */
static inline bool dsm_array_meant(const dsm_space *space, const dsm_array *array) {
  return array->entry >= DSM_ARRAYS_MAX || dsm_array_current(space, array->entry) == array->number;
}
/* The name of an entry that means a build; false if it means none or is damaged. */
bool dsm_array_entry_name(const dsm_space *space, uint32_t entry, char *name, uint32_t *name_bytes);
/* For a new cluster; from then on a directory that was zeroed is none that was never used. */
void dsm_array_directory_init(const dsm_space *space);
bool dsm_array_directory_holds(const dsm_space *space);
/* Number of entries to look at. */
uint32_t dsm_array_entries(const dsm_space *space);
/* A number that differs when any name means another build; with the registry lock, at one instant.
 */
uint64_t dsm_array_directory_sum(const dsm_space *space);
/* Removes what dead workers left. */
dsm_status dsm_array_settle_dead(dsm_call *call);
/* Removes the names of all segments of all arrays; for the end of a cluster. */
void dsm_array_unlink_all(const dsm_space *space);

/* Counts an array of which no copy is left, once; and copies that were made anew. */
void dsm_array_note_lost(const dsm_space *space, uint32_t entry, uint64_t number);
void dsm_array_note_mended(const dsm_space *space, uint64_t copies);

/* A process as it stands in shared words: participant + 1 | incarnation << 32. */
uint64_t dsm_array_self(const dsm_space *space);
/* False if that process is gone; *process tells who it is, if known. */
bool dsm_array_alive(const dsm_space *space, uint64_t self, dsm_os_process *process);

#endif
