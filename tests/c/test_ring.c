/* The ring against a walk over all points that knows no index, against itself (a change undone is
 * no change), and against libketama's published output; MD5 against the suite of RFC 1321.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/base/md5.h"
#include "../../csrc/proto/ketama.h"
#include "../../csrc/proto/ring.h"
#include "../../csrc/proto/ring_difference.h"
#include "check_main.h"

enum { NODES = 63, SEED = 20071 };

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}

static dsm_ring make_ring(uint32_t nodes_max, uint32_t points_max) {
  dsm_ring ring;
  void *memory = malloc(dsm_ring_bytes(nodes_max, points_max));
  CHECK_EQUAL(dsm_ring_init(&ring, memory, nodes_max, points_max, SEED), DSM_OK);
  return ring;
}

static void free_ring(dsm_ring *ring) {
  free(ring->points);
}

/* The owner by definition: of all places at or above the hash the lowest, else the lowest of all.
 */
static uint32_t naive_node(const dsm_ring *ring, uint64_t hash) {
  uint64_t best = UINT64_MAX, lowest = UINT64_MAX;
  for (uint32_t node = 0; node < ring->node_count_max; node++) {
    for (uint32_t index = 0; index < ring->node_points[node]; index++) {
      uint32_t name[2] = {node, index};
      uint64_t point = (dsm_hash64(name, sizeof name, SEED) & ~UINT64_C(0xFFFF)) | node;
      if (point < lowest) lowest = point;
      if (point >= (hash & ~UINT64_C(0xFFFF)) && point < best) best = point;
    }
  }
  return (uint32_t)((best == UINT64_MAX ? lowest : best) & 0xFFFF);
}

static void test_look_up_follows_the_definition(void) {
  dsm_ring ring = make_ring(NODES, NODES * 200);
  CHECK_EQUAL(dsm_ring_node(&ring, 12345), DSM_RING_NODE_NONE);
  CHECK(dsm_ring_valid(&ring));
  for (uint32_t node = 0; node < 16; node++) {
    CHECK_EQUAL(dsm_ring_add(&ring, node, 20 + node * 10), DSM_OK);
    CHECK(dsm_ring_valid(&ring));
  }
  for (int i = 0; i < 2000; i++) {
    uint64_t hash = random_next();
    CHECK_EQUAL(dsm_ring_node(&ring, hash), naive_node(&ring, hash));
  }
  for (uint32_t i = 0; i < ring.point_count; i++) {
    uint64_t point = ring.points[i];
    CHECK_EQUAL(dsm_ring_node(&ring, point), point & 0xFFFF);
    CHECK_EQUAL(dsm_ring_node(&ring, point | 0xFFFF), point & 0xFFFF);
    CHECK_EQUAL(dsm_ring_node(&ring, (point | 0xFFFF) + 1),
                ring.points[(i + 1) % ring.point_count] & 0xFFFF);
  }
  CHECK_EQUAL(dsm_ring_node(&ring, UINT64_MAX), naive_node(&ring, UINT64_MAX));
  CHECK_EQUAL(dsm_ring_node(&ring, 0), naive_node(&ring, 0));
  free_ring(&ring);
}

static void test_arguments_are_checked(void) {
  dsm_ring ring = make_ring(4, 100);
  CHECK_EQUAL(dsm_ring_add(&ring, 4, 10), DSM_USAGE);
  CHECK_EQUAL(dsm_ring_add(&ring, 0, 0), DSM_USAGE);
  CHECK_EQUAL(dsm_ring_add(&ring, 0, 101), DSM_TOO_MANY);
  CHECK_EQUAL(dsm_ring_add(&ring, 0, 100), DSM_OK);
  CHECK_EQUAL(dsm_ring_add(&ring, 0, 1), DSM_USAGE);
  CHECK_EQUAL(dsm_ring_add(&ring, 1, 1), DSM_TOO_MANY);
  CHECK_EQUAL(dsm_ring_remove(&ring, 1), DSM_NOT_FOUND);
  CHECK_EQUAL(dsm_ring_remove(&ring, 9), DSM_NOT_FOUND);
  CHECK(dsm_ring_valid(&ring));
  ring.points[3] = 0;
  CHECK(!dsm_ring_valid(&ring));
  free_ring(&ring);
  dsm_ring none;
  CHECK_EQUAL(dsm_ring_init(&none, NULL, DSM_RING_NODES_MAX + 1, 1, SEED), DSM_USAGE);
}

static void test_a_ring_has_no_history(void) {
  dsm_ring forward = make_ring(NODES, NODES * DSM_RING_POINTS_DEFAULT);
  dsm_ring backward = make_ring(NODES, NODES * DSM_RING_POINTS_DEFAULT);
  for (uint32_t node = 0; node < NODES; node++) {
    dsm_ring_add(&forward, node, DSM_RING_POINTS_DEFAULT);
    dsm_ring_add(&backward, NODES - 1 - node, DSM_RING_POINTS_DEFAULT);
  }
  for (uint32_t node = 5; node < 40; node += 3)
    CHECK_EQUAL(dsm_ring_remove(&forward, node), DSM_OK);
  for (uint32_t node = 38; node >= 5; node -= 3)
    CHECK_EQUAL(dsm_ring_add(&forward, node, DSM_RING_POINTS_DEFAULT), DSM_OK);
  CHECK_EQUAL(forward.point_count, backward.point_count);
  CHECK(memcmp(forward.points, backward.points, forward.point_count * sizeof *forward.points) == 0);
  CHECK(dsm_ring_valid(&forward) && dsm_ring_valid(&backward));
  free_ring(&forward);
  free_ring(&backward);
}

static void test_a_copy_has_its_own_memory(void) {
  dsm_ring source = make_ring(8, 100), target = make_ring(NODES, 100), small = make_ring(8, 99);
  dsm_ring narrow = make_ring(7, 100);
  dsm_ring_add(&source, 2, 60);
  dsm_ring_add(&source, 7, 40);
  dsm_ring_add(&target, 30, 5);
  CHECK_EQUAL(dsm_ring_copy(&small, &source), DSM_TOO_MANY);
  CHECK_EQUAL(dsm_ring_copy(&narrow, &source), DSM_TOO_MANY);
  CHECK_EQUAL(dsm_ring_copy(&target, &source), DSM_OK);
  CHECK(dsm_ring_valid(&target));
  CHECK_EQUAL(dsm_ring_remove(&source, 7), DSM_OK);
  CHECK_EQUAL(target.point_count, 100);
  CHECK_EQUAL(dsm_ring_remove(&target, 7), DSM_OK);
  CHECK_EQUAL(dsm_ring_remove(&target, 30), DSM_NOT_FOUND);
  CHECK(memcmp(target.points, source.points, 60 * sizeof *source.points) == 0);
  free_ring(&source);
  free_ring(&target);
  free_ring(&small);
  free_ring(&narrow);
}

static void test_preference_lists(void) {
  dsm_ring ring = make_ring(NODES, NODES * DSM_RING_POINTS_DEFAULT);
  uint16_t nodes[NODES];
  CHECK_EQUAL(dsm_ring_prefer(&ring, 1, 3, nodes), 0);
  for (uint32_t node = 0; node < 7; node++) dsm_ring_add(&ring, node, DSM_RING_POINTS_DEFAULT);
  for (int round = 0; round < 1000; round++) {
    uint64_t hash = random_next();
    CHECK_EQUAL(dsm_ring_prefer(&ring, hash, NODES, nodes), 7);
    uint32_t seen = 0;
    for (int i = 0; i < 7; i++) seen |= 1u << nodes[i];
    CHECK_EQUAL(seen, 0x7F);
    CHECK_EQUAL(nodes[0], dsm_ring_node(&ring, hash));
    /* The second choice is who owns the hash once the first is gone: what failover relies on. */
    uint32_t first_points = ring.node_points[nodes[0]];
    if (round % 50 == 0) {
      dsm_ring_remove(&ring, nodes[0]);
      CHECK_EQUAL(dsm_ring_node(&ring, hash), nodes[1]);
      dsm_ring_add(&ring, nodes[0], first_points);
    }
  }
  free_ring(&ring);
}

static void test_stripes(void) {
  dsm_ring ring = make_ring(NODES, NODES * DSM_RING_POINTS_DEFAULT);
  for (uint32_t node = 0; node < 16; node++) dsm_ring_add(&ring, node, DSM_RING_POINTS_DEFAULT);
  uint32_t owned[NODES] = {0};
  for (uint32_t stripe = 0; stripe < 4096; stripe++) {
    uint8_t nodes[DSM_RING_STRIPE_COPIES_MAX];
    CHECK_EQUAL(dsm_ring_stripe(&ring, stripe, 5, nodes), 5);
    for (int i = 0; i < 5; i++)
      for (int j = 0; j < i; j++) CHECK(nodes[i] != nodes[j]);
    owned[nodes[0]]++;
  }
  for (uint32_t node = 0; node < 16; node++) CHECK(owned[node] > 128 && owned[node] < 512);
  free_ring(&ring);
}

static void test_moves_are_minimal(void) {
  dsm_ring before = make_ring(NODES, NODES * DSM_RING_POINTS_DEFAULT);
  dsm_ring after = make_ring(NODES, NODES * DSM_RING_POINTS_DEFAULT);
  for (uint32_t node = 0; node < 10; node++) {
    dsm_ring_add(&before, node, DSM_RING_POINTS_DEFAULT);
    dsm_ring_add(&after, node, DSM_RING_POINTS_DEFAULT);
  }
  dsm_ring_difference difference;
  dsm_ring_move move;
  CHECK_EQUAL(dsm_ring_difference_start(&difference, &before, &after, 0), DSM_USAGE);
  CHECK_EQUAL(dsm_ring_difference_start(&difference, &before, &after, 9), DSM_USAGE);
  CHECK_EQUAL(dsm_ring_difference_start(&difference, &before, &after, 1), DSM_OK);
  CHECK(!dsm_ring_difference_next(&difference, &move));

  dsm_ring_add(&after, 10, DSM_RING_POINTS_DEFAULT);
  dsm_ring_difference_start(&difference, &before, &after, 1);
  double moved = 0;
  uint64_t previous_last = 0;
  while (dsm_ring_difference_next(&difference, &move)) {
    CHECK(move.first <= move.last && (move.first > previous_last || previous_last == 0));
    CHECK_EQUAL(move.after[0], 10);
    CHECK_EQUAL(dsm_ring_node(&before, move.first), move.before[0]);
    CHECK_EQUAL(dsm_ring_node(&before, move.last), move.before[0]);
    CHECK_EQUAL(dsm_ring_node(&after, move.last), 10);
    moved += (double)(move.last - move.first) / 18446744073709551616.0;
    previous_last = move.last;
  }
  CHECK(moved > 0.07 && moved < 0.11);
  free_ring(&before);
  free_ring(&after);
}

static void test_every_hash_is_in_a_move_or_unmoved(void) {
  dsm_ring before = make_ring(NODES, NODES * 40), after = make_ring(NODES, NODES * 40);
  for (uint32_t node = 0; node < 9; node++) {
    dsm_ring_add(&before, node, 8 + node);
    if (node != 3) dsm_ring_add(&after, node, node == 5 ? 40 : 8 + node);
  }
  for (int round = 0; round < 500; round++) {
    uint64_t hash = round < 100 ? before.points[round % (int)before.point_count] : random_next();
    uint16_t lists[2][3];
    dsm_ring_prefer(&before, hash, 3, lists[0]);
    dsm_ring_prefer(&after, hash, 3, lists[1]);
    bool expected = memcmp(lists[0], lists[1], sizeof lists[0]) != 0, listed = false;
    dsm_ring_difference difference;
    dsm_ring_move move;
    dsm_ring_difference_start(&difference, &before, &after, 3);
    while (dsm_ring_difference_next(&difference, &move)) {
      if (hash < move.first || hash > move.last) continue;
      listed = true;
      CHECK(memcmp(move.before, lists[0], sizeof lists[0]) == 0);
      CHECK(memcmp(move.after, lists[1], sizeof lists[1]) == 0);
    }
    CHECK_EQUAL(listed, expected);
  }
  free_ring(&before);
  free_ring(&after);
}

static void test_bounded_loads(void) {
  dsm_ring ring = make_ring(NODES, NODES * DSM_RING_POINTS_DEFAULT);
  uint64_t loads[NODES] = {0}, total = 0;
  CHECK_EQUAL(dsm_ring_prefer_bounded(&ring, 1, loads, 0, 1250), DSM_RING_NODE_NONE);
  for (uint32_t node = 0; node < 8; node++) dsm_ring_add(&ring, node, 100 * (1 + node % 2));
  for (; total < 6000; total++) {
    uint32_t node = dsm_ring_prefer_bounded(&ring, random_next(), loads, total, 1100);
    CHECK(node < 8);
    loads[node]++;
    double share = 1.1 * (double)(total + 1) * (1 + node % 2) / 12.0;
    CHECK((double)loads[node] < share + 1.0);
  }
  /* With room everywhere the bound is not felt. */
  for (int i = 0; i < 100; i++) {
    uint64_t hash = random_next(), empty[NODES] = {0};
    CHECK_EQUAL(dsm_ring_prefer_bounded(&ring, hash, empty, 0, 1100), dsm_ring_node(&ring, hash));
  }
  free_ring(&ring);
}

static void check_digest(const char *text, const char *expected) {
  uint8_t digest[DSM_MD5_BYTES];
  char hex[2 * DSM_MD5_BYTES + 1];
  dsm_md5(text, strlen(text), digest);
  for (int i = 0; i < DSM_MD5_BYTES; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  CHECK(strcmp(hex, expected) == 0);
}

/* RFC 1321, appendix A.5. */
static void test_md5_suite(void) {
  check_digest("", "d41d8cd98f00b204e9800998ecf8427e");
  check_digest("a", "0cc175b9c0f1b6a831c399e269772661");
  check_digest("abc", "900150983cd24fb0d6963f7d28e17f72");
  check_digest("message digest", "f96b697d7cb7938d525a2f31aaf161d0");
  check_digest("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b");
  check_digest("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
               "d174ab98d277d9f5a5611c2c9f419d9f");
  check_digest("12345678901234567890123456789012345678901234567890123456789012345678901234567890",
               "57edf4a22be3c955ac49da2e2107b67a");
}

static const struct {
  const char *name;
  uint32_t weight;
} published_servers[] = {
    {"10.0.1.1:11211", 600}, {"10.0.1.2:11211", 300},  {"10.0.1.3:11211", 200},
    {"10.0.1.4:11211", 350}, {"10.0.1.5:11211", 1000}, {"10.0.1.6:11211", 800},
    {"10.0.1.7:11211", 950}, {"10.0.1.8:11211", 100},
};

/* libketama/test.sh: an empty line, then hash, point and server of the keys "0" to "999999", as one
 * MD5; the first lines are also known one by one. */
static void test_ketama_agrees_with_libketama(void) {
  static const struct {
    uint64_t hash, point;
    uint32_t node;
  } first_lines[] = {{2216742351, 2217271743, 0},
                     {943901380, 949045552, 4},
                     {2373066440, 2374693370, 5},
                     {2127088620, 2130338203, 5},
                     {2046197672, 2051996197, 6}};
  dsm_ring ring = make_ring(8, 8 * 160);
  for (uint32_t node = 0; node < 8; node++) {
    const char *name = published_servers[node].name;
    uint32_t rounds = dsm_ketama_rounds(published_servers[node].weight, 4300, 8);
    CHECK_EQUAL(dsm_ketama_add(&ring, node, name, strlen(name), rounds), DSM_OK);
  }
  CHECK(dsm_ring_valid(&ring));
  char *text = malloc(1000000 * 40), *end = text;
  *end++ = '\n';
  for (unsigned i = 0; i < 1000000; i++) {
    char key[12];
    uint64_t hash = dsm_ketama_hash(key, (size_t)snprintf(key, sizeof key, "%u", i));
    uint64_t point = ring.points[dsm_ring_find(&ring, hash)];
    uint32_t node = dsm_ring_node(&ring, hash);
    if (i < sizeof first_lines / sizeof *first_lines) {
      CHECK_EQUAL(hash >> 32, first_lines[i].hash);
      CHECK_EQUAL(point >> 32, first_lines[i].point);
      CHECK_EQUAL(node, first_lines[i].node);
    }
    end += sprintf(end, "%u %u %s\n", (unsigned)(hash >> 32), (unsigned)(point >> 32),
                   published_servers[node].name);
  }
  *end = '\0';
  check_digest(text, "5672b131391f5aa2b280936aec1eea74");
  free(text);
  free_ring(&ring);
}

static void test_ketama_arguments(void) {
  dsm_ring ring = make_ring(2, 8);
  char name[DSM_KETAMA_NAME_BYTES_MAX + 1] = {'x'};
  CHECK_EQUAL(dsm_ketama_rounds(1, 7, 7), 40);
  CHECK_EQUAL(dsm_ketama_add(&ring, 0, name, sizeof name, 1), DSM_USAGE);
  CHECK_EQUAL(dsm_ketama_add(&ring, 0, name, sizeof name - 1, 3), DSM_TOO_MANY);
  CHECK_EQUAL(dsm_ketama_add(&ring, 0, name, sizeof name - 1, 2), DSM_OK);
  CHECK_EQUAL(ring.point_count, 8);
  CHECK(dsm_ring_valid(&ring));
  free_ring(&ring);
}

int main(void) {
  test_look_up_follows_the_definition();
  test_arguments_are_checked();
  test_a_ring_has_no_history();
  test_a_copy_has_its_own_memory();
  test_preference_lists();
  test_stripes();
  test_moves_are_minimal();
  test_every_hash_is_in_a_move_or_unmoved();
  test_bounded_loads();
  test_md5_suite();
  test_ketama_agrees_with_libketama();
  test_ketama_arguments();
  return check_result("ring");
}
