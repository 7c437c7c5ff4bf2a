/* The inner loop over long inputs, written once and expanded once per vector width by hash.c; hence
 * no include guard. Before each inclusion the includer defines
 *   LANES            an unsigned vector of 64-bit lanes, whose width divides a stripe
 *   LANES_FUNCTION   the name of the function to define
 *   LANES_TARGET     the attribute that lets the compiler use the instructions
 *   LANES_MULTIPLY   the product of the low 32 bits of each lane
 *   LANES_SWAP       each lane in the place of its neighbour
 *
 * The function consumes all of the input but its last 1 to 64 bytes: stripe by stripe, with a
 * scramble after every full block of stripes.
 */

LANES_TARGET static void LANES_FUNCTION(uint64_t sums[8], const unsigned char *bytes, size_t length,
                                        const unsigned char *secret) {
  LANES sum[STRIPE_BYTES / sizeof(LANES)];
  enum { VECTORS = sizeof sum / sizeof *sum, WIDTH = sizeof *sum };
  memcpy(sum, sums, sizeof sum);
  for (size_t stripes_left = (length - 1) / STRIPE_BYTES;;) {
    size_t stripes = stripes_left < BLOCK_STRIPES ? stripes_left : BLOCK_STRIPES;
#pragma GCC unroll 4
    for (size_t stripe = 0; stripe < stripes; stripe++, bytes += STRIPE_BYTES) {
#pragma GCC unroll 4
      for (int i = 0; i < VECTORS; i++) {
        LANES input, key;
        memcpy(&input, bytes + i * WIDTH, sizeof input);
        memcpy(&key, secret + stripe * 8 + i * WIDTH, sizeof key);
        key ^= input;
        sum[i] += LANES_SWAP(input) + LANES_MULTIPLY(key, key >> 32);
      }
    }
    if (stripes < BLOCK_STRIPES) break;
    stripes_left -= stripes;
#pragma GCC unroll 4
    for (int i = 0; i < VECTORS; i++) {
      LANES key, prime = (LANES){0} + PRIME32_1;
      memcpy(&key, secret + SECRET_BYTES - STRIPE_BYTES + i * WIDTH, sizeof key);
      key ^= sum[i] ^ sum[i] >> 47;
      sum[i] = LANES_MULTIPLY(key, prime) + (LANES_MULTIPLY(key >> 32, prime) << 32);
    }
  }
  memcpy(sums, sum, sizeof sum);
}

#undef LANES
#undef LANES_FUNCTION
#undef LANES_TARGET
#undef LANES_MULTIPLY
#undef LANES_SWAP
