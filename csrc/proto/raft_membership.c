/* Changes of membership as functions of values; raft_membership.h says which are allowed.
 *
 * Law: a change that does not fit leaves everything as it was; bytes from a log are input, and end
 * in DSM_CORRUPT when they are no change.
 */
#include "raft_membership.h"

#include "../base/check.h"

uint32_t dsm_raft_change_encode(const dsm_raft_change *change, uint8_t *out) {
  DSM_ASSERT(change->count <= DSM_RAFT_CHANGES_MAX);
  out[0] = change->transition;
  out[1] = change->count;
  for (uint32_t i = 0; i < change->count; i++) {
    out[2 + 2 * i] = change->steps[i].op;
    out[3 + 2 * i] = change->steps[i].node;
  }
  return 2u + 2u * change->count;
}

dsm_status dsm_raft_change_decode(const uint8_t *bytes, uint32_t count, dsm_raft_change *out) {
  if (count < 2 || bytes[0] > DSM_RAFT_LEAVE_JOINT || bytes[1] > DSM_RAFT_CHANGES_MAX ||
      count != 2u + 2u * bytes[1])
    return DSM_CORRUPT;
  *out = (dsm_raft_change){.transition = bytes[0], .count = bytes[1]};
  for (uint32_t i = 0; i < out->count; i++) {
    out->steps[i].op = bytes[2 + 2 * i];
    out->steps[i].node = bytes[3 + 2 * i];
    if (out->steps[i].op > DSM_RAFT_REMOVE || out->steps[i].node >= DSM_RAFT_NODES_MAX)
      return DSM_CORRUPT;
  }
  return DSM_OK;
}

static void take_step(dsm_raft_membership *to, uint8_t op, uint64_t bit) {
  if (op == DSM_RAFT_ADD_LEARNER && ((to->learners | to->learners_next) & bit)) return;
  to->voters &= ~bit;
  to->learners &= ~bit;
  to->learners_next &= ~bit;
  if (op == DSM_RAFT_ADD_VOTER) to->voters |= bit;
  if (op != DSM_RAFT_ADD_LEARNER) return;
  /* A voter of the outgoing half cannot be a learner as well: its vote still counts there. */
  if (to->outgoing & bit)
    to->learners_next |= bit;
  else
    to->learners |= bit;
}

static void take_steps(dsm_raft_membership *to, const dsm_raft_change *change) {
  for (uint32_t i = 0; i < change->count; i++)
    take_step(to, change->steps[i].op, dsm__raft_bit(change->steps[i].node));
}

static dsm_status leave_joint(dsm_raft_membership *to, const dsm_raft_change *change) {
  if (to->outgoing == 0 || change->count != 0) return DSM_USAGE;
  to->learners |= to->learners_next;
  to->learners_next = 0;
  to->outgoing = 0;
  to->auto_leave = false;
  return DSM_OK;
}

dsm_status dsm_raft_membership_apply(dsm_raft_membership *membership,
                                     const dsm_raft_change *change) {
  dsm_raft_membership next = *membership;
  if (change->transition == DSM_RAFT_LEAVE_JOINT) {
    DSM_TRY(leave_joint(&next, change));
  } else {
    if (membership->outgoing != 0 || membership->voters == 0) return DSM_USAGE;
    take_steps(&next, change);
    int moved = __builtin_popcountll(next.voters ^ membership->voters);
    if (change->transition != DSM_RAFT_AUTO || moved > 1) {
      next = *membership;
      next.outgoing = membership->voters;
      next.auto_leave = change->transition != DSM_RAFT_JOINT_EXPLICIT;
      take_steps(&next, change);
    }
  }
  if (!dsm__raft_membership_valid(&next)) return DSM_USAGE;
  *membership = next;
  return DSM_OK;
}

bool dsm__raft_membership_valid(const dsm_raft_membership *m) {
  if (m->voters == 0) return false;
  if (m->learners & (m->voters | m->outgoing)) return false;
  if (m->learners_next & ~m->outgoing) return false;
  if (m->learners_next & m->voters) return false;
  return m->outgoing != 0 || (m->learners_next == 0 && !m->auto_leave);
}
