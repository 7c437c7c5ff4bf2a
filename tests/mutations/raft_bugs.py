"""Bugs to plant in the Raft core, each a change of a few words in one file of csrc/proto.

Each must be caught by the tests that `plant.py` runs. `old` occurs exactly once in its file.
"""

from __future__ import annotations

from bug import Bug

BUGS = (
    Bug(
        "the vote is not made durable",
        "raft",
        "raft.c",
        ".persist_vote = raft->vote_changed,",
        ".persist_vote = false,",
    ),
    Bug(
        "a term learnt without voting is not made durable, nor a vote in it",
        "raft",
        "raft.c",
        "  raft->vote_changed = true;\n",
        "  raft->vote_changed = vote == DSM_RAFT_NONE;\n",
    ),
    Bug(
        "a second candidate gets a vote in the same term",
        "raft",
        "raft_follower.c",
        "(raft->vote == DSM_RAFT_NONE && raft->leader == DSM_RAFT_NONE)",
        "(raft->leader == DSM_RAFT_NONE)",
    ),
    Bug(
        "a candidate with an older log gets a vote",
        "raft",
        "raft_follower.c",
        ".reject = !free || !up_to_date(raft, m),",
        ".reject = !free,",
    ),
    Bug(
        "log comparison looks at the length alone",
        "raft",
        "raft_follower.c",
        "return m->log_term > own || (m->log_term == own && m->index >= raft->log.last);",
        "return own > 0 ? m->index >= raft->log.last : m->index >= raft->log.last;",
    ),
    Bug(
        "a majority is one too few",
        "raft",
        "quorum.c",
        "return count_of(voters) / 2 + 1;",
        "return (count_of(voters) + 1) / 2;",
    ),
    Bug(
        "the commit index is one too high",
        "raft",
        "raft_leader.c",
        "    dsm__raft_commit_to(raft, index);",
        "    dsm__raft_commit_to(raft, index < raft->log.last ? index + 1 : index);",
    ),
    Bug(
        "an entry of an older term is committed by counting",
        "raft",
        "raft_leader.c",
        "dsm__raft_log_term(&raft->log, *index, &term) && term == raft->term;",
        "dsm__raft_log_term(&raft->log, *index, &term);",
    ),
    Bug(
        "the consistency check does not compare terms",
        "raft",
        "raft_follower.c",
        "!dsm__raft_log_term(&raft->log, m->index, &term) || term != m->log_term)",
        "!dsm__raft_log_term(&raft->log, m->index, &term))",
    ),
    Bug(
        "a follower commits beyond what the leader's message covers",
        "raft",
        "raft_follower.c",
        "dsm__raft_commit_to(raft, m->commit < last ? m->commit : last);",
        "last = raft->log.last, dsm__raft_commit_to(raft, m->commit < last ? m->commit : last);",
    ),
    Bug(
        "entries are acknowledged before they are durable",
        "raft",
        "raft_follower.c",
        "  dsm__raft_send_durable(raft, &(dsm_raft_message){.kind = DSM_RAFT_APPEND_REPLY,\n"
        "                                                   .target = m->source,\n"
        "                                                   .term = raft->term,\n"
        "                                                   .index = index});",
        "  dsm__raft_send(raft, &(dsm_raft_message){.kind = DSM_RAFT_APPEND_REPLY,\n"
        "                                                   .target = m->source,\n"
        "                                                   .term = raft->term,\n"
        "                                                   .index = index});",
    ),
    Bug(
        "a leader counts itself before its entry is durable",
        "raft",
        "raft_leader.c",
        "  raft->self_acknowledge = raft->log.last;\n",
        "  raft->progress[raft->config.node].match = raft->log.last;\n"
        "  raft->progress[raft->config.node].next = raft->log.last + 1;\n"
        "  raft->self_acknowledge = raft->log.last;\n",
    ),
    Bug(
        "a conflict is not cut from the durable log",
        "raft",
        "raft_follower.c",
        "    raft->persist_first = *last + 1;\n",
        "    raft->persist_first = log->last + 2;\n",
    ),
    Bug(
        "a read is answered without asking a majority",
        "raft",
        "raft_read.c",
        "if (owns && (alone || (raft->now < lease && source == raft->config.node))) {",
        "if (owns) {",
    ),
    Bug(
        "a new leader reads before it knows what is committed",
        "raft",
        "raft_read.c",
        "  bool owns = dsm__raft_leader_owns_commit(raft);\n",
        "  bool owns = raft->commit > 0;\n",
    ),
    Bug(
        "a heartbeat answered before a read confirms it",
        "raft",
        "raft_read.c",
        "  read->round = raft->round;\n",
        "  read->round = raft->round - 1;\n",
    ),
    Bug(
        "a lease does not end",
        "raft",
        "raft_read.c",
        "(raft->now < lease && source",
        "(lease != 0 && source",
    ),
    Bug(
        "a lease outlives the handing over of leadership",
        "raft",
        "raft_leader.c",
        "  raft->lease_fenced = true;\n",
        "",
    ),
    Bug(
        "a retried command is applied again",
        "raft",
        "raft_session.c",
        "if (entry->sequence <= session->sequence) return DSM_RAFT_DUPLICATE;",
        "if (entry->sequence < session->sequence) return DSM_RAFT_DUPLICATE;",
    ),
    Bug(
        "a snapshot forgets the sessions",
        "raft",
        "raft_snapshot.c",
        "  raft->sessions.count = snapshot->session_count;\n",
        "  raft->sessions.count = 0;\n",
    ),
    Bug(
        "the old majority is not asked during joint consensus",
        "raft",
        "raft_membership.h",
        ".outgoing = membership->outgoing};",
        ".outgoing = 0};",
    ),
    Bug(
        "a membership change is proposed while another is under way",
        "raft",
        "raft_apply.c",
        "  if (raft->applied < raft->change_index) return DSM_RETRY;\n",
        "",
    ),
    Bug(
        "a snapshot wipes entries that the log has after it",
        "raft",
        "raft_snapshot.c",
        "&& term == snapshot->term) {",
        "&& term != snapshot->term) {",
    ),
    Bug(
        "a window whose messages were all lost stays shut",
        "raft",
        "raft_leader.c",
        "  } else {\n    p->paused = false;\n  }",
        "  }",
    ),
    Bug(
        "a lost snapshot is never sent again",
        "raft",
        "raft_leader.c",
        "if (raft->now - p->snapshot_sent_at >= raft->config.election_timeout_us)",
        "if (raft->now < p->snapshot_sent_at)",
    ),
    Bug(
        "a refused probe goes back to the wrong place",
        "raft",
        "raft_progress.c",
        "uint64_t next = hint + 1 < probed ? hint + 1 : probed;",
        "uint64_t next = hint + 1 > probed ? hint + 1 : probed + 1;",
    ),
    Bug(
        "a refusal does not tell what is committed",
        "raft",
        "raft_follower.c",
        "      .commit = raft->commit,\n",
        "",
    ),
)
