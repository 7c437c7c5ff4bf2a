/* Every operation is one walk along sorted entries that appends to the result. */
#include "dotted_version.h"

#include <string.h>

void dsm_dotted_init(dsm_dotted_set *set, dsm_dotted_entry *entries, uint32_t entry_count_max,
                     uint64_t *values, uint32_t value_count_max) {
  *set = (dsm_dotted_set){.entries = entries,
                          .entry_count_max = entry_count_max,
                          .values = values,
                          .value_count_max = value_count_max};
}

uint32_t dsm_dotted_anonymous_count(const dsm_dotted_set *set) {
  uint32_t dotted = 0;
  for (uint32_t i = 0; i < set->entry_count; i++) dotted += set->entries[i].value_count;
  return set->value_count - dotted;
}

bool dsm_dotted_valid(const dsm_dotted_set *set) {
  if (set->entry_count > set->entry_count_max || set->value_count > set->value_count_max)
    return false;
  uint64_t dotted = 0;
  for (uint32_t i = 0; i < set->entry_count; i++) {
    if (i > 0 && set->entries[i - 1].node >= set->entries[i].node) return false;
    if (set->entries[i].value_count > set->entries[i].counter) return false;
    dotted += set->entries[i].value_count;
  }
  if (dotted > set->value_count) return false;
  for (uint64_t i = dotted + 1; i < set->value_count; i++)
    if (set->values[i - 1] >= set->values[i]) return false;
  return true;
}

static dsm_status append_value(dsm_dotted_set *result, uint64_t value) {
  if (result->value_count == result->value_count_max) return DSM_TOO_MANY;
  result->values[result->value_count++] = value;
  return DSM_OK;
}

static dsm_status append_entry(dsm_dotted_set *result, uint32_t node, uint64_t counter,
                               const uint64_t *values, uint32_t value_count) {
  if (result->entry_count == result->entry_count_max) return DSM_TOO_MANY;
  if (value_count > result->value_count_max - result->value_count) return DSM_TOO_MANY;
  result->entries[result->entry_count++] = (dsm_dotted_entry){counter, node, value_count};
  if (value_count > 0)
    memcpy(result->values + result->value_count, values, value_count * sizeof *values);
  result->value_count += value_count;
  return DSM_OK;
}

static void clear(dsm_dotted_set *set) {
  set->entry_count = set->value_count = 0;
}

dsm_status dsm_dotted_context(dsm_dotted_set *result, const dsm_dotted_set *set) {
  clear(result);
  for (uint32_t i = 0; i < set->entry_count; i++)
    DSM_TRY(append_entry(result, set->entries[i].node, set->entries[i].counter, NULL, 0));
  return DSM_OK;
}

/* A place in a set: the next entry and the values before it. With history_only the set counts as
 * its own context: everything in it is seen, none of it is a value. */
typedef struct cursor {
  const dsm_dotted_set *set;
  uint32_t entry, value;
  bool history_only;
} cursor;

static const dsm_dotted_entry *peek(const cursor *at) {
  return at->entry < at->set->entry_count ? &at->set->entries[at->entry] : NULL;
}

static uint32_t value_count_at(const cursor *at) {
  return at->history_only ? 0 : peek(at)->value_count;
}

static void step_over(cursor *at) {
  at->value += peek(at)->value_count;
  at->entry++;
}

static dsm_status take(dsm_dotted_set *result, cursor *from, uint32_t value_count) {
  const dsm_dotted_entry *entry = peek(from);
  DSM_TRY(append_entry(result, entry->node, entry->counter, from->set->values + from->value,
                       value_count));
  step_over(from);
  return DSM_OK;
}

/* Both know the node. Dots up to the higher of the two floors are superseded on one side at least;
 * of those above it the side with the higher counter has every value. */
static dsm_status take_merged(dsm_dotted_set *result, cursor *left, cursor *right) {
  bool left_newer = peek(left)->counter >= peek(right)->counter;
  cursor *newer = left_newer ? left : right, *older = left_newer ? right : left;
  uint64_t newer_floor = peek(newer)->counter - value_count_at(newer);
  uint64_t older_floor = peek(older)->counter - value_count_at(older);
  uint64_t floor = newer_floor > older_floor ? newer_floor : older_floor;
  uint32_t kept = (uint32_t)(peek(newer)->counter - floor);
  step_over(older);
  return take(result, newer, kept);
}

static dsm_status merge_entries(dsm_dotted_set *result, cursor *left, cursor *right) {
  while (peek(left) != NULL || peek(right) != NULL) {
    const dsm_dotted_entry *ours = peek(left), *theirs = peek(right);
    if (theirs == NULL || (ours != NULL && ours->node < theirs->node))
      DSM_TRY(take(result, left, value_count_at(left)));
    else if (ours == NULL || theirs->node < ours->node)
      DSM_TRY(take(result, right, value_count_at(right)));
    else
      DSM_TRY(take_merged(result, left, right));
  }
  return DSM_OK;
}

/* The anonymous values start where the entries' values ended. A history that has gone past another
 * has superseded its anonymous values; otherwise the result is their union. */
static dsm_status merge_anonymous(dsm_dotted_set *result, const cursor *left, const cursor *right) {
  dsm_clock_order order = dsm_dotted_compare(left->set, right->set);
  uint32_t i = left->value, left_end = left->set->value_count;
  uint32_t j = right->value, right_end = right->set->value_count;
  if (left->history_only || order == DSM_CLOCK_BEFORE) i = left_end;
  if (right->history_only || order == DSM_CLOCK_AFTER) j = right_end;
  while (i < left_end || j < right_end) {
    bool from_left =
        j == right_end || (i < left_end && left->set->values[i] <= right->set->values[j]);
    uint64_t value = from_left ? left->set->values[i] : right->set->values[j];
    i += i < left_end && left->set->values[i] == value;
    j += j < right_end && right->set->values[j] == value;
    DSM_TRY(append_value(result, value));
  }
  return DSM_OK;
}

static dsm_status merge(dsm_dotted_set *result, cursor left, cursor right) {
  clear(result);
  DSM_TRY(merge_entries(result, &left, &right));
  return merge_anonymous(result, &left, &right);
}

dsm_status dsm_dotted_sync(dsm_dotted_set *result, const dsm_dotted_set *left,
                           const dsm_dotted_set *right) {
  return merge(result, (cursor){.set = left}, (cursor){.set = right});
}

/* The next dot of node, with its value in front of that node's others. */
static dsm_status add_dot(dsm_dotted_set *set, uint32_t node, uint64_t value) {
  uint32_t i = 0, place = 0;
  while (i < set->entry_count && set->entries[i].node < node)
    place += set->entries[i++].value_count;
  bool known = i < set->entry_count && set->entries[i].node == node;
  if (known && set->entries[i].counter == UINT64_MAX) return DSM_CLOCK_OVERFLOW;
  if (!known && set->entry_count == set->entry_count_max) return DSM_TOO_MANY;
  DSM_TRY(append_value(set, value));
  memmove(set->values + place + 1, set->values + place,
          (set->value_count - 1 - place) * sizeof *set->values);
  set->values[place] = value;
  if (!known) {
    memmove(set->entries + i + 1, set->entries + i, (set->entry_count - i) * sizeof *set->entries);
    set->entries[i] = (dsm_dotted_entry){0, node, 0};
    set->entry_count++;
  }
  set->entries[i].counter++;
  set->entries[i].value_count++;
  return DSM_OK;
}

dsm_status dsm_dotted_update(dsm_dotted_set *result, const dsm_dotted_set *context,
                             const dsm_dotted_set *stored, uint32_t node, uint64_t value) {
  cursor seen = {.set = context, .history_only = true};
  DSM_TRY(merge(result, seen, (cursor){.set = stored}));
  return add_dot(result, node, value);
}

dsm_status dsm_dotted_reconcile(dsm_dotted_set *result, const dsm_dotted_set *set, uint64_t value) {
  DSM_TRY(dsm_dotted_context(result, set));
  return append_value(result, value);
}

dsm_status dsm_dotted_keep(dsm_dotted_set *result, const dsm_dotted_set *set, uint32_t index) {
  if (index >= set->value_count) return DSM_USAGE;
  DSM_TRY(dsm_dotted_reconcile(result, set, set->values[index]));
  uint32_t newest = 0;
  for (uint32_t i = 0; i < set->entry_count; newest += set->entries[i++].value_count)
    if (newest == index && set->entries[i].value_count > 0) result->entries[i].value_count = 1;
  return DSM_OK;
}

dsm_clock_order dsm_dotted_compare(const dsm_dotted_set *left, const dsm_dotted_set *right) {
  unsigned order = DSM_CLOCK_EQUAL;
  uint32_t i = 0, j = 0;
  while (i < left->entry_count || j < right->entry_count) {
    const dsm_dotted_entry *ours = i < left->entry_count ? &left->entries[i] : NULL;
    const dsm_dotted_entry *theirs = j < right->entry_count ? &right->entries[j] : NULL;
    bool take_ours = theirs == NULL || (ours != NULL && ours->node <= theirs->node);
    bool take_theirs = ours == NULL || (theirs != NULL && theirs->node <= ours->node);
    uint64_t our_counter = take_ours ? ours->counter : 0;
    uint64_t their_counter = take_theirs ? theirs->counter : 0;
    if (our_counter < their_counter) order |= DSM_CLOCK_BEFORE;
    if (our_counter > their_counter) order |= DSM_CLOCK_AFTER;
    i += take_ours;
    j += take_theirs;
  }
  return (dsm_clock_order)order;
}
