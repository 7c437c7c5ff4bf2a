/* Damaged segments: seeded mutations of the bytes of a cluster, and what operations make of them.
 *
 * A world of keys is built once per image; an image is calm, or holds the intent of a writer that
 * was killed. Each trial lays the image, mutates it, runs operations and compares every outcome
 * with a naive model: the right value, DSM_CORRUPT, or, for a damaged slot, a miss that check
 * finds. A trial is a function of (seed, number), so one can be repeated alone.
 */
#ifndef DSM_TESTS_KILL_DAMAGE_H
#define DSM_TESTS_KILL_DAMAGE_H

#include "../../csrc/node/cluster.h"
#include "../../csrc/node/registry.h"
#include "../../csrc/store/read.h"
#include "../../csrc/store/write.h"
#include "picture.h"

#define DAMAGE_KEYS 60u
#define DAMAGE_ABSENT 12u /* further keys, absent at first */
#define DAMAGE_KEYS_ALL (DAMAGE_KEYS + DAMAGE_ABSENT)
#define DAMAGE_REGIONS 2u
#define DAMAGE_IMAGES 6u
#define DAMAGE_VALUE_BYTES_MAX 12000u

#define DAMAGE_AREA_LIST(X)                                                                        \
  X(CONTROL, "control header")                                                                     \
  X(PARTICIPANTS, "participants")                                                                  \
  X(REGIONS, "regions")                                                                            \
  X(ROUTES, "routes")                                                                              \
  X(LOCKS, "locks, beside the mutex")                                                              \
  X(INTENTS, "stripe intents")                                                                     \
  X(ARENA_INTENTS, "arena intents")                                                                \
  X(COUNTS, "region counters")                                                                     \
  X(PINS, "pins")                                                                                  \
  X(NODE, "node header")                                                                           \
  X(ARENA, "arena")                                                                                \
  X(UNSETTLED, "unsettled marks")                                                                  \
  X(SUBS, "subs")                                                                                  \
  X(PAGES, "page map")                                                                             \
  X(SLAB, "slab headers")                                                                          \
  X(TABLE, "tables")                                                                               \
  X(OBJECT, "small objects")                                                                       \
  X(VALUE, "value runs")                                                                           \
  X(FREE_EXTENT, "free extents")                                                                   \
  X(FREE_PAGE, "free pages")                                                                       \
  X(LIMBO, "runs in limbo")                                                                        \
  X(TRUNCATION, "truncation before attach")

typedef enum damage_area {
#define DAMAGE_AREA_ENUM(name, text) AREA_##name,
  DAMAGE_AREA_LIST(DAMAGE_AREA_ENUM)
#undef DAMAGE_AREA_ENUM
      AREA_COUNT
} damage_area;

typedef struct damage_item {
  bool present;
  uint8_t codec;
  uint32_t length;
  int64_t tag; /* or the number that a counter holds */
} damage_item;

typedef struct damage_range {
  uint32_t segment;
  uint64_t offset, bytes;
} damage_range;

typedef struct damage_image {
  const char *name;
  picture bytes;
  damage_item items[DAMAGE_KEYS_ALL];
  int in_doubt; /* key whose writer was killed, or -1 */
  damage_item doubt;
  struct {
    damage_range *ranges;
    uint64_t count, room;
  } areas[AREA_COUNT];
} damage_image;

/* The cluster of one worker, attached before anything is damaged. */
typedef struct damage_world {
  dsm_cluster *owner;
  outside segments;
  uint32_t regions[DAMAGE_REGIONS];
  char keys[DAMAGE_KEYS_ALL][24];
  dsm_read view; /* a pinned value that was overwritten since */
  damage_item view_item;
  uint32_t view_key;
  damage_image images[DAMAGE_IMAGES];
} damage_world;

typedef enum damage_outcome {
  OUTCOME_UNNOTICED, /* every operation gave the right value */
  OUTCOME_CORRUPT,   /* at least one was refused */
  OUTCOME_MISSED,    /* a key was missed, and check found it */
  OUTCOME_WRONG,     /* the rule is broken */
  OUTCOME_COUNT
} damage_outcome;

typedef struct damage_trial {
  uint64_t seed, number, random;
  bool verbose;
  damage_area area;
  const damage_image *image;
  char what[160]; /* the mutation in words */
} damage_trial;

void damage_world_open(damage_world *self, const char *name, uint64_t seed);
void damage_world_close(damage_world *self);
dsm_key damage_key(const damage_world *self, uint32_t index);
void damage_value(uint32_t index, const damage_item *item, uint8_t *out);
dsm_status damage_put(const damage_world *self, dsm_call *call, uint32_t index,
                      const damage_item *item, uint64_t if_version);

/* Finds the byte ranges of each area in an image that has just been laid. */
void damage_map(damage_world *self, damage_image *image);

uint64_t damage_random(damage_trial *trial);
/* Chooses image, area and change from the trial's number, lays the image and mutates it. */
void damage_mutate(damage_world *self, damage_trial *trial);
damage_outcome damage_run(damage_world *self, damage_trial *trial);

extern const char *const damage_area_names[AREA_COUNT];

#endif
