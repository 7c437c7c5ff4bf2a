/* Two-phase commit: each transition by hand, then random walks of one transaction over a network
 * that loses, repeats and reorders, with crashes that keep any prefix of the log.
 *
 * Build with csrc/proto/two_phase_*.c and csrc/base/{check,status}.c. Exit status 0, or an abort
 * that names the line and, for a walk, its seed.
 */
#include "../../csrc/base/check.h"
#include "../../csrc/proto/two_phase_decision.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const dsm_two_phase_options classic = {1000, 5000, 100, 300, false};
static const dsm_two_phase_options swapped = {1000, 5000, 100, 300, true};

static dsm_two_phase_outputs out;

static dsm_two_phase_outputs *fresh(void) {
  dsm_two_phase_outputs_clear(&out);
  return &out;
}

static dsm_two_phase_message say(uint32_t kind, uint32_t from, uint32_t to, uint32_t vote) {
  return (dsm_two_phase_message){7, kind, vote, from, to};
}

static void votes_decide(void) {
  dsm_coordinator coordinator;
  DSM_ASSERT(dsm_coordinator_init(&coordinator, 7, 0, 0, &classic) == DSM_USAGE);
  DSM_ASSERT(dsm_coordinator_init(&coordinator, 7, 64, 1, &classic) == DSM_USAGE);
  DSM_ASSERT(dsm_coordinator_init(&coordinator, 7, 0, 0x6, &classic) == DSM_OK);
  DSM_ASSERT(dsm_coordinator_begin(&coordinator, 10, fresh()) == DSM_OK);
  DSM_ASSERT(out.now_count == 2 && out.record_count == 0);
  DSM_ASSERT(dsm_coordinator_begin(&coordinator, 10, fresh()) == DSM_USAGE);

  dsm_two_phase_message yes = say(DSM_TWO_PHASE_VOTE, 1, 0, DSM_VOTE_YES);
  DSM_ASSERT(dsm_coordinator_receive(&coordinator, &yes, 20, fresh()) == DSM_OK);
  DSM_ASSERT(dsm_coordinator_receive(&coordinator, &yes, 20, fresh()) == DSM_OK);
  DSM_ASSERT(coordinator.state == DSM_COORDINATOR_PREPARING); /* a repeated vote is one vote */
  dsm_coordinator_tick(&coordinator, 110, fresh());
  DSM_ASSERT(out.now_count == 1 && out.now[0].to == 2); /* only who is silent is asked again */

  yes.from = 2;
  DSM_ASSERT(dsm_coordinator_receive(&coordinator, &yes, 120, fresh()) == DSM_OK);
  DSM_ASSERT(out.record_count == 1 && out.records[0].kind == DSM_RECORD_COMMIT);
  DSM_ASSERT(out.records[0].forced && out.records[0].participants == 0x6);
  DSM_ASSERT(out.now_count == 0 && out.once_durable_count == 2 && out.outcome_once_durable);

  dsm_two_phase_message inquire = say(DSM_TWO_PHASE_INQUIRE, 1, 0, 0);
  DSM_ASSERT(dsm_coordinator_receive(&coordinator, &inquire, 130, fresh()) == DSM_OK);
  DSM_ASSERT(out.now_count == 0 && out.once_durable[0].kind == DSM_TWO_PHASE_COMMIT);

  dsm_two_phase_message acknowledge = say(DSM_TWO_PHASE_ACKNOWLEDGE, 1, 0, 0);
  DSM_ASSERT(dsm_coordinator_receive(&coordinator, &acknowledge, 140, fresh()) == DSM_OK);
  dsm_coordinator_tick(&coordinator, 300, fresh());
  DSM_ASSERT(out.once_durable_count == 1 && out.once_durable[0].to == 2);
  acknowledge.from = 2;
  DSM_ASSERT(dsm_coordinator_receive(&coordinator, &acknowledge, 310, fresh()) == DSM_OK);
  DSM_ASSERT(coordinator.state == DSM_COORDINATOR_DONE);
  DSM_ASSERT(out.record_count == 1 && out.records[0].kind == DSM_RECORD_END);
  DSM_ASSERT(!out.records[0].forced);
}

static void abort_leaves_no_record(void) {
  dsm_coordinator coordinator;
  DSM_ASSERT(dsm_coordinator_init(&coordinator, 7, 0, 0xe, &classic) == DSM_OK);
  DSM_ASSERT(dsm_coordinator_begin(&coordinator, 0, fresh()) == DSM_OK);
  dsm_two_phase_message no = say(DSM_TWO_PHASE_VOTE, 2, 0, DSM_VOTE_NO);
  DSM_ASSERT(dsm_coordinator_receive(&coordinator, &no, 1, fresh()) == DSM_OK);
  DSM_ASSERT(out.outcome == DSM_OUTCOME_ABORTED && out.record_count == 0);
  DSM_ASSERT(out.now_count == 2 && out.now[0].to == 1 && out.now[1].to == 3);
  DSM_ASSERT(dsm_coordinator_abort(&coordinator, fresh()) == DSM_RETRY);

  DSM_ASSERT(dsm_coordinator_init(&coordinator, 7, 0, 0x2, &classic) == DSM_OK);
  DSM_ASSERT(dsm_coordinator_begin(&coordinator, 0, fresh()) == DSM_OK);
  dsm_coordinator_tick(&coordinator, 999, fresh());
  DSM_ASSERT(coordinator.state == DSM_COORDINATOR_PREPARING);
  dsm_coordinator_tick(&coordinator, 1000, fresh());
  DSM_ASSERT(coordinator.outcome == DSM_OUTCOME_ABORTED);

  dsm_two_phase_message answer, inquire = say(DSM_TWO_PHASE_INQUIRE, 3, 0, 0);
  DSM_ASSERT(dsm_coordinator_presume(&inquire, DSM_OUTCOME_ABORTED, &answer));
  DSM_ASSERT(answer.kind == DSM_TWO_PHASE_ABORT && answer.to == 3);
  DSM_ASSERT(!dsm_coordinator_presume(&inquire, DSM_OUTCOME_NONE, &answer));
}

static void readers_are_left_out(void) {
  dsm_coordinator coordinator;
  DSM_ASSERT(dsm_coordinator_init(&coordinator, 7, 0, 0x6, &classic) == DSM_OK);
  DSM_ASSERT(dsm_coordinator_begin(&coordinator, 0, fresh()) == DSM_OK);
  dsm_two_phase_message vote = say(DSM_TWO_PHASE_VOTE, 1, 0, DSM_VOTE_READ_ONLY);
  DSM_ASSERT(dsm_coordinator_receive(&coordinator, &vote, 1, fresh()) == DSM_OK);
  dsm_coordinator all_readers = coordinator;
  vote.from = 2;
  DSM_ASSERT(dsm_coordinator_receive(&all_readers, &vote, 1, fresh()) == DSM_OK);
  DSM_ASSERT(all_readers.state == DSM_COORDINATOR_DONE && out.record_count == 0);
  DSM_ASSERT(out.outcome == DSM_OUTCOME_COMMITTED && !out.outcome_once_durable);
  vote.vote = DSM_VOTE_YES;
  DSM_ASSERT(dsm_coordinator_receive(&coordinator, &vote, 1, fresh()) == DSM_OK);
  DSM_ASSERT(out.once_durable_count == 1 && out.once_durable[0].to == 2);
  DSM_ASSERT(out.records[0].participants == 0x4);
}

static void participant_by_hand(void) {
  dsm_participant participant;
  dsm_two_phase_message prepare = say(DSM_TWO_PHASE_PREPARE, 0, 1, 0);
  dsm_two_phase_message commit = say(DSM_TWO_PHASE_COMMIT, 0, 1, 0);
  dsm_two_phase_message abort_it = say(DSM_TWO_PHASE_ABORT, 0, 1, 0);
  DSM_ASSERT(dsm_participant_init(&participant, 7, 1, 0, &classic, 0) == DSM_OK);
  DSM_ASSERT(dsm_participant_receive(&participant, &commit, 0, fresh()) == DSM_CORRUPT);
  DSM_ASSERT(participant.state == DSM_PARTICIPANT_WORKING);
  DSM_ASSERT(dsm_participant_vote(&participant, DSM_VOTE_YES, 0, fresh()) == DSM_RETRY);
  DSM_ASSERT(dsm_participant_receive(&participant, &prepare, 0, fresh()) == DSM_OK);
  DSM_ASSERT(out.vote_wanted);
  DSM_ASSERT(dsm_participant_vote(&participant, DSM_VOTE_YES, 0, fresh()) == DSM_OK);
  DSM_ASSERT(out.now_count == 0 && out.once_durable_count == 1 && out.records[0].forced);
  dsm_participant_tick(&participant, 300, fresh());
  DSM_ASSERT(out.now_count == 1 && out.now[0].kind == DSM_TWO_PHASE_INQUIRE);
  DSM_ASSERT(participant.state == DSM_PARTICIPANT_PREPARED);

  dsm_participant restarted;
  dsm_two_phase_record record = {7, 0, DSM_RECORD_PREPARED, 0, true};
  DSM_ASSERT(dsm_participant_init(&restarted, 7, 1, 0, &classic, 900) == DSM_OK);
  DSM_ASSERT(dsm_participant_recover(&restarted, &record) == DSM_OK);
  dsm_participant_tick(&restarted, 901, fresh());
  DSM_ASSERT(out.now_count == 1 && out.now[0].kind == DSM_TWO_PHASE_INQUIRE);

  DSM_ASSERT(dsm_participant_receive(&participant, &commit, 0, fresh()) == DSM_OK);
  DSM_ASSERT(out.records[0].kind == DSM_RECORD_COMMITTED && out.records[0].forced);
  DSM_ASSERT(out.once_durable[0].kind == DSM_TWO_PHASE_ACKNOWLEDGE);
  DSM_ASSERT(dsm_participant_receive(&participant, &abort_it, 0, fresh()) == DSM_OK);
  DSM_ASSERT(participant.state == DSM_PARTICIPANT_COMMITTED && out.outcome == DSM_OUTCOME_NONE);

  DSM_ASSERT(dsm_participant_receive(&restarted, &abort_it, 0, fresh()) == DSM_OK);
  DSM_ASSERT(restarted.state == DSM_PARTICIPANT_ABORTED && !out.records[0].forced);

  DSM_ASSERT(dsm_participant_init(&participant, 7, 1, 0, &classic, 0) == DSM_OK);
  dsm_participant_tick(&participant, 5000, fresh());
  DSM_ASSERT(participant.state == DSM_PARTICIPANT_ABORTED && out.record_count == 0);
  DSM_ASSERT(dsm_participant_receive(&participant, &prepare, 0, fresh()) == DSM_OK);
  DSM_ASSERT(out.now[0].vote == DSM_VOTE_NO);
}

static void one_swap_decides(void) {
  dsm_atomic_u64 word;
  dsm_decision_open(&word, 7);
  DSM_ASSERT(dsm_decision_read(&word, 7) == DSM_OUTCOME_NONE);
  DSM_ASSERT(dsm_decision_decide(&word, 7, DSM_OUTCOME_ABORTED) == DSM_OUTCOME_ABORTED);
  DSM_ASSERT(dsm_decision_decide(&word, 7, DSM_OUTCOME_COMMITTED) == DSM_OUTCOME_ABORTED);
  dsm_decision_open(&word, 8);
  DSM_ASSERT(dsm_decision_decide(&word, 7, DSM_OUTCOME_COMMITTED) == DSM_OUTCOME_ABORTED);
  DSM_ASSERT(dsm_decision_read(&word, 8) == DSM_OUTCOME_NONE);
  dsm_decision_open(&word, DSM_DECISION_TRANSACTION_MAX);
  DSM_ASSERT(dsm_decision_decide(&word, DSM_DECISION_TRANSACTION_MAX, DSM_OUTCOME_COMMITTED) ==
             DSM_OUTCOME_COMMITTED);
}

/* The walk: node 0 coordinates, nodes 1 to 3 take part. */
enum { PARTIES = 4, NET_MAX = 256, LOG_MAX = 32 };

static struct walk {
  dsm_coordinator coordinator;
  dsm_participant participants[PARTIES];
  dsm_two_phase_record log[PARTIES][LOG_MAX];
  uint32_t durable[PARTIES], logged[PARTIES];
  dsm_two_phase_message net[NET_MAX];
  struct { /* messages that wait for their node's log to become durable up to `mark` */
    dsm_two_phase_message message;
    uint32_t mark;
  } held[NET_MAX];
  uint32_t net_count, held_count;
  uint64_t now_us, random;
  bool coordinator_known, committed, aborted, non_blocking;
  dsm_atomic_u64 word;
} walk;

static uint32_t dice(uint32_t sides) {
  walk.random ^= walk.random << 13;
  walk.random ^= walk.random >> 7;
  walk.random ^= walk.random << 17;
  return (uint32_t)((walk.random >> 20) % sides);
}

static void post(const dsm_two_phase_message *message) {
  /* A full network loses the message, as any network may. */
  if (walk.net_count < NET_MAX) walk.net[walk.net_count++] = *message;
}

static void absorb(uint32_t node) {
  dsm_two_phase_outputs taken = out;
  for (uint32_t i = 0; i < taken.now_count; i++) post(&taken.now[i]);
  for (uint32_t i = 0; i < taken.record_count; i++) {
    DSM_ASSERT(walk.logged[node] < LOG_MAX);
    walk.log[node][walk.logged[node]++] = taken.records[i];
  }
  for (uint32_t i = 0; i < taken.once_durable_count; i++) {
    if (walk.held_count == NET_MAX) continue;
    walk.held[walk.held_count].message = taken.once_durable[i];
    walk.held[walk.held_count++].mark = walk.logged[node];
  }
  if (node != 0 && taken.outcome == DSM_OUTCOME_COMMITTED) walk.committed = true;
  if (node != 0 && taken.outcome == DSM_OUTCOME_ABORTED) walk.aborted = true;
  DSM_ASSERT(!(walk.committed && walk.aborted));
  if (taken.vote_wanted) {
    uint32_t draw = dice(20);
    dsm_two_phase_vote vote = draw == 0   ? DSM_VOTE_NO
                              : draw == 1 ? DSM_VOTE_READ_ONLY
                                          : DSM_VOTE_YES;
    DSM_ASSERT(dsm_participant_vote(&walk.participants[node], vote, walk.now_us, fresh()) ==
               DSM_OK);
    absorb(node);
  }
  if (taken.decide != DSM_OUTCOME_NONE) {
    dsm_two_phase_outcome held = dsm_decision_decide(&walk.word, 7, taken.decide);
    dsm_status status = node == 0
                            ? dsm_coordinator_decided(&walk.coordinator, held, walk.now_us, fresh())
                            : dsm_participant_decided(&walk.participants[node], held, fresh());
    DSM_ASSERT(status == DSM_OK);
    absorb(node);
  }
}

static void deliver(dsm_two_phase_message message) {
  if (message.to != 0) {
    DSM_ASSERT(dsm_participant_receive(&walk.participants[message.to], &message, walk.now_us,
                                       fresh()) == DSM_OK);
    absorb(message.to);
  } else if (walk.coordinator_known) {
    DSM_ASSERT(dsm_coordinator_receive(&walk.coordinator, &message, walk.now_us, fresh()) ==
               DSM_OK);
    absorb(0);
  } else {
    dsm_two_phase_message answer;
    dsm_two_phase_outcome held =
        walk.non_blocking ? dsm_decision_read(&walk.word, 7) : DSM_OUTCOME_ABORTED;
    if (dsm_coordinator_presume(&message, held, &answer)) post(&answer);
  }
}

static void flush(uint32_t node) {
  walk.durable[node] = walk.logged[node];
  for (uint32_t i = 0; i < walk.held_count;) {
    if (walk.held[i].message.from != node) {
      i++;
      continue;
    }
    post(&walk.held[i].message);
    walk.held[i] = walk.held[--walk.held_count];
  }
}

static void crash(uint32_t node) {
  walk.durable[node] += dice(walk.logged[node] - walk.durable[node] + 1);
  walk.logged[node] = walk.durable[node];
  for (uint32_t i = 0; i < walk.held_count;)
    if (walk.held[i].message.from == node)
      walk.held[i] = walk.held[--walk.held_count];
    else
      i++;
  const dsm_two_phase_options *options = walk.non_blocking ? &swapped : &classic;
  if (node == 0) {
    walk.coordinator_known = walk.durable[0] != 0;
    DSM_ASSERT(dsm_coordinator_init(&walk.coordinator, 7, 0, 0xe, options) == DSM_OK);
  } else {
    bool forgot_a_vote = walk.durable[node] == 0;
    DSM_ASSERT(dsm_participant_init(&walk.participants[node], 7, node, 0, options, walk.now_us) ==
               DSM_OK);
    /* What was not prepared died with the process, and is told as aborted by its silence. */
    if (forgot_a_vote) walk.participants[node].state = DSM_PARTICIPANT_ABORTED;
  }
  for (uint32_t i = 0; i < walk.durable[node]; i++) {
    dsm_status status = node == 0
                            ? dsm_coordinator_recover(&walk.coordinator, &walk.log[0][i])
                            : dsm_participant_recover(&walk.participants[node], &walk.log[node][i]);
    DSM_ASSERT(status == DSM_OK);
  }
}

static void tick(uint32_t node) {
  if (node != 0)
    dsm_participant_tick(&walk.participants[node], walk.now_us, fresh());
  else if (walk.coordinator_known)
    dsm_coordinator_tick(&walk.coordinator, walk.now_us, fresh());
  else
    fresh();
  absorb(node);
}

static void step(void) {
  uint32_t action = dice(100), node = dice(PARTIES);
  walk.now_us += dice(20);
  if (action < 60 && walk.net_count != 0) {
    uint32_t chosen = dice(walk.net_count);
    dsm_two_phase_message message = walk.net[chosen];
    if (dice(10) != 0) walk.net[chosen] = walk.net[--walk.net_count]; /* else it comes again */
    if (dice(10) != 0) deliver(message);
  } else if (action < 75) {
    flush(node);
  } else if (action < 98) {
    tick(node);
  } else if (dice(3) == 0) {
    crash(node);
  }
}

static dsm_two_phase_outcome walk_once(uint64_t seed, bool non_blocking) {
  const dsm_two_phase_options *options = non_blocking ? &swapped : &classic;
  memset(&walk, 0, sizeof walk);
  walk.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
  walk.non_blocking = non_blocking;
  dsm_decision_open(&walk.word, 7);
  walk.coordinator_known = true;
  DSM_ASSERT(dsm_coordinator_init(&walk.coordinator, 7, 0, 0xe, options) == DSM_OK);
  for (uint32_t node = 1; node < PARTIES; node++)
    DSM_ASSERT(dsm_participant_init(&walk.participants[node], 7, node, 0, options, 0) == DSM_OK);
  DSM_ASSERT(dsm_coordinator_begin(&walk.coordinator, 0, fresh()) == DSM_OK);
  absorb(0);
  for (int i = 0; i < 300; i++) step();
  /* Afterwards everything arrives, and everybody must come to an end. */
  for (int i = 0; i < 200; i++) {
    walk.now_us += 1000;
    for (uint32_t node = 0; node < PARTIES; node++) tick(node), flush(node);
    while (walk.net_count != 0) deliver(walk.net[--walk.net_count]);
  }
  for (uint32_t node = 1; node < PARTIES; node++)
    DSM_ASSERT(walk.participants[node].state >= DSM_PARTICIPANT_COMMITTED);
  if (walk.coordinator_known) DSM_ASSERT(walk.coordinator.state == DSM_COORDINATOR_DONE);
  return walk.committed ? DSM_OUTCOME_COMMITTED : DSM_OUTCOME_ABORTED;
}

static uint64_t seed_now;

static void tell_seed(int signal_number) {
  (void)signal_number;
  fprintf(stderr, "in the walk of seed %llu\n", (unsigned long long)seed_now);
}

int main(int argc, char **argv) {
  uint64_t walks = argc > 1 ? strtoull(argv[1], NULL, 10) : 4000;
  uint64_t committed = 0;
  signal(SIGABRT, tell_seed);
  votes_decide();
  abort_leaves_no_record();
  readers_are_left_out();
  participant_by_hand();
  one_swap_decides();
  for (uint64_t seed = 1; seed <= walks; seed++)
    for (int non_blocking = 0; non_blocking < 2; non_blocking++) {
      seed_now = seed;
      committed += walk_once(seed, non_blocking != 0) == DSM_OUTCOME_COMMITTED;
    }
  DSM_ASSERT(committed > walks / 4 && committed < 2 * walks);
  printf("two_phase_commit: %llu walks, %llu committed\n", (unsigned long long)(2 * walks),
         (unsigned long long)committed);
  return 0;
}
