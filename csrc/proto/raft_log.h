/* The log of one node: entries first .. last, with what is known of the entry before the first.
 *
 * Entries sit in a ring of slots by index; their payloads sit in a ring of bytes, each in one
 * piece. Appending, cutting the tail (a conflict) and dropping the head (compaction) are the only
 * changes. It knows nothing of commits: its owner never cuts what is committed.
 */
#ifndef DSM_PROTO_RAFT_LOG_H
#define DSM_PROTO_RAFT_LOG_H

#include "raft.h"

typedef struct dsm__raft_slot {
  uint64_t term;
  uint64_t session;
  uint64_t sequence;
  uint64_t payload_at; /* grows without end; modulo the capacity it is a place in the byte ring */
  uint32_t payload_bytes;
  uint8_t kind;
  uint8_t verdict;
} dsm__raft_slot;

typedef struct dsm__raft_log {
  dsm__raft_slot *slots;
  uint8_t *payloads;
  uint64_t first;
  uint64_t last;      /* first - 1 when empty */
  uint64_t base_term; /* of entry first - 1 */
  uint64_t payload_head;
  uint64_t payload_tail;
  uint32_t slot_capacity;
  uint32_t payload_capacity_bytes;
} dsm__raft_log;

void dsm__raft_log_reset(dsm__raft_log *log, uint64_t base_index, uint64_t base_term);
bool dsm__raft_log_fits(const dsm__raft_log *log, const dsm_raft_entry *entries, uint32_t count,
                        uint32_t slots_reserved);
/* Entry last + 1; false and nothing changed when there is no room. */
bool dsm__raft_log_append(dsm__raft_log *log, const dsm_raft_entry *entry);
void dsm__raft_log_cut(dsm__raft_log *log, uint64_t last);
void dsm__raft_log_compact(dsm__raft_log *log, uint64_t index);
bool dsm__raft_log_term(const dsm__raft_log *log, uint64_t index, uint64_t *term);
bool dsm__raft_log_entry(const dsm__raft_log *log, uint64_t index, dsm_raft_entry *out);
/* The largest index <= index whose term is <= term: where two logs can agree at the latest (the
 * fast backing-up at the end of section 5.3). */
uint64_t dsm__raft_log_agreement(const dsm__raft_log *log, uint64_t index, uint64_t term,
                                 uint64_t *agreed_term);
bool dsm__raft_log_valid(const dsm__raft_log *log);

static inline dsm__raft_slot *dsm__raft_log_slot(const dsm__raft_log *log, uint64_t index) {
  return &log->slots[index & (log->slot_capacity - 1)];
}

static inline uint64_t dsm__raft_log_last_term(const dsm__raft_log *log) {
  return log->last < log->first ? log->base_term : dsm__raft_log_slot(log, log->last)->term;
}

#endif
