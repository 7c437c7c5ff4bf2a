/* Transactions killed at every planned crash point, in the simulated system: each story ×
 * replication × point, then a survivor, killed itself at points of its recovery, then a second one.
 *
 * A story is six keys over two stripes: what they hold before, and after. Whatever instant a
 * process dies at, all keys are as before or all as after, at every replica, no page is lost, and
 * the survivors can commit through the same stripes and records. Without DSM_TEST_ROUNDS=all the
 * second deaths are thinned.
 */
#include "../../csrc/os/os_sim.h"
#include "check_main.h"
#include "crash_story.h"
#include "leaks_ignored.h"
#include "tale.h"

#define CLUSTER "ctest-txcrash"
#define SECOND_STRIDE 97u

static workspace space_of[3]; /* the victim's, the survivor's, the judge's */

static void act(crash_story *self, fixture *victim) {
  const tale *tale = self->context;
  fixture_require(tale_bring(victim, &space_of[0], tale->after) == DSM_OK, "commit");
}

/* What a survivor does that knows nothing: it commits where the victim died. */
static void recover(crash_story *self, fixture *survivor) {
  const tale *tale = self->context;
  for (uint32_t at = 0; at < TALE_KEYS; at++) fixture_check_replicas(survivor, at);
  dsm_status status = tale_bring(survivor, &space_of[1], tale->before);
  fixture_require(status == DSM_OK, "the survivor commits");
  fixture_retire_dead(survivor);
}

static void judge(crash_story *self, fixture *survivor, bool rescued) {
  (void)rescued;
  tale_judge(self->context, survivor, &space_of[2]);
  fixture_retire_dead(survivor);
  tale_judge_empty(self->context, survivor);
}

/* Commits one key beside, twice, through the record that the dead one had. */
static void commit_through(fixture *by, uint32_t record, uint64_t number) {
  workspace *work = &space_of[1];
  uint32_t own = by->call.space->participant;
  dsm_access *culprit;
  for (int round = 0; round < 2; round++) {
    fixture_key_make(by, &work->keys[0], number);
    pattern_fill(work->bytes[0], 64, 100 + number);
    work->parts[0] = (dsm_part){work->bytes[0], 64};
    work->accesses[0] = (dsm_access){.key = work->keys[0].key,
                                     .kind = DSM_ACCESS_PUT,
                                     .replicas = by->replicas,
                                     .expected = DSM_ANY_VERSION,
                                     .value = {&work->parts[0], 1, 7, 64}};
    work->order[0] = &work->accesses[0];
    by->call.space->participant = record; /* which record is tried first follows from it */
    dsm_status status = dsm_transaction_commit(&by->call, work->order, 1, &culprit);
    by->call.space->participant = own;
    fixture_require(status == DSM_OK, "a commit through the dead one's record");
  }
}

/* Nobody has met the dead one's stripes when its record is used again. */
static void judge_reuse(crash_story *self, fixture *survivor, bool rescued) {
  const tale *tale = self->context;
  commit_through(survivor, self->victim_slot, TALE_KEYS + self->at % tale->others);
  judge(self, survivor, rescued);
}

static void try_tale(const tale *tale, uint32_t replicas, bool reuse) {
  crash_story self = {
      .cluster = CLUSTER,
      .name = reuse ? "record reused" : tale->name,
      .replicas = replicas,
      .context = (void *)tale,
      .stride = rounds_all() || reuse || replicas == 1 ? 1 : 3,
      .second_every = reuse ? 0 : 1,
      .act = act,
      .recover = recover,
      .judge = reuse ? judge_reuse : judge,
  };
  self.second_stride = rounds_all() ? 7 : SECOND_STRIDE * self.stride;
  fixture_shape shape = {CLUSTER, 3, replicas, 2, 4ull << 20};
  dsm_sim_start(replicas);
  fixture owner = fixture_create(&shape);
  tale_begin(tale, &owner, &space_of[0]);
  crash_story_tell(&self, owner);
  dsm_sim_stop();
}

int main(void) {
  try_tale(&tales[0], 2, true);
  for (unsigned i = 0; i < tale_count; i++)
    for (uint32_t replicas = 1; replicas <= 3; replicas++) try_tale(&tales[i], replicas, false);
  CHECK(crash_deaths > 100);
  CHECK(crash_second_deaths > 100);
  printf("%u deaths, %u second deaths\n", crash_deaths, crash_second_deaths);
  return check_result("sim_transaction_crash");
}
