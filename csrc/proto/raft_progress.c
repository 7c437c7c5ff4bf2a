/* How a follower's mode changes; raft_progress.h says what the modes mean.
 *
 * Law: match never falls while a leader leads; an old message never moves next backwards.
 */
#include "raft_progress.h"

static void change_mode(dsm__raft_progress *p, dsm_raft_progress_mode mode) {
  p->mode = mode;
  p->paused = false;
  p->snapshot_index = 0;
  p->inflight_start = 0;
  p->inflight_count = 0;
}

void dsm__raft_progress_reset(dsm__raft_progress *p, uint64_t match, uint64_t next) {
  change_mode(p, DSM_RAFT_PROBE);
  p->match = match;
  p->next = next;
  p->sent_commit = 0;
  p->snapshot_sent_at = 0;
  p->recently_active = false;
}

void dsm__raft_progress_probe(dsm__raft_progress *p) {
  /* A snapshot that was on its way may have arrived: probing starts right after it. */
  uint64_t snapshot_index = p->mode == DSM_RAFT_SENDING_SNAPSHOT ? p->snapshot_index : 0;
  change_mode(p, DSM_RAFT_PROBE);
  p->next = (p->match > snapshot_index ? p->match : snapshot_index) + 1;
  if (p->sent_commit >= p->next) p->sent_commit = p->next - 1;
}

void dsm__raft_progress_replicate(dsm__raft_progress *p) {
  change_mode(p, DSM_RAFT_REPLICATE);
  p->next = p->match + 1;
}

void dsm__raft_progress_snapshot(dsm__raft_progress *p, uint64_t index, uint64_t now) {
  change_mode(p, DSM_RAFT_SENDING_SNAPSHOT);
  p->snapshot_index = index;
  p->snapshot_sent_at = now;
  p->next = index + 1;
  p->sent_commit = index;
}

bool dsm__raft_progress_is_paused(const dsm__raft_progress *p) {
  return p->mode == DSM_RAFT_SENDING_SNAPSHOT || p->paused;
}

void dsm__raft_progress_sent(dsm__raft_progress *p, uint64_t last, uint32_t count,
                             uint32_t inflight_max) {
  if (p->mode == DSM_RAFT_PROBE) {
    /* Also an empty probe is answered, so another one before the next heartbeat says no more. */
    p->paused = true;
    return;
  }
  if (count > 0) {
    p->next = last + 1;
    p->inflight[(p->inflight_start + p->inflight_count) % inflight_max] = last;
    p->inflight_count++;
  }
  /* A full window lets one empty APPEND through per heartbeat answered: were the whole window
   * lost, nothing else would ever be refused and so set it right. */
  p->paused = p->inflight_count >= inflight_max;
}

bool dsm__raft_progress_matched(dsm__raft_progress *p, uint64_t index, uint32_t inflight_max) {
  while (p->inflight_count > 0 && p->inflight[p->inflight_start] <= index) {
    p->inflight_start = (p->inflight_start + 1) % inflight_max;
    p->inflight_count--;
  }
  if (index <= p->match) return false;
  p->match = index;
  if (p->next <= index) p->next = index + 1;
  p->paused = p->mode == DSM_RAFT_REPLICATE && p->inflight_count >= inflight_max;
  return true;
}

bool dsm__raft_progress_refused(dsm__raft_progress *p, uint64_t probed, uint64_t hint) {
  if (p->mode == DSM_RAFT_REPLICATE) {
    /* What is at most match was acknowledged once, so the refusal is older than that. */
    if (probed <= p->match) return false;
    dsm__raft_progress_probe(p);
    return true;
  }
  /* A probe is refused at next - 1; everything else answers a message of the past. */
  if (p->mode != DSM_RAFT_PROBE || p->next - 1 != probed) return false;
  uint64_t next = hint + 1 < probed ? hint + 1 : probed;
  p->next = next > p->match ? next : p->match + 1;
  if (p->sent_commit >= p->next) p->sent_commit = p->next - 1;
  p->paused = false;
  return true;
}
