/* What a leader knows of one follower: how far it matches, and how fast it may be sent to.
 *
 * Three modes (named by etcd's implementation, the idea is flow control on top of section 5.3):
 *   PROBE      where the logs agree is not known: one APPEND per heartbeat interval
 *   REPLICATE  they agree up to match: entries are pipelined, at most inflight_max APPENDs
 * unanswered SNAPSHOT   the follower needs what is compacted: nothing is sent until the snapshot is
 * answered
 *
 * Invariant: match < next; in SNAPSHOT mode next is one past the snapshot.
 */
#ifndef DSM_PROTO_RAFT_PROGRESS_H
#define DSM_PROTO_RAFT_PROGRESS_H

#include "raft.h"

typedef enum dsm_raft_progress_mode {
  DSM_RAFT_PROBE,
  DSM_RAFT_REPLICATE,
  DSM_RAFT_SENDING_SNAPSHOT
} dsm_raft_progress_mode;

typedef struct dsm__raft_progress {
  uint64_t match;
  uint64_t next;
  uint64_t sent_commit; /* the largest commit index sent: a follower need not be told twice */
  uint64_t snapshot_index;
  uint64_t snapshot_sent_at;
  uint64_t *inflight; /* ring of the last index of each unanswered APPEND that carried entries */
  uint32_t inflight_start;
  uint32_t inflight_count;
  uint8_t mode;
  bool paused; /* PROBE: one is under way; REPLICATE: the window is full */
  bool recently_active;
} dsm__raft_progress;

void dsm__raft_progress_reset(dsm__raft_progress *p, uint64_t match, uint64_t next);
void dsm__raft_progress_probe(dsm__raft_progress *p);
void dsm__raft_progress_replicate(dsm__raft_progress *p);
void dsm__raft_progress_snapshot(dsm__raft_progress *p, uint64_t index, uint64_t now);
bool dsm__raft_progress_is_paused(const dsm__raft_progress *p);
/* An APPEND left with count entries, the last of them at last. */
void dsm__raft_progress_sent(dsm__raft_progress *p, uint64_t last, uint32_t count,
                             uint32_t inflight_max);
/* An acknowledgement up to index; false when it tells nothing new. */
bool dsm__raft_progress_matched(dsm__raft_progress *p, uint64_t index, uint32_t inflight_max);
/* A refusal of the entry at probed; false when it is an old message. hint is where to try next. */
bool dsm__raft_progress_refused(dsm__raft_progress *p, uint64_t probed, uint64_t hint);

#endif
