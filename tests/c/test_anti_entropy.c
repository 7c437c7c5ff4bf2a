/* Anti-entropy end to end: digests of random replicas, an exchange over a link that drops, repeats
 * and delays, the repair set of what it found; afterwards the replicas are equal, and nothing was
 * sent that they had in common.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/proto/anti_entropy.h"
#include "../../csrc/proto/repair_set.h"
#include "check_main.h"

enum { DEPTH = 3, BUCKETS = 4096, KEYS = 3000, REPLICAS = 3 };

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}

/* Versions by key; a stamp of 0 stands for "never heard of". Keys ascend, some hashes coincide. */
typedef struct replica {
  dsm_digest_tree tree;
  uint64_t *words;
  dsm_conflict_version versions[KEYS];
} replica;

static uint64_t key_hashes[KEYS], key_checks[KEYS];

static int compare_words(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
  return (a > b) - (a < b);
}

static void make_keys(void) {
  for (int key = 0; key < KEYS; key++) key_hashes[key] = random_next();
  for (int key = 0; key < KEYS; key += 100) key_hashes[key] = key_hashes[key + 1];
  qsort(key_hashes, KEYS, sizeof *key_hashes, compare_words);
  for (int key = 0; key < KEYS; key++) key_checks[key] = (uint64_t)key;
}

static void make_replica(replica *into, uint32_t depth) {
  memset(into, 0, sizeof *into);
  into->words = malloc(dsm_digest_tree_words(depth) * sizeof *into->words);
  CHECK_EQUAL(dsm_digest_tree_init(&into->tree, into->words, depth), DSM_OK);
}

static void put(replica *into, int key, dsm_conflict_version version) {
  dsm_conflict_version *held = &into->versions[key];
  uint64_t hash = key_hashes[key];
  if (held->stamp != 0)
    dsm_digest_tree_remove(&into->tree, hash, dsm_digest_item(hash, key_checks[key], held));
  *held = version;
  dsm_digest_tree_add(&into->tree, hash, dsm_digest_item(hash, key_checks[key], held));
}

static dsm_conflict_version random_version(void) {
  uint64_t stamp = 1 + random_next() % 50;
  return (dsm_conflict_version){
      .stamp = stamp, .checksum = random_next() % 3, .node = (uint32_t)(random_next() % 4)};
}

static void test_digests_forget_their_history(void) {
  replica one, other;
  make_replica(&one, DEPTH);
  make_replica(&other, DEPTH);
  for (int i = 0; i < 20000; i++) put(&one, (int)(random_next() % KEYS), random_version());
  for (int key = KEYS - 1; key >= 0; key--)
    if (one.versions[key].stamp != 0) put(&other, key, one.versions[key]);
  CHECK(dsm_digest_tree_valid(&one.tree));
  size_t bytes = dsm_digest_tree_words(DEPTH) * sizeof *one.words;
  CHECK(memcmp(one.words, other.words, bytes) == 0);
  /* The same item twice is another content, which an exclusive or would not see. */
  uint64_t before = one.tree.digests[0];
  dsm_digest_tree_add(&one.tree, key_hashes[0], 12345);
  dsm_digest_tree_add(&one.tree, key_hashes[0], 12345);
  CHECK(one.tree.digests[0] != before);
  one.tree.digests[5]++;
  CHECK(!dsm_digest_tree_valid(&one.tree));
  CHECK_EQUAL(dsm_digest_tree_init(&one.tree, one.words, 0), DSM_USAGE);
  CHECK_EQUAL(dsm_digest_tree_init(&one.tree, one.words, DSM_DIGEST_DEPTH_MAX + 1), DSM_USAGE);
  CHECK_EQUAL(dsm_digest_tree_words(1), 17);
  CHECK_EQUAL(dsm_digest_tree_words(3), 1 + 16 + 256 + 4096);
  free(one.words);
  free(other.words);
}

static uint32_t level_of(uint32_t node) {
  return node == 0 ? 0 : 1 + level_of((node - 1) / DSM_DIGEST_CHILDREN);
}

/* Deeper nodes lie nearer to the end of the stack, which is what bounds it. */
static void check_pending_order(const dsm_anti_entropy *exchange) {
  for (uint32_t i = 1; i < exchange->pending_count; i++)
    CHECK(level_of(exchange->pending[i - 1]) <= level_of(exchange->pending[i]));
}

/* Runs an exchange over a bad link; found gets a flag per bucket. Returns the number of answers. */
static int exchange_over_bad_link(const dsm_digest_tree *mine, const dsm_digest_tree *theirs,
                                  uint32_t loss_percent, uint8_t *found) {
  static dsm_anti_entropy exchange;
  static dsm_anti_entropy_answer answer, old;
  uint32_t buckets[DSM_ANTI_ENTROPY_CHILDREN_MAX], count;
  int answers = 0, tries = 0;
  dsm_anti_entropy_start(&exchange, mine, random_next());
  memset(&old, 0, sizeof old);
  const dsm_anti_entropy_query *query;
  while ((query = dsm_anti_entropy_next(&exchange)) != NULL && ++tries < 100000) {
    if (random_next() % 100 < loss_percent) continue; /* the query was lost */
    CHECK_EQUAL(dsm_anti_entropy_respond(theirs, query, &answer), DSM_OK);
    if (random_next() % 100 < loss_percent) continue; /* the answer was lost */
    answers++;
    for (int copy = 0; copy < 2; copy++) { /* it arrives twice, and an old one after it */
      CHECK_EQUAL(dsm_anti_entropy_receive(&exchange, &answer, buckets, &count), DSM_OK);
      CHECK(copy == 0 || count == 0);
      check_pending_order(&exchange);
      for (uint32_t i = 0; i < count; i++) {
        CHECK(buckets[i] < BUCKETS && !found[buckets[i]]);
        found[buckets[i]] = 1;
      }
    }
    CHECK_EQUAL(dsm_anti_entropy_receive(&exchange, &old, buckets, &count), DSM_OK);
    CHECK_EQUAL(count, 0);
    old = answer;
  }
  CHECK(query == NULL);
  return answers;
}

static void test_an_exchange_finds_what_differs(void) {
  for (int round = 0; round < 12; round++) {
    replica one, other;
    make_replica(&one, DEPTH);
    make_replica(&other, DEPTH);
    for (int key = 0; key < KEYS; key++) {
      dsm_conflict_version version = random_version();
      put(&one, key, version);
      put(&other, key, version);
    }
    static const int changes[] = {0, 1, 2, 10, 300, KEYS};
    int changed = changes[round % 6];
    uint8_t expected[BUCKETS] = {0}, found[BUCKETS] = {0};
    for (int i = 0; i < changed; i++) {
      int key = changed == KEYS ? i : (int)(random_next() % KEYS);
      dsm_conflict_version version = other.versions[key];
      version.checksum += 1000; /* never back to what it was */
      put(&other, key, version);
      expected[dsm_digest_bucket(&other.tree, key_hashes[key])] = 1;
    }
    int answers = exchange_over_bad_link(&one.tree, &other.tree, round < 6 ? 0 : 30, found);
    CHECK(memcmp(found, expected, BUCKETS) == 0);
    if (changed == 0) CHECK_EQUAL(answers, 1);
    if (changed == 1) CHECK_EQUAL(answers, DEPTH);
    CHECK(answers <= 1 + 1 + 256 / 16 + 16);
    free(one.words);
    free(other.words);
  }
}

/* In a deep tree of which every sparsity-th bucket differs. With all of them the stack holds the
 * most that it ever can; with few, queries hold nodes of several levels. */
static void test_a_deep_tree_stays_in_bounds(uint64_t sparsity) {
  replica one, other;
  make_replica(&one, 5);
  make_replica(&other, 5);
  uint64_t expected = 0, total = 0;
  for (uint64_t bucket = 0; bucket < UINT64_C(1) << 20; bucket++) {
    if (random_next() % sparsity != 0) continue;
    dsm_digest_tree_add(&other.tree, bucket << 44, bucket + 1);
    expected++;
  }
  static dsm_anti_entropy exchange;
  static dsm_anti_entropy_answer answer;
  uint32_t buckets[DSM_ANTI_ENTROPY_CHILDREN_MAX], count, most = 0;
  dsm_anti_entropy_start(&exchange, &one.tree, 1);
  while (dsm_anti_entropy_next(&exchange) != NULL) {
    dsm_anti_entropy_respond(&other.tree, dsm_anti_entropy_next(&exchange), &answer);
    CHECK_EQUAL(dsm_anti_entropy_receive(&exchange, &answer, buckets, &count), DSM_OK);
    check_pending_order(&exchange);
    total += count;
    if (exchange.pending_count > most) most = exchange.pending_count;
  }
  CHECK_EQUAL(total, expected);
  CHECK(most <= 3 * DSM_ANTI_ENTROPY_CHILDREN_MAX);
  free(one.words);
  free(other.words);
}

static void test_messages_are_input(void) {
  replica one;
  make_replica(&one, 2);
  dsm_anti_entropy_query query = {.depth = 2, .count = 1, .nodes = {17}};
  static dsm_anti_entropy_answer answer;
  CHECK_EQUAL(dsm_anti_entropy_respond(&one.tree, &query, &answer), DSM_USAGE);
  query.nodes[0] = 16;
  CHECK_EQUAL(dsm_anti_entropy_respond(&one.tree, &query, &answer), DSM_OK);
  query.depth = 3;
  CHECK_EQUAL(dsm_anti_entropy_respond(&one.tree, &query, &answer), DSM_USAGE);
  query.depth = 2;
  query.count = DSM_ANTI_ENTROPY_NODES_MAX + 1;
  CHECK_EQUAL(dsm_anti_entropy_respond(&one.tree, &query, &answer), DSM_USAGE);
  static dsm_anti_entropy exchange;
  uint32_t buckets[DSM_ANTI_ENTROPY_CHILDREN_MAX], count;
  dsm_anti_entropy_start(&exchange, &one.tree, 9);
  memset(&answer, 0, sizeof answer);
  answer.round = 9;
  answer.count = 2;
  answer.depth = 2;
  CHECK_EQUAL(dsm_anti_entropy_receive(&exchange, &answer, buckets, &count), DSM_USAGE);
  answer.count = 1;
  answer.depth = 1;
  CHECK_EQUAL(dsm_anti_entropy_receive(&exchange, &answer, buckets, &count), DSM_USAGE);
  answer.depth = 2;
  CHECK_EQUAL(dsm_anti_entropy_receive(&exchange, &answer, buckets, &count), DSM_OK);
  CHECK(dsm_anti_entropy_next(&exchange) == NULL);
  free(one.words);
}

static size_t list_items(const replica *from, dsm_repair_item *items) {
  size_t count = 0;
  for (int key = 0; key < KEYS; key++)
    if (from->versions[key].stamp != 0)
      items[count++] = (dsm_repair_item){key_hashes[key], key_checks[key], from->versions[key]};
  return count;
}

static void test_repair_moves_the_least_and_converges(dsm_conflict_policy policy) {
  static replica replicas[REPLICAS];
  static dsm_repair_item items[REPLICAS][KEYS];
  dsm_repair_list lists[REPLICAS];
  for (int r = 0; r < REPLICAS; r++) make_replica(&replicas[r], DEPTH);
  for (int key = 0; key < KEYS; key++) {
    dsm_conflict_version shared = random_version();
    for (int r = 0; r < REPLICAS; r++)
      if (random_next() % 10 < 8)
        put(&replicas[r], key, random_next() % 4 ? shared : random_version());
  }
  uint64_t needed = 0, sent = 0;
  for (int key = 0; key < KEYS; key++) {
    const dsm_conflict_version *best = NULL;
    for (int r = 0; r < REPLICAS; r++) {
      const dsm_conflict_version *version = &replicas[r].versions[key];
      if (version->stamp == 0) continue;
      int order = best ? dsm_conflict_compare(version, best) : 0;
      if (!best || (policy == DSM_CONFLICT_LAST_WRITE_WINS ? order > 0 : order < 0)) best = version;
    }
    for (int r = 0; best && r < REPLICAS; r++)
      needed += dsm_conflict_compare(&replicas[r].versions[key], best) != 0;
  }
  for (int r = 0; r < REPLICAS; r++)
    lists[r] = (dsm_repair_list){items[r], list_items(&replicas[r], items[r])};
  dsm_repair_set set;
  dsm_repair_move move;
  CHECK_EQUAL(dsm_repair_set_start(&set, lists, REPLICAS, policy), DSM_OK);
  while (dsm_repair_set_next(&set, &move)) {
    int key = (int)move.item->key_check;
    CHECK_EQUAL(dsm_conflict_compare(&replicas[move.source].versions[key], &move.item->version), 0);
    for (uint32_t r = 0; r < REPLICAS; r++) {
      if (!(move.targets >> r & 1)) continue;
      put(&replicas[r], key, move.item->version);
      sent++;
    }
  }
  CHECK_EQUAL(sent, needed);
  CHECK(needed > KEYS / 10);
  for (int r = 1; r < REPLICAS; r++)
    CHECK_EQUAL(replicas[r].tree.digests[0], replicas[0].tree.digests[0]);
  for (int r = 0; r < REPLICAS; r++) free(replicas[r].words);
}

static void test_repair_arguments(void) {
  dsm_repair_item items[2] = {{5, 1, {0}}, {5, 1, {0}}};
  dsm_repair_list list = {items, 2};
  dsm_repair_set set;
  CHECK_EQUAL(dsm_repair_set_start(&set, &list, 1, DSM_CONFLICT_LAST_WRITE_WINS), DSM_USAGE);
  items[1].key_check = 2;
  CHECK_EQUAL(dsm_repair_set_start(&set, &list, 1, DSM_CONFLICT_LAST_WRITE_WINS), DSM_OK);
  CHECK_EQUAL(dsm_repair_set_start(&set, &list, 1, DSM_CONFLICT_CUSTOM), DSM_USAGE);
  CHECK_EQUAL(dsm_repair_set_start(&set, &list, 9, DSM_CONFLICT_LAST_WRITE_WINS), DSM_USAGE);
}

int main(void) {
  make_keys();
  test_digests_forget_their_history();
  test_an_exchange_finds_what_differs();
  test_a_deep_tree_stays_in_bounds(1);
  test_a_deep_tree_stays_in_bounds(300);
  test_a_deep_tree_stays_in_bounds(20000);
  test_messages_are_input();
  test_repair_moves_the_least_and_converges(DSM_CONFLICT_LAST_WRITE_WINS);
  test_repair_moves_the_least_and_converges(DSM_CONFLICT_FIRST_WRITE_WINS);
  test_repair_arguments();
  return check_result("anti_entropy");
}
