/* The quorum against the test data of etcd's Raft (quorum/testdata: majority_commit, joint_commit,
 * majority_vote, joint_vote), and against the definition counted out for random quorums.
 */
#include <string.h>

#include "../../csrc/proto/quorum.h"
#include "check_main.h"

/* Ids as hexadecimal digits (C stands for the one id there that does not fit a word); indexes and
 * votes in the order of the incoming ids, then of those that are in the outgoing set alone. */
static const struct {
  const char *incoming, *outgoing;
  uint64_t indexes[6], committed;
} commits[] = {
    {"1", "", {0}, 0},
    {"1", "", {12}, 12},
    {"12", "", {0, 0}, 0},
    {"12", "", {12, 0}, 0},
    {"12", "", {12, 5}, 5},
    {"123", "", {0, 0, 0}, 0},
    {"123", "", {12, 0, 0}, 0},
    {"123", "", {12, 5, 0}, 5},
    {"123", "", {12, 5, 6}, 6},
    {"123", "", {12, 5, 4}, 5},
    {"123", "", {5, 5, 0}, 5},
    {"123", "", {5, 5, 12}, 5},
    {"123", "", {100, 101, 103}, 101},
    {"12345", "", {101, 104, 103, 103, 0}, 103},
    {"12345", "", {101, 102, 103, 103, 0}, 102},
    {"123", "", {100, 101, 99}, 100},
    {"1", "2", {0, 0}, 0},
    {"1", "2", {100, 0}, 0},
    {"1", "2", {13, 100}, 13},
    {"1", "1", {0}, 0},
    {"1", "1", {100}, 100},
    {"13", "2", {0, 0, 0}, 0},
    {"13", "2", {100, 0, 0}, 0},
    {"13", "2", {100, 0, 50}, 0},
    {"13", "2", {100, 45, 50}, 45},
    {"12", "2", {0, 0}, 0},
    {"12", "2", {100, 0}, 0},
    {"12", "2", {0, 100}, 0},
    {"12", "2", {50, 100}, 50},
    {"12", "2", {100, 50}, 50},
    {"12", "34", {50, 0, 0, 0}, 0},
    {"12", "34", {50, 0, 49, 0}, 0},
    {"12", "34", {50, 48, 49, 0}, 0},
    {"12", "34", {50, 48, 49, 47}, 47},
    {"12", "23", {0, 0, 0}, 0},
    {"12", "23", {100, 0, 0}, 0},
    {"12", "23", {0, 100, 0}, 0},
    {"12", "23", {0, 100, 99}, 0},
    {"12", "23", {101, 100, 99}, 99},
    {"12", "12", {0, 0}, 0},
    {"12", "12", {0, 40}, 0},
    {"12", "12", {41, 40}, 40},
    {"123", "456", {0, 0, 0, 0, 0, 0}, 0},
    {"123", "456", {100, 0, 0, 0, 0, 0}, 0},
    {"123", "456", {100, 0, 0, 90, 0, 0}, 0},
    {"123", "456", {100, 99, 0, 0, 0, 0}, 0},
    {"123", "456", {0, 99, 90, 97, 95, 0}, 90},
    {"123", "456", {92, 99, 90, 97, 95, 0}, 92},
    {"123", "456", {92, 99, 90, 97, 95, 77}, 92},
    {"123", "145", {0, 0, 0, 0, 0}, 0},
    {"123", "145", {100, 0, 0, 0, 0}, 0},
    {"123", "145", {100, 101, 0, 0, 0}, 0},
    {"123", "145", {100, 101, 100, 0, 0}, 0},
    {"123", "145", {0, 100, 0, 99, 98}, 0},
    {"123", "145", {0, 100, 99, 99, 98}, 98},
    {"123", "145", {1, 100, 99, 99, 98}, 98},
    {"123", "145", {100, 100, 99, 99, 98}, 99},
    {"123", "234", {0, 0, 0, 0}, 0},
    {"123", "234", {0, 100, 99, 0}, 99},
    {"123", "234", {98, 100, 99, 0}, 99},
    {"123", "234", {100, 100, 99, 0}, 99},
    {"123", "234", {100, 100, 99, 98}, 99},
    {"123", "234", {100, 0, 0, 101}, 0},
    {"123", "234", {100, 99, 0, 101}, 99},
    {"123", "123", {50, 45, 0}, 45},
};

static const struct {
  const char *incoming, *outgoing, *votes;
  dsm_vote_result result;
} votes[] = {
    {"", "", "", DSM_VOTE_WON},
    {"1", "", "_", DSM_VOTE_PENDING},
    {"1", "", "n", DSM_VOTE_LOST},
    {"C", "", "y", DSM_VOTE_WON},
    {"48", "", "__", DSM_VOTE_PENDING},
    {"48", "", "n_", DSM_VOTE_LOST},
    {"48", "", "y_", DSM_VOTE_PENDING},
    {"48", "", "ny", DSM_VOTE_LOST},
    {"48", "", "yy", DSM_VOTE_WON},
    {"247", "", "___", DSM_VOTE_PENDING},
    {"247", "", "n__", DSM_VOTE_PENDING},
    {"247", "", "y__", DSM_VOTE_PENDING},
    {"247", "", "nn_", DSM_VOTE_LOST},
    {"247", "", "yn_", DSM_VOTE_PENDING},
    {"247", "", "yy_", DSM_VOTE_WON},
    {"247", "", "yyn", DSM_VOTE_WON},
    {"247", "", "nyn", DSM_VOTE_LOST},
    {"1234567", "", "yyny___", DSM_VOTE_PENDING},
    {"1234567", "", "_yy_nyn", DSM_VOTE_PENDING},
    {"1234567", "", "yyny_ny", DSM_VOTE_WON},
    {"1234567", "", "yy_nynn", DSM_VOTE_PENDING},
    {"1234567", "", "yynynnn", DSM_VOTE_LOST},
    {"1", "", "y", DSM_VOTE_WON},
    {"1", "1", "_", DSM_VOTE_PENDING},
    {"1", "1", "y", DSM_VOTE_WON},
    {"1", "1", "n", DSM_VOTE_LOST},
    {"1", "2", "__", DSM_VOTE_PENDING},
    {"1", "2", "y_", DSM_VOTE_PENDING},
    {"1", "2", "yy", DSM_VOTE_WON},
    {"1", "2", "yn", DSM_VOTE_LOST},
    {"1", "2", "n_", DSM_VOTE_LOST},
    {"1", "2", "nn", DSM_VOTE_LOST},
    {"1", "2", "ny", DSM_VOTE_LOST},
    {"12", "34", "____", DSM_VOTE_PENDING},
    {"12", "34", "y___", DSM_VOTE_PENDING},
    {"12", "34", "yy__", DSM_VOTE_PENDING},
    {"12", "34", "yyn_", DSM_VOTE_LOST},
    {"12", "34", "yynn", DSM_VOTE_LOST},
    {"12", "34", "yyyn", DSM_VOTE_LOST},
    {"12", "34", "yyyy", DSM_VOTE_WON},
    {"12", "23", "___", DSM_VOTE_PENDING},
    {"12", "23", "_n_", DSM_VOTE_LOST},
    {"12", "23", "yy_", DSM_VOTE_PENDING},
    {"12", "23", "yyn", DSM_VOTE_LOST},
    {"12", "23", "yyy", DSM_VOTE_WON},
    {"12", "12", "__", DSM_VOTE_PENDING},
    {"12", "12", "y_", DSM_VOTE_PENDING},
    {"12", "12", "yn", DSM_VOTE_LOST},
    {"12", "12", "n_", DSM_VOTE_LOST},
    {"12", "12", "nn", DSM_VOTE_LOST},
    {"123", "234", "____", DSM_VOTE_PENDING},
    {"123", "234", "_n__", DSM_VOTE_PENDING},
    {"123", "234", "_nn_", DSM_VOTE_LOST},
    {"123", "234", "_yy_", DSM_VOTE_WON},
    {"123", "234", "yy__", DSM_VOTE_PENDING},
    {"123", "234", "yyn_", DSM_VOTE_PENDING},
    {"123", "234", "yynn", DSM_VOTE_LOST},
    {"123", "234", "yyny", DSM_VOTE_WON},
};

static int id_of(char digit) {
  return digit <= '9' ? digit - '0' : digit - 'A' + 10;
}

/* The ids in the order of the indexes and votes. */
static int list_ids(const char *incoming, const char *outgoing, int ids[8]) {
  int count = 0;
  for (const char *id = incoming; *id; id++) ids[count++] = id_of(*id);
  for (const char *id = outgoing; *id; id++)
    if (!strchr(incoming, *id)) ids[count++] = id_of(*id);
  return count;
}

static uint64_t set_of(const char *ids) {
  uint64_t set = 0;
  for (; *ids; ids++) set |= UINT64_C(1) << id_of(*ids);
  return set;
}

static void test_published_commits(void) {
  for (size_t i = 0; i < sizeof commits / sizeof *commits; i++) {
    dsm_quorum quorum = {set_of(commits[i].incoming), set_of(commits[i].outgoing)};
    dsm_quorum swapped = {quorum.outgoing, quorum.incoming};
    uint64_t acknowledged[DSM_QUORUM_NODES_MAX] = {0};
    int ids[8], count = list_ids(commits[i].incoming, commits[i].outgoing, ids);
    for (int k = 0; k < count; k++) acknowledged[ids[k]] = commits[i].indexes[k];
    CHECK_EQUAL(dsm_quorum_committed(&quorum, acknowledged), commits[i].committed);
    CHECK_EQUAL(dsm_quorum_committed(&swapped, acknowledged), commits[i].committed);
  }
  CHECK_EQUAL(dsm_quorum_committed(&(dsm_quorum){0, 0}, NULL), UINT64_MAX);
}

static void test_published_votes(void) {
  for (size_t i = 0; i < sizeof votes / sizeof *votes; i++) {
    dsm_quorum quorum = {set_of(votes[i].incoming), set_of(votes[i].outgoing)};
    dsm_quorum swapped = {quorum.outgoing, quorum.incoming};
    uint64_t yes = 0, no = 0;
    int ids[8], count = list_ids(votes[i].incoming, votes[i].outgoing, ids);
    CHECK_EQUAL(strlen(votes[i].votes), count);
    for (int k = 0; k < count; k++) {
      if (votes[i].votes[k] == 'y') yes |= UINT64_C(1) << ids[k];
      if (votes[i].votes[k] == 'n') no |= UINT64_C(1) << ids[k];
    }
    CHECK_EQUAL(dsm_quorum_vote(&quorum, yes, no), votes[i].result);
    CHECK_EQUAL(dsm_quorum_vote(&swapped, yes, no), votes[i].result);
    CHECK_EQUAL(dsm_quorum_reached(&quorum, yes), votes[i].result == DSM_VOTE_WON);
  }
}

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}

/* The highest index that more than half of the voters have reached, tried one by one. */
static uint64_t naive_committed(uint64_t voters, const uint64_t *acknowledged) {
  uint64_t best = 0;
  int voter_count = __builtin_popcountll(voters);
  for (int candidate = 0; candidate < DSM_QUORUM_NODES_MAX; candidate++) {
    if (!(voters >> candidate & 1)) continue;
    int agreeing = 0;
    for (int node = 0; node < DSM_QUORUM_NODES_MAX; node++)
      agreeing += (voters >> node & 1) && acknowledged[node] >= acknowledged[candidate];
    if (2 * agreeing > voter_count && acknowledged[candidate] > best)
      best = acknowledged[candidate];
  }
  return voters == 0 ? UINT64_MAX : best;
}

static void test_random_quorums_follow_the_definition(void) {
  for (int round = 0; round < 20000; round++) {
    uint64_t acknowledged[DSM_QUORUM_NODES_MAX];
    for (int node = 0; node < DSM_QUORUM_NODES_MAX; node++) acknowledged[node] = random_next() % 9;
    uint64_t mask = round % 3 == 0 ? UINT64_MAX : 0x1F;
    dsm_quorum quorum = {random_next() & random_next() & mask, random_next() & mask};
    uint64_t incoming = naive_committed(quorum.incoming, acknowledged);
    uint64_t outgoing = naive_committed(quorum.outgoing, acknowledged);
    CHECK_EQUAL(dsm_quorum_committed(&quorum, acknowledged),
                incoming < outgoing ? incoming : outgoing);

    uint64_t yes = random_next(), no = random_next() & ~yes;
    bool won = dsm_quorum_reached(&quorum, yes), possible = dsm_quorum_reached(&quorum, ~no);
    CHECK_EQUAL(dsm_quorum_vote(&quorum, yes, no), won        ? DSM_VOTE_WON
                                                   : possible ? DSM_VOTE_PENDING
                                                              : DSM_VOTE_LOST);
    /* Two majorities of one set always meet. */
    if (quorum.incoming && won) CHECK(!dsm_quorum_reached(&quorum, ~yes));
  }
  CHECK_EQUAL(dsm_quorum_majority(0x1), 1);
  CHECK_EQUAL(dsm_quorum_majority(0x3), 2);
  CHECK_EQUAL(dsm_quorum_majority(0xF), 3);
  CHECK_EQUAL(dsm_quorum_majority(UINT64_MAX), 33);
}

int main(void) {
  test_published_commits();
  test_published_votes();
  test_random_quorums_follow_the_definition();
  return check_result("quorum");
}
