/* The two rings of the log; raft_log.h says what they promise.
 *
 * Law: places in both rings grow without end and are taken modulo the capacity, so full and empty
 * are told apart by subtraction; nothing outside first .. last is ever read.
 */
#include "raft_log.h"

#include <string.h>

#include "../base/check.h"

void dsm__raft_log_reset(dsm__raft_log *log, uint64_t base_index, uint64_t base_term) {
  log->first = base_index + 1;
  log->last = base_index;
  log->base_term = base_term;
  log->payload_head = 0;
  log->payload_tail = 0;
}

/* A payload that would run over the end of the byte ring starts at its beginning instead. */
static uint64_t payload_place(const dsm__raft_log *log, uint64_t tail, uint32_t bytes) {
  uint64_t offset = tail % log->payload_capacity_bytes;
  if (offset + bytes <= log->payload_capacity_bytes) return tail;
  return tail + (log->payload_capacity_bytes - offset);
}

bool dsm__raft_log_fits(const dsm__raft_log *log, const dsm_raft_entry *entries, uint32_t count,
                        uint32_t slots_reserved) {
  uint64_t used = log->last + 1 - log->first;
  if (used + count + slots_reserved > log->slot_capacity) return false;
  uint64_t tail = log->payload_tail;
  for (uint32_t i = 0; i < count; i++) {
    if (entries[i].payload_bytes == 0) continue;
    tail = payload_place(log, tail, entries[i].payload_bytes) + entries[i].payload_bytes;
    if (tail - log->payload_head > log->payload_capacity_bytes) return false;
  }
  return true;
}

bool dsm__raft_log_append(dsm__raft_log *log, const dsm_raft_entry *entry) {
  if (!dsm__raft_log_fits(log, entry, 1, 0)) return false;
  DSM_DEBUG(entry->index == log->last + 1);
  uint64_t at = log->payload_tail;
  if (entry->payload_bytes > 0) {
    at = payload_place(log, at, entry->payload_bytes);
    memcpy(log->payloads + at % log->payload_capacity_bytes, entry->payload, entry->payload_bytes);
  }
  log->last++;
  log->payload_tail = at + entry->payload_bytes;
  *dsm__raft_log_slot(log, log->last) = (dsm__raft_slot){
      .term = entry->term,
      .session = entry->session,
      .sequence = entry->sequence,
      .payload_at = at,
      .payload_bytes = entry->payload_bytes,
      .kind = entry->kind,
  };
  return true;
}

void dsm__raft_log_cut(dsm__raft_log *log, uint64_t last) {
  if (last >= log->last) return;
  DSM_ASSERT(last + 1 >= log->first);
  log->payload_tail = dsm__raft_log_slot(log, last + 1)->payload_at;
  log->last = last;
}

void dsm__raft_log_compact(dsm__raft_log *log, uint64_t index) {
  if (index < log->first) return;
  DSM_ASSERT(index <= log->last);
  log->base_term = dsm__raft_log_slot(log, index)->term;
  log->first = index + 1;
  log->payload_head =
      log->first > log->last ? log->payload_tail : dsm__raft_log_slot(log, log->first)->payload_at;
}

bool dsm__raft_log_term(const dsm__raft_log *log, uint64_t index, uint64_t *term) {
  if (index + 1 < log->first || index > log->last) return false;
  *term = index + 1 == log->first ? log->base_term : dsm__raft_log_slot(log, index)->term;
  return true;
}

bool dsm__raft_log_entry(const dsm__raft_log *log, uint64_t index, dsm_raft_entry *out) {
  if (index < log->first || index > log->last) return false;
  const dsm__raft_slot *slot = dsm__raft_log_slot(log, index);
  *out = (dsm_raft_entry){
      .index = index,
      .term = slot->term,
      .session = slot->session,
      .sequence = slot->sequence,
      .payload = log->payloads + slot->payload_at % log->payload_capacity_bytes,
      .payload_bytes = slot->payload_bytes,
      .kind = slot->kind,
      .verdict = slot->verdict,
  };
  return true;
}

uint64_t dsm__raft_log_agreement(const dsm__raft_log *log, uint64_t index, uint64_t term,
                                 uint64_t *agreed_term) {
  for (uint64_t at = index;; at--) {
    uint64_t here;
    if (!dsm__raft_log_term(log, at, &here)) {
      /* Compacted, or not there yet: nothing is known about it, so it is the answer. */
      *agreed_term = 0;
      return at;
    }
    if (here <= term || at == 0) {
      *agreed_term = here;
      return at;
    }
  }
}

bool dsm__raft_log_valid(const dsm__raft_log *log) {
  if (log->last + 1 < log->first || log->last + 1 - log->first > log->slot_capacity) return false;
  uint64_t term = log->base_term;
  uint64_t end = log->payload_head;
  for (uint64_t index = log->first; index <= log->last; index++) {
    const dsm__raft_slot *slot = dsm__raft_log_slot(log, index);
    if (slot->term < term || slot->payload_at < end) return false;
    term = slot->term;
    end = slot->payload_at + slot->payload_bytes;
  }
  return end <= log->payload_tail &&
         log->payload_tail - log->payload_head <= log->payload_capacity_bytes;
}
