/* The one hash of the system: XXH3 with 64 bits of result and a 64-bit seed, written from the
 * published specification (xxHash, "XXH3 Algorithm Overview"). Keys, checksums and the places on
 * the ring all come from it, so its values are part of the segment format and never change.
 *
 * Inputs of up to 128 bytes are hashed inline: keys are 8 to 16 bytes long, small objects'
 * checksums cover 24 to 160, and a call would cost as much as the work. The sum over an input's
 * 16-byte chunks does not depend on their order, so the inline code takes them in the order that
 * needs no loop.
 *
 * Reads any alignment. Little endian only: a big-endian build would have to swap each word and is
 * refused below. Not cryptographic: a secret seed stops chosen collisions from being prepared in
 * advance, not an adversary who sees hashes. Pure, and safe to call from anywhere.
 */
#ifndef DSM_BASE_HASH_H
#define DSM_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "hash words are read as they lie");

#define DSM_HASH_INLINE_BYTES_MAX 128

#define DSM__HASH_PRIME64_1 UINT64_C(0x9E3779B185EBCA87)
#define DSM__HASH_PRIME64_2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define DSM__HASH_PRIME64_3 UINT64_C(0x165667B19E3779F9)
#define DSM__HASH_MIX_1 UINT64_C(0x165667919E3779F9)
#define DSM__HASH_MIX_2 UINT64_C(0x9FB21C651E98DF25)

/* The default secret of the specification as little-endian words. Constant indices fold away. */
static const uint64_t dsm__hash_secret[24] = {
    0xbe4ba423396cfeb8u, 0x1cad21f72c81017cu, 0xdb979083e96dd4deu, 0x1f67b3b7a4a44072u,
    0x78e5c0cc4ee679cbu, 0x2172ffcc7dd05a82u, 0x8e2443f7744608b8u, 0x4c263a81e69035e0u,
    0xcb00c391bb52283cu, 0xa32e531b8b65d088u, 0x4ef90da297486471u, 0xd8acdea946ef1938u,
    0x3f349ce33f76faa8u, 0x1d4f0bc7c7bbdcf9u, 0x3159b4cd4be0518au, 0x647378d9c97e9fc8u,
    0xc3ebd33483acc5eau, 0xeb6313faffa081c5u, 0x49daf0b751dd0d17u, 0x9e68d429265516d3u,
    0xfca1477d58be162bu, 0xce31d07ad1b8f88fu, 0x280416958f3acb45u, 0x7e404bbbcafbd7afu,
};

/* Inputs of more than DSM_HASH_INLINE_BYTES_MAX bytes. */
uint64_t dsm__hash64_long(const unsigned char *bytes, size_t length, uint64_t seed);

static inline uint64_t dsm__hash_read64(const unsigned char *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

static inline uint32_t dsm__hash_read32(const unsigned char *bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

static inline uint64_t dsm__hash_rotate(uint64_t value, unsigned bits) {
  return value << bits | value >> (64 - bits);
}

static inline uint64_t dsm__hash_multiply_fold(uint64_t left, uint64_t right) {
  __extension__ unsigned __int128 product = (unsigned __int128)left * right;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t dsm__hash_avalanche(uint64_t value) {
  value ^= value >> 37;
  value *= DSM__HASH_MIX_1;
  return value ^ value >> 32;
}

/* The avalanche of the older XXH64, which the specification keeps for 0 to 3 bytes. */
static inline uint64_t dsm__hash_avalanche_short(uint64_t value) {
  value ^= value >> 33;
  value *= DSM__HASH_PRIME64_2;
  value ^= value >> 29;
  value *= DSM__HASH_PRIME64_3;
  return value ^ value >> 32;
}

static inline uint64_t dsm__hash64_9to16(const unsigned char *bytes, size_t length, uint64_t seed) {
  const uint64_t *secret = dsm__hash_secret;
  uint64_t low = ((secret[3] ^ secret[4]) + seed) ^ dsm__hash_read64(bytes);
  uint64_t high = ((secret[5] ^ secret[6]) - seed) ^ dsm__hash_read64(bytes + length - 8);
  return dsm__hash_avalanche(length + __builtin_bswap64(low) + high +
                             dsm__hash_multiply_fold(low, high));
}

static inline uint64_t dsm__hash64_4to8(const unsigned char *bytes, size_t length, uint64_t seed) {
  const uint64_t *secret = dsm__hash_secret;
  uint64_t first = dsm__hash_read32(bytes), last = dsm__hash_read32(bytes + length - 4);
  uint64_t spread = seed ^ (uint64_t)__builtin_bswap32((uint32_t)seed) << 32;
  uint64_t value = ((secret[1] ^ secret[2]) - spread) ^ (last | first << 32);
  value ^= dsm__hash_rotate(value, 49) ^ dsm__hash_rotate(value, 24);
  value *= DSM__HASH_MIX_2;
  value ^= (value >> 35) + length;
  value *= DSM__HASH_MIX_2;
  return value ^ value >> 28;
}

static inline uint64_t dsm__hash64_0to3(const unsigned char *bytes, size_t length, uint64_t seed) {
  const uint64_t *secret = dsm__hash_secret;
  if (length == 0) return dsm__hash_avalanche_short(seed ^ secret[7] ^ secret[8]);
  uint32_t combined = (uint32_t)bytes[length - 1] | (uint32_t)length << 8 |
                      (uint32_t)bytes[0] << 16 | (uint32_t)bytes[length >> 1] << 24;
  uint64_t flip = (uint32_t)secret[0] ^ (uint32_t)(secret[0] >> 32);
  return dsm__hash_avalanche_short((flip + seed) ^ combined);
}

/* Two words of input against two words of the secret, the first of them at secret_word. */
static inline uint64_t dsm__hash_mix(const unsigned char *bytes, size_t secret_word,
                                     uint64_t seed) {
  const uint64_t *secret = dsm__hash_secret + secret_word;
  return dsm__hash_multiply_fold(dsm__hash_read64(bytes) ^ (secret[0] + seed),
                                 dsm__hash_read64(bytes + 8) ^ (secret[1] - seed));
}

static inline uint64_t dsm__hash64_17to128(const unsigned char *bytes, size_t length,
                                           uint64_t seed) {
  const unsigned char *end = bytes + length;
  uint64_t sum = length * DSM__HASH_PRIME64_1;
  sum += dsm__hash_mix(bytes, 0, seed) + dsm__hash_mix(end - 16, 2, seed);
  if (length > 32) {
    sum += dsm__hash_mix(bytes + 16, 4, seed) + dsm__hash_mix(end - 32, 6, seed);
    if (length > 64) {
      sum += dsm__hash_mix(bytes + 32, 8, seed) + dsm__hash_mix(end - 48, 10, seed);
      if (length > 96)
        sum += dsm__hash_mix(bytes + 48, 12, seed) + dsm__hash_mix(end - 64, 14, seed);
    }
  }
  return dsm__hash_avalanche(sum);
}

/* Hash of length bytes at data (data may be NULL when length is 0). */
static inline uint64_t dsm_hash64(const void *data, size_t length, uint64_t seed) {
  const unsigned char *bytes = (const unsigned char *)data;
  if (DSM_LIKELY(length <= 16)) {
    if (DSM_LIKELY(length > 8)) return dsm__hash64_9to16(bytes, length, seed);
    if (DSM_LIKELY(length > 3)) return dsm__hash64_4to8(bytes, length, seed);
    return dsm__hash64_0to3(bytes, length, seed);
  }
  if (length <= DSM_HASH_INLINE_BYTES_MAX) return dsm__hash64_17to128(bytes, length, seed);
  return dsm__hash64_long(bytes, length, seed);
}

#endif
