/* Merge and compare over vectors, written once and expanded once per vector width by
 * vector_clock.c; hence no include guard. Before each inclusion the includer defines LANES an
 * unsigned vector of 64-bit counters LANES_TARGET                 the attribute that lets the
 * compiler use the instructions LANES_MERGE, LANES_COMPARE   the names of the functions to define
 *
 * Each function takes the whole vectors of its input and returns how many counters that were.
 */

LANES_TARGET static size_t LANES_MERGE(uint64_t *clock, const uint64_t *other, size_t count) {
  enum { WIDTH = sizeof(LANES) / sizeof *clock };
  size_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) {
    LANES mine, theirs;
    memcpy(&mine, clock + i, sizeof mine);
    memcpy(&theirs, other + i, sizeof theirs);
    LANES lower = (LANES)(mine < theirs);
    mine = (mine & ~lower) | (theirs & lower);
    memcpy(clock + i, &mine, sizeof mine);
  }
  return i;
}

LANES_TARGET static size_t LANES_COMPARE(const uint64_t *left, const uint64_t *right, size_t count,
                                         unsigned *order) {
  enum { WIDTH = sizeof(LANES) / sizeof *left };
  LANES lower = {0}, higher = {0};
  size_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) {
    LANES ours, theirs;
    memcpy(&ours, left + i, sizeof ours);
    memcpy(&theirs, right + i, sizeof theirs);
    lower |= (LANES)(ours < theirs);
    higher |= (LANES)(ours > theirs);
  }
  for (int lane = 0; lane < WIDTH; lane++)
    *order |= (lower[lane] != 0) * DSM_CLOCK_BEFORE | (higher[lane] != 0) * DSM_CLOCK_AFTER;
  return i;
}

#undef LANES
#undef LANES_TARGET
#undef LANES_MERGE
#undef LANES_COMPARE
