/* Who is silent: the nodes and the owner as this process's service thread judges them.
 *
 * A service thread's beat is a store into its slot, so it comes also while Python computes, and
 * judging costs no message: the pure detector (proto/failure_detector.h) is fed with the times of
 * the beats, on the one clock that all processes of the machine share. A verdict is an opinion: it
 * ends a process only through the keeper (keeper.h), and its end is learnt from the kernel.
 *
 *   I  nobody is judged before its service thread has begun to beat
 *   I  who was away itself (stopped, starved, suspended with the machine) forgives all others as
 *      much silence, and is slower to accuse for a while
 *   I  an incarnation that was given up stays so
 *
 * Private to one service thread. Missed beats accuse at the latest; phi accrual, if chosen, may do
 * so earlier when the beats used to be regular: the graver verdict counts.
 */
#ifndef DSM_NODE_PEERS_H
#define DSM_NODE_PEERS_H

#include "../mem/space.h"
#include "../proto/failure_detector.h"

typedef struct dsm_peers dsm_peers;

/* NULL without memory. */
dsm_peers *dsm_peers_open(const dsm_space *space, uint64_t now_ns);
void dsm_peers_close(dsm_peers *peers);
/* One judgement of all; to be called every heartbeat_ms, for lateness is told from its calls. */
void dsm_peers_look(dsm_peers *peers, const dsm_space *space, uint64_t now_ns);
/* The verdict over that incarnation of participant 0 … 63; alive if it was never judged. */
dsm_peer_state dsm_peers_verdict(const dsm_peers *peers, uint32_t participant,
                                 uint32_t incarnation);

#endif
