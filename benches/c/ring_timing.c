/* Look-ups on a ring of 16 nodes with 160 points each, all for different random keys.
 *
 * ring_key          16 random bytes are hashed and their node is found: what a caller with a key
 *                   pays. Look-ups do not depend on each other, so the processor overlaps them.
 * ring_key_chained  the same, but each key holds the node found before it, so nothing overlaps:
 *                   the time from key to node.
 * ring_hash         the node of a hash that the caller has already; likewise overlapping.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/proto/ring.h"
#include "timing.h"

enum { NODES = 16, POINTS = 160, KEYS = 1 << 15, KEY_BYTES = 16 };

typedef struct ring_subject {
  dsm_ring ring;
  uint64_t random;
  unsigned char keys[KEYS][KEY_BYTES];
  uint64_t hashes[KEYS];
} ring_subject;

static void draw_keys(void *subject) {
  ring_subject *s = subject;
  for (int i = 0; i < KEYS; i++) {
    for (int at = 0; at < KEY_BYTES; at += 8) {
      uint64_t word = timing_random(&s->random);
      memcpy(s->keys[i] + at, &word, sizeof word);
    }
    s->hashes[i] = dsm_hash64(s->keys[i], KEY_BYTES, s->ring.seed);
  }
}

static uint64_t look_up_keys(void *subject) {
  const ring_subject *s = subject;
  uint64_t sum = 0;
  for (int i = 0; i < KEYS; i++)
    sum += dsm_ring_node(&s->ring, dsm_hash64(s->keys[i], KEY_BYTES, s->ring.seed));
  return sum;
}

static uint64_t look_up_chained(void *subject) {
  ring_subject *s = subject;
  uint32_t node = 0;
  for (int i = 0; i < KEYS; i++) {
    memcpy(s->keys[i], &node, sizeof node);
    node = dsm_ring_node(&s->ring, dsm_hash64(s->keys[i], KEY_BYTES, s->ring.seed));
  }
  return node;
}

static uint64_t look_up_hashes(void *subject) {
  const ring_subject *s = subject;
  uint64_t sum = 0;
  for (int i = 0; i < KEYS; i++) sum += dsm_ring_node(&s->ring, s->hashes[i]);
  return sum;
}

void time_ring(int rounds) {
  static ring_subject s = {.random = 16};
  void *memory = malloc(dsm_ring_bytes(NODES, NODES * POINTS));
  if (memory == NULL || dsm_ring_init(&s.ring, memory, NODES, NODES * POINTS, 0) != DSM_OK) exit(2);
  for (uint32_t node = 0; node < NODES; node++)
    if (dsm_ring_add(&s.ring, node, POINTS) != DSM_OK) exit(2);
  const timing figures[] = {
      {"ring_key", draw_keys, look_up_keys, &s, KEYS},
      {"ring_key_chained", draw_keys, look_up_chained, &s, KEYS},
      {"ring_hash", draw_keys, look_up_hashes, &s, KEYS},
  };
  timing_run(figures, 3, rounds);
  free(memory);
}
