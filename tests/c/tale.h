/* Tales for the tests of transactions: what six keys hold before, and what after one transaction.
 *
 * Whatever instant the process that commits dies at, all keys are as before or all as after.
 */
#ifndef DSM_TESTS_TALE_H
#define DSM_TESTS_TALE_H

#include "../../csrc/store/transaction.h"
#include "fixture.h"

#define TALE_KEYS 6u
#define TALE_BYTES_MAX 32768u

typedef struct tale {
  const char *name;
  item before[TALE_KEYS], after[TALE_KEYS];
  uint64_t others; /* keys beside, never touched */
} tale;

extern const tale tales[];
extern const unsigned tale_count;

/* What a transaction works with; static, since a death jumps out of it. */
typedef struct workspace {
  fixture_key keys[TALE_KEYS];
  dsm_access accesses[TALE_KEYS];
  dsm_access *order[TALE_KEYS];
  dsm_part parts[TALE_KEYS];
  uint8_t bytes[TALE_KEYS][TALE_BYTES_MAX];
} workspace;

/* Version of a key, 0 if it is absent. */
uint64_t tale_version(fixture *by, const dsm_key *key);
/* Makes the access that brings one key to the wanted item: a read if it holds it already. */
void tale_access(fixture *by, workspace *work, uint32_t at, item wanted);
/* Brings all keys to the wanted items, in one transaction. */
dsm_status tale_bring(fixture *by, workspace *work, const item *wanted);
bool tale_holds(fixture *by, const item *wanted);
/* Puts the keys beside, and all keys to what is before. */
void tale_begin(const tale *self, fixture *by, workspace *work);
/* Ends the test unless all keys are as before or all as after, equal at all replicas, nothing else
 * is touched, and the stripes can be committed to. */
void tale_judge(const tale *self, fixture *by, workspace *work);
/* Everything is deleted: no page may be in use or in limbo, and check is clean. */
void tale_judge_empty(const tale *self, fixture *by);

#endif
