/* The walk over copies, sessions and tiles of one array. */
#include "array_check.h"

#include "array_directory.h"
#include "array_phase.h"
#include "array_scrub.h"

typedef struct check {
  dsm_call *call;
  const dsm_array *array;
  bool repair;
  dsm_check_tell *tell;
  void *context;
  dsm_check_report *report;
} check;

static void problem(const check *self, const char *what, uint64_t left, uint64_t right) {
  dsm_fault fault = {.what = what, .node = -1, .stripe = -1, .left = left, .right = right};
  self->report->problems++;
  self->tell(self->context, &fault);
}

static void repaired(const check *self, const char *what) {
  dsm_fault told = {.what = what, .node = -1, .stripe = -1, .mended = true};
  self->report->repaired++;
  self->tell(self->context, &told);
}

/* False if the primary is not to be looked at. */
static bool check_files(const check *self) {
  const dsm_array *array = self->array;
  for (uint32_t copy = 0; copy < array->geometry.copies; copy++) {
    bool there = array->segments[copy].base != NULL;
    if (!there) {
      problem(self, "file of a copy is gone or cut", copy, array->number);
    } else if (dsm_array_valid(self->call, array, copy) != DSM_OK) {
      const dsm_fault *fault = &self->call->fault;
      problem(self, fault->what, fault->left, fault->right);
    } else if (array->unnamed >> copy & 1) {
      problem(self, "file of a copy has no name any more", copy, array->number);
    } else if (array->lost >> copy & 1) {
      problem(self, "file of a copy is another array's", copy, array->number);
    }
  }
  return dsm_array_usable(array, 0) && dsm_array_valid(self->call, array, 0) == DSM_OK;
}

/* What a session without a readable phase was doing is unknown: the primary is kept. */
static void mend_session(const check *self, uint32_t session) {
  const dsm_array *array = self->array;
  dsm_array_replicate(array);
  if (array->geometry.tile_count)
    dsm_array_release(array, session, 0, array->geometry.tile_count - 1);
  repaired(self, "session was ended, the primary kept");
}

static void check_sessions(const check *self) {
  for (uint32_t i = 0; i < dsm_array_sessions(self->array); i++) {
    uint64_t state;
    dsm_os_process process;
    dsm_atomic_u64 *owner = &dsm_array_session(self->array, i)->owner;
    uint64_t seen = dsm_load_acquire_u64(owner);
    bool alive = dsm_array_alive(self->call->space, seen, &process);
    bool sound = dsm_array_phase_read(self->array, i, &state) != DSM_ARRAY_PHASES;
    if (sound && !alive) sound = dsm_array_recover(self->call, self->array, i) == DSM_OK;
    if (sound) continue;
    problem(self, "session of an array does not verify", i, state);
    if (self->repair && (!alive || seen == dsm_array_self(self->call->space)))
      mend_session(self, i);
  }
}

static uint64_t greatest_stamp(const dsm_array *array) {
  uint64_t greatest = 0;
  for (uint64_t tile = 0; tile < array->geometry.tile_count; tile++) {
    bool ok;
    uint64_t stamp = dsm_unseal(dsm_load_relaxed_u64(&dsm_array_tile(array, tile)->stamp),
                                dsm_array_tile_salt(array, tile), &ok);
    if (ok && stamp > greatest) greatest = stamp;
  }
  return greatest;
}

static void check_words(const check *self, uint64_t tile) {
  const dsm_array *array = self->array;
  dsm_array_tile_shm *words = dsm_array_tile(array, tile);
  bool ok;
  uint32_t holder = dsm_load_acquire_u32(&words->lock) & ~DSM_ARRAY_AWAITED;
  if (holder > DSM_ARRAY_SESSIONS) {
    problem(self, "lock of a tile", tile, holder);
    if (self->repair) {
      dsm_store_seq_cst_u32(&words->lock, 0);
      dsm_os_word_wake(&words->lock, UINT32_MAX);
      repaired(self, "lock of a tile was freed");
    }
  }
  uint64_t raw = dsm_load_acquire_u64(&words->stamp);
  dsm_unseal(raw, dsm_array_tile_salt(array, tile), &ok);
  if (ok || dsm_load_acquire_u64(&words->stamp) != raw) return;
  problem(self, "stamp of a tile does not verify", tile, raw);
  if (!self->repair) return;
  uint64_t stamp = (greatest_stamp(array) | 1) + 1;
  dsm_store_seq_cst_u64(&words->stamp, dsm_seal(stamp, dsm_array_tile_salt(array, tile)));
  repaired(self, "stamp of a tile was made anew");
}

static void check_copies(const check *self, uint64_t tile) {
  const dsm_array *array = self->array;
  uint64_t low = tile * array->geometry.tile_bytes, high = low + array->geometry.tile_bytes;
  if (high > array->geometry.data_bytes) high = array->geometry.data_bytes;
  dsm_array_block block = dsm_array_block_make(array, low, high);
  dsm_call brief = dsm_call_make(self->call->space, 0);
  int best = -1;
  if (self->repair) {
    bool mended = dsm_array_tile_mend(&brief, array, tile, &best);
    if (mended) repaired(self, "copies of a tile were made equal");
  } else {
    if (dsm_array_read_begin(&brief, array, &block) == DSM_OK)
      best = dsm_array_tile_best(array, tile,
                                 dsm_load_acquire_u64(&dsm_array_tile(array, tile)->stamp));
    dsm_array_cancel(&brief, array, &block);
  }
  if (best >= 0)
    problem(self, best ? "primary of a tile against its backups" : "backup of a tile", tile, low);
}

dsm_status dsm_array_check(dsm_call *call, const dsm_array *array, bool repair,
                           dsm_check_tell *tell, void *context, dsm_check_report *report) {
  check self = {call, array, repair, tell, context, report};
  if (!check_files(&self)) return DSM_OK;
  check_sessions(&self);
  bool compares =
      array->geometry.replicas > 1 && !dsm_load_acquire_u32(&dsm_array_header(array, 0)->raw);
  for (uint64_t tile = 0; tile < array->geometry.tile_count; tile++) {
    check_words(&self, tile);
    if (compares) check_copies(&self, tile);
  }
  return DSM_OK;
}
