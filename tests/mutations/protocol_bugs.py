"""Bugs to plant in two-phase commit, Paxos, CASPaxos, failure detection and membership.

Each is a change of a few words in one file of csrc/proto and must be caught by the tests that
`plant.py` runs for its face. `old` occurs exactly once in its file.
"""

from __future__ import annotations

from bug import Bug

BUGS = (
    Bug(
        "a participant votes yes before its promise is durable",
        "two_phase",
        "two_phase_participant.c",
        "                       participant->coordinator, 0, true);\n"
        "    say_once_durable(participant, DSM_TWO_PHASE_VOTE, DSM_VOTE_YES, outputs);",
        "                       participant->coordinator, 0, true);\n"
        "    say_now(participant, DSM_TWO_PHASE_VOTE, DSM_VOTE_YES, outputs);",
    ),
    Bug(
        "a commit is told before its record is durable",
        "two_phase",
        "two_phase_coordinator.c",
        "  if (coordinator->options.non_blocking)\n"
        "    send_to_all(coordinator, silent, DSM_TWO_PHASE_COMMIT",
        "  if (true)\n    send_to_all(coordinator, silent, DSM_TWO_PHASE_COMMIT",
    ),
    Bug(
        "the coordinator commits with one vote missing",
        "two_phase",
        "two_phase_coordinator.c",
        "  if ((coordinator->yes | coordinator->read_only) == coordinator->participants)",
        "  uint64_t missing = coordinator->participants & ~(coordinator->yes | "
        "coordinator->read_only);\n  if ((missing & (missing - 1)) == 0)",
    ),
    Bug(
        "a prepared participant that waited long aborts alone",
        "two_phase",
        "two_phase_participant.c",
        "      participant->state == DSM_PARTICIPANT_ASKED) {\n    finish(",
        "      participant->state == DSM_PARTICIPANT_ASKED ||\n"
        "      participant->state == DSM_PARTICIPANT_PREPARED) {\n    finish(",
    ),
    Bug(
        "the COMMIT record is not written",
        "two_phase",
        "two_phase_coordinator.c",
        "  dsm__two_phase_log(outputs, coordinator->transaction, DSM_RECORD_COMMIT,"
        " coordinator->node,\n                     must_acknowledge(coordinator), forced);\n",
        "",
    ),
    Bug(
        "without a record a commit is presumed",
        "two_phase",
        "two_phase_coordinator.c",
        "held == DSM_OUTCOME_COMMITTED ? DSM_TWO_PHASE_COMMIT : DSM_TWO_PHASE_ABORT",
        "held != DSM_OUTCOME_NONE ? DSM_TWO_PHASE_COMMIT : DSM_TWO_PHASE_ABORT",
    ),
    Bug(
        "the decision word may be swapped twice",
        "two_phase",
        "two_phase_decision.h",
        "  uint64_t expected = transaction << 2;",
        "  uint64_t expected = dsm_load_acquire_u64(word);",
    ),
    Bug(
        "a prepared participant never swaps the word",
        "two_phase",
        "two_phase_participant.c",
        "      outputs->decide = DSM_OUTCOME_ABORTED;",
        "      outputs->decide = DSM_OUTCOME_NONE;",
    ),
    Bug(
        "the coordinator forgets a commit at the first acknowledgement",
        "two_phase",
        "two_phase_coordinator.c",
        "  if ((must_acknowledge(coordinator) & ~coordinator->acknowledged) != 0) return;",
        "",
    ),
    Bug(
        "an acceptor takes a ballot below its promise",
        "paxos",
        "paxos.c",
        "    if (dsm_ballot_compare(message->ballot, acceptor->promised) < 0) {",
        "    if (dsm_ballot_compare(message->ballot, acceptor->accepted) < 0) {",
    ),
    Bug(
        "a promise is not written",
        "paxos",
        "paxos.c",
        "  outputs->persist = order > 0;",
        "  outputs->persist = false;",
    ),
    Bug(
        "a promise is given before it is durable",
        "paxos",
        "paxos.c",
        "dsm__paxos_say(outputs->once_durable, &outputs->once_durable_count, kind,"
        " message->key, node,",
        "dsm__paxos_say(outputs->now, &outputs->now_count, kind, message->key, node,",
    ),
    Bug(
        "a proposer offers the first accepted value that it hears of",
        "paxos",
        "paxos.c",
        "  if (dsm_ballot_compare(message->accepted, round->highest) > 0) {",
        "  if (!no_ballot(message->accepted) && no_ballot(round->highest)) {",
    ),
    Bug(
        "a proposer offers its own value whatever was accepted",
        "paxos",
        "paxos_proposer.c",
        "    if (!round->value.present) round->value = proposer->wanted;",
        "    round->value = proposer->wanted;",
    ),
    Bug(
        "one promise fewer than a quorum is enough",
        "paxos",
        "paxos.c",
        "  if (count_of(round->replied) < round->config.prepare_quorum) return false;",
        "  if (count_of(round->replied) + 1 < round->config.prepare_quorum) return false;",
    ),
    Bug(
        "two proposers may use the same ballot",
        "paxos",
        "paxos.c",
        "  return (dsm_ballot){identity->counter, identity->node, identity->incarnation};",
        "  return (dsm_ballot){identity->counter, 0, identity->incarnation};",
    ),
    Bug(
        "the one-round path needs no carried promise",
        "paxos",
        "caspaxos.c",
        "    reg->stable = carried >= round->config.prepare_quorum;",
        "    reg->stable = carried + 1 >= round->config.prepare_quorum;",
    ),
    Bug(
        "a change of unknown fate is applied again",
        "paxos",
        "caspaxos.c",
        "  else if (reg->repeatable)",
        "  else if (true)",
    ),
    Bug(
        "a change that was only promised is told as done",
        "paxos",
        "caspaxos.c",
        "  if (no_ballot(reg->first_tried) || dsm_ballot_compare(highest, reg->first_tried) < 0)\n"
        "    want_change(reg, outputs);",
        "  if (no_ballot(reg->first_tried))\n    want_change(reg, outputs);\n"
        "  else if (dsm_ballot_compare(highest, reg->first_tried) < 0)\n"
        "    finish(reg, DSM_CHANGE_DONE, outputs);",
    ),
    Bug(
        "erasing ignores a later promise",
        "paxos",
        "paxos.c",
        "                   dsm_ballot_compare(acceptor->promised, message->ballot) == 0 &&\n",
        "",
    ),
    Bug(
        "a proposer that forgets keeps its counter",
        "paxos",
        "caspaxos.c",
        "  if (message->ballot.counter > identity->counter) identity->counter ="
        " message->ballot.counter;\n",
        "",
    ),
    Bug(
        "the fence admits every age",
        "paxos",
        "caspaxos.c",
        "  return message->from < DSM_PAXOS_NODES_MAX && message->age >="
        " fence->age[message->from];",
        "  return message->from < DSM_PAXOS_NODES_MAX;",
    ),
    Bug(
        "growing an odd set of acceptors skips the step between",
        "paxos",
        "caspaxos.c",
        "  if (__builtin_popcountll(nodes) % 2 == 1)",
        "  if (__builtin_popcountll(nodes) % 2 == 1 && nodes == 0)",
    ),
    Bug(
        "shrinking an odd set of acceptors does not rescan",
        "paxos",
        "caspaxos.c",
        "(dsm_member_step){dsm_paxos_config_majority(rest), !odd};",
        "(dsm_member_step){dsm_paxos_config_majority(rest), false};",
    ),
    Bug(
        "a silent peer goes from alive to dead in one check",
        "detector",
        "failure_detector.c",
        "  if (before == DSM_PEER_SUSPECTED && hopeless)",
        "  if (hopeless)",
    ),
    Bug(
        "a dead peer comes back by a late beat",
        "detector",
        "failure_detector.c",
        "  if (detector->state == DSM_PEER_DEAD) return false;\n",
        "",
    ),
    Bug(
        "an unhealthy observer is as strict as a healthy one",
        "detector",
        "failure_detector.c",
        "  return over ? UINT64_MAX : stretched_us;",
        "  return over ? UINT64_MAX : timeout_us;",
    ),
    Bug(
        "the silence that raised a suspicion becomes a sample",
        "detector",
        "failure_detector.c",
        "  if (detector->options.accrual && was_alive && now_us > detector->last_beat_us)",
        "  if (detector->options.accrual && now_us > detector->last_beat_us)",
    ),
    Bug(
        "the same accuser confirms a suspicion twice",
        "detector",
        "membership.c",
        "    if (member->confirmers[i] == news->accuser) return;",
        "    if (member->confirmers[i] == news->accuser && i > 7) return;",
    ),
    Bug(
        "a member refutes with the incarnation that was accused",
        "detector",
        "membership.c",
        "  dsm_member_news alive = {news->incarnation + 1,",
        "  dsm_member_news alive = {news->incarnation,",
    ),
    Bug(
        "older news replace newer ones",
        "detector",
        "membership.c",
        "return news->incarnation > member->incarnation;",
        "return news->incarnation != member->incarnation;",
    ),
    Bug(
        "a suspect is buried at once",
        "detector",
        "membership_probe.c",
        "    if (now_us - member->suspect_since_us < timeout_us) continue;\n",
        "",
    ),
    Bug(
        "nobody is asked to ping in another's stead",
        "detector",
        "membership_probe.c",
        "choose(membership, membership->options.indirect, membership->probed, relays);",
        "choose(membership, 0, membership->probed, relays);",
    ),
    Bug(
        "the dead are never probed again",
        "detector",
        "membership_probe.c",
        "  bool for_the_dead = options->dead_every != 0 &&",
        "  bool for_the_dead = options->dead_every == UINT32_MAX &&",
    ),
)
