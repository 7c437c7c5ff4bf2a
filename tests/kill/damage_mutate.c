/* One mutation: an area, a place in it, a change. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../csrc/base/hash.h"
#include "damage.h"

typedef enum mutation { FLIP_BIT, FLIP_BITS, ZERO, ONES, NOISE, WORD, MUTATION_COUNT } mutation;

static const char *const mutation_names[MUTATION_COUNT] = {
    "one bit flipped", "bits flipped", "zeroed", "all ones", "random bytes", "random word"};

uint64_t damage_random(damage_trial *trial) {
  trial->random += 0x9E3779B97F4A7C15u;
  return dsm_hash64(&trial->random, sizeof trial->random, trial->seed);
}

/* The bytes of the mutexes are trusted (I-4): they are left as they are. */
static bool in_mutex(const dsm_layout *layout, uint32_t segment, uint64_t offset) {
  if (segment != 0) return false;
  uint64_t registry = offsetof(dsm_control_shm, registry);
  if (offset >= registry && offset < registry + DSM_OS_MUTEX_BYTES) return true;
  if (offset >= layout->locks && offset < layout->node_locks)
    return (offset - layout->locks) % sizeof(dsm_lock_shm) < DSM_OS_MUTEX_BYTES;
  if (offset >= layout->node_locks && offset < layout->intents)
    return (offset - layout->node_locks) % sizeof(dsm_lock_shm) < DSM_OS_MUTEX_BYTES;
  return false;
}

static void change_byte(damage_world *self, uint32_t segment, uint64_t offset, uint8_t keep,
                        uint8_t flip) {
  if (offset >= self->segments.segment[segment].bytes ||
      in_mutex(&self->owner->space.layout, segment, offset))
    return;
  uint8_t *byte = self->segments.segment[segment].base + offset;
  *byte = (uint8_t)((*byte & keep) ^ flip);
}

static void change_range(damage_world *self, damage_trial *trial, const damage_range *range) {
  uint64_t dice = damage_random(trial);
  mutation kind = dice % 8 < 3 ? FLIP_BIT : (mutation)(dice / 8 % MUTATION_COUNT);
  uint64_t offset = range->offset + damage_random(trial) % range->bytes, bytes = 1;
  if (kind == WORD) offset &= ~7ull, bytes = 8;
  if (kind == FLIP_BITS || kind == ZERO || kind == ONES || kind == NOISE)
    bytes = 1ull << damage_random(trial) % 9;
  if (kind == ZERO && damage_random(trial) % 8 == 0)
    offset &= ~(uint64_t)(DSM_ARENA_PAGE_BYTES - 1), bytes = DSM_ARENA_PAGE_BYTES;
  if (bytes < DSM_ARENA_PAGE_BYTES && bytes > range->offset + range->bytes - offset)
    bytes = range->offset + range->bytes - offset;
  snprintf(trial->what, sizeof trial->what, "%s, %s: segment %u, offset %llu, %llu bytes %s",
           trial->image->name, damage_area_names[trial->area], range->segment,
           (unsigned long long)offset, (unsigned long long)bytes, mutation_names[kind]);
  for (uint64_t i = 0; i < bytes; i++) {
    uint8_t random = (uint8_t)damage_random(trial);
    if (kind == FLIP_BIT || kind == FLIP_BITS)
      change_byte(self, range->segment, offset + i, 0xFF, (uint8_t)(1u << random % 8));
    else
      change_byte(self, range->segment, offset + i, 0,
                  kind == ZERO   ? 0
                  : kind == ONES ? 0xFF
                                 : random);
  }
}

void damage_mutate(damage_world *self, damage_trial *trial) {
  trial->random = dsm_hash64(&trial->number, sizeof trial->number, trial->seed);
  uint64_t dice = damage_random(trial);
  trial->image = &self->images[dice % 2 ? 0 : dice / 2 % DAMAGE_IMAGES];
  trial->area = (damage_area)(damage_random(trial) % AREA_COUNT);
  /* Armed intents are what those images are for. */
  if (trial->image->in_doubt >= 0 && damage_random(trial) % 2)
    trial->area = damage_random(trial) % 2 ? AREA_INTENTS : AREA_ARENA_INTENTS;
  picture_lay(&trial->image->bytes, &self->segments);
  if (trial->area == AREA_TRUNCATION) {
    uint32_t segment = (uint32_t)(damage_random(trial) % self->segments.count);
    uint64_t whole = self->segments.segment[segment].bytes;
    uint64_t bytes = damage_random(trial) % 4 ? damage_random(trial) % whole
                                              : damage_random(trial) % 3 * DSM_PAGE_BYTES;
    snprintf(trial->what, sizeof trial->what, "%s: segment %u cut to %llu bytes",
             trial->image->name, segment, (unsigned long long)bytes);
    if (ftruncate(self->segments.segment[segment].descriptor, (off_t)bytes) < 0)
      give_up("cannot truncate");
    return;
  }
  if (trial->image->areas[trial->area].count == 0)
    trial->area = trial->image->areas[AREA_INTENTS].count ? AREA_INTENTS : AREA_ARENA_INTENTS;
  uint64_t count = trial->image->areas[trial->area].count;
  change_range(self, trial, &trial->image->areas[trial->area].ranges[damage_random(trial) % count]);
}
