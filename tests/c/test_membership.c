/* Membership: a cluster of 1,000 nodes in one process, without a simulator. Everybody learns of
 * everybody from three seeds, of a death, and nobody else is buried though messages are lost; and
 * each member is probed once per round.
 *
 * Build with csrc/proto/{membership,membership_probe,failure_detector}.c,
 * csrc/base/{check,status}.c and -lm.
 */
#include "../../csrc/base/check.h"
#include "../../csrc/proto/membership.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES_MAX = 1000, NET_MAX = 1 << 16 };

static dsm_membership nodes[NODES_MAX];
static dsm_member tables[NODES_MAX][NODES_MAX];
static dsm_membership_message net[NET_MAX];
static uint32_t net_count, deaths[NODES_MAX];
static uint64_t random_state = 88172645463325252u, messages;
static uint32_t count;
static uint32_t down; /* node that is dead, or count */

static uint64_t dice(uint64_t sides) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (random_state >> 16) % sides;
}

static void absorb(const dsm_membership_outputs *outputs) {
  for (uint32_t i = 0; i < outputs->message_count; i++) {
    messages++;
    DSM_ASSERT(outputs->messages[i].to < count && outputs->messages[i].news_count > 0);
    if (dice(100) == 0) continue; /* lost */
    DSM_ASSERT(net_count < NET_MAX);
    net[net_count++] = outputs->messages[i];
  }
  for (uint32_t i = 0; i < outputs->change_count; i++)
    if (outputs->changes[i].state == DSM_MEMBER_DEAD) deaths[outputs->changes[i].node]++;
}

/* One tick of all, in which every message that is answered at once arrives. */
static void turn(uint64_t now_us) {
  dsm_membership_outputs outputs;
  for (uint32_t node = 0; node < count; node++) {
    if (node == down) continue;
    dsm_membership_outputs_clear(&outputs);
    dsm_membership_tick(&nodes[node], now_us, &outputs);
    absorb(&outputs);
  }
  while (net_count != 0) {
    uint32_t chosen = (uint32_t)dice(net_count);
    dsm_membership_message message = net[chosen];
    net[chosen] = net[--net_count];
    if (message.to == down) continue;
    dsm_membership_outputs_clear(&outputs);
    DSM_ASSERT(dsm_membership_receive(&nodes[message.to], &message, now_us, &outputs) == DSM_OK);
    absorb(&outputs);
  }
}

static void start(uint32_t wanted) {
  count = down = wanted;
  net_count = 0;
  messages = 0;
  memset(deaths, 0, sizeof deaths);
  for (uint32_t node = 0; node < count; node++) {
    dsm_membership_options options = {.probe_interval_us = 1000,
                                      .probe_timeout_us = 300,
                                      .suspicion_min_us = 6000,
                                      .suspicion_max_us = 30000,
                                      .seed = node,
                                      .confirmations = 3,
                                      .indirect = 3,
                                      .retell = 4,
                                      .dead_every = 8,
                                      .health_max = 8};
    DSM_ASSERT(dsm_membership_init(&nodes[node], tables[node], count, node, 1, &options, 0) ==
               DSM_OK);
    for (uint32_t seed = 0; seed < 3 && seed < count; seed++) {
      dsm_membership_outputs outputs;
      dsm_member_news news = {0, seed, seed, DSM_MEMBER_ALIVE};
      dsm_membership_outputs_clear(&outputs);
      if (seed != node) DSM_ASSERT(dsm_membership_hear(&nodes[node], &news, 0, &outputs) == DSM_OK);
    }
  }
}

static bool all_see(dsm_member_state state_of_down) {
  for (uint32_t node = 0; node < count; node++)
    for (uint32_t other = 0; other < count; other++) {
      dsm_member_state expected = other == down ? state_of_down : DSM_MEMBER_ALIVE;
      if (node != down && tables[node][other].state != expected) return false;
    }
  return true;
}

static void cluster_of(uint32_t wanted) {
  uint64_t now_us = 0;
  uint32_t turns = 0;
  start(wanted);
  while (!all_see(DSM_MEMBER_ALIVE)) {
    turn(now_us += 250);
    DSM_ASSERT(++turns < 4 * wanted + 400);
  }
  uint32_t found_after = turns;
  uint64_t messages_before = messages;
  down = wanted / 2;
  for (turns = 0; !all_see(DSM_MEMBER_DEAD); turns++) {
    turn(now_us += 250);
    DSM_ASSERT(turns < 400);
  }
  /* Loss of one message in a hundred must not cost anybody else its life. */
  for (uint32_t node = 0; node < wanted; node++) DSM_ASSERT(node == down || deaths[node] == 0);
  printf("membership: %u nodes know each other after %u ticks, a death after %u; "
         "%.1f messages per node and interval\n",
         wanted, found_after, turns, (double)(messages - messages_before) / wanted / (turns / 4.0));
}

static void every_member_is_probed_once_per_round(void) {
  enum { CAPACITY = 12 };
  start(CAPACITY);
  down = 0; /* only node 0 is driven here, by hand */
  dsm_membership_outputs outputs;
  for (uint32_t other = 3; other < CAPACITY; other++) {
    dsm_member_news news = {1, other, other, DSM_MEMBER_ALIVE};
    dsm_membership_outputs_clear(&outputs);
    DSM_ASSERT(dsm_membership_hear(&nodes[0], &news, 0, &outputs) == DSM_OK);
  }
  uint64_t now_us = 0;
  for (int round = 0; round < 20; round++) {
    uint32_t probed[CAPACITY] = {0};
    for (int i = 0; i < CAPACITY - 1; i++) {
      dsm_membership_outputs_clear(&outputs);
      dsm_membership_tick(&nodes[0], now_us += 1000, &outputs);
      DSM_ASSERT(outputs.message_count == 1);
      dsm_membership_message ping = outputs.messages[0];
      DSM_ASSERT(ping.kind == DSM_MEMBERSHIP_PING && ++probed[ping.to] == 1);
      dsm_membership_message ack = {
          .kind = DSM_MEMBERSHIP_ACK, .sequence = ping.sequence, .from = ping.to, .about = ping.to};
      DSM_ASSERT(dsm_membership_receive(&nodes[0], &ack, now_us, &outputs) == DSM_OK);
    }
  }
}

static void suspicion_shrinks_with_confirmations(void) {
  uint64_t last = UINT64_MAX;
  for (uint32_t confirmations = 0; confirmations < 10; confirmations++) {
    uint64_t timeout = dsm_suspicion_timeout_us(confirmations, 6, 1000000, 9000000);
    DSM_ASSERT(timeout <= last && timeout >= 1000000 && timeout <= 9000000);
    last = timeout;
  }
  DSM_ASSERT(last == 1000000 && dsm_suspicion_timeout_us(0, 0, 5, 9) == 5);
}

int main(void) {
  suspicion_shrinks_with_confirmations();
  every_member_is_probed_once_per_round();
  cluster_of(2);
  cluster_of(16);
  cluster_of(128);
  cluster_of(NODES_MAX);
  return 0;
}
