/* Dotted version vector sets: the cases of dvvset.erl's own tests, written as text. "a2[5,2] b1[] |
 * 3" has seen a's dots 1 and 2, which hold 5 (newest) and 2, and b's first, and holds 3
 * anonymously. Its tests of map, size and ids are about lists, and its pruning by time stamps is
 * not offered here.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/proto/dotted_version.h"
#include "check_main.h"

enum { ROOM = 16, TEXT_BYTES = 256 };

typedef struct held_set {
  dsm_dotted_set set;
  dsm_dotted_entry entries[ROOM];
  uint64_t values[ROOM];
} held_set;

static dsm_dotted_set *make(held_set *held) {
  dsm_dotted_init(&held->set, held->entries, ROOM, held->values, ROOM);
  return &held->set;
}

static dsm_dotted_set *parse(held_set *held, const char *text) {
  dsm_dotted_set *set = make(held);
  while (*text && *text != '|') {
    char *end;
    dsm_dotted_entry entry = {.node = (uint32_t)(*text - 'a')};
    entry.counter = strtoull(text + 1, &end, 10);
    for (text = end + 1; *text != ']'; text = end + (*end == ',')) {
      set->values[set->value_count++] = strtoull(text, &end, 10);
      entry.value_count++;
    }
    set->entries[set->entry_count++] = entry;
    for (text++; *text == ' ';) text++;
  }
  while (*text) {
    char *end;
    set->values[set->value_count++] = strtoull(text + 1, &end, 10);
    text = end;
  }
  CHECK(dsm_dotted_valid(set));
  return set;
}

static void check_text(const dsm_dotted_set *set, const char *expected, int line) {
  char text[TEXT_BYTES], *end = text;
  uint32_t value = 0;
  *end = '\0';
  for (uint32_t i = 0; i < set->entry_count; i++) {
    const dsm_dotted_entry *entry = &set->entries[i];
    end += sprintf(end, "%s%c%u[", i ? " " : "", 'a' + entry->node, (unsigned)entry->counter);
    for (uint32_t k = 0; k < entry->value_count; k++)
      end += sprintf(end, "%s%u", k ? "," : "", (unsigned)set->values[value++]);
    end += sprintf(end, "]");
  }
  for (uint32_t k = 0; value < set->value_count; k++)
    end += sprintf(end, "%s%u",
                   k                  ? ","
                   : set->entry_count ? " | "
                                      : "| ",
                   (unsigned)set->values[value++]);
  CHECK(dsm_dotted_valid(set));
  if (strcmp(text, expected) != 0) fprintf(stderr, "line %d: got \"%s\"\n", line, text);
  CHECK(strcmp(text, expected) == 0);
}

/* update(new(join(context), value), stored, node); an empty text is a client that read nothing. */
static void check_update(const char *context, uint64_t value, const char *stored, char node,
                         const char *expected, int line) {
  held_set seen, before, after;
  dsm_dotted_set *result = make(&after);
  CHECK_EQUAL(dsm_dotted_update(result, parse(&seen, context), parse(&before, stored),
                                (uint32_t)(node - 'a'), value),
              DSM_OK);
  check_text(result, expected, line);
}

static void check_sync(const char *left, const char *right, const char *expected, int line) {
  held_set one, other, both;
  dsm_dotted_set *result = make(&both);
  CHECK_EQUAL(dsm_dotted_sync(result, parse(&one, left), parse(&other, right)), DSM_OK);
  check_text(result, expected, line);
  CHECK_EQUAL(dsm_dotted_sync(result, &other.set, &one.set), DSM_OK);
  check_text(result, expected, line);
}

static void check_order(const char *left, const char *right, dsm_clock_order expected) {
  held_set one, other;
  CHECK_EQUAL(dsm_dotted_compare(parse(&one, left), parse(&other, right)), expected);
}

static void test_join(void) {
  held_set set, context;
  CHECK_EQUAL(dsm_dotted_context(make(&context), parse(&set, "| 1")), DSM_OK);
  check_text(&context.set, "", __LINE__);
  CHECK_EQUAL(dsm_dotted_context(make(&context), parse(&set, "a1[1]")), DSM_OK);
  check_text(&context.set, "a1[]", __LINE__);
  check_update("a1[]", 2, "a1[1]", 'b', "a1[] b1[2]", __LINE__);
  CHECK_EQUAL(dsm_dotted_context(make(&context), parse(&set, "a1[] b1[2] | 9")), DSM_OK);
  check_text(&context.set, "a1[] b1[]", __LINE__);
}

static void test_update(void) {
  check_update("", 1, "", 'a', "a1[1]", __LINE__);
  check_update("a1[]", 2, "a1[1]", 'a', "a2[2]", __LINE__);
  check_update("a2[]", 3, "a2[2]", 'b', "a2[] b1[3]", __LINE__);
  check_update("a1[]", 4, "a2[2]", 'b', "a2[2] b1[4]", __LINE__);
  check_update("a1[]", 5, "a2[2]", 'a', "a3[5,2]", __LINE__);
  /* event_test: a write whose client read nothing supersedes nothing. */
  check_update("", 2, "a1[1]", 'a', "a2[2,1]", __LINE__);
  check_update("", 2, "a1[1]", 'b', "a1[1] b1[2]", __LINE__);
  /* sync_update_test: Peter, who has read 1, writes 3 after Mary's blind 2. */
  check_update("a1[]", 3, "a2[2,1]", 'a', "a3[3,2]", __LINE__);
  /* A context with values counts as what its reader has seen, all of it. */
  check_update("a2[2,1] | 7", 3, "a2[2,1]", 'a', "a3[3]", __LINE__);
  /* A new node lands in the middle, among values of others. */
  check_update("", 9, "a2[2,1] c1[3] | 4", 'b', "a2[2,1] b1[9] c1[3] | 4", __LINE__);
}

static void test_sync(void) {
  check_sync("a1[]", "a2[2,1]", "a2[2]", __LINE__);
  check_sync("a2[] b1[3]", "a2[] c1[3]", "a2[] b1[3] c1[3]", __LINE__);
  check_sync("x1[]", "a1[1]", "a1[1] x1[]", __LINE__);
  check_sync("a1[1]", "b1[2]", "a1[1] b1[2]", __LINE__);
  check_sync("a1[1]", "a2[2]", "a2[2]", __LINE__);
  check_sync("a2[] c1[3]", "a2[] c1[3]", "a2[] c1[3]", __LINE__);
  check_sync("", "", "", __LINE__);
  /* Anonymous values: superseded by the longer history, united when neither is longer. */
  check_sync("a1[] | 1 2", "a2[] | 2 3", "a2[] | 2,3", __LINE__);
  check_sync("a1[] | 1 5", "a1[] | 2 5", "a1[] | 1,2,5", __LINE__);
  check_sync("a1[1] | 1", "b1[2] | 2", "a1[1] b1[2] | 1,2", __LINE__);
}

static void check_keep(const char *text, uint32_t index, const char *expected, int line) {
  held_set set, kept, again;
  CHECK_EQUAL(dsm_dotted_keep(make(&kept), parse(&set, text), index), DSM_OK);
  check_text(&kept.set, expected, line);
  CHECK_EQUAL(dsm_dotted_sync(make(&again), &set.set, &kept.set), DSM_OK);
}

static void test_last_write_wins(void) {
  check_keep("a4[5,2] b1[] c1[3]", 0, "a4[5] b1[] c1[]", __LINE__);
  check_keep("a4[5,2] b1[] c1[3] | 0 10", 4, "a4[] b1[] c1[] | 10", __LINE__);
  check_keep("a4[5,2] b1[1] | 3", 0, "a4[5] b1[]", __LINE__);
  check_keep("a4[5,2] b1[] c1[3]", 2, "a4[] b1[] c1[3]", __LINE__);
  check_keep("a4[5,2] b1[] c1[3]", 1, "a4[] b1[] c1[] | 2", __LINE__);
  held_set set, kept;
  CHECK_EQUAL(dsm_dotted_keep(make(&kept), parse(&set, "a1[1]"), 1), DSM_USAGE);
  check_sync("a2[] c1[3]", "a2[] c1[3]", "a2[] c1[3]", __LINE__);
}

static void test_reconcile(void) {
  static const char *const texts[] = {"a4[5,2] b1[] c1[3]", "a4[5,2] b1[] c1[3] | 0 10"};
  static const uint64_t chosen[2][2] = {{10, 2}, {20, 0}};
  for (int i = 0; i < 2; i++) {
    for (int k = 0; k < 2; k++) {
      held_set set, result;
      char expected[TEXT_BYTES];
      snprintf(expected, sizeof expected, "a4[] b1[] c1[] | %u", (unsigned)chosen[i][k]);
      CHECK_EQUAL(dsm_dotted_reconcile(make(&result), parse(&set, texts[i]), chosen[i][k]), DSM_OK);
      check_text(&result.set, expected, __LINE__);
    }
  }
}

static void test_less_and_equal(void) {
  const char *a = "a1[1]", *b = "a2[2]", *b2 = "a1[] b1[2]", *b3 = "a1[] z1[2]";
  const char *c = "a2[] c1[3]", *d = "a2[] b1[2] c1[] d1[4]";
  check_update("a2[]", 3, a, 'c', c, __LINE__);
  check_update("a2[] c1[]", 4, b2, 'd', d, __LINE__);
  check_order(a, b, DSM_CLOCK_BEFORE);
  check_order(a, c, DSM_CLOCK_BEFORE);
  check_order(b, c, DSM_CLOCK_BEFORE);
  check_order(b, d, DSM_CLOCK_BEFORE);
  check_order(b2, d, DSM_CLOCK_BEFORE);
  check_order(a, d, DSM_CLOCK_BEFORE);
  check_order(b2, c, DSM_CLOCK_CONCURRENT);
  check_order(b, b2, DSM_CLOCK_CONCURRENT);
  check_order(a, a, DSM_CLOCK_EQUAL);
  check_order(d, b2, DSM_CLOCK_AFTER);
  check_order(b3, d, DSM_CLOCK_CONCURRENT);
  check_order("a4[5,1] b0[] c1[3] | 1", "a4[555,1] b0[] c1[3]", DSM_CLOCK_EQUAL);
  check_order("a4[5,1] b0[] c1[3] | 1", "a4[5,1] b0[] | 1 6", DSM_CLOCK_AFTER);
}

static void test_room_and_validity(void) {
  held_set one, other, result;
  dsm_dotted_set *small = make(&result);
  parse(&one, "a1[1] b1[2]");
  parse(&other, "c1[3] | 9");
  small->entry_count_max = 2;
  CHECK_EQUAL(dsm_dotted_sync(small, &one.set, &other.set), DSM_TOO_MANY);
  CHECK_EQUAL(dsm_dotted_update(small, &one.set, &one.set, 5, 1), DSM_TOO_MANY);
  small->entry_count_max = 3;
  small->value_count_max = 3;
  CHECK_EQUAL(dsm_dotted_sync(small, &one.set, &other.set), DSM_TOO_MANY);
  small->value_count_max = 4;
  CHECK_EQUAL(dsm_dotted_sync(small, &one.set, &other.set), DSM_OK);
  parse(&one, "a1[1] b1[2]");
  one.entries[1].node = 0;
  CHECK(!dsm_dotted_valid(&one.set));
  parse(&one, "a1[1] b1[2]");
  one.entries[1].counter = 0;
  CHECK(!dsm_dotted_valid(&one.set));
  parse(&one, "a1[1] b1[2] | 3 4");
  one.values[3] = 3;
  CHECK(!dsm_dotted_valid(&one.set));
  one.set.value_count = 1;
  CHECK(!dsm_dotted_valid(&one.set));
  parse(&one, "a1[1]");
  one.entries[0].counter = UINT64_MAX;
  CHECK_EQUAL(dsm_dotted_update(make(&result), &one.set, &one.set, 0, 1), DSM_CLOCK_OVERFLOW);
}

int main(void) {
  test_join();
  test_update();
  test_sync();
  test_last_write_wins();
  test_reconcile();
  test_less_and_equal();
  test_room_and_validity();
  return check_result("dotted_version");
}
