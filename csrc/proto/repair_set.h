/* What to send where so that replicas agree, and nothing more: for every key on which they differ,
 * the winning version goes from one replica that has it to exactly those that do not.
 *
 * Each replica's items come as a list that ascends by (key_hash, key_check), each key once; the
 * second hash tells two keys apart whose first ones coincide. A deletion is a version like others
 * (the caller's tombstone), since a missing item means "never heard of". The winner follows
 * conflict.h's total order, so every replica that computes the set computes the same one.
 *
 * An iterator over at most DSM_REPAIR_REPLICAS_MAX lists; pure.
 */
#ifndef DSM_PROTO_REPAIR_SET_H
#define DSM_PROTO_REPAIR_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conflict.h"

enum { DSM_REPAIR_REPLICAS_MAX = 8 };

typedef struct dsm_repair_item {
  uint64_t key_hash, key_check;
  dsm_conflict_version version;
} dsm_repair_item;

typedef struct dsm_repair_list {
  const dsm_repair_item *items;
  size_t count;
} dsm_repair_list;

typedef struct dsm_repair_move {
  const dsm_repair_item *item;
  uint32_t source;  /* the first replica that holds the winner */
  uint32_t targets; /* a bit per replica that needs it */
} dsm_repair_move;

typedef struct dsm_repair_set {
  const dsm_repair_list *lists;
  uint32_t list_count;
  bool first_wins;
  size_t next[DSM_REPAIR_REPLICAS_MAX];
} dsm_repair_set;

/* DSM_USAGE for more lists than DSM_REPAIR_REPLICAS_MAX, for a list out of order, and for a custom
 * policy, whose answer may be a version that no replica holds. */
dsm_status dsm_repair_set_start(dsm_repair_set *set, const dsm_repair_list *lists,
                                uint32_t list_count, dsm_conflict_policy policy);

/* The next key that has to move; false when there is none left. */
bool dsm_repair_set_next(dsm_repair_set *set, dsm_repair_move *move);

#endif
