/* Probing: one member per interval, directly, then through others, then suspicion.
 *
 *   idle --interval--> PING --time-out--> PING_REQ to k others --interval over--> suspect
 *                        \--ACK (from it or through one of them)--> idle
 */
#include "membership.h"

static uint64_t draw(dsm_membership *membership) {
  /* Vigna's splitmix64. */
  membership->random += UINT64_C(0x9e3779b97f4a7c15);
  uint64_t mixed = membership->random;
  mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
  return mixed ^ mixed >> 31;
}

static uint32_t common_divisor(uint32_t left, uint32_t right) {
  while (right != 0) {
    uint32_t rest = left % right;
    left = right;
    right = rest;
  }
  return left;
}

static bool may_probe(const dsm_membership *membership, uint32_t node) {
  dsm_member_state state = membership->members[node].state;
  return node != membership->node && (state == DSM_MEMBER_ALIVE || state == DSM_MEMBER_SUSPECT);
}

/* SWIM section 4.3: every member once per round, in an order that nobody can foresee. A stride
 * without a common divisor with the capacity visits every number, so no list has to be kept. */
static uint32_t next_in_order(dsm_membership *membership) {
  for (uint32_t tries = 0; tries < 2 * membership->capacity; tries++) {
    if (membership->order_done == membership->capacity) {
      membership->order_done = 0;
      membership->order_start = (uint32_t)(draw(membership) % membership->capacity);
      do membership->order_stride = 1 + (uint32_t)(draw(membership) % membership->capacity);
      while (common_divisor(membership->order_stride, membership->capacity) != 1);
    }
    uint64_t step = (uint64_t)membership->order_done++ * membership->order_stride;
    uint32_t node = (uint32_t)((membership->order_start + step) % membership->capacity);
    if (may_probe(membership, node)) return node;
  }
  return membership->capacity;
}

static uint32_t some_dead(dsm_membership *membership) {
  uint32_t start = (uint32_t)(draw(membership) % membership->capacity);
  for (uint32_t i = 0; i < membership->capacity; i++) {
    uint32_t node = (start + i) % membership->capacity;
    if (membership->members[node].state == DSM_MEMBER_DEAD) return node;
  }
  return membership->capacity;
}

/* Up to `wanted` distinct members that are believed alive, other than `except`. */
static uint32_t choose(dsm_membership *membership, uint32_t wanted, uint32_t except,
                       uint32_t chosen[]) {
  uint32_t start = (uint32_t)(draw(membership) % membership->capacity), count = 0;
  for (uint32_t i = 0; i < membership->capacity && count < wanted; i++) {
    uint32_t node = (start + i) % membership->capacity;
    bool alive = membership->members[node].state == DSM_MEMBER_ALIVE;
    if (node != membership->node && node != except && alive) chosen[count++] = node;
  }
  return count;
}

static void begin_probe(dsm_membership *membership, uint64_t now_us,
                        dsm_membership_outputs *outputs) {
  const dsm_membership_options *options = &membership->options;
  membership->probes++;
  membership->probe_end_us =
      now_us + dsm_local_health_stretch_us(&membership->health, options->probe_interval_us);
  bool for_the_dead = options->dead_every != 0 && membership->probes % options->dead_every == 0;
  uint32_t node = for_the_dead ? some_dead(membership) : membership->capacity;
  if (node == membership->capacity) node = next_in_order(membership);
  membership->probed = node;
  if (node == membership->capacity) return;
  membership->asked = false;
  membership->probe_sequence = ++membership->sequence;
  membership->probe_timeout_at_us =
      now_us + dsm_local_health_stretch_us(&membership->health, options->probe_timeout_us);
  dsm__membership_compose(membership, DSM_MEMBERSHIP_PING, node, membership->sequence, node,
                          outputs);
}

static void ask_others(dsm_membership *membership, dsm_membership_outputs *outputs) {
  uint32_t relays[DSM_MEMBERSHIP_MESSAGES_MAX];
  uint32_t count = choose(membership, membership->options.indirect, membership->probed, relays);
  membership->asked = true;
  for (uint32_t i = 0; i < count; i++)
    dsm__membership_compose(membership, DSM_MEMBERSHIP_PING_REQ, relays[i],
                            membership->probe_sequence, membership->probed, outputs);
}

static void end_probe(dsm_membership *membership, uint64_t now_us,
                      dsm_membership_outputs *outputs) {
  if (membership->members[membership->probed].state < DSM_MEMBER_DEAD)
    dsm_local_health_note(&membership->health, 1);
  dsm__membership_accuse(membership, membership->probed, now_us, outputs);
  membership->probed = membership->capacity;
}

static void bury(dsm_membership *membership, uint64_t now_us, dsm_membership_outputs *outputs) {
  const dsm_membership_options *options = &membership->options;
  uint32_t left = membership->suspect_count;
  uint32_t witnesses = membership->alive_count + membership->suspect_count; /* accused included */
  uint32_t expected = witnesses > options->confirmations ? options->confirmations : 0;
  for (uint32_t node = 0; node < membership->capacity && left != 0; node++) {
    const dsm_member *member = &membership->members[node];
    if (node == membership->node || member->state != DSM_MEMBER_SUSPECT) continue;
    left--;
    /* Two places stay free for what the probe of this tick may change; the rest is buried next. */
    if (outputs->change_count + 2 >= DSM_MEMBERSHIP_CHANGES_MAX) return;
    uint64_t timeout_us =
        dsm_suspicion_timeout_us(member->confirmer_count - 1, expected, options->suspicion_min_us,
                                 options->suspicion_max_us);
    if (now_us - member->suspect_since_us < timeout_us) continue;
    dsm_member_news dead = {member->incarnation, node, membership->node, DSM_MEMBER_DEAD};
    (void)dsm_membership_hear(membership, &dead, now_us, outputs);
  }
}

void dsm_membership_tick(dsm_membership *membership, uint64_t now_us,
                         dsm_membership_outputs *outputs) {
  if (membership->members[membership->node].state == DSM_MEMBER_LEFT) return;
  bury(membership, now_us, outputs);
  bool probing = membership->probed != membership->capacity;
  if (probing && !membership->asked && now_us >= membership->probe_timeout_at_us)
    ask_others(membership, outputs);
  if (now_us < membership->probe_end_us) return;
  if (probing) end_probe(membership, now_us, outputs);
  begin_probe(membership, now_us, outputs);
}

static void receive_ack(dsm_membership *membership, const dsm_membership_message *message,
                        dsm_membership_outputs *outputs) {
  if (membership->probed == message->about && message->sequence == membership->probe_sequence) {
    membership->probed = membership->capacity;
    dsm_local_health_note(&membership->health, -1);
    return;
  }
  for (uint32_t i = 0; i < DSM_MEMBERSHIP_RELAYS_MAX; i++) {
    dsm_membership_relay *relay = &membership->relays[i];
    if (relay->sequence == 0 || relay->sequence != message->sequence) continue;
    dsm__membership_compose(membership, DSM_MEMBERSHIP_ACK, relay->origin, relay->origin_sequence,
                            message->about, outputs);
    relay->sequence = 0;
    return;
  }
}

dsm_status dsm_membership_receive(dsm_membership *membership, const dsm_membership_message *message,
                                  uint64_t now_us, dsm_membership_outputs *outputs) {
  if (message->from >= membership->capacity || message->from == membership->node ||
      message->about >= membership->capacity || message->news_count > DSM_MEMBERSHIP_NEWS_MAX)
    return DSM_USAGE;
  for (uint32_t i = 0; i < message->news_count; i++)
    DSM_TRY(dsm_membership_hear(membership, &message->news[i], now_us, outputs));
  if (membership->members[membership->node].state == DSM_MEMBER_LEFT) return DSM_OK;
  switch (message->kind) {
  case DSM_MEMBERSHIP_PING:
    dsm__membership_compose(membership, DSM_MEMBERSHIP_ACK, message->from, message->sequence,
                            membership->node, outputs);
    return DSM_OK;
  case DSM_MEMBERSHIP_PING_REQ:
    if (message->about == membership->node) return DSM_USAGE;
    /* The oldest relay gives way: its origin has long stopped waiting. */
    membership->relays[membership->next_relay] =
        (dsm_membership_relay){++membership->sequence, message->sequence, message->from};
    membership->next_relay = (membership->next_relay + 1) % DSM_MEMBERSHIP_RELAYS_MAX;
    dsm__membership_compose(membership, DSM_MEMBERSHIP_PING, message->about, membership->sequence,
                            message->about, outputs);
    return DSM_OK;
  case DSM_MEMBERSHIP_ACK:
    receive_ack(membership, message, outputs);
    return DSM_OK;
  default:
    return DSM_USAGE;
  }
}

void dsm_membership_leave(dsm_membership *membership, dsm_membership_outputs *outputs) {
  dsm_member *self = &membership->members[membership->node];
  uint32_t told[DSM_MEMBERSHIP_MESSAGES_MAX];
  if (self->state == DSM_MEMBER_LEFT) return;
  self->state = DSM_MEMBER_LEFT;
  self->told = 0;
  membership->probed = membership->capacity;
  uint32_t count = choose(membership, membership->options.indirect, membership->node, told);
  for (uint32_t i = 0; i < count; i++)
    dsm__membership_compose(membership, DSM_MEMBERSHIP_PING, told[i], ++membership->sequence,
                            told[i], outputs);
}
