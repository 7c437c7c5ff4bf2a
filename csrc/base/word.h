/* Words of a segment that carry their own check.
 *
 * Bytes in a segment are input (I-10). A word that steers the engine (an offset, a list head, a
 * count) is sealed: 44 bits of value under a 20-bit check, or 56 under 8 where two links share a
 * word. The salt names the place, so a word copied elsewhere, a zeroed page and a flipped bit are
 * all told from a true one. A sealed word is still one atomic store.
 *
 * Locators name a word in any segment: segment number (0 control, 1 + node) and byte offset.
 */
#ifndef DSM_BASE_WORD_H
#define DSM_BASE_WORD_H

#include <stdbool.h>
#include <stdint.h>

#define DSM_SEAL_VALUE_BITS 44
#define DSM_SEAL_VALUE_MASK ((1ull << DSM_SEAL_VALUE_BITS) - 1)
#define DSM_LINK_VALUE_BITS 56
#define DSM_LINK_VALUE_MASK ((1ull << DSM_LINK_VALUE_BITS) - 1)

/* Odd, and without a run of zero bits long enough for a single flipped bit to keep the check. */
#define DSM_SEAL_FACTOR 0x9E3779B97F4A7C15ull

static inline uint64_t dsm__seal_mix(uint64_t value, uint64_t salt) {
  uint64_t mixed = (value ^ (salt * 0xD6E8FEB86659FD93ull)) * DSM_SEAL_FACTOR;
  return mixed ^ (mixed << 23);
}

static inline uint64_t dsm_seal(uint64_t value, uint64_t salt) {
  return value | (dsm__seal_mix(value, salt) & ~DSM_SEAL_VALUE_MASK);
}

/* Returns the value of a sealed word; *ok is false, and the value 0, if the check does not hold. */
static inline uint64_t dsm_unseal(uint64_t word, uint64_t salt, bool *ok) {
  uint64_t value = word & DSM_SEAL_VALUE_MASK;
  *ok = dsm_seal(value, salt) == word;
  return *ok ? value : 0;
}

static inline uint64_t dsm_link_seal(uint64_t value, uint64_t salt) {
  return value | (dsm__seal_mix(value, salt) & ~DSM_LINK_VALUE_MASK);
}

static inline uint64_t dsm_link_unseal(uint64_t word, uint64_t salt, bool *ok) {
  uint64_t value = word & DSM_LINK_VALUE_MASK;
  *ok = dsm_link_seal(value, salt) == word;
  return *ok ? value : 0;
}

typedef uint64_t dsm_locator;

#define DSM_CONTROL_SEGMENT 0u

static inline dsm_locator dsm_locator_make(unsigned segment, uint64_t offset) {
  return ((uint64_t)segment << 56) | offset;
}

static inline unsigned dsm_locator_segment(dsm_locator locator) {
  return (unsigned)(locator >> 56);
}

static inline uint64_t dsm_locator_offset(dsm_locator locator) {
  return locator & ((1ull << 56) - 1);
}

#endif
