/* Client sessions: a command that a client retries is applied once (dissertation, section 6.3).
 *
 * Part of the replicated state machine: it changes only by applying entries, in log order, so every
 * node holds the same table at the same index, and snapshots carry it. A full table evicts the
 * session whose last entry is oldest. Within a session commands are applied in the order of their
 * numbers without gaps: were a later one let through, the earlier one's retry would be lost.
 */
#ifndef DSM_PROTO_RAFT_SESSION_H
#define DSM_PROTO_RAFT_SESSION_H

#include "raft.h"

typedef struct dsm__raft_sessions {
  dsm_raft_session *table; /* ascending by id, so that two nodes' tables compare byte for byte */
  uint32_t count;
  uint32_t capacity;
} dsm__raft_sessions;

dsm_raft_verdict dsm__raft_sessions_apply(dsm__raft_sessions *sessions,
                                          const dsm_raft_entry *entry);
bool dsm__raft_sessions_valid(const dsm__raft_sessions *sessions);

#endif
