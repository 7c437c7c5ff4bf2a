/* The tales, and how they are judged. */
#include "tale.h"

#include <stdio.h>

#include "../../csrc/node/registry.h"

#define ABSENT                                                                                     \
  { ITEM_ABSENT, 0, 0 }
#define OLD(bytes)                                                                                 \
  { ITEM_VALUE, bytes, 1001 }
#define NEW(bytes)                                                                                 \
  { ITEM_VALUE, bytes, 2002 }

const tale tales[] = {
    {"four overwritten",
     {OLD(64), OLD(64), OLD(64), OLD(64), OLD(64), OLD(64)},
     {NEW(64), NEW(64), NEW(64), NEW(64), OLD(64), OLD(64)},
     2},
    {"all new, tables made",
     {ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT},
     {NEW(64), NEW(700), NEW(64), NEW(16), NEW(64), NEW(64)},
     0},
    {"all deleted, tables given up",
     {OLD(64), OLD(700), OLD(64), OLD(5000), OLD(64), OLD(900)},
     {ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT},
     0},
    {"new, gone, longer, large, small",
     {ABSENT, OLD(64), OLD(64), OLD(64), OLD(9000), OLD(20000)},
     {NEW(64), ABSENT, NEW(700), NEW(9000), NEW(64), ABSENT},
     5},
    {"large to large, tables grow",
     {OLD(9000), OLD(9000), OLD(9000), ABSENT, ABSENT, ABSENT},
     {NEW(20000), NEW(5000), NEW(3000), NEW(64), NEW(64), NEW(2000)},
     7},
};
const unsigned tale_count = sizeof tales / sizeof *tales;

uint64_t tale_version(fixture *by, const dsm_key *key) {
  dsm_read read;
  dsm_status status = dsm_read_begin(&by->call, key, &read);
  fixture_require(status == DSM_OK || status == DSM_NOT_FOUND, "the key can be looked up");
  return status == DSM_OK ? read.header.version : 0;
}

void tale_access(fixture *by, workspace *work, uint32_t at, item wanted) {
  dsm_access *access = &work->accesses[at];
  fixture_key_make(by, &work->keys[at], at);
  *access = (dsm_access){.key = work->keys[at].key, .replicas = by->replicas};
  access->expected = tale_version(by, &access->key);
  access->kind = DSM_ACCESS_READ;
  work->order[at] = access;
  if (item_equal(fixture_get(by, at), wanted)) return;
  access->kind = wanted.kind == ITEM_ABSENT ? DSM_ACCESS_DELETE : DSM_ACCESS_PUT;
  if (access->kind == DSM_ACCESS_DELETE) return;
  pattern_fill(work->bytes[at], wanted.bytes, wanted.seed);
  work->parts[at] = (dsm_part){work->bytes[at], wanted.bytes};
  access->value = (dsm_value){&work->parts[at], 1, 7, wanted.bytes};
}

dsm_status tale_bring(fixture *by, workspace *work, const item *wanted) {
  dsm_access *culprit;
  for (uint32_t at = 0; at < TALE_KEYS; at++) tale_access(by, work, at, wanted[at]);
  return dsm_transaction_commit(&by->call, work->order, TALE_KEYS, &culprit);
}

bool tale_holds(fixture *by, const item *wanted) {
  for (uint32_t at = 0; at < TALE_KEYS; at++)
    if (!item_equal(fixture_get(by, at), wanted[at])) return false;
  return true;
}

void tale_begin(const tale *self, fixture *by, workspace *work) {
  for (uint64_t key = TALE_KEYS; key < TALE_KEYS + self->others; key++)
    fixture_require(fixture_put(by, key, 100 + key, 64) == DSM_OK, "put beside");
  fixture_require(tale_bring(by, work, self->before) == DSM_OK, "what is before");
}

void tale_judge(const tale *self, fixture *by, workspace *work) {
  uint64_t length, expected = self->others;
  /* Locks first: readers may see a commit half-way until its stripes are repaired. */
  for (uint32_t at = 0; at < TALE_KEYS; at++) fixture_check_replicas(by, at);
  bool before = tale_holds(by, self->before), after = tale_holds(by, self->after);
  fixture_require(before || after, "all keys are as before or all as after");
  for (uint32_t at = 0; at < TALE_KEYS; at++)
    expected += (before ? self->before : self->after)[at].kind != ITEM_ABSENT;
  fixture_require(dsm_region_length(&by->call, by->region, &length) == DSM_OK, "length");
  fixture_require(length == expected, "the region counts its keys");
  fixture_check_clean(by);
  fixture_require(tale_bring(by, work, self->after) == DSM_OK, "a commit afterwards");
  fixture_require(tale_holds(by, self->after), "what is committed afterwards is read");
  for (uint64_t key = TALE_KEYS; key < TALE_KEYS + self->others; key++)
    fixture_require(item_equal(fixture_get(by, key), (item){ITEM_VALUE, 64, 100 + key}),
                    "the other keys are untouched");
}

void tale_judge_empty(const tale *self, fixture *by) {
  for (uint64_t key = 0; key < TALE_KEYS + self->others; key++) fixture_delete(by, key);
  fixture_require(fixture_limbo_pages(by) == 0, "nothing stays in limbo");
  fixture_require(fixture_used_pages(by) == 0, "no page is lost");
  fixture_check_clean(by);
}
