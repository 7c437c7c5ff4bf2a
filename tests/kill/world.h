/* A small cluster with known contents, and what a change of one key may leave in it.
 *
 * All keys live in one stripe, so that a table grows early and every change meets the same lock.
 * Values are a function of (key, tag, length); so the world is also its own naive model.
 */
#ifndef DSM_TESTS_KILL_WORLD_H
#define DSM_TESTS_KILL_WORLD_H

#include "../../csrc/node/cluster.h"
#include "../../csrc/node/registry.h"
#include "../../csrc/store/write.h"

#define WORLD_KEYS_MAX 240u
#define WORLD_VALUE_BYTES_MAX 16384u

typedef struct item {
  bool present, counter;
  uint32_t length;
  int64_t tag; /* or the number that a counter holds */
} item;

typedef struct world {
  uint32_t region, replicas, stripe;
  uint32_t key_count;
  char keys[WORLD_KEYS_MAX][16];
  item items[WORLD_KEYS_MAX];
} world;

typedef enum change_kind { CHANGE_PUT, CHANGE_DELETE, CHANGE_ADD } change_kind;

/* One change of key `target`, from items[target] to `after`. */
typedef struct change {
  change_kind kind;
  uint32_t target;
  item after;
} change;

typedef struct scenario {
  const char *name;
  bool quick, slow; /* part of the quick run; only in the long one */
  uint32_t present; /* keys that are there before, of `length` bytes */
  uint32_t length;
  uint32_t also; /* length of one more key that is there before; 0: none */
  change_kind kind;
  uint32_t target, target_length;
} scenario;

extern const scenario scenarios[];
extern const unsigned scenario_count;

/* Opens the region, chooses keys of one stripe, stores what the scenario asks for. */
void world_build(world *self, dsm_call *call, uint32_t replicas, const scenario *plan, change *out);
dsm_key world_key(const world *self, const dsm_space *space, uint32_t index);
void world_value(uint32_t index, const item *item, uint8_t *out);
const uint8_t *world_value_ready(uint32_t index, const item *it);
/* Carries out the change; the status of the operation. */
dsm_status world_change(const world *self, dsm_call *call, const change *change);

/* Reads a key at the primary without any lock; DSM_OK also for an absent key. The item that it is,
 * among `candidates`; -1 if it is none of them. */
dsm_status world_read(const world *self, dsm_call *call, uint32_t index, const item *candidates,
                      unsigned candidate_count, int *which);

#endif
