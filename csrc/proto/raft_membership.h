/* Membership and its changes: which nodes vote, and which only listen (quorum.h counts them).
 *
 * A change is either one step, in which at most one voter comes or goes, or joint consensus, in
 * which both the old and the new voters must agree until the joint phase is left (section 6).
 * Functions of values: nothing is owned here and nothing is remembered.
 *
 * Invariants (dsm__raft_membership_valid): learners neither vote nor voted; learners_next is part
 * of outgoing; outside a joint phase outgoing and learners_next are empty; there is a voter.
 */
#ifndef DSM_PROTO_RAFT_MEMBERSHIP_H
#define DSM_PROTO_RAFT_MEMBERSHIP_H

#include "quorum.h"
#include "raft.h"

enum { DSM__RAFT_CHANGE_BYTES_MAX = 2 + 2 * DSM_RAFT_CHANGES_MAX };

uint32_t dsm_raft_change_encode(const dsm_raft_change *change, uint8_t *out);
dsm_status dsm_raft_change_decode(const uint8_t *bytes, uint32_t count, dsm_raft_change *out);
/* DSM_USAGE, and *membership unchanged, when the change does not fit. */
dsm_status dsm_raft_membership_apply(dsm_raft_membership *membership,
                                     const dsm_raft_change *change);

bool dsm__raft_membership_valid(const dsm_raft_membership *membership);
static inline uint64_t dsm__raft_members(const dsm_raft_membership *membership) {
  return membership->voters | membership->outgoing | membership->learners |
         membership->learners_next;
}

static inline uint64_t dsm__raft_voters(const dsm_raft_membership *membership) {
  return membership->voters | membership->outgoing;
}

static inline dsm_quorum dsm__raft_quorum(const dsm_raft_membership *membership) {
  return (dsm_quorum){.incoming = membership->voters, .outgoing = membership->outgoing};
}

static inline uint64_t dsm__raft_bit(uint8_t node) {
  return UINT64_C(1) << node;
}

#endif
