/* One cluster as one process sees it, for the C tests: few calls that say what a test means.
 *
 * Values are patterns that describe themselves (pattern_holds), so that bytes of two values never
 * pass for one. A fixture remembers its process in the simulated world; with the Linux kernel that
 * is simply this process. What must hold and does not ends the test, with fixture_story in front.
 */
#ifndef DSM_TESTS_FIXTURE_H
#define DSM_TESTS_FIXTURE_H

#include "../../csrc/node/cluster.h"
#include "../../csrc/store/read.h"
#include "../../csrc/store/write.h"

typedef struct fixture {
  dsm_cluster *cluster;
  dsm_call call;
  uint32_t region;
  uint32_t replicas;
} fixture;

typedef struct fixture_shape {
  const char *name; /* begins with "ctest-" */
  uint32_t nodes, replicas, stripes;
  uint64_t node_bytes;
} fixture_shape;

/* What is being tried now, for messages. */
extern char fixture_story[256];
void fixture_require(bool holds, const char *what);

/* Creates the cluster and opens the region "main" with its replication. Ends the test if not OK. */
fixture fixture_create(const fixture_shape *shape);
fixture fixture_attach(const char *name);
/* Drops the handle; the creator removes the names first. */
void fixture_close(fixture *self, bool unlink);
/* Frees what a process held privately that was killed: nothing shared is touched. */
void fixture_abandon(fixture *self);

/* Keys are numbers spelled out; the text must live as long as the key. */
typedef struct fixture_key {
  char text[24];
  dsm_key key;
} fixture_key;
void fixture_key_make(const fixture *self, fixture_key *out, uint64_t number);

dsm_status fixture_put(fixture *self, uint64_t number, uint64_t seed, uint64_t bytes);
dsm_status fixture_delete(fixture *self, uint64_t number);
dsm_status fixture_add(fixture *self, uint64_t number, int64_t difference, int64_t *result);

/* What a key holds: its value's length and the seed of its pattern, or its counter. A torn value is
 * a failure. */
typedef enum item_kind { ITEM_ABSENT, ITEM_VALUE, ITEM_COUNTER } item_kind;
typedef struct item {
  item_kind kind;
  uint64_t bytes, seed; /* a counter's value is in `seed` */
} item;
item fixture_get(fixture *self, uint64_t number);
/* A copy that does not verify is read at another replica, as every caller of the store does it. */
item fixture_get_despite(fixture *self, uint64_t number);
bool item_equal(item left, item right);

/* Every replica of the key's route holds the same header, key and value. */
void fixture_check_replicas(fixture *self, uint64_t number);
/* dsm_check finds nothing, and all arenas tile. */
void fixture_check_clean(fixture *self);
/* Pages in use at all nodes, without those that subs keep as spare and those in limbo. */
uint64_t fixture_used_pages(fixture *self);
uint64_t fixture_limbo_pages(fixture *self);
/* Retires whoever is dead. */
void fixture_retire_dead(fixture *self);

/* The pattern of a seed: first word the seed, second the length, the rest mixed from both. */
void pattern_fill(void *bytes, uint64_t length, uint64_t seed);
bool pattern_holds(const void *bytes, uint64_t length, uint64_t *seed);

uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t bound);
/* "all" in DSM_TEST_ROUNDS: every combination; otherwise a thinned selection. */
bool rounds_all(void);

#endif
