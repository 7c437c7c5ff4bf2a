/* The commit: order of the steps, locks, validation. */
#include "transaction.h"

#include <stdlib.h>

#include "../base/crash.h"
#include "cut.h"
#include "heal.h"
#include "transaction_steps.h"

#define INSERTION_SORT_MAX 16u

static int by_stripe(const void *left, const void *right) {
  const dsm_access *a = *(dsm_access *const *)left, *b = *(dsm_access *const *)right;
  return (a->stripe > b->stripe) - (a->stripe < b->stripe);
}

static void sort(dsm_access **accesses, uint32_t count) {
  if (count > INSERTION_SORT_MAX) {
    qsort(accesses, count, sizeof *accesses, by_stripe);
    return;
  }
  for (uint32_t i = 1; i < count; i++) {
    dsm_access *moved = accesses[i];
    uint32_t at = i;
    for (; at > 0 && accesses[at - 1]->stripe > moved->stripe; at--)
      accesses[at] = accesses[at - 1];
    accesses[at] = moved;
  }
}

/* Everything that needs no lock: drafts, stripes, groups, numbers of holds. */
static dsm_status arrange(dsm_commit *self) {
  for (uint32_t i = 0; i < self->count; i++) {
    dsm_access *access = self->accesses[i];
    self->culprit = access;
    access->stripe = dsm_key_stripe(self->call->space, access->key.hash);
    dsm_ahead_heads(&access->ahead, self->call->space, access->key.hash);
    if (access->key.length > DSM_KEY_BYTES_MAX)
      return dsm_fail(self->call, DSM_KEY_TOO_LONG, "key bytes", -1, -1, access->key.length,
                      DSM_KEY_BYTES_MAX);
    if (access->kind == DSM_ACCESS_PUT)
      DSM_TRY(dsm_draft_make(self->call, &access->key, &access->value, &access->draft));
    if (access->replicas > DSM_REPLICAS_MAX) access->replicas = DSM_REPLICAS_MAX;
    access->group = (dsm_access_group){0};
    access->first_hold = self->hold_count;
    if (access->kind != DSM_ACCESS_READ) self->hold_count += access->replicas;
  }
  self->culprit = NULL;
  sort(self->accesses, self->count);
  uint32_t groups = 0;
  for (uint32_t i = 0; i < self->count; groups++) {
    dsm_access_group *group = &self->accesses[i]->group;
    for (uint32_t stripe = self->accesses[i]->stripe;
         i < self->count && self->accesses[i]->stripe == stripe; i++) {
      group->members++;
      dsm_ahead_slots(&self->accesses[i]->ahead, self->call->space);
      group->writes |= self->accesses[i]->kind != DSM_ACCESS_READ;
      group->deletes |= self->accesses[i]->kind == DSM_ACCESS_DELETE;
    }
  }
  if (groups > DSM_LOCKED_MAX)
    return dsm_fail(self->call, DSM_TOO_MANY, "stripes read or written in one transaction", -1, -1,
                    DSM_LOCKED_MAX, groups);
  return DSM_OK;
}

/* Drops the locks of the groups before `end`, the highest stripe first. */
static void unlock(const dsm_commit *self, uint32_t end) {
  for (uint32_t i = end; i-- > 0;)
    if (self->accesses[i]->group.members)
      dsm_stripe_drop(self->call, self->accesses[i]->stripe, &self->accesses[i]->group.route);
}

static dsm_status lock(const dsm_commit *self) {
  for (uint32_t i = 0; i < self->count; i += dsm_commit_members(self, i)) {
    dsm_access *first = self->accesses[i];
    dsm_status status = dsm_stripe_take(self->call, first->stripe, &first->group.route);
    if (DSM_UNLIKELY(status != DSM_OK)) {
      unlock(self, i);
      return status;
    }
    for (uint32_t at = i; at < i + first->group.members; at++) {
      dsm_access *access = self->accesses[at];
      dsm_ahead_objects(&access->ahead, self->call->space);
      if (access->replicas > first->group.route.count) access->replicas = first->group.route.count;
    }
  }
  return DSM_OK;
}

static dsm_status compare(dsm_commit *self, dsm_access *access) {
  const dsm_found *found = &access->found[0];
  uint64_t present = found->offset ? found->header.version : 0;
  access->version = present;
  if (access->expected == DSM_ANY_VERSION || access->expected == present) return DSM_OK;
  self->culprit = access;
  return dsm_fail(self->call, DSM_ABORTED, "version", -1, access->stripe, access->expected,
                  present);
}

/* Finds every key, and compares what the transaction has read with what there is. */
static dsm_status validate(dsm_commit *self) {
  for (uint32_t i = 0; i < self->count; i += dsm_commit_members(self, i))
    for (uint32_t at = i; at < i + dsm_commit_members(self, i); at++) {
      dsm_access *access = self->accesses[at];
      dsm_status status = dsm_commit_find(self, i, at);
      if (status == DSM_OK) status = compare(self, access);
      if (DSM_UNLIKELY(status != DSM_OK)) {
        self->culprit = access;
        return status;
      }
    }
  return DSM_OK;
}

/* For the checkpoint that runs: what is about to be replaced, all of it before the decision. */
static void keep(const dsm_commit *self, uint64_t cut) {
  for (uint32_t i = 0; i < self->count; i += dsm_commit_members(self, i)) {
    const dsm_access_group *group = &self->accesses[i]->group;
    for (uint32_t at = i; at < i + group->members; at++) {
      const dsm_access *access = self->accesses[at];
      dsm_replaced replaced = {.stripe = access->stripe,
                               .count = access->replicas,
                               .gen = group->gen - 1,
                               .nodes = group->route.nodes,
                               .found = access->found,
                               .region = access->key.region,
                               .key_hash = access->key.hash};
      if (access->kind != DSM_ACCESS_READ) dsm_cut_keep(self->call, cut, &replaced);
    }
  }
}

static dsm_status locked(dsm_commit *self) {
  /* All locks are held: the one look at whether a checkpoint runs. */
  uint64_t cut = dsm_cut_word(self->call->space);
  DSM_TRY(validate(self));
  if (self->hold_count == 0) return DSM_OK;
  DSM_TRY(dsm_commit_prepare(self));
  if (DSM_UNLIKELY(cut != 0)) keep(self, cut);
  dsm_status status = dsm_commit_publish(self);
  bool clean = dsm_commit_give_back(self);
  /* A failure before the decision leaves the new objects in the holds; after it nothing fails. */
  if (!clean) self->hold_count = UINT32_MAX;
  return status;
}

static dsm_status commit(dsm_call *call, dsm_access **accesses, uint32_t count,
                         dsm_access **culprit) {
  dsm_commit self = {.call = call, .accesses = accesses, .count = count};
  dsm_status status = arrange(&self);
  bool claims = self.hold_count > 0;
  if (status == DSM_OK && claims) status = dsm_claim_take(call, self.hold_count, &self.claim);
  if (status == DSM_OK) {
    status = lock(&self);
    if (status == DSM_OK) {
      DSM_CRASH_POINT("transaction.locked");
      status = locked(&self);
      unlock(&self, count);
    }
    if (claims) dsm_claim_end(call, &self.claim, self.hold_count != UINT32_MAX);
  }
  *culprit = self.culprit;
  return status;
}

/* Damage is mended where it may be: once, in all stripes of the transaction. */
static bool heal(dsm_call *call, dsm_access **accesses, uint32_t count) {
  bool healed = false;
  for (uint32_t i = 0; i < count; i++) {
    if (i > 0 && accesses[i]->stripe == accesses[i - 1]->stripe) continue;
    dsm_call own = dsm_call_make(call->space, call->wait_ms);
    healed |= dsm_heal(&own, accesses[i]->stripe) == DSM_OK;
  }
  return healed;
}

dsm_status dsm_transaction_commit(dsm_call *call, dsm_access **accesses, uint32_t count,
                                  dsm_access **culprit) {
  dsm_status status = commit(call, accesses, count, culprit);
  if (DSM_UNLIKELY(status == DSM_CORRUPT) && heal(call, accesses, count))
    status = commit(call, accesses, count, culprit);
  return status;
}
