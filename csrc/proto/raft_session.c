/* The table of sessions; raft_session.h says why it looks as it does.
 *
 * Law: what happens depends on the table and the entry alone, never on the node.
 */
#include "raft_session.h"

#include <string.h>

static dsm_raft_session *find(dsm__raft_sessions *sessions, uint64_t id) {
  uint32_t low = 0, high = sessions->count;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (sessions->table[middle].id < id)
      low = middle + 1;
    else
      high = middle;
  }
  bool found = low < sessions->count && sessions->table[low].id == id;
  return found ? &sessions->table[low] : NULL;
}

static void take_out(dsm__raft_sessions *sessions, dsm_raft_session *session) {
  uint32_t at = (uint32_t)(session - sessions->table);
  sessions->count--;
  memmove(session, session + 1, (sessions->count - at) * sizeof *session);
}

static void open(dsm__raft_sessions *sessions, uint64_t index) {
  if (sessions->count == sessions->capacity) {
    dsm_raft_session *oldest = &sessions->table[0];
    for (uint32_t i = 1; i < sessions->count; i++)
      if (sessions->table[i].used_index < oldest->used_index) oldest = &sessions->table[i];
    take_out(sessions, oldest);
  }
  /* Ids are log indexes, so a new one is the largest and the order is kept. */
  sessions->table[sessions->count++] = (dsm_raft_session){.id = index, .used_index = index};
}

dsm_raft_verdict dsm__raft_sessions_apply(dsm__raft_sessions *sessions,
                                          const dsm_raft_entry *entry) {
  if (entry->kind == DSM_RAFT_SESSION_OPEN) {
    if (sessions->capacity == 0) return DSM_RAFT_EXPIRED;
    open(sessions, entry->index);
    return DSM_RAFT_APPLY;
  }
  if (entry->kind != DSM_RAFT_SESSION_CLOSE && entry->session == 0) return DSM_RAFT_APPLY;
  dsm_raft_session *session = find(sessions, entry->session);
  if (session == NULL) return DSM_RAFT_EXPIRED;
  if (entry->kind == DSM_RAFT_SESSION_CLOSE) {
    take_out(sessions, session);
    return DSM_RAFT_APPLY;
  }
  session->used_index = entry->index;
  if (entry->sequence <= session->sequence) return DSM_RAFT_DUPLICATE;
  if (entry->sequence != session->sequence + 1) return DSM_RAFT_GAP;
  session->sequence = entry->sequence;
  return DSM_RAFT_APPLY;
}

bool dsm__raft_sessions_valid(const dsm__raft_sessions *sessions) {
  if (sessions->count > sessions->capacity) return false;
  for (uint32_t i = 0; i < sessions->count; i++) {
    if (sessions->table[i].used_index < sessions->table[i].id) return false;
    if (i > 0 && sessions->table[i - 1].id >= sessions->table[i].id) return false;
  }
  return true;
}
