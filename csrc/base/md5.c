/* MD5 as RFC 1321 section 3 defines it: whole blocks from the input as it lies, then one or two
 * blocks that hold the rest, the padding and the length in bits.
 */
#include "md5.h"

#include <string.h>

#include "hash.h"

enum { BLOCK_BYTES = 64, LENGTH_BYTES = 8 };

/* T[i] of section 3.4: the integer part of 2^32 times abs(sin(i)), i in radians from 1. */
static const uint32_t sines[64] = {
    0xd76aa478u, 0xe8c7b756u, 0x242070dbu, 0xc1bdceeeu, 0xf57c0fafu, 0x4787c62au, 0xa8304613u,
    0xfd469501u, 0x698098d8u, 0x8b44f7afu, 0xffff5bb1u, 0x895cd7beu, 0x6b901122u, 0xfd987193u,
    0xa679438eu, 0x49b40821u, 0xf61e2562u, 0xc040b340u, 0x265e5a51u, 0xe9b6c7aau, 0xd62f105du,
    0x02441453u, 0xd8a1e681u, 0xe7d3fbc8u, 0x21e1cde6u, 0xc33707d6u, 0xf4d50d87u, 0x455a14edu,
    0xa9e3e905u, 0xfcefa3f8u, 0x676f02d9u, 0x8d2a4c8au, 0xfffa3942u, 0x8771f681u, 0x6d9d6122u,
    0xfde5380cu, 0xa4beea44u, 0x4bdecfa9u, 0xf6bb4b60u, 0xbebfbc70u, 0x289b7ec6u, 0xeaa127fau,
    0xd4ef3085u, 0x04881d05u, 0xd9d4d039u, 0xe6db99e5u, 0x1fa27cf8u, 0xc4ac5665u, 0xf4292244u,
    0x432aff97u, 0xab9423a7u, 0xfc93a039u, 0x655b59c3u, 0x8f0ccc92u, 0xffeff47du, 0x85845dd1u,
    0x6fa87e4fu, 0xfe2ce6e0u, 0xa3014314u, 0x4e0811a1u, 0xf7537e82u, 0xbd3af235u, 0x2ad7d2bbu,
    0xeb86d391u,
};

static const uint8_t shifts[4][4] = {
    {7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static uint32_t rotate(uint32_t value, unsigned bits) {
  return value << bits | value >> (32 - bits);
}

/* Step i of the 64: which function of b, c and d, and which word of the block it takes. */
static uint32_t step(unsigned i, uint32_t b, uint32_t c, uint32_t d, unsigned *word) {
  switch (i / 16) {
  case 0:
    *word = i;
    return (b & c) | (~b & d);
  case 1:
    *word = (5 * i + 1) % 16;
    return (d & b) | (~d & c);
  case 2:
    *word = (3 * i + 5) % 16;
    return b ^ c ^ d;
  default:
    *word = 7 * i % 16;
    return c ^ (b | ~d);
  }
}

static void absorb(uint32_t state[4], const unsigned char *block) {
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  for (unsigned i = 0; i < 64; i++) {
    unsigned word;
    uint32_t mixed = a + step(i, b, c, d, &word) + sines[i];
    mixed += dsm__hash_read32(block + 4 * word);
    a = d;
    d = c;
    c = b;
    b += rotate(mixed, shifts[i / 16][i % 4]);
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
}

void dsm_md5(const void *data, size_t length, uint8_t digest[DSM_MD5_BYTES]) {
  const unsigned char *bytes = data;
  uint32_t state[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
  size_t left = length;
  for (; left >= BLOCK_BYTES; left -= BLOCK_BYTES, bytes += BLOCK_BYTES) absorb(state, bytes);

  unsigned char tail[2 * BLOCK_BYTES] = {0};
  if (left > 0) memcpy(tail, bytes, left);
  tail[left] = 0x80;
  size_t tail_bytes = left + 1 + LENGTH_BYTES <= BLOCK_BYTES ? BLOCK_BYTES : 2 * BLOCK_BYTES;
  uint64_t length_bits = (uint64_t)length * 8;
  memcpy(tail + tail_bytes - LENGTH_BYTES, &length_bits, LENGTH_BYTES);
  for (size_t offset = 0; offset < tail_bytes; offset += BLOCK_BYTES) absorb(state, tail + offset);
  memcpy(digest, state, DSM_MD5_BYTES);
}
