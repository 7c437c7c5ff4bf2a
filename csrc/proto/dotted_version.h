/* Dotted version vector sets (Almeida, Baquero, Goncalves, Preguica and Fonte 2014): the values of
 * one object that no other has superseded, with just the causal history that it takes to know that.
 *
 * An entry (node, counter, values) says that the dots 1 to counter of that node have been seen; its
 * values, newest first, belong to the last of them, all older ones are superseded. Anonymous values
 * have a history but no dot yet, in ascending order. A set's history alone, the context that a
 * reader takes along, is a set without values. Values are words: the caller's handles.
 *
 * Invariants: entries ascend by node; no entry has more values than its counter; a node counts its
 * own dots alone, so two sets never give one dot to two values.
 *
 * Pure, no allocation: a set lives in arrays that its owner brings. Results go to a set of their
 * own, never one of the arguments; DSM_TOO_MANY leaves a result that must not be used.
 */
#ifndef DSM_PROTO_DOTTED_VERSION_H
#define DSM_PROTO_DOTTED_VERSION_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/status.h"
#include "vector_clock.h"

typedef struct dsm_dotted_entry {
  uint64_t counter;
  uint32_t node, value_count;
} dsm_dotted_entry;

typedef struct dsm_dotted_set {
  dsm_dotted_entry *entries;
  uint64_t *values; /* entry by entry, then the anonymous ones */
  uint32_t entry_count, entry_count_max;
  uint32_t value_count, value_count_max;
} dsm_dotted_set;

/* The empty set. */
void dsm_dotted_init(dsm_dotted_set *set, dsm_dotted_entry *entries, uint32_t entry_count_max,
                     uint64_t *values, uint32_t value_count_max);

bool dsm_dotted_valid(const dsm_dotted_set *set);

/* How many of the values, the last ones, are anonymous. */
uint32_t dsm_dotted_anonymous_count(const dsm_dotted_set *set);

/* The history of a set without its values ("join"). */
dsm_status dsm_dotted_context(dsm_dotted_set *result, const dsm_dotted_set *set);

/* What both sets together know ("sync"). */
dsm_status dsm_dotted_sync(dsm_dotted_set *result, const dsm_dotted_set *left,
                           const dsm_dotted_set *right);

/* A write of value at node by a client that has seen context, into what is stored there ("update"):
 * what the client had seen is superseded, everything else stays as a sibling. */
dsm_status dsm_dotted_update(dsm_dotted_set *result, const dsm_dotted_set *context,
                             const dsm_dotted_set *stored, uint32_t node, uint64_t value);

/* The history with one anonymous value in the place of all others ("reconcile"). */
dsm_status dsm_dotted_reconcile(dsm_dotted_set *result, const dsm_dotted_set *set, uint64_t value);

/* The history with one of the set's own values, by its index ("lww"). It keeps its dot when it is
 * the newest of its entry and becomes anonymous otherwise. DSM_USAGE for an index out of range. */
dsm_status dsm_dotted_keep(dsm_dotted_set *result, const dsm_dotted_set *set, uint32_t index);

/* How the history of left lies to that of right; values do not count. */
dsm_clock_order dsm_dotted_compare(const dsm_dotted_set *left, const dsm_dotted_set *right);

#endif
