/* Reads that met damage, or what may be damage (read.h): mending, and reading at a backup. */
#include "../mem/nodes.h"
#include "heal.h"
#include "read.h"
#include "region_record.h"
#include "route_restore.h"
#include "stripe.h"

#define HEALED (1u << 31) /* in `tried`: the stripe was mended, or could not be, for this read */
#define SEEN (1u << 30)   /* the key was found, with a damaged value */
#define LOOKS 8           /* at a backup that is being changed */
#define PATIENCE_MS 1000u /* with who mends the only copy */

/* Copies of the region's objects; *sure: the record says so, otherwise it is a guess. */
static uint32_t copies_of(const dsm_space *space, const dsm_key *key, uint32_t route_count,
                          bool *sure) {
  const dsm_region_shm *record = dsm_region_record(space, key->region);
  *sure = record != NULL;
  uint32_t copies = *sure ? record->replicas : route_count;
  return copies < route_count ? copies : route_count;
}

static dsm_status look_patiently(dsm_call *call, const dsm_key *key, uint32_t replica,
                                 dsm_read *out) {
  dsm_status status = DSM_RETRY;
  for (int looks = 0; looks < LOOKS && status == DSM_RETRY; looks++) {
    dsm_nodes_catch_up(call);
    status = dsm_read_look(call, key, replica, out);
  }
  return status;
}

static dsm_status lost(dsm_call *call, const dsm_read *read, const char *what) {
  return dsm_fail(call, DSM_NO_REPLICAS, what, (int)read->node, read->stripe, read->offset, 0);
}

/* A miss that nothing contradicts, unless the stripe has lost keys that nobody knows. */
static dsm_status believed_absent(dsm_call *call, const dsm_read *read) {
  if (DSM_UNLIKELY(dsm_heal_losses(call->space, read->stripe) != 0))
    return lost(call, read, "keys of the stripe were lost, and this may be one of them");
  return DSM_NOT_FOUND;
}

/* At the replicas that were not yet tried. A sound one that does not have the key speaks for its
 * absence, unless the key was seen. */
static dsm_status read_elsewhere(dsm_call *call, const dsm_key *key, dsm_read *out) {
  dsm_route route;
  bool sure, absent = false;
  dsm_heal_ask(call->space, out->stripe);
  DSM_TRY(dsm_route_read(call, out->stripe, &route));
  uint32_t copies = copies_of(call->space, key, route.count, &sure);
  for (uint32_t i = 0; i < copies; i++) {
    if (out->tried >> i & 1) continue;
    dsm_status status = look_patiently(call, key, i, out);
    if (status == DSM_OK && out->header.codec != DSM_CODEC_LOST) {
      out->tried |= SEEN;
      return DSM_OK;
    }
    absent |= status == DSM_NOT_FOUND && sure;
    out->tried |= 1u << i;
  }
  if (!absent || out->tried & SEEN) return lost(call, out, "no replica of the object validates");
  return believed_absent(call, out);
}

static dsm_status damaged(dsm_call *call, const dsm_key *key, dsm_read *out) {
  if (!(out->tried & HEALED)) {
    dsm_call own = dsm_call_make(call->space, 0);
    out->tried |= HEALED;
    if (dsm_heal(&own, out->stripe) == DSM_OK) return DSM_RETRY;
  }
  out->tried |= 1;
  return read_elsewhere(call, key, out);
}

/* True if a backup has the key at a version that the primary has reached, so that the primary must
 * have lost it: a writer publishes at the backups first, with a version above the generation. */
static bool backup_has(dsm_call *call, const dsm_key *key, const dsm_read *primary) {
  const dsm_space *space = call->space;
  bool ok, sure;
  uint64_t gen = dsm_unseal(primary->gen_word,
                            dsm_space_locator(space, primary->node + 1, &primary->sub->gen), &ok);
  uint32_t copies = copies_of(space, key, space->replicas, &sure);
  for (uint32_t i = 1; i < copies; i++) {
    dsm_read backup = *primary;
    dsm_call own = dsm_call_make(call->space, 0);
    dsm_status status = look_patiently(&own, key, i, &backup);
    if (status == DSM_OK && (!ok || backup.header.version <= gen)) return true;
  }
  return false;
}

/* With one copy, nothing but the slots that were passed bears out a miss. */
static bool way_is_odd(dsm_call *call, const dsm_key *key, const dsm_read *read) {
  bool sure;
  uint32_t copies = copies_of(call->space, key, call->space->replicas, &sure);
  if (copies > 1 || call->space->replicas == 1) return false;
  dsm_read again = *read;
  dsm_call own = dsm_call_make(call->space, 0);
  return dsm_read_look_alone(&own, key, &again) == DSM_CORRUPT;
}

static dsm_status doubt_miss(dsm_call *call, const dsm_key *key, dsm_read *out) {
  uint32_t pending = dsm_load_acquire_u32(&dsm_space_lock(call->space, out->stripe)->pending);
  if (DSM_UNLIKELY(pending & DSM_PENDING_MEND) && !(out->tried & HEALED)) {
    /* The next who takes the stripe mends it; who mends it just now is waited for. */
    bool sure, alone = copies_of(call->space, key, call->space->replicas, &sure) == 1;
    dsm_call own = dsm_call_make(call->space, alone ? PATIENCE_MS : DSM_LOCK_SLICE_MS);
    out->tried |= HEALED | 1; /* of a half-mended table no miss is believed */
    if (dsm_heal(&own, out->stripe) == DSM_OK) return DSM_RETRY;
    return read_elsewhere(call, key, out);
  }
  bool odd = backup_has(call, key, out) || way_is_odd(call, key, out);
  if (!dsm_read_valid(call->space, out)) return DSM_RETRY;
  if (DSM_UNLIKELY(odd)) return damaged(call, key, out);
  return believed_absent(call, out);
}

dsm_status dsm_read_doubted(dsm_call *call, const dsm_key *key, dsm_status status, dsm_read *out) {
  if (status == DSM_NOT_FOUND) return doubt_miss(call, key, out);
  if (status == DSM_OK && dsm_read_header_holds(out, dsm_value_hash(out, 0)))
    return lost(call, out, "the object was lost with its last replica");
  return damaged(call, key, out);
}

dsm_status dsm_read_again(dsm_call *call, const dsm_key *key, dsm_read *read) {
  uint32_t tried = read->tried | SEEN;
  dsm_route route;
  if (dsm_route_unseal(call->space, read->route_word, read->stripe, &route))
    for (uint32_t i = 0; i < route.count; i++)
      if (route.nodes[i] == read->node) tried |= 1u << i;
  if (!(tried & HEALED)) {
    dsm_call own = dsm_call_make(call->space, 0);
    if (dsm_heal(&own, read->stripe) == DSM_OK) {
      dsm_status status = dsm_read_begin(call, key, read);
      read->tried |= HEALED;
      return status;
    }
  }
  read->tried = tried | HEALED;
  return read_elsewhere(call, key, read);
}

dsm_status dsm_read_version(dsm_call *call, const dsm_key *key, uint64_t *version) {
  dsm_read read;
  dsm_status status = dsm_read_begin(call, key, &read);
  while (status == DSM_OK) {
    bool lazy = read.header.flags & DSM_OBJECT_LAZY; /* then the header was verified */
    if (lazy || dsm_read_header_holds(&read, dsm_value_hash(dsm_read_value(call->space, &read),
                                                            read.header.value_bytes))) {
      *version = read.header.version;
      if (lazy || dsm_read_valid(call->space, &read)) return DSM_OK;
      status = dsm_read_begin(call, key, &read);
    } else {
      status = dsm_read_valid(call->space, &read) ? dsm_read_again(call, key, &read)
                                                  : dsm_read_begin(call, key, &read);
    }
  }
  return status;
}
