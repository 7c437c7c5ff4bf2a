/* The hash of long inputs: 129 to 240 bytes by the mixing step of the header, more than that by
 * eight sums over 64-byte stripes in the widest vectors that the processor has.
 *
 * The loop is expanded for AVX2 (chosen at run time, from a table that the compiler's run-time
 * library fills before main), SSE2 (every x86-64) and plain integers. All give the same value; the
 * tests build each of them by setting DSM_HASH_WIDTH_BITS to 64, 128 or 256.
 */
#include "hash.h"

#ifndef DSM_HASH_WIDTH_BITS
#ifdef __x86_64__
#define DSM_HASH_WIDTH_BITS 256
#else
#define DSM_HASH_WIDTH_BITS 64
#endif
#endif

#if DSM_HASH_WIDTH_BITS > 64
#include <immintrin.h>
#endif

enum { STRIPE_BYTES = 64, BLOCK_STRIPES = 16, SECRET_BYTES = 192, MIDDLE_BYTES_MAX = 240 };

#define PRIME32_1 UINT64_C(0x9E3779B1)
#define PRIME32_2 UINT64_C(0x85EBCA77)
#define PRIME32_3 UINT64_C(0xC2B2AE3D)
#define PRIME64_4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME64_5 UINT64_C(0x27D4EB2F165667C5)

typedef void consume_function(uint64_t sums[8], const unsigned char *bytes, size_t length,
                              const unsigned char *secret);

/* One stripe against 64 bytes of the secret: what the vector loops do, eight lanes one by one. */
static void consume_stripe(uint64_t sums[8], const unsigned char *bytes,
                           const unsigned char *secret) {
  for (int i = 0; i < 8; i++) {
    uint64_t input = dsm__hash_read64(bytes + 8 * i);
    uint64_t key = input ^ dsm__hash_read64(secret + 8 * i);
    sums[i ^ 1] += input;
    sums[i] += (uint32_t)key * (key >> 32);
  }
}

#if DSM_HASH_WIDTH_BITS > 64

typedef uint64_t lanes128 __attribute__((vector_size(16)));

#define LANES lanes128
#define LANES_FUNCTION consume_sse2
#define LANES_TARGET
#define LANES_MULTIPLY(a, b) (lanes128) _mm_mul_epu32((__m128i)(a), (__m128i)(b))
#define LANES_SWAP(a) (lanes128) _mm_shuffle_epi32((__m128i)(a), 0x4E)
#include "hash_lanes.h"

#if DSM_HASH_WIDTH_BITS > 128

typedef uint64_t lanes256 __attribute__((vector_size(32)));

#define LANES lanes256
#define LANES_FUNCTION consume_avx2
#define LANES_TARGET __attribute__((target("avx2")))
#define LANES_MULTIPLY(a, b) (lanes256) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#define LANES_SWAP(a) (lanes256) _mm256_shuffle_epi32((__m256i)(a), 0x4E)
#include "hash_lanes.h"

static consume_function *widest_consume(void) {
  return __builtin_cpu_supports("avx2") ? consume_avx2 : consume_sse2;
}

#else

static consume_function *widest_consume(void) {
  return consume_sse2;
}

#endif
#else

static void consume_portable(uint64_t sums[8], const unsigned char *bytes, size_t length,
                             const unsigned char *secret) {
  for (size_t stripe = 0, stripes = (length - 1) / STRIPE_BYTES; stripe < stripes; stripe++) {
    size_t place = stripe % BLOCK_STRIPES;
    consume_stripe(sums, bytes + stripe * STRIPE_BYTES, secret + place * 8);
    if (place < BLOCK_STRIPES - 1) continue;
    for (int i = 0; i < 8; i++) {
      uint64_t key = dsm__hash_read64(secret + SECRET_BYTES - STRIPE_BYTES + 8 * i);
      sums[i] = (sums[i] ^ sums[i] >> 47 ^ key) * PRIME32_1;
    }
  }
}

static consume_function *widest_consume(void) {
  return consume_portable;
}

#endif

static uint64_t merge_sums(const uint64_t sums[8], const unsigned char *secret, uint64_t start) {
  uint64_t result = start;
  for (int i = 0; i < 8; i += 2) {
    uint64_t left = sums[i] ^ dsm__hash_read64(secret + 8 * i);
    uint64_t right = sums[i + 1] ^ dsm__hash_read64(secret + 8 * i + 8);
    result += dsm__hash_multiply_fold(left, right);
  }
  return dsm__hash_avalanche(result);
}

static uint64_t hash_striped(const unsigned char *bytes, size_t length, uint64_t seed) {
  uint64_t words[24];
  for (int i = 0; i < 24; i += 2) {
    words[i] = dsm__hash_secret[i] + seed;
    words[i + 1] = dsm__hash_secret[i + 1] - seed;
  }
  const unsigned char *secret = (const unsigned char *)words;
  uint64_t sums[8] = {PRIME32_3, DSM__HASH_PRIME64_1, DSM__HASH_PRIME64_2, DSM__HASH_PRIME64_3,
                      PRIME64_4, PRIME32_2,           PRIME64_5,           PRIME32_1};
  widest_consume()(sums, bytes, length, secret);
  consume_stripe(sums, bytes + length - STRIPE_BYTES, secret + SECRET_BYTES - STRIPE_BYTES - 7);
  return merge_sums(sums, secret + 11, length * DSM__HASH_PRIME64_1);
}

/* The mixing step with a secret that starts at any byte. */
static uint64_t mix_at(const unsigned char *bytes, size_t secret_byte, uint64_t seed) {
  const unsigned char *secret = (const unsigned char *)dsm__hash_secret + secret_byte;
  return dsm__hash_multiply_fold(dsm__hash_read64(bytes) ^ (dsm__hash_read64(secret) + seed),
                                 dsm__hash_read64(bytes + 8) ^
                                     (dsm__hash_read64(secret + 8) - seed));
}

static uint64_t hash_middle(const unsigned char *bytes, size_t length, uint64_t seed) {
  uint64_t sum = length * DSM__HASH_PRIME64_1;
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; i++) sum += mix_at(bytes + 16 * i, 16 * i, seed);
  sum = dsm__hash_avalanche(sum);
  for (size_t i = 8; i < length / 16; i++) sum += mix_at(bytes + 16 * i, 16 * (i - 8) + 3, seed);
  return dsm__hash_avalanche(sum + mix_at(bytes + length - 16, 119, seed));
}

uint64_t dsm__hash64_long(const unsigned char *bytes, size_t length, uint64_t seed) {
  DSM_DEBUG(length > DSM_HASH_INLINE_BYTES_MAX);
  return length <= MIDDLE_BYTES_MAX ? hash_middle(bytes, length, seed)
                                    : hash_striped(bytes, length, seed);
}
