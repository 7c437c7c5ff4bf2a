/* Comparing pages with the widest unit that the processor has. */
#include "page_diff.h"

#include <string.h>

#include "../base/copy.h"
#include "../base/crash.h"
#include "../base/limits.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef bool page_differs(const uint8_t *left, const uint8_t *right);

/* What follows is for whole pages; the ends of a range go through dsm_copy_compare. */
static bool differs_by_words(const uint8_t *left, const uint8_t *right) {
  for (size_t at = 0; at < DSM_PAGE_BYTES; at += 64) {
    uint64_t mine[8], theirs[8], different = 0;
    memcpy(mine, left + at, sizeof mine);
    memcpy(theirs, right + at, sizeof theirs);
    for (size_t i = 0; i < 8; i++) different |= mine[i] ^ theirs[i];
    if (different) return true;
  }
  return false;
}

#if defined(__x86_64__) && !defined(DSM_COPY_ATOMIC)
#define DIFF_BLOCK_BYTES 256u
/* Two streams are read in step; asking for a line this far ahead keeps both running. */
#define DIFF_AHEAD_BYTES 1024u

__attribute__((target("avx2"))) static bool differs_by_avx2(const uint8_t *left,
                                                            const uint8_t *right) {
  for (size_t at = 0; at < DSM_PAGE_BYTES; at += DIFF_BLOCK_BYTES) {
    __m256i different = _mm256_setzero_si256();
    for (size_t i = 0; i < DIFF_BLOCK_BYTES; i += 64) {
      _mm_prefetch((const char *)left + at + i + DIFF_AHEAD_BYTES, _MM_HINT_T0);
      _mm_prefetch((const char *)right + at + i + DIFF_AHEAD_BYTES, _MM_HINT_T0);
      const __m256i *mine = (const __m256i *)(const void *)(left + at + i);
      const __m256i *theirs = (const __m256i *)(const void *)(right + at + i);
      __m256i low = _mm256_xor_si256(_mm256_loadu_si256(mine), _mm256_loadu_si256(theirs));
      __m256i high = _mm256_xor_si256(_mm256_loadu_si256(mine + 1), _mm256_loadu_si256(theirs + 1));
      different = _mm256_or_si256(different, _mm256_or_si256(low, high));
    }
    if (!_mm256_testz_si256(different, different)) return true;
  }
  return false;
}
#endif

static bool differs_atomically(const uint8_t *left, const uint8_t *right) {
  return dsm_copy_compare(left, right, DSM_PAGE_BYTES) != 0;
}

static page_differs *choose(void) {
#if defined(DSM_COPY_ATOMIC)
  return differs_atomically;
#elif defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return differs_by_avx2;
#endif
  (void)differs_atomically;
  return differs_by_words;
}

const char *dsm_page_diff_unit(void) {
  page_differs *chosen = choose();
  if (chosen == differs_by_words) return "64-bit words";
  return chosen == differs_atomically ? "relaxed bytes" : "AVX2";
}

static uint64_t walk(uint8_t *target, const uint8_t *left, const uint8_t *right, uint64_t bytes) {
  page_differs *differs = choose();
  uint64_t changed = 0;
  for (uint64_t at = 0; at < bytes;) {
    uint64_t part = DSM_PAGE_BYTES - ((uintptr_t)(left + at) & (DSM_PAGE_BYTES - 1));
    if (part > bytes - at) part = bytes - at;
    bool different = part == DSM_PAGE_BYTES ? differs(left + at, right + at)
                                            : dsm_copy_compare(left + at, right + at, part) != 0;
    if (different) {
      changed++;
      if (target) {
        DSM_CRASH_POINT("page_diff.page");
        dsm_copy_in(target + at, right + at, part);
      }
    }
    at += part;
  }
  return changed;
}

uint64_t dsm_page_diff_copy(void *target, const void *source, uint64_t bytes) {
  return walk(target, target, source, bytes);
}

uint64_t dsm_page_diff_count(const void *left, const void *right, uint64_t bytes) {
  return walk(NULL, left, right, bytes);
}
