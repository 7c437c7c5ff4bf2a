/* Rings of records and the bells beside them. */
#include "mailbox.h"

#include <string.h>

#include "../base/check.h"
#include "../base/crash.h"
#include "../base/hash.h"

#define SPIN_NS_MAX 100000u
#define SPIN_NS_MIN 4000u
#define SPIN_LOOKS 24u /* looks at the ring between two looks at the clock */
#define MOVE_NS_MAX 300000u
#define STAY_NS 500000u
#define STAY_CROWDED_NS 200000000u
#define KIND_PADDING 0u

static uint32_t check_of(const dsm_record_shm *record, const void *payload, uint64_t at) {
  dsm_record_shm copy = *record;
  copy.check = 0;
  uint64_t salt = dsm_hash64(&copy, sizeof copy, at);
  return (uint32_t)dsm_hash64(payload, record->bytes, salt);
}

static uint64_t room_of(uint32_t payload_bytes) {
  return sizeof(dsm_record_shm) + (((uint64_t)payload_bytes + 7) & ~7ull);
}

static void write_record(dsm_ring_shm *ring, uint64_t at, const dsm_record_shm *record,
                         const void *payload) {
  dsm_record_shm copy = *record;
  uint8_t *place = ring->bytes + at % DSM_MAILBOX_RING_BYTES;
  copy.check = check_of(record, payload, at);
  if (record->bytes) memcpy(place + sizeof copy, payload, record->bytes);
  memcpy(place, &copy, sizeof copy);
}

dsm_status dsm_ring_append(dsm_ring_shm *ring, uint64_t *at, const dsm_record_shm *record,
                           const void *payload) {
  uint64_t need = room_of(record->bytes), start = *at % DSM_MAILBOX_RING_BYTES;
  uint64_t used = *at - dsm_load_acquire_u64(&ring->head);
  if (need > DSM_MAILBOX_RECORD_BYTES_MAX) return DSM_USAGE;
  if (used > DSM_MAILBOX_RING_BYTES || start % 8 != 0) return DSM_CORRUPT;
  uint64_t to_end = DSM_MAILBOX_RING_BYTES - start;
  uint64_t padding = need > to_end ? to_end : 0;
  if (used + padding + need > DSM_MAILBOX_RING_BYTES) return DSM_TOO_MANY;
  /* Less than a header may be left in front of the end; the reader skips that by itself. */
  if (padding >= sizeof(dsm_record_shm)) {
    dsm_record_shm filler = {.kind = KIND_PADDING};
    write_record(ring, *at, &filler, "");
  }
  DSM_CRASH_POINT("mailbox.padded");
  write_record(ring, *at + padding, record, payload);
  DSM_CRASH_POINT("mailbox.written");
  *at += padding + need;
  return DSM_OK;
}

dsm_status dsm_ring_next(const dsm_ring_shm *ring, uint64_t *at, dsm_record_shm *record,
                         const uint8_t **payload) {
  uint64_t left = dsm_load_acquire_u64(&ring->tail) - *at;
  for (;;) {
    if (left == 0) return DSM_NOT_FOUND;
    uint64_t start = *at % DSM_MAILBOX_RING_BYTES, to_end = DSM_MAILBOX_RING_BYTES - start;
    if (left > DSM_MAILBOX_RING_BYTES || start % 8 != 0) return DSM_CORRUPT;
    uint64_t skip = to_end;
    if (to_end >= sizeof *record) {
      if (left < sizeof *record) return DSM_CORRUPT;
      memcpy(record, ring->bytes + start, sizeof *record);
      *payload = ring->bytes + start + sizeof *record;
      uint64_t need = room_of(record->bytes);
      if (need > left || need > to_end || record->check != check_of(record, *payload, *at))
        return DSM_CORRUPT;
      if (record->kind != KIND_PADDING) {
        *at += need;
        return DSM_OK;
      }
    }
    if (skip > left) return DSM_CORRUPT;
    *at += skip;
    left -= skip;
  }
}

static dsm_doorbell_shm *bell_of(dsm_mailboxes_shm *boxes, int node) {
  return node >= 0 ? &boxes->nodes[node].bell : &boxes->bell;
}

void dsm_doorbell_ring(dsm_doorbell_shm *bell) {
  dsm_store_relaxed_u32(&bell->rung_on, dsm_os_processor() + 1);
  /* Pairs with the fence of the sleeper: either we see that it sleeps, or it sees our record. */
  dsm_fence_seq_cst();
  uint32_t asleep = dsm_load_relaxed_u32(&bell->asleep);
  if (asleep == 0 || asleep > 2) return;
  if (!dsm_cas_acq_rel_u32(&bell->asleep, &asleep, 0)) return;
  DSM_CRASH_POINT("mailbox.ringing");
  dsm_store_relaxed_u64(&bell->rung_ns, dsm_os_monotonic_ns());
  dsm_fetch_add_relaxed_u32(&bell->rung[asleep - 1], 1);
  dsm_os_word_wake(&bell->rung[asleep - 1], 1);
}

void dsm_doorbell_ring_second(dsm_doorbell_shm *bell) {
  dsm_fence_release(); /* what there is to be seen comes before the call */
  dsm_fetch_add_relaxed_u32(&bell->called, 1);
  dsm_fetch_add_relaxed_u32(&bell->rung[DSM_LISTENER_SECOND], 1);
  dsm_os_word_wake(&bell->rung[DSM_LISTENER_SECOND], 1);
}

void dsm_doorbell_pass(dsm_doorbell_shm *bell) {
  dsm_fetch_add_relaxed_u32(&bell->rung[DSM_LISTENER_FIRST], 1);
  dsm_os_word_wake(&bell->rung[DSM_LISTENER_FIRST], 1);
}

bool dsm_mailbox_news(const dsm_mailboxes_shm *boxes, uint32_t node_count, int node,
                      uint32_t deaths) {
  if (node >= 0) return dsm_ring_news(&boxes->nodes[node].to_node);
  for (uint32_t i = 0; i < node_count; i++)
    if (dsm_ring_news(&boxes->nodes[i].to_owner)) return true;
  return dsm_load_acquire_u32(&boxes->bell.deaths) != deaths;
}

/* Spinning pays where an answer comes within some microseconds, and burns a processor that others
 * want where it does not. So after a wait that a spin would have covered, slept through or not, the
 * next one spins in full; every other wait halves the patience. A wait ends with the ring: what the
 * kernel then takes to wake the sleeper, a spin would have saved. */
static uint32_t patience(uint32_t spin_ns, uint64_t waited_ns) {
  if (waited_ns < SPIN_NS_MAX) return SPIN_NS_MAX;
  return spin_ns / 2 < SPIN_NS_MIN ? 0 : spin_ns / 2;
}

/* Two who wait for each other on one processor should not spin: one of them is kept from what the
 * other waits for. Kernels leave them there, too, since virtual processors that sleep do not look
 * idle to them. So the node moves away, now and then; if that took long, others want the processor
 * that it came to, and it stays for longer. False: sleep at once, and whoever is there can run. */
static bool move_away(dsm_doorbell_shm *bell, uint64_t now_ns) {
  if (now_ns < dsm_load_relaxed_u64(&bell->stay_ns)) return false;
  dsm_os_processor_leave();
  uint64_t after_ns = dsm_os_monotonic_ns();
  bool crowded = after_ns - now_ns > MOVE_NS_MAX;
  dsm_store_relaxed_u64(&bell->stay_ns, after_ns + (crowded ? STAY_CROWDED_NS : STAY_NS));
  return !crowded;
}

static bool spin(dsm_mailboxes_shm *boxes, uint32_t node_count, int node, uint32_t deaths,
                 uint64_t until_ns) {
  dsm_doorbell_shm *bell = bell_of(boxes, node);
  for (unsigned round = 0;; round++) {
    for (unsigned i = 0; i < SPIN_LOOKS; i++) {
      if (dsm_mailbox_news(boxes, node_count, node, deaths)) return true;
      dsm_cpu_relax();
    }
    uint64_t now_ns = dsm_os_monotonic_ns();
    if (now_ns >= until_ns) return false;
    if (dsm_load_relaxed_u32(&bell->rung_on) == dsm_os_processor() + 1 &&
        (node < 0 || !move_away(bell, now_ns)))
      return false;
  }
}

/* Sleeps once; true if it did so as the one who is to be woken. *ended_ns: when the wait ended. */
static bool doze(dsm_mailboxes_shm *boxes, uint32_t node_count, int node, uint32_t deaths,
                 dsm_listener listener, uint32_t wait_us, uint64_t *ended_ns) {
  dsm_doorbell_shm *bell = bell_of(boxes, node);
  uint32_t seen = dsm_load_acquire_u32(&bell->rung[listener]);
  bool second = listener == DSM_LISTENER_SECOND;
  bool led = second && dsm_load_acquire_u32(&bell->leading) == 1;
  if (!led) {
    dsm_store_seq_cst_u32(&bell->asleep, 1u + listener);
    dsm_fence_seq_cst();
  }
  if (led || !dsm_mailbox_news(boxes, node_count, node, deaths))
    dsm_os_word_wait(&bell->rung[listener], seen, wait_us);
  bool rung = dsm_load_acquire_u32(&bell->rung[listener]) != seen;
  *ended_ns = rung ? dsm_load_relaxed_u64(&bell->rung_ns) : dsm_os_monotonic_ns();
  if (!second || dsm_load_acquire_u32(&bell->leading) != 1) {
    dsm_store_relaxed_u32(&bell->asleep, 0);
    return true;
  }
  /* A ring that reached us while the first listener slept is passed on. */
  if (rung) dsm_doorbell_pass(bell);
  return false;
}

bool dsm_mailbox_wait(dsm_mailboxes_shm *boxes, uint32_t node_count, int node, uint32_t deaths,
                      dsm_listener listener, uint32_t *spin_ns, uint32_t wait_us) {
  uint64_t start = dsm_os_monotonic_ns(), ended;
  if (listener == DSM_LISTENER_FIRST && *spin_ns &&
      spin(boxes, node_count, node, deaths, start + *spin_ns))
    return true;
  if (!doze(boxes, node_count, node, deaths, listener, wait_us, &ended))
    return dsm_load_acquire_u32(&boxes->bell.deaths) != deaths;
  *spin_ns = patience(*spin_ns, ended > start ? ended - start : 0);
  return dsm_mailbox_news(boxes, node_count, node, deaths);
}

void dsm_doorbell_lead(dsm_doorbell_shm *bell) {
  dsm_store_release_u32(&bell->leading, 1);
  dsm_store_seq_cst_u32(&bell->asleep, 0);
}

void dsm_doorbell_leave(dsm_mailboxes_shm *boxes, uint32_t node_count, uint32_t deaths) {
  dsm_doorbell_shm *bell = &boxes->bell;
  dsm_store_release_u32(&bell->leading, 0);
  dsm_store_seq_cst_u32(&bell->asleep, 1u + DSM_LISTENER_SECOND);
  dsm_fence_seq_cst();
  if (dsm_mailbox_news(boxes, node_count, -1, deaths)) dsm_doorbell_ring(bell);
}

void dsm_doorbell_tell_death(dsm_doorbell_shm *bell) {
  dsm_fetch_add_relaxed_u32(&bell->deaths, 1);
  dsm_doorbell_ring(bell);
  dsm_doorbell_ring_second(bell);
}

static void empty(dsm_ring_shm *ring) {
  dsm_store_relaxed_u64(&ring->head, 0);
  dsm_store_release_u64(&ring->tail, 0);
}

void dsm_mailbox_reset(dsm_mailbox_shm *box) {
  for (unsigned slot = 0; slot < DSM_MAILBOX_SLOTS; slot++)
    dsm_store_relaxed_u64(&box->claims[slot], 0);
  DSM_CRASH_POINT("mailbox.unclaimed");
  empty(&box->to_node);
  empty(&box->to_owner);
  dsm_store_relaxed_u32(&box->bell.asleep, 0);
}
