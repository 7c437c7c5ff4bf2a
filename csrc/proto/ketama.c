/* libketama's points, digest by digest, merged into a ring. */
#include "ketama.h"

#include "../base/md5.h"

enum { ROUND_DIGITS_MAX = 10 };

static uint64_t place_in(const uint8_t digest[DSM_MD5_BYTES], unsigned word) {
  return (uint64_t)dsm__hash_read32(digest + 4 * word) << 32;
}

static size_t write_decimal(char *text, uint32_t value) {
  char digits[ROUND_DIGITS_MAX];
  size_t count = 0;
  do digits[count++] = (char)('0' + value % 10);
  while ((value /= 10) != 0);
  for (size_t i = 0; i < count; i++) text[i] = digits[count - 1 - i];
  return count;
}

uint32_t dsm_ketama_rounds(uint64_t weight, uint64_t weight_total, uint32_t node_count) {
  float share = (float)weight / (float)weight_total;
  return (uint32_t)(float)(share * 40.0 * (float)node_count);
}

dsm_status dsm_ketama_add(dsm_ring *ring, uint32_t node, const char *name, size_t name_bytes,
                          uint32_t rounds) {
  if (name_bytes > DSM_KETAMA_NAME_BYTES_MAX) return DSM_USAGE;
  if (rounds > UINT32_MAX / DSM_KETAMA_ROUND_POINTS) return DSM_TOO_MANY;
  DSM_TRY(dsm__ring_admit(ring, node, rounds * DSM_KETAMA_ROUND_POINTS));
  char text[DSM_KETAMA_NAME_BYTES_MAX + 1 + ROUND_DIGITS_MAX];
  memcpy(text, name, name_bytes);
  text[name_bytes] = '-';
  uint64_t batch[DSM__RING_MERGE_MAX];
  uint32_t count = 0;
  for (uint32_t round = 0; round < rounds; round++) {
    uint8_t digest[DSM_MD5_BYTES];
    dsm_md5(text, name_bytes + 1 + write_decimal(text + name_bytes + 1, round), digest);
    for (unsigned word = 0; word < DSM_KETAMA_ROUND_POINTS; word++)
      batch[count++] = place_in(digest, word) | node;
    if (count < DSM__RING_MERGE_MAX && round + 1 < rounds) continue;
    dsm__ring_merge(ring, batch, count);
    count = 0;
  }
  ring->node_points[node] = rounds * DSM_KETAMA_ROUND_POINTS;
  ring->node_count++;
  dsm__ring_index(ring);
  return DSM_OK;
}

uint64_t dsm_ketama_hash(const void *key, size_t key_bytes) {
  uint8_t digest[DSM_MD5_BYTES];
  dsm_md5(key, key_bytes, digest);
  return place_in(digest, 0);
}
