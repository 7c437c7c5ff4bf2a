/* Silence, and what the keeper does about it, in the simulated system: beats come, stop and come
 * back; observers are late themselves; keepers are killed at every crash point and followed.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/node/keeper.h"
#include "../../csrc/node/registry.h"
#include "../../csrc/node/report.h"
#include "../../csrc/node/starter.h"
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_hook.h"
#include "fixture.h"
#include "leaks_ignored.h"

enum { NODES = 3, BEAT_MS = 100, SUSPECT_MS = 300, TIMEOUT_MS = 1000 };

/* A node's process as its service thread sees the world. */
typedef struct member {
  uint32_t pid;
  dsm_cluster *cluster;
  dsm_call call;
  dsm_peers *peers;
  dsm_watch watch;
} member;

typedef struct scene {
  uint32_t owner_pid;
  dsm_cluster *owner;
  member nodes[NODES];
} scene;

static void beat(const member *self) {
  dsm_space *space = &self->cluster->space;
  dsm_participant_shm *slot = dsm_space_participant(space, space->participant);
  dsm_store_relaxed_u64(&slot->beat_ns, dsm_os_monotonic_ns());
  dsm_store_release_u32(&slot->beating, 1);
}

static void record_death(void *context, uint32_t participant, uint32_t incarnation,
                         dsm_ending ending, uint64_t noticed_ns) {
  (void)ending;
  dsm_report_death(&((member *)context)->call, participant, incarnation, noticed_ns);
}

static bool enter(member *self, uint32_t pid, int node) {
  dsm_fault fault;
  dsm_sim_process_run(pid);
  self->pid = pid;
  if (dsm_cluster_attach("ctest-keeper", node, &self->cluster, &fault) != DSM_OK) return false;
  self->call = dsm_call_make(&self->cluster->space, 1);
  self->peers = dsm_peers_open(&self->cluster->space, dsm_os_monotonic_ns());
  CHECK_EQUAL(dsm_watch_open(&self->watch, &self->cluster->space), DSM_OK);
  beat(self);
  dsm_registry_lives(&self->cluster->space, 0);
  return true;
}

static void begin(scene *self, uint64_t seed) {
  dsm_sim_start(seed);
  dsm_fault fault;
  dsm_options options = {.name = "ctest-keeper",
                         .node_count = NODES,
                         .replicas = 1,
                         .stripe_count = 4,
                         .node_segment_bytes = 1u << 20,
                         .detection = {.heartbeat_ms = BEAT_MS,
                                       .suspect_ms = SUSPECT_MS,
                                       .timeout_ms = TIMEOUT_MS,
                                       .recovery = DSM_RECOVERY_ADOPT}};
  self->owner_pid = dsm_sim_process_pid();
  CHECK_EQUAL(dsm_cluster_create(&options, &self->owner, &fault), DSM_OK);
  dsm_cluster_detach(self->owner);
  for (int node = 0; node < NODES; node++)
    CHECK(enter(&self->nodes[node], dsm_sim_process_new(), node));
}

/* The owner's process ends, and is retired by node 0. */
static void orphan(scene *self) {
  bool retired;
  dsm_sim_process_kill(self->owner_pid);
  dsm_sim_process_run(self->nodes[0].pid);
  CHECK_EQUAL(dsm_registry_retire(&self->nodes[0].call, 0, &retired), DSM_OK);
  CHECK(retired);
}

static void look(member *self) {
  dsm_sim_process_run(self->pid);
  dsm_watch_wait(&self->watch, &self->cluster->space, 0, record_death, self);
  dsm_watch_refresh(&self->watch, &self->cluster->space, record_death, self);
  dsm_peers_look(self->peers, &self->cluster->space, dsm_os_monotonic_ns());
}

/* One heartbeat of time: the nodes named by the mask beat, those of the other one look. */
static void round_of(scene *self, unsigned beating, unsigned looking) {
  dsm_sim_clock_advance(BEAT_MS * 1000000ull);
  for (int node = 0; node < NODES; node++)
    if (beating >> node & 1) beat(&self->nodes[node]);
  for (int node = 0; node < NODES; node++)
    if (looking >> node & 1) look(&self->nodes[node]);
}

static dsm_peer_state verdict(const scene *self, int observer, uint32_t participant) {
  const member *node = &self->nodes[observer];
  const dsm_participant_shm *slot = dsm_space_participant(&node->cluster->space, participant);
  return dsm_peers_verdict(node->peers, participant, dsm_load_relaxed_u32(&slot->incarnation));
}

static unsigned count_of(const member *self, dsm_event_kind kind, uint32_t participant) {
  unsigned found = 0;
  dsm_event event;
  const dsm_space *space = &self->cluster->space;
  for (uint64_t i = dsm_event_oldest(space); i <= dsm_event_latest(space); i++)
    found += dsm_event_read(space, i, &event) == DSM_EVENT_READ && event.kind == kind &&
             event.subject == participant;
  return found;
}

static void test_silence_is_judged_in_steps(void) {
  scene self;
  begin(&self, 1);
  for (int i = 0; i < 20; i++) round_of(&self, 7, 7);
  for (uint32_t peer = 1; peer <= NODES; peer++)
    CHECK_EQUAL(verdict(&self, peer == 1 ? 1 : 0, peer), DSM_PEER_ALIVE);
  unsigned rounds = 0;
  while (verdict(&self, 0, 3) == DSM_PEER_ALIVE && rounds < 100) {
    round_of(&self, 3, 3);
    rounds++;
  }
  CHECK_EQUAL(verdict(&self, 0, 3), DSM_PEER_SUSPECTED);
  CHECK(rounds >= SUSPECT_MS / BEAT_MS && rounds <= SUSPECT_MS / BEAT_MS + 1);
  round_of(&self, 7, 3);
  CHECK_EQUAL(verdict(&self, 0, 3), DSM_PEER_ALIVE);
  for (rounds = 0; verdict(&self, 1, 3) != DSM_PEER_DEAD && rounds < 100; rounds++)
    round_of(&self, 3, 3);
  CHECK(rounds >= TIMEOUT_MS / BEAT_MS && rounds <= TIMEOUT_MS / BEAT_MS + 1);
  round_of(&self, 7, 3); /* too late: that incarnation was given up */
  CHECK_EQUAL(verdict(&self, 1, 3), DSM_PEER_DEAD);
  CHECK_EQUAL(verdict(&self, 0, 2), DSM_PEER_ALIVE);
  dsm_sim_stop();
}

/* Everybody was away, as in a suspend: the first to look has nothing to say of the others. */
static void test_own_absence_is_forgiven(void) {
  scene self;
  begin(&self, 2);
  for (int i = 0; i < 5; i++) round_of(&self, 7, 7);
  dsm_sim_clock_advance(20 * TIMEOUT_MS * 1000000ull);
  for (int i = 0; i < 2; i++) {
    round_of(&self, 1, 1);
    CHECK_EQUAL(verdict(&self, 0, 2), DSM_PEER_ALIVE);
    CHECK_EQUAL(verdict(&self, 0, 3), DSM_PEER_ALIVE);
  }
  for (int i = 0; i < 30; i++) round_of(&self, 7, 7);
  CHECK_EQUAL(verdict(&self, 0, 3), DSM_PEER_ALIVE);
  dsm_sim_stop();
}

/* A node owes beats from its joining on, whether its service thread has begun or not; an owner, who
 * starts its thread when all nodes are there, from its first one on. */
static void test_from_when_on_beats_are_owed(void) {
  scene self;
  begin(&self, 3);
  dsm_space *space = &self.nodes[0].cluster->space;
  dsm_store_relaxed_u32(&dsm_space_participant(space, 3)->beating, 0);
  dsm_store_relaxed_u32(&dsm_space_participant(space, 0)->beating, 0);
  for (int i = 0; i < 50; i++) round_of(&self, 3, 3);
  CHECK_EQUAL(verdict(&self, 0, 0), DSM_PEER_ALIVE);
  CHECK_EQUAL(verdict(&self, 0, 3), DSM_PEER_DEAD);
  dsm_sim_stop();
}

static void test_who_is_keeper(void) {
  scene self;
  begin(&self, 4);
  const dsm_space *space = &self.owner->space;
  round_of(&self, 7, 7);
  CHECK(dsm_keeper_serves(space, NULL)); /* the owner, whatever it thinks of others */
  for (int node = 0; node < NODES; node++)
    CHECK(!dsm_keeper_serves(&self.nodes[node].cluster->space, self.nodes[node].peers));
  orphan(&self);
  CHECK(dsm_keeper_serves(&self.nodes[0].cluster->space, self.nodes[0].peers));
  CHECK(!dsm_keeper_serves(&self.nodes[1].cluster->space, self.nodes[1].peers));
  while (verdict(&self, 1, 1) == DSM_PEER_ALIVE) round_of(&self, 6, 6);
  CHECK(dsm_keeper_serves(&self.nodes[1].cluster->space, self.nodes[1].peers));
  CHECK(!dsm_keeper_serves(&self.nodes[2].cluster->space, self.nodes[2].peers));
  CHECK(dsm_keeper_judges(&self.nodes[1].cluster->space, self.nodes[1].peers));
  dsm_sim_stop();
}

static void judge_action(void *context) {
  member *self = context;
  dsm_keeper_judge(&self->call, self->peers, &self->watch);
}

/* Node 2 hangs. Keeper 0 is killed at each of its steps; then node 1 judges. The hung one ends by
 * SIGKILL, and is recorded as suspected and as fenced exactly once. */
static void test_a_keeper_is_killed_while_it_fences(void) {
  bool left = true;
  for (unsigned at = 1; left; at++) {
    scene self;
    begin(&self, at);
    orphan(&self);
    for (int i = 0; i < 3; i++) round_of(&self, 7, 7);
    dsm_sim_process_freeze(self.nodes[2].pid, true);
    for (int i = 0; i < 2 + TIMEOUT_MS / BEAT_MS; i++) round_of(&self, 3, 3);
    CHECK_EQUAL(verdict(&self, 0, 3), DSM_PEER_DEAD);
    dsm_sim_process_run(self.nodes[0].pid);
    left = crash_jump(at, judge_action, &self.nodes[0]);
    snprintf(fixture_story, sizeof fixture_story, "keeper killed at %u %s", at, crash_point_name());
    dsm_sim_process_kill(self.nodes[0].pid);
    for (int i = 0; i < 3; i++) {
      round_of(&self, 2, 2);
      CHECK(dsm_keeper_judges(&self.nodes[1].cluster->space, self.nodes[1].peers));
      judge_action(&self.nodes[1]);
    }
    const member *heir = &self.nodes[1];
    dsm_os_process hung = {.pid = self.nodes[2].pid, .start_ticks = self.nodes[2].pid * 100ull};
    CHECK(!dsm_os_process_alive(&hung));
    round_of(&self, 2, 2);
    CHECK_EQUAL(count_of(heir, DSM_EVENT_SUSPECTED, 3), 1);
    CHECK_EQUAL(count_of(heir, DSM_EVENT_FENCED, 3), 1);
    CHECK_EQUAL(count_of(heir, DSM_EVENT_DEAD, 3), 1);
    CHECK_EQUAL(count_of(heir, DSM_EVENT_CLEARED, 3), 0);
    CHECK_EQUAL(count_of(heir, DSM_EVENT_DEAD, 1), 1);
    dsm_sim_stop();
  }
}

static const char *const command[] = {"node", NULL}, *const environment[] = {"A=1", NULL};

static void replace_action(void *context) {
  member *self = context;
  dsm_starter_replace(&self->call, self->cluster, dsm_os_monotonic_ns());
}

static uint32_t newest(void) {
  uint32_t probe = dsm_sim_process_new(); /* pids are given in order */
  return probe - 1;
}

/* SIGKILL has reached node 2, whose memory is still being freed: all know, and nobody succeeds it
 * before it has ended. A service thread that was stopped in good order accuses nobody. */
static void test_the_beginning_of_an_end_is_told(void) {
  for (int orderly = 0; orderly < 2; orderly++) {
    scene self;
    begin(&self, 5);
    orphan(&self);
    CHECK_EQUAL(dsm_starter_set(self.nodes[0].cluster, command, environment), DSM_OK);
    for (int i = 0; i < 3; i++) round_of(&self, 7, 7);
    if (orderly) dsm_registry_rests(&self.nodes[2].cluster->space, 0);
    uint32_t before = newest();
    dsm_sim_process_end(self.nodes[2].pid);
    for (int i = 0; i < 3; i++) round_of(&self, 3, 3);
    CHECK_EQUAL(count_of(&self.nodes[1], DSM_EVENT_DEAD, 3), orderly ? 0 : 1);
    replace_action(&self.nodes[0]);
    CHECK_EQUAL(newest(), before + 1);
    dsm_sim_process_kill(self.nodes[2].pid);
    round_of(&self, 3, 3);
    CHECK_EQUAL(count_of(&self.nodes[1], DSM_EVENT_DEAD, 3), 1);
    dsm_sim_process_run(self.nodes[0].pid);
    replace_action(&self.nodes[0]);
    CHECK_EQUAL(newest(), before + 3);
    dsm_sim_stop();
  }
}

/* Node 2 is dead. Keeper 0 is killed at each step of starting its successor; node 1 starts one as
 * well. Whoever of the two comes first is the node; the other is refused. */
static void test_a_keeper_is_killed_while_it_starts(void) {
  bool left = true;
  for (unsigned at = 1; left; at++) {
    scene self;
    begin(&self, at);
    orphan(&self);
    for (int i = 0; i < 2; i++)
      CHECK_EQUAL(dsm_starter_set(self.nodes[i].cluster, command, environment), DSM_OK);
    round_of(&self, 7, 7);
    uint32_t before = newest();
    dsm_sim_process_kill(self.nodes[2].pid);
    dsm_sim_process_run(self.nodes[0].pid);
    dsm_report_death(&self.nodes[0].call, 3, 1, 0);
    left = crash_jump(at, replace_action, &self.nodes[0]);
    uint32_t first = newest();
    bool started = first > before + 1;
    dsm_sim_process_kill(self.nodes[0].pid);
    round_of(&self, 2, 2);
    replace_action(&self.nodes[1]);
    uint32_t second = newest();
    CHECK(second > first + 1);
    member early = {0}, late = {0};
    if (started) CHECK(enter(&early, first, 2));
    CHECK_EQUAL(enter(&late, second, 2), !started);
    round_of(&self, 2, 2);
    const member *living = started ? &early : &late;
    CHECK_EQUAL(dsm_load_relaxed_u32(&dsm_space_participant(&self.owner->space, 3)->pid),
                living->pid);
    CHECK(!dsm_keeper_absent(&self.owner->space, 2));
    dsm_sim_stop();
  }
}

int main(void) {
  test_silence_is_judged_in_steps();
  test_own_absence_is_forgiven();
  test_from_when_on_beats_are_owed();
  test_who_is_keeper();
  test_a_keeper_is_killed_while_it_fences();
  test_a_keeper_is_killed_while_it_starts();
  test_the_beginning_of_an_end_is_told();
  return check_result("sim_keeper");
}
