/* From records to objects. */
#include "reload.h"

#include <stdlib.h>

#include "stripe.h"

static int compare(const void *left, const void *right) {
  const dsm_mark *a = left, *b = right;
  if (a->version != b->version) return a->version < b->version ? -1 : 1;
  return (a->key_hash > b->key_hash) - (a->key_hash < b->key_hash);
}

void dsm_marks_sort(dsm_mark *marks, uint64_t count) {
  qsort(marks, count, sizeof *marks, compare);
}

static bool marked(const dsm_reload *reload, const dsm_record *record, uint64_t hash) {
  dsm_mark wanted = {record->version, hash};
  return !reload->marks ||
         bsearch(&wanted, reload->marks, reload->mark_count, sizeof wanted, compare) != NULL;
}

static dsm_status put_anew(dsm_call *call, dsm_reload *reload, const dsm_key *key,
                           const dsm_value *value) {
  uint64_t version;
  dsm_condition absent = {reload->replicas[key->region], 0};
  dsm_status status = dsm_put(call, key, value, absent, &version);
  if (status == DSM_VERSION_CONFLICT) return DSM_OK;
  reload->objects += status == DSM_OK;
  return status;
}

static dsm_status put_lost(dsm_call *call, dsm_reload *reload, const dsm_key *key,
                           const dsm_value *value) {
  bool stored;
  if (value->codec == DSM_CODEC_LOST) return DSM_OK; /* it was lost then already */
  DSM_TRY(dsm_put_lost(call, key, value, reload->replicas[key->region], &stored));
  if (stored) dsm_fetch_add_relaxed_u64(&dsm_space_recovery(call->space)->objects_filled, 1);
  reload->objects += stored;
  reload->value_bytes += stored ? value->length : 0;
  return DSM_OK;
}

dsm_status dsm_reload_object(dsm_call *call, dsm_reload *reload, const dsm_record *record,
                             const uint8_t *key, const uint8_t *value) {
  if (record->region >= DSM_REGIONS_MAX || reload->replicas[record->region] == 0)
    return dsm_fail(call, DSM_CORRUPT, "record of an unknown region", -1, reload->stripe,
                    record->region, record->version);
  if (record->version == 0 || record->version >= DSM_SEAL_VALUE_MASK / 2 ||
      record->key_kind < DSM_KEY_TEXT || record->key_kind > DSM_KEY_TUPLE)
    return dsm_fail(call, DSM_CORRUPT, "record of no possible object", -1, reload->stripe,
                    record->version, record->key_kind);
  dsm_key encoded = {
      key, record->key_bytes, record->key_kind, record->region,
      dsm_key_hash(call->space, key, record->key_bytes, record->key_kind, record->region)};
  uint32_t stripe = dsm_key_stripe(call->space, encoded.hash);
  if (stripe != reload->stripe)
    return dsm_fail(call, DSM_CORRUPT, "record is of another stripe", -1, reload->stripe, stripe,
                    record->version);
  if (!marked(reload, record, encoded.hash)) return DSM_OK;
  dsm_part part = {value, record->value_bytes};
  dsm_value wanted = {&part, 1, record->codec, record->value_bytes};
  bool stored;
  if (reload->how == DSM_RELOAD_ANEW) return put_anew(call, reload, &encoded, &wanted);
  if (reload->how == DSM_RELOAD_LOST) return put_lost(call, reload, &encoded, &wanted);
  DSM_TRY(dsm_put_back(call, &encoded, &wanted, record->version, reload->replicas[record->region],
                       &stored));
  reload->objects += stored;
  return DSM_OK;
}

dsm_status dsm_reload_objects(dsm_call *call, dsm_reload *reload, const uint8_t *payload,
                              uint64_t bytes) {
  dsm_record record;
  const uint8_t *key, *value;
  uint64_t at = 0;
  while (dsm_record_next(payload, bytes, true, &at, &record, &key, &value))
    DSM_TRY(dsm_reload_object(call, reload, &record, key, value));
  if (at <= bytes) return DSM_OK;
  return dsm_fail(call, DSM_CORRUPT, "record is cut", -1, reload->stripe, bytes, 0);
}

dsm_status dsm_reload_gen(dsm_call *call, uint32_t stripe, uint64_t gen) {
  dsm_route route;
  DSM_TRY(dsm_stripe_take(call, stripe, &route));
  dsm_log log = dsm_log_make(call, dsm_space_intent(call->space, stripe), stripe);
  for (uint32_t i = route.count; i-- > 0;) {
    const dsm_atomic_u64 *word = &dsm_space_sub(call->space, route.nodes[i], stripe)->gen;
    if (dsm_log_get_sealed(&log, route.nodes[i] + 1u, word) < gen)
      dsm_log_set_sealed(&log, route.nodes[i] + 1u, word, gen);
  }
  dsm_status status = log.count ? dsm_log_commit(&log) : log.status;
  dsm_stripe_drop(call, stripe, &route);
  return status;
}
