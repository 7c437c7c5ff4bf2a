/* The table of members: merging news, refuting, suspicion, and what each message carries. */
#include "membership.h"
#include "../base/check.h"

#include <math.h>
#include <string.h>

void dsm_membership_outputs_clear(dsm_membership_outputs *outputs) {
  outputs->message_count = outputs->change_count = 0;
}

uint64_t dsm_suspicion_timeout_us(uint32_t confirmations, uint32_t expected, uint64_t min_us,
                                  uint64_t max_us) {
  if (expected == 0 || confirmations >= expected || max_us <= min_us) return min_us;
  double fraction = log(confirmations + 1.0) / log(expected + 1.0);
  double timeout_ms = ((double)max_us - fraction * (double)(max_us - min_us)) / 1000.0;
  uint64_t timeout_us = (uint64_t)floor(timeout_ms) * 1000;
  return timeout_us < min_us ? min_us : timeout_us;
}

dsm_status dsm_membership_init(dsm_membership *membership, dsm_member *members, uint32_t capacity,
                               uint32_t node, uint64_t incarnation,
                               const dsm_membership_options *options, uint64_t now_us) {
  if (node >= capacity || options->probe_timeout_us >= options->probe_interval_us ||
      options->suspicion_min_us > options->suspicion_max_us ||
      options->indirect > DSM_MEMBERSHIP_MESSAGES_MAX - 2 ||
      options->confirmations >= DSM_MEMBERSHIP_CONFIRMERS_MAX || options->retell == 0)
    return DSM_USAGE;
  memset(membership, 0, sizeof *membership);
  memset(members, 0, capacity * sizeof *members);
  membership->options = *options;
  membership->members = members;
  membership->capacity = capacity;
  membership->node = node;
  membership->random = options->seed;
  membership->probed = capacity;
  membership->probe_end_us = now_us;
  membership->order_done = capacity;
  dsm_local_health_init(&membership->health, options->health_max);
  members[node].state = DSM_MEMBER_ALIVE;
  members[node].incarnation = incarnation;
  return DSM_OK;
}

static bool greater(const dsm_member_news *news, const dsm_member *member) {
  if (news->incarnation != member->incarnation) return news->incarnation > member->incarnation;
  return news->state > (uint32_t)member->state;
}

static void tell_change(const dsm_member *member, uint32_t node, uint32_t accuser,
                        dsm_membership_outputs *outputs) {
  DSM_ASSERT(outputs->change_count < DSM_MEMBERSHIP_CHANGES_MAX);
  outputs->changes[outputs->change_count++] =
      (dsm_member_news){member->incarnation, node, accuser, member->state};
}

static void count_member(dsm_membership *membership, dsm_member_state state, uint32_t by) {
  if (state == DSM_MEMBER_ALIVE) membership->alive_count += by;
  if (state == DSM_MEMBER_SUSPECT) membership->suspect_count += by;
}

static void put(dsm_membership *membership, const dsm_member_news *news, uint64_t now_us,
                dsm_membership_outputs *outputs) {
  dsm_member *member = &membership->members[news->node];
  if (news->node != membership->node) {
    count_member(membership, member->state, UINT32_MAX);
    count_member(membership, (dsm_member_state)news->state, 1);
  }
  member->state = (dsm_member_state)news->state;
  member->incarnation = news->incarnation;
  member->told = 0;
  member->confirmer_count = 0;
  if (member->state == DSM_MEMBER_SUSPECT) {
    member->suspect_since_us = now_us;
    member->confirmers[member->confirmer_count++] = news->accuser;
  }
  tell_change(member, news->node, news->accuser, outputs);
}

/* A further accuser of a standing suspicion shortens it, and is worth telling. */
static void confirm(dsm_membership *membership, const dsm_member_news *news) {
  dsm_member *member = &membership->members[news->node];
  if (member->confirmer_count > membership->options.confirmations) return;
  for (uint32_t i = 0; i < member->confirmer_count; i++)
    if (member->confirmers[i] == news->accuser) return;
  member->confirmers[member->confirmer_count++] = news->accuser;
  member->told = 0;
}

/* SWIM section 4.2: an accused member outbids the accusation; Lifeguard: being accused is a sign
 * that this node itself is slow. A member that left does not come back in the same life. */
static void refute(dsm_membership *membership, const dsm_member_news *news, uint64_t now_us,
                   dsm_membership_outputs *outputs) {
  const dsm_member *self = &membership->members[membership->node];
  bool older = news->incarnation < self->incarnation;
  bool harmless = news->state == DSM_MEMBER_ALIVE && news->incarnation == self->incarnation;
  if (self->state == DSM_MEMBER_LEFT || older || harmless) return;
  dsm_local_health_note(&membership->health, 1);
  dsm_member_news alive = {news->incarnation + 1, membership->node, membership->node,
                           DSM_MEMBER_ALIVE};
  put(membership, &alive, now_us, outputs);
}

dsm_status dsm_membership_hear(dsm_membership *membership, const dsm_member_news *news,
                               uint64_t now_us, dsm_membership_outputs *outputs) {
  if (news->node >= membership->capacity || news->accuser >= membership->capacity ||
      news->state < DSM_MEMBER_ALIVE || news->state > DSM_MEMBER_LEFT ||
      news->incarnation == UINT64_MAX)
    return DSM_USAGE;
  const dsm_member *member = &membership->members[news->node];
  if (news->node == membership->node)
    refute(membership, news, now_us, outputs);
  else if (member->state == DSM_MEMBER_UNKNOWN || greater(news, member))
    put(membership, news, now_us, outputs);
  else if (member->state == DSM_MEMBER_SUSPECT && news->state == DSM_MEMBER_SUSPECT &&
           news->incarnation == member->incarnation)
    confirm(membership, news);
  return DSM_OK;
}

dsm_status dsm_membership_know(dsm_membership *membership, uint32_t node, uint64_t incarnation) {
  if (node >= membership->capacity || node == membership->node || incarnation == UINT64_MAX)
    return DSM_USAGE;
  dsm_member *member = &membership->members[node];
  if (member->state != DSM_MEMBER_UNKNOWN) return DSM_USAGE;
  member->state = DSM_MEMBER_ALIVE;
  member->incarnation = incarnation;
  member->told = UINT32_MAX / 2; /* above every limit, and rotation may still count on */
  count_member(membership, DSM_MEMBER_ALIVE, 1);
  return DSM_OK;
}

void dsm__membership_accuse(dsm_membership *membership, uint32_t node, uint64_t now_us,
                            dsm_membership_outputs *outputs) {
  const dsm_member *member = &membership->members[node];
  dsm_member_news news = {member->incarnation, node, membership->node, DSM_MEMBER_SUSPECT};
  if (member->state == DSM_MEMBER_ALIVE)
    put(membership, &news, now_us, outputs);
  else if (member->state == DSM_MEMBER_SUSPECT)
    confirm(membership, &news);
}

static uint32_t tell_limit(const dsm_membership *membership) {
  double members = membership->alive_count + membership->suspect_count + 1.0;
  return membership->options.retell * (uint32_t)ceil(log10(members + 1.0));
}

static bool carried(const dsm_membership_message *message, uint32_t node) {
  for (uint32_t i = 0; i < message->news_count; i++)
    if (message->news[i].node == node) return true;
  return false;
}

/* A suspicion is passed on under its latest accuser, so that each confirmation travels. */
static void carry(dsm_membership *membership, uint32_t node, dsm_membership_message *message) {
  const dsm_member *member = &membership->members[node];
  if (member->state == DSM_MEMBER_UNKNOWN || carried(message, node)) return;
  uint32_t accuser =
      member->confirmer_count != 0 ? member->confirmers[member->confirmer_count - 1] : node;
  message->news[message->news_count++] =
      (dsm_member_news){member->incarnation, node, accuser, member->state};
  membership->members[node].told++;
}

/* One pass over the table, which keeps the best few by insertion. */
static void carry_least_told(dsm_membership *membership, dsm_membership_message *message) {
  uint32_t limit = tell_limit(membership), count = 0;
  uint32_t room = DSM_MEMBERSHIP_NEWS_MAX - message->news_count;
  uint32_t best[DSM_MEMBERSHIP_NEWS_MAX];
  for (uint32_t node = 0; node < membership->capacity; node++) {
    const dsm_member *member = &membership->members[node];
    if (member->state == DSM_MEMBER_UNKNOWN || member->told >= limit) continue;
    if (count == room && member->told >= membership->members[best[count - 1]].told) continue;
    if (carried(message, node)) continue;
    uint32_t place = count < room ? count++ : count - 1;
    for (; place > 0 && membership->members[best[place - 1]].told > member->told; place--)
      best[place] = best[place - 1];
    best[place] = node;
  }
  for (uint32_t i = 0; i < count; i++) carry(membership, best[i], message);
}

/* A message carries first what its target must know to defend itself, then the news told least
 * often, and in the room that is left the whole table in rotation: so lost gossip is made good, and
 * whoever joins learns of those who are long known. */
void dsm__membership_compose(dsm_membership *membership, uint32_t kind, uint32_t to,
                             uint64_t sequence, uint32_t about, dsm_membership_outputs *outputs) {
  DSM_ASSERT(outputs->message_count < DSM_MEMBERSHIP_MESSAGES_MAX);
  dsm_membership_message *message = &outputs->messages[outputs->message_count++];
  memset(message, 0, sizeof *message);
  message->kind = kind;
  message->sequence = sequence;
  message->from = membership->node;
  message->to = to;
  message->about = about;
  if (membership->members[to].state > DSM_MEMBER_ALIVE) carry(membership, to, message);
  carry_least_told(membership, message);
  for (uint32_t i = 0; i < membership->capacity && message->news_count < DSM_MEMBERSHIP_NEWS_MAX;
       i++) {
    carry(membership, membership->next_filler, message);
    membership->next_filler = (membership->next_filler + 1) % membership->capacity;
  }
}
