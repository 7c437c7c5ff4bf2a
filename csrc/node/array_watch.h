/* Looking after the files of arrays, by the keeper's caretaker.
 *
 * A look asks the kernel whether names and sizes are as they were, for some arrays at a time; one
 * of which they are not, or that was not seen before, is mapped and its headers are verified. What
 * is lost is healed (store/array_heal.h). One that cannot be healed now, since somebody writes in
 * it or there is no room, waits ten times as long as the attempt took; one of which nothing is left
 * is remembered as such.
 *
 * Elements are scrubbed at the pace of a node's scrubber, a tile at a time.
 *
 * The watch is private memory of one thread. Killed anywhere: the next keeper looks at everything.
 */
#ifndef DSM_NODE_ARRAY_WATCH_H
#define DSM_NODE_ARRAY_WATCH_H

#include "../store/array.h"
#include "cluster.h"

typedef struct dsm_array_seen {
  uint64_t number;   /* as which it was sound, or lost; 0: not seen */
  uint64_t bytes;    /* of each file */
  uint64_t again_ns; /* when to try again to heal it */
  uint32_t copies;   /* files; 0: none is left */
} dsm_array_seen;

typedef struct dsm_array_watch {
  uint32_t next;
  uint32_t entry;       /* that is being scrubbed, … */
  bool mapped;          /* … and whether it is mapped … */
  dsm_array array;      /* … here */
  uint64_t tile;        /* the next one */
  uint64_t scrub_at_ns; /* when the pace allows to go on */
  dsm_array_seen seen[DSM_ARRAYS_MAX];
} dsm_array_watch;

/* `deep`: headers are verified again. Returns early once *stop is 1. */
void dsm_array_watch_look(dsm_array_watch *watch, dsm_cluster *cluster, bool deep,
                          const dsm_atomic_u32 *stop);

/* Scrubs one tile if the pace of so many bytes a second allows it (store/array_scrub.h). */
void dsm_array_watch_scrub(dsm_array_watch *watch, dsm_cluster *cluster, uint64_t rate);
/* Unmaps what is being scrubbed. */
void dsm_array_watch_close(dsm_array_watch *watch);

#endif
