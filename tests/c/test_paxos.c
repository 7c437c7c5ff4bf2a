/* Paxos and CASPaxos: quorums against brute force, the acceptor and the one-round path by hand,
 * then random walks over a network that loses, repeats and reorders, with acceptors that crash
 * before what they promised is durable.
 *
 * Build with csrc/proto/{paxos,paxos_proposer,caspaxos,caspaxos_collector}.c and
 * csrc/base/{check,status}.c. Exit status 0, or an abort that names the line and the seed.
 */
#include "../../csrc/base/check.h"
#include "../../csrc/proto/caspaxos.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dsm_paxos_outputs out;
static const dsm_paxos_options options = {50, 10, 1};

static dsm_paxos_outputs *fresh(void) {
  dsm_paxos_outputs_clear(&out);
  return &out;
}

static dsm_paxos_value text(const char *characters) {
  dsm_paxos_value value;
  DSM_ASSERT(dsm_paxos_value_set(&value, characters, (uint32_t)strlen(characters)) == DSM_OK);
  return value;
}

static bool meet_by_brute_force(uint64_t one, uint32_t quorum, uint64_t two, uint32_t other) {
  for (uint64_t p = one;; p = (p - 1) & one) {
    for (uint64_t a = two;; a = (a - 1) & two) {
      bool quorums =
          (uint32_t)__builtin_popcountll(p) == quorum && (uint32_t)__builtin_popcountll(a) == other;
      if (quorums && (p & a) == 0) return false;
      if (a == 0) break;
    }
    if (p == 0) return true;
  }
}

static void quorums_meet_as_by_brute_force(void) {
  uint32_t compatible = 0, checked = 0;
  for (uint64_t one = 1; one < 32; one++)
    for (uint64_t two = 1; two < 32; two++)
      for (uint32_t p = 1; p <= (uint32_t)__builtin_popcountll(one); p++)
        for (uint32_t a = 1; a <= (uint32_t)__builtin_popcountll(two); a++) {
          dsm_paxos_config config = {one, two, p, a};
          bool meet = meet_by_brute_force(one, p, two, a);
          DSM_ASSERT(dsm_paxos_config_compatible(&config, &config) == meet);
          compatible += meet;
          checked++;
        }
  DSM_ASSERT(compatible > 0 && compatible < checked);
}

static void member_steps_are_compatible(void) {
  for (uint64_t nodes = 1; nodes < 64; nodes++)
    for (uint32_t node = 0; node < 6; node++)
      for (int grow = 0; grow < 2; grow++) {
        dsm_member_step steps[DSM_MEMBER_STEPS_MAX];
        bool member = nodes >> node & 1;
        uint32_t count =
            grow ? dsm_members_expand(nodes, node, steps) : dsm_members_shrink(nodes, node, steps);
        bool possible = grow ? !member : member && (nodes & (nodes - 1)) != 0;
        DSM_ASSERT((count != 0) == possible);
        dsm_paxos_config before = dsm_paxos_config_majority(nodes);
        for (uint32_t i = 0; i < count; i++) {
          DSM_ASSERT(dsm_paxos_config_compatible(&steps[i].config, &steps[i].config));
          DSM_ASSERT(dsm_paxos_config_compatible(&before, &steps[i].config));
          before = steps[i].config;
        }
        uint64_t after = grow ? nodes | UINT64_C(1) << node : nodes & ~(UINT64_C(1) << node);
        DSM_ASSERT(count == 0 || (before.prepare_nodes == after && before.accept_nodes == after));
      }
}

static void acceptor_by_hand(void) {
  dsm_acceptor acceptor;
  dsm_paxos_message message = {.kind = DSM_PAXOS_PREPARE, .from = 4, .key = 9};
  dsm_acceptor_init(&acceptor);
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &message, fresh()) == DSM_USAGE); /* no ballot */
  message.ballot = (dsm_ballot){5, 4, 1};
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &message, fresh()) == DSM_OK);
  DSM_ASSERT(out.persist && out.now_count == 0 && out.once_durable_count == 1);
  DSM_ASSERT(out.once_durable[0].kind == DSM_PAXOS_PROMISE && out.once_durable[0].to == 1u << 4);
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &message, fresh()) == DSM_OK);
  DSM_ASSERT(!out.persist && out.once_durable_count == 1); /* repeated: answered, not written */

  dsm_paxos_message lower = message;
  lower.kind = DSM_PAXOS_ACCEPT;
  lower.ballot.counter = 4;
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &lower, fresh()) == DSM_OK);
  DSM_ASSERT(out.now_count == 1 && out.now[0].kind == DSM_PAXOS_REFUSE && !out.persist);
  DSM_ASSERT(out.now[0].accepted.counter == 5);

  message.kind = DSM_PAXOS_ACCEPT;
  message.value = text("v");
  message.next = (dsm_ballot){6, 4, 1};
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &message, fresh()) == DSM_OK);
  DSM_ASSERT(acceptor.promised.counter == 6 && acceptor.accepted.counter == 5 && out.persist);
  DSM_ASSERT(out.once_durable[0].next.counter == 6);
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &message, fresh()) == DSM_OK);
  DSM_ASSERT(out.once_durable[0].kind == DSM_PAXOS_ACCEPTED && !out.persist);
  message.next.counter = 5;
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &message, fresh()) == DSM_USAGE);
  message.value.size = DSM_PAXOS_VALUE_BYTES_MAX + 1;
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &message, fresh()) == DSM_USAGE);

  message = (dsm_paxos_message){.kind = DSM_PAXOS_ERASE, .from = 4, .ballot = {5, 4, 1}};
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &message, fresh()) == DSM_OK);
  DSM_ASSERT(!dsm_acceptor_empty(&acceptor) && !out.persist); /* holds a value, and a promise */
}

/* A promise above the tombstone outlives the attempt to erase it. */
static void erasing_by_hand(void) {
  dsm_acceptor acceptor;
  dsm_paxos_message message = {.kind = DSM_PAXOS_ACCEPT, .from = 4, .ballot = {5, 4, 1}};
  dsm_paxos_message erase = {.kind = DSM_PAXOS_ERASE, .from = 4, .ballot = {5, 4, 1}};
  dsm_acceptor_init(&acceptor);
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &message, fresh()) == DSM_OK);
  dsm_acceptor promised = acceptor;
  message.kind = DSM_PAXOS_PREPARE;
  message.ballot.counter = 6;
  DSM_ASSERT(dsm_acceptor_receive(&promised, 1, &message, fresh()) == DSM_OK);
  DSM_ASSERT(dsm_acceptor_receive(&promised, 1, &erase, fresh()) == DSM_OK);
  DSM_ASSERT(promised.promised.counter == 6 && !out.persist);
  DSM_ASSERT(dsm_acceptor_receive(&acceptor, 1, &erase, fresh()) == DSM_OK);
  DSM_ASSERT(dsm_acceptor_empty(&acceptor) && out.persist && out.once_durable_count == 1);
}

/* What the acceptors of a walk hold: the state that counts, and the durable one. */
enum { ACCEPTORS = 3, PROPOSERS = 3, NET_MAX = 256 };

static struct walk {
  dsm_acceptor acceptors[ACCEPTORS], durable[ACCEPTORS];
  dsm_proposer proposers[PROPOSERS];
  dsm_register registers[PROPOSERS];
  dsm_proposer_identity identities[PROPOSERS];
  dsm_paxos_message net[NET_MAX], held[NET_MAX]; /* held: wait for their acceptor's disk */
  uint32_t net_count, held_count;
  uint64_t now_us, random;
  /* Single decree. */
  dsm_paxos_value chosen;
  /* A register that counts: every change adds one. */
  uint64_t begun, refused, done, highest, at_begin[PROPOSERS];
} walk;

static uint64_t seed_now;

static void tell_seed(int signal_number) {
  (void)signal_number;
  fprintf(stderr, "in the walk of seed %llu\n", (unsigned long long)seed_now);
}

static uint32_t dice(uint32_t sides) {
  walk.random ^= walk.random << 13;
  walk.random ^= walk.random >> 7;
  walk.random ^= walk.random << 17;
  return (uint32_t)((walk.random >> 20) % sides);
}

static void post(dsm_paxos_message message) {
  for (uint64_t left = message.to; left != 0; left &= left - 1) {
    message.to = left & -left;
    if (walk.net_count < NET_MAX) walk.net[walk.net_count++] = message;
  }
}

/* Acceptors are nodes 0 to 2, proposers nodes 3 to 5; only acceptors wait for a disk here. */
static void absorb(void) {
  dsm_paxos_outputs taken = out;
  for (uint32_t i = 0; i < taken.now_count; i++) post(taken.now[i]);
  for (uint32_t i = 0; i < taken.once_durable_count; i++) {
    if (taken.once_durable[i].from >= ACCEPTORS)
      post(taken.once_durable[i]);
    else if (walk.held_count < NET_MAX)
      walk.held[walk.held_count++] = taken.once_durable[i];
  }
}

static void flush(uint32_t acceptor) {
  walk.durable[acceptor] = walk.acceptors[acceptor];
  for (uint32_t i = 0; i < walk.held_count;) {
    if (walk.held[i].from != acceptor) {
      i++;
      continue;
    }
    post(walk.held[i]);
    walk.held[i] = walk.held[--walk.held_count];
  }
}

static void crash(uint32_t acceptor) {
  walk.acceptors[acceptor] = walk.durable[acceptor];
  for (uint32_t i = 0; i < walk.held_count;)
    if (walk.held[i].from == acceptor)
      walk.held[i] = walk.held[--walk.held_count];
    else
      i++;
}

static void learn(uint32_t proposer) {
  const dsm_paxos_value *value = &walk.proposers[proposer].chosen;
  if (!value->present) return;
  DSM_ASSERT(value->size == 1 && value->bytes[0] < PROPOSERS); /* validity */
  if (!walk.chosen.present) walk.chosen = *value;
  DSM_ASSERT(walk.chosen.bytes[0] == value->bytes[0]); /* agreement */
}

static uint64_t count_in(const dsm_paxos_value *value) {
  uint64_t count = 0;
  if (value->present) memcpy(&count, value->bytes, sizeof count);
  return count;
}

static void settle(uint32_t proposer) {
  dsm_register *reg = &walk.registers[proposer];
  if (out.change_wanted) {
    uint64_t count = count_in(&reg->round.value) + 1;
    dsm_paxos_value value;
    DSM_ASSERT(dsm_paxos_value_set(&value, &count, sizeof count) == DSM_OK);
    absorb();
    DSM_ASSERT(dsm_register_change(reg, &walk.identities[proposer], &value, walk.now_us, fresh()) ==
               DSM_OK);
  } else if (out.outcome == DSM_CHANGE_DONE) {
    /* Linearizable: above whatever was told before this change began, and told once only. */
    uint64_t count = count_in(&reg->round.value);
    DSM_ASSERT(count > walk.at_begin[proposer]);
    if (count > walk.highest) walk.highest = count;
    walk.done++;
  } else if (out.outcome == DSM_CHANGE_REFUSED) {
    walk.refused++;
  }
  absorb();
}

static void deliver(const dsm_paxos_message *message, bool decree) {
  uint32_t to = (uint32_t)__builtin_ctzll(message->to);
  fresh();
  if (to < ACCEPTORS) {
    DSM_ASSERT(dsm_acceptor_receive(&walk.acceptors[to], to, message, &out) == DSM_OK);
    absorb();
  } else if (decree) {
    DSM_ASSERT(dsm_proposer_receive(&walk.proposers[to - ACCEPTORS],
                                    &walk.identities[to - ACCEPTORS], message, walk.now_us,
                                    &out) == DSM_OK);
    absorb();
    learn(to - ACCEPTORS);
  } else {
    DSM_ASSERT(dsm_register_receive(&walk.registers[to - ACCEPTORS],
                                    &walk.identities[to - ACCEPTORS], message, walk.now_us,
                                    &out) == DSM_OK);
    settle(to - ACCEPTORS);
  }
}

static void tick(uint32_t proposer, bool decree) {
  dsm_proposer_identity *identity = &walk.identities[proposer];
  fresh();
  if (decree) {
    dsm_proposer_tick(&walk.proposers[proposer], identity, walk.now_us, &out);
    absorb();
  } else {
    dsm_register_tick(&walk.registers[proposer], identity, walk.now_us, &out);
    settle(proposer);
  }
}

static void begin(uint32_t proposer) {
  dsm_register *reg = &walk.registers[proposer];
  if (reg->busy) return;
  walk.at_begin[proposer] = walk.highest;
  walk.begun++;
  DSM_ASSERT(dsm_register_begin(reg, &walk.identities[proposer], false, walk.now_us,
                                walk.now_us + 2000, fresh()) == DSM_OK);
  settle(proposer);
}

static void step(bool decree) {
  uint32_t action = dice(100);
  walk.now_us += dice(8);
  if (action < 70 && walk.net_count != 0) {
    uint32_t chosen = dice(walk.net_count);
    dsm_paxos_message message = walk.net[chosen];
    if (dice(12) != 0) walk.net[chosen] = walk.net[--walk.net_count]; /* else it comes again */
    if (dice(12) != 0) deliver(&message, decree);
  } else if (action < 85) {
    flush(dice(ACCEPTORS));
  } else if (action < 97) {
    tick(dice(PROPOSERS), decree);
  } else if (action < 99) {
    crash(dice(ACCEPTORS));
  } else if (!decree) {
    begin(dice(PROPOSERS));
  }
}

static void start(uint64_t seed, bool decree) {
  dsm_paxos_config config = dsm_paxos_config_majority(7);
  memset(&walk, 0, sizeof walk);
  walk.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
  seed_now = seed;
  for (uint32_t i = 0; i < PROPOSERS; i++) {
    dsm_paxos_options own = options;
    own.seed = seed + i;
    walk.identities[i] = (dsm_proposer_identity){.node = ACCEPTORS + i, .incarnation = 1};
    DSM_ASSERT(dsm_proposer_init(&walk.proposers[i], 9, &config, 7u << ACCEPTORS, &own) == DSM_OK);
    DSM_ASSERT(dsm_register_init(&walk.registers[i], 9, &config, &own) == DSM_OK);
    if (!decree) continue;
    dsm_paxos_value value;
    DSM_ASSERT(dsm_paxos_value_set(&value, &(uint8_t){(uint8_t)i}, 1) == DSM_OK);
    DSM_ASSERT(dsm_proposer_propose(&walk.proposers[i], &walk.identities[i], &value, 0, fresh()) ==
               DSM_OK);
    absorb();
  }
}

static void calm(int rounds, bool decree) {
  for (int i = 0; i < rounds; i++) {
    walk.now_us += 100;
    for (uint32_t n = 0; n < ACCEPTORS; n++) flush(n);
    tick((uint32_t)i % PROPOSERS, decree);
    for (uint32_t n = 0; n < ACCEPTORS; n++) flush(n);
    while (walk.net_count != 0) {
      dsm_paxos_message message = walk.net[--walk.net_count];
      deliver(&message, decree);
      for (uint32_t n = 0; n < ACCEPTORS; n++) flush(n);
    }
  }
}

static void one_round_when_stable(void) {
  start(1, false);
  uint32_t prepares = 0, accepts = 0;
  for (int change = 0; change < 5; change++) {
    begin(0);
    for (uint32_t i = 0; i < walk.net_count; i++) {
      prepares += walk.net[i].kind == DSM_PAXOS_PREPARE;
      accepts += walk.net[i].kind == DSM_PAXOS_ACCEPT;
    }
    calm(3, false);
    DSM_ASSERT(walk.registers[0].stable);
  }
  /* The first change asks for promises; the other four begin with the ACCEPT at once. */
  DSM_ASSERT(prepares == ACCEPTORS && accepts == 4 * ACCEPTORS && walk.highest == 5);
  DSM_ASSERT(dsm_register_begin(&walk.registers[0], &walk.identities[0], false, 0, 1, fresh()) ==
             DSM_OK);
  dsm_paxos_config config = dsm_paxos_config_majority(7);
  DSM_ASSERT(dsm_register_configure(&walk.registers[0], &config) == DSM_RETRY);
}

int main(int argc, char **argv) {
  uint64_t walks = argc > 1 ? strtoull(argv[1], NULL, 10) : 1500, unknown = 0, done = 0;
  signal(SIGABRT, tell_seed);
  quorums_meet_as_by_brute_force();
  member_steps_are_compatible();
  acceptor_by_hand();
  erasing_by_hand();
  one_round_when_stable();
  for (uint64_t seed = 1; seed <= walks; seed++) {
    start(seed, true);
    for (int i = 0; i < 400; i++) step(true);
    calm(2000, true);
    for (uint32_t i = 0; i < PROPOSERS; i++) DSM_ASSERT(walk.proposers[i].chosen.present);

    start(seed, false);
    for (int i = 0; i < 1500; i++) step(false);
    calm(200, false);
    begin(0);
    calm(200, false);
    DSM_ASSERT(!walk.registers[0].busy);
    /* At most once: what the register counts lies between the done and the possibly done. */
    DSM_ASSERT(walk.done <= walk.highest && walk.highest <= walk.begun - walk.refused);
    done += walk.done;
    unknown += walk.begun - walk.refused - walk.done;
  }
  DSM_ASSERT(done > walks && unknown > 0);
  printf("paxos: %llu walks, %llu changes done, %llu unknown\n", (unsigned long long)(2 * walks),
         (unsigned long long)done, (unsigned long long)unknown);
  return 0;
}
