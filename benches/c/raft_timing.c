/* Proposals of 64 bytes through three Raft cores, from `propose` until all three have applied them.
 *
 * Everything that a transport and a disk would do is done, in memory: a message is copied out of
 * its sender with its entries and their payloads and handed to its target in order; entries are
 * copied to a node's durable log before what waits for them leaves, also the leader's message to
 * itself; committed entries are applied in order by folding their bytes into the node's state.
 * Logs are compacted behind snapshots as they fill. What is left out is the wire and the device.
 *
 * raft_1, raft_64, raft_256 differ in how many proposals one call hands over. After each round the
 * three states are equal and have taken every proposal once, or the program aborts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/proto/raft.h"
#include "timing.h"

enum {
  NODES = 3,
  PAYLOAD_BYTES = 64,
  LOG_ENTRIES = 1 << 12,
  ENTRIES_PER_MESSAGE = 64,
  LETTERS = 64,
  PROPOSALS = 1 << 13,
  BATCH_MAX = 256,
};

typedef struct durable_entry {
  dsm_raft_entry entry;
  uint8_t payload[PAYLOAD_BYTES];
} durable_entry;

typedef struct letter {
  dsm_raft_message message;
  dsm_raft_entry entries[ENTRIES_PER_MESSAGE];
  uint8_t payloads[ENTRIES_PER_MESSAGE][PAYLOAD_BYTES];
} letter;

typedef struct raft_node {
  dsm_raft *raft;
  void *memory;
  durable_entry disk[LOG_ENTRIES];
  uint64_t disk_term, disk_commit;
  uint64_t state, applied, snapshot_at;
} raft_node;

typedef struct raft_subject {
  raft_node nodes[NODES];
  letter letters[LETTERS]; /* in order of sending */
  uint64_t sent, delivered;
  uint64_t now, random, proposed;
  uint32_t batch;
  uint8_t payloads[BATCH_MAX][PAYLOAD_BYTES];
} raft_subject;

static void require(int holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "raft: %s\n", what);
  abort();
}

static void post(raft_subject *s, raft_node *from, const dsm_raft_message *message) {
  require(s->sent - s->delivered < LETTERS, "the letter box is full");
  letter *l = &s->letters[s->sent++ % LETTERS];
  l->message = *message;
  l->message.entries = l->entries;
  for (uint32_t i = 0; i < message->entry_count; i++) {
    dsm_raft_entry *entry = &l->entries[i];
    require(dsm_raft_entry_at(from->raft, message->index + 1 + i, entry), "an entry is missing");
    memcpy(l->payloads[i], entry->payload, entry->payload_bytes);
    entry->payload = l->payloads[i];
  }
}

static void persist(raft_node *node, const dsm_raft_outputs *out) {
  if (out->persist_vote || out->persist_commit) {
    dsm_raft_state state;
    dsm_raft_state_get(node->raft, &state);
    node->disk_term = state.term;
    node->disk_commit = state.commit;
  }
  if (!out->persist_entries) return;
  for (uint64_t index = out->persist_first; index <= out->persist_last; index++) {
    durable_entry *kept = &node->disk[index % LOG_ENTRIES];
    require(dsm_raft_entry_at(node->raft, index, &kept->entry), "an entry is missing");
    memcpy(kept->payload, kept->entry.payload, kept->entry.payload_bytes);
  }
}

static void apply(raft_node *node, const dsm_raft_outputs *out) {
  for (uint64_t index = out->apply_first; index <= out->apply_last; index++) {
    dsm_raft_entry entry;
    require(dsm_raft_entry_at(node->raft, index, &entry), "an entry is missing");
    if (entry.kind != DSM_RAFT_COMMAND || entry.verdict != DSM_RAFT_APPLY) continue;
    for (uint32_t at = 0; at < PAYLOAD_BYTES; at += 8) {
      uint64_t word;
      memcpy(&word, entry.payload + at, sizeof word);
      node->state = node->state * 31 + word;
    }
    node->applied++;
  }
}

static void carry_out(raft_subject *s, raft_node *node) {
  const dsm_raft_outputs *out = dsm_raft_outputs_get(node->raft);
  require(out->dropped_count == 0, "a message found no room");
  for (uint32_t i = 0; i < out->send_now_count; i++) post(s, node, &out->send_now[i]);
  persist(node, out);
  for (uint32_t i = 0; i < out->send_after_persist_count; i++)
    post(s, node, &out->send_after_persist[i]);
  apply(node, out);
}

static void deliver_all(raft_subject *s) {
  while (s->delivered < s->sent) {
    const dsm_raft_message *message = &s->letters[s->delivered % LETTERS].message;
    raft_node *node = &s->nodes[message->target];
    require(dsm_raft_step(node->raft, message, s->now) == DSM_OK, "a message was refused");
    s->delivered++;
    carry_out(s, node);
  }
}

static void compact(raft_subject *s, raft_node *node) {
  dsm_raft_state state;
  dsm_raft_state_get(node->raft, &state);
  if (state.last_index - state.first_index < LOG_ENTRIES / 2) return;
  require(dsm_raft_take_snapshot(node->raft, s->now) == DSM_OK, "no snapshot could be taken");
  node->snapshot_at = dsm_raft_last_snapshot(node->raft)->index;
  carry_out(s, node);
  /* Some entries stay, so that a follower that is a message behind needs no snapshot. */
  require(dsm_raft_compact(node->raft, node->snapshot_at - BATCH_MAX) == DSM_OK, "no compaction");
}

static uint64_t propose_all(void *subject) {
  raft_subject *s = subject;
  dsm_raft_entry entries[BATCH_MAX];
  for (uint32_t done = 0; done < PROPOSALS; done += s->batch) {
    s->now += s->batch;
    for (int i = 0; i < NODES; i++) {
      require(dsm_raft_tick(s->nodes[i].raft, s->now) == DSM_OK, "a tick was refused");
      carry_out(s, &s->nodes[i]);
    }
    for (uint32_t i = 0; i < s->batch; i++)
      entries[i] = (dsm_raft_entry){.kind = DSM_RAFT_COMMAND,
                                    .payload = s->payloads[(done + i) % BATCH_MAX],
                                    .payload_bytes = PAYLOAD_BYTES};
    require(dsm_raft_propose(s->nodes[0].raft, entries, s->batch, s->now) == DSM_OK,
            "a proposal was refused");
    carry_out(s, &s->nodes[0]);
    deliver_all(s);
    for (int i = 0; i < NODES; i++) compact(s, &s->nodes[i]);
  }
  s->proposed += PROPOSALS;
  for (int i = 0; i < NODES; i++) {
    require(s->nodes[i].applied == s->proposed, "a proposal was lost or applied twice");
    require(s->nodes[i].state == s->nodes[0].state, "two nodes' states differ");
  }
  return s->nodes[0].state;
}

static void draw_payloads(void *subject) {
  raft_subject *s = subject;
  for (int i = 0; i < BATCH_MAX; i++)
    for (int at = 0; at < PAYLOAD_BYTES; at += 8) {
      uint64_t word = timing_random(&s->random);
      memcpy(s->payloads[i] + at, &word, sizeof word);
    }
}

static raft_subject *cluster(uint32_t batch) {
  raft_subject *s = calloc(1, sizeof *s);
  require(s != NULL, "no memory");
  s->batch = batch;
  s->random = batch;
  for (uint8_t node = 0; node < NODES; node++) {
    dsm_raft_config config = {
        .seed = node,
        .election_timeout_us = 150000,
        .heartbeat_us = 30000,
        .log_capacity = LOG_ENTRIES,
        .payload_capacity_bytes = LOG_ENTRIES * PAYLOAD_BYTES,
        .entries_per_message_max = ENTRIES_PER_MESSAGE,
        .payload_bytes_per_message_max = ENTRIES_PER_MESSAGE * PAYLOAD_BYTES,
        .inflight_max = 16,
        .message_capacity = 512,
        .read_capacity = 16,
        .node = node,
        .pre_vote = true,
        .check_quorum = true,
        .membership = {.voters = 7},
    };
    raft_node *n = &s->nodes[node];
    n->memory = malloc(dsm_raft_bytes(&config));
    require(n->memory != NULL, "no memory");
    require(dsm_raft_init(n->memory, dsm_raft_bytes(&config), &config, &n->raft) == DSM_OK,
            "a setting is out of range");
    require(dsm_raft_start(n->raft, 0) == DSM_OK, "a node did not start");
  }
  s->now = 150000;
  require(dsm_raft_campaign(s->nodes[0].raft, s->now) == DSM_OK, "no campaign");
  carry_out(s, &s->nodes[0]);
  deliver_all(s);
  dsm_raft_state state;
  dsm_raft_state_get(s->nodes[0].raft, &state);
  require(state.role == DSM_RAFT_LEADER, "node 0 was not elected");
  return s;
}

void time_raft(int rounds) {
  raft_subject *one = cluster(1), *some = cluster(64), *many = cluster(256);
  const timing figures[] = {
      {"raft_1", draw_payloads, propose_all, one, PROPOSALS},
      {"raft_64", draw_payloads, propose_all, some, PROPOSALS},
      {"raft_256", draw_payloads, propose_all, many, PROPOSALS},
  };
  timing_run(figures, 3, rounds);
  raft_subject *all[] = {one, some, many};
  for (int i = 0; i < 3; i++) {
    for (int node = 0; node < NODES; node++) free(all[i]->nodes[node].memory);
    free(all[i]);
  }
}
