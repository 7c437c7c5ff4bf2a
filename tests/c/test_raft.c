/* Three Raft cores in one process, with messages passed by hand: agreement under loss, duplication
 * and restarts, and damaged messages that must end in DSM_CORRUPT or in nothing, never in a crash.
 * Runs as it is under the sanitizers.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/proto/raft.h"
#include "check_main.h"

enum { NODES = 3, QUEUE = 4096, ENTRIES = 64, COMMANDS = 400, PAYLOAD = 24 };

/* The application: what it applied, in an order-dependent sum. */
struct machine {
  uint64_t sum, count;
};

typedef struct letter {
  dsm_raft_message message;
  dsm_raft_entry entries[ENTRIES];
  uint8_t payloads[ENTRIES][PAYLOAD];
  dsm_raft_snapshot snapshot;
  struct machine machine; /* travels with the snapshot */
} letter;

static uint64_t random_state = 0x2545f4914f6cdd1du;
static letter *queue[QUEUE];
static uint32_t queue_count;
static dsm_raft *nodes[NODES];
static void *memories[NODES];
static struct machine machines[NODES], machines_saved[NODES];
static uint64_t now_us;

static uint32_t draw(uint32_t bound) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (uint32_t)(random_state >> 32) % bound;
}

static dsm_raft_config config_of(uint8_t node) {
  return (dsm_raft_config){
      .seed = 77,
      .election_timeout_us = 1000,
      .heartbeat_us = 200,
      .log_capacity = 128,
      .payload_capacity_bytes = 4096,
      .entries_per_message_max = ENTRIES / 4,
      .payload_bytes_per_message_max = 512,
      .inflight_max = 4,
      .message_capacity = 2 * DSM_RAFT_NODES_MAX,
      .read_capacity = 8,
      .session_capacity = 4,
      .node = node,
      .pre_vote = true,
      .check_quorum = true,
      .membership = {.voters = 7},
  };
}

/* A letter owns copies of all that its message points to. */
static letter *copy_letter(dsm_raft *from, const dsm_raft_message *message) {
  letter *made = calloc(1, sizeof *made);
  made->message = *message;
  for (uint32_t i = 0; i < message->entry_count; i++) {
    CHECK(dsm_raft_entry_at(from, message->index + 1 + i, &made->entries[i]));
    if (made->entries[i].payload_bytes > 0)
      memcpy(made->payloads[i], made->entries[i].payload, made->entries[i].payload_bytes);
    made->entries[i].payload = made->payloads[i];
  }
  made->message.entries = made->entries;
  if (message->snapshot != NULL) {
    made->snapshot = *message->snapshot;
    made->snapshot.sessions = NULL;
    made->snapshot.session_count = 0;
    made->message.snapshot = &made->snapshot;
    made->machine = machines_saved[message->source];
  }
  return made;
}

static void post(dsm_raft *from, const dsm_raft_message *messages, uint32_t count) {
  for (uint32_t i = 0; i < count && queue_count < QUEUE; i++)
    queue[queue_count++] = copy_letter(from, &messages[i]);
}

static void carry_out(uint8_t node, const letter *cause) {
  const dsm_raft_outputs *out = dsm_raft_outputs_get(nodes[node]);
  if (out->apply_snapshot) machines[node] = machines_saved[node] = cause->machine;
  for (uint64_t index = out->apply_first; index <= out->apply_last; index++) {
    dsm_raft_entry entry;
    CHECK(dsm_raft_entry_at(nodes[node], index, &entry));
    if (entry.kind != DSM_RAFT_COMMAND) continue;
    machines[node].sum = machines[node].sum * 31 + entry.payload[0];
    machines[node].count++;
  }
  post(nodes[node], out->send_now, out->send_now_count);
  post(nodes[node], out->send_after_persist, out->send_after_persist_count);
  CHECK(dsm_raft_valid(nodes[node]));
}

static void deliver_one(void) {
  uint32_t at = draw(queue_count < 8 ? queue_count : 8);
  letter *taken = queue[at];
  memmove(queue + at, queue + at + 1, (--queue_count - at) * sizeof *queue);
  uint8_t target = taken->message.target;
  bool to_self = taken->message.source == target;
  uint32_t copies = to_self ? 1 : draw(20) == 0 ? 0 : draw(20) == 0 ? 2 : 1;
  for (uint32_t i = 0; i < copies; i++) {
    CHECK_EQUAL(dsm_raft_step(nodes[target], &taken->message, now_us), DSM_OK);
    carry_out(target, taken);
  }
  free(taken);
}

static dsm_raft *leader(void) {
  for (uint8_t node = 0; node < NODES; node++) {
    dsm_raft_state state;
    dsm_raft_state_get(nodes[node], &state);
    if (state.role == DSM_RAFT_LEADER) return nodes[node];
  }
  return NULL;
}

static bool propose(uint8_t value) {
  dsm_raft *to = leader();
  if (to == NULL) return false;
  uint8_t payload[PAYLOAD] = {value};
  dsm_raft_entry entries[3];
  uint32_t count = 1 + draw(3);
  for (uint32_t i = 0; i < count; i++)
    entries[i] = (dsm_raft_entry){
        .kind = DSM_RAFT_COMMAND, .payload = payload, .payload_bytes = 1 + draw(PAYLOAD)};
  dsm_raft_state state;
  dsm_raft_state_get(to, &state);
  bool taken = dsm_raft_propose(to, entries, count, now_us) == DSM_OK;
  if (taken) carry_out(state.leader, NULL);
  return taken;
}

static void compact(uint8_t node) {
  CHECK_EQUAL(dsm_raft_take_snapshot(nodes[node], now_us), DSM_OK);
  carry_out(node, NULL);
  machines_saved[node] = machines[node];
  uint64_t index = dsm_raft_last_snapshot(nodes[node])->index;
  if (index > 20) CHECK_EQUAL(dsm_raft_compact(nodes[node], index - 20), DSM_OK);
}

static void start_all(void) {
  for (uint8_t node = 0; node < NODES; node++) {
    dsm_raft_config config = config_of(node);
    size_t bytes = dsm_raft_bytes(&config);
    memories[node] = malloc(bytes);
    CHECK_EQUAL(dsm_raft_init(memories[node], bytes - 1, &config, &nodes[node]), DSM_USAGE);
    CHECK_EQUAL(dsm_raft_init(memories[node], bytes, &config, &nodes[node]), DSM_OK);
    CHECK_EQUAL(dsm_raft_start(nodes[node], now_us), DSM_OK);
    CHECK_EQUAL(dsm_raft_start(nodes[node], now_us), DSM_USAGE);
  }
}

static void settle(uint32_t rounds) {
  for (uint32_t i = 0; i < rounds; i++) {
    now_us += 100;
    for (uint8_t node = 0; node < NODES; node++) {
      CHECK_EQUAL(dsm_raft_tick(nodes[node], now_us), DSM_OK);
      carry_out(node, NULL);
    }
    for (uint32_t budget = 60; budget > 0 && queue_count > 0; budget--) deliver_one();
  }
}

static void nodes_agree_under_loss_and_duplication(void) {
  start_all();
  settle(100);
  CHECK(leader() != NULL);
  uint32_t taken = 0;
  for (uint32_t i = 0; i < COMMANDS * 4 && taken < COMMANDS; i++) {
    taken += propose((uint8_t)i);
    settle(2);
    if (i % 16 == 0) compact((uint8_t)draw(NODES));
  }
  CHECK_EQUAL(taken, COMMANDS);
  settle(200);
  for (uint8_t node = 1; node < NODES; node++) {
    CHECK_EQUAL(machines[node].count, machines[0].count);
    CHECK_EQUAL(machines[node].sum, machines[0].sum);
  }
  CHECK(machines[0].count >= COMMANDS);
}

/* Any bytes in the fields of a message: a status comes back, and the structures stay whole unless
 * the message could pass for a real one of a newer leader. */
static void damaged_messages_are_survived(void) {
  for (uint32_t i = 0; i < 200000; i++) {
    dsm_raft_entry entries[4];
    uint8_t payload[8] = {1, 9, 200, 3, 4};
    dsm_raft_state state;
    uint8_t node = (uint8_t)draw(NODES);
    dsm_raft_state_get(nodes[node], &state);
    dsm_raft_message message = {
        .kind = (uint8_t)draw(DSM_RAFT_MESSAGE_KINDS + 2),
        .source = (uint8_t)draw(70),
        .target = draw(8) ? node : (uint8_t)draw(256),
        .term = state.term + draw(3) - (state.term > 0 ? draw(2) : 0),
        .index = draw(4) ? state.last_index + draw(4) - draw(2) : random_state,
        .log_term = state.last_term + draw(2),
        .commit = draw(4) ? state.commit + draw(3) : random_state,
        .hint = draw(2) ? draw(1000) : random_state,
        .context = draw(2) ? draw(100) : random_state,
        .reject = draw(2),
        .entries = entries,
        .entry_count = draw(5),
    };
    for (uint32_t k = 0; k < message.entry_count && k < 4; k++)
      entries[k] = (dsm_raft_entry){.index = draw(9) ? message.index + 1 + k : random_state,
                                    .term = message.log_term + draw(2),
                                    .kind = (uint8_t)draw(DSM_RAFT_ENTRY_KINDS + 1),
                                    .session = draw(50),
                                    .sequence = draw(4),
                                    .payload = payload,
                                    .payload_bytes = draw(9)};
    if (message.entry_count > 4) message.entry_count = 4;
    dsm_status status = dsm_raft_step(nodes[node], &message, now_us += draw(50));
    CHECK(status == DSM_OK || status == DSM_CORRUPT);
    (void)dsm_raft_outputs_get(nodes[node]);
    if (i % 64 == 0 && state.last_index > 60) {
      (void)dsm_raft_take_snapshot(nodes[node], now_us);
      (void)dsm_raft_compact(nodes[node], dsm_raft_last_snapshot(nodes[node])->index);
    }
  }
}

int main(void) {
  nodes_agree_under_loss_and_duplication();
  damaged_messages_are_survived();
  while (queue_count > 0) free(queue[--queue_count]);
  for (uint8_t node = 0; node < NODES; node++) free(memories[node]);
  return check_result("raft");
}
