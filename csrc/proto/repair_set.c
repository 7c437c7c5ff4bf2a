/* A merge of sorted lists, key by key. */
#include "repair_set.h"

static int compare_keys(const dsm_repair_item *left, const dsm_repair_item *right) {
  if (left->key_hash != right->key_hash) return left->key_hash < right->key_hash ? -1 : 1;
  if (left->key_check != right->key_check) return left->key_check < right->key_check ? -1 : 1;
  return 0;
}

dsm_status dsm_repair_set_start(dsm_repair_set *set, const dsm_repair_list *lists,
                                uint32_t list_count, dsm_conflict_policy policy) {
  if (list_count > DSM_REPAIR_REPLICAS_MAX || policy >= DSM_CONFLICT_CUSTOM) return DSM_USAGE;
  for (uint32_t list = 0; list < list_count; list++)
    for (size_t i = 1; i < lists[list].count; i++)
      if (compare_keys(&lists[list].items[i - 1], &lists[list].items[i]) >= 0) return DSM_USAGE;
  *set = (dsm_repair_set){.lists = lists,
                          .list_count = list_count,
                          .first_wins = policy == DSM_CONFLICT_FIRST_WRITE_WINS};
  return DSM_OK;
}

static const dsm_repair_item *item_at(const dsm_repair_set *set, uint32_t list) {
  size_t next = set->next[list];
  return next < set->lists[list].count ? &set->lists[list].items[next] : NULL;
}

static const dsm_repair_item *least_key(const dsm_repair_set *set) {
  const dsm_repair_item *least = NULL;
  for (uint32_t list = 0; list < set->list_count; list++) {
    const dsm_repair_item *item = item_at(set, list);
    if (item != NULL && (least == NULL || compare_keys(item, least) < 0)) least = item;
  }
  return least;
}

/* The winner of one key, and who lacks it; moves past the key in every list. */
static void settle_key(dsm_repair_set *set, const dsm_repair_item *key, dsm_repair_move *move) {
  *move = (dsm_repair_move){.targets = (UINT32_C(1) << set->list_count) - 1};
  uint32_t holders = 0;
  for (uint32_t list = 0; list < set->list_count; list++) {
    const dsm_repair_item *item = item_at(set, list);
    if (item == NULL || compare_keys(item, key) != 0) continue;
    set->next[list]++;
    int order = move->item ? dsm_conflict_compare(&item->version, &move->item->version) : 1;
    if (set->first_wins && move->item) order = -order;
    if (order > 0) {
      move->item = item;
      move->source = list;
      holders = 0;
    }
    if (order >= 0) holders |= UINT32_C(1) << list;
  }
  move->targets &= ~holders;
}

bool dsm_repair_set_next(dsm_repair_set *set, dsm_repair_move *move) {
  for (const dsm_repair_item *key; (key = least_key(set)) != NULL;) {
    settle_key(set, key, move);
    if (move->targets != 0) return true;
  }
  return false;
}
