/* One trial: operations on damaged bytes against the model.
 *
 *   I  a read gives a value that the model allows: every object has a second replica
 *   I  nothing is refused, unless the damage hit what only another segment can replace (the chain
 * of runs in the page map), or what is trusted (the control segment's header, but for what its
 *      copies tell); a change that is refused leaves the model as it was
 *   I  nothing else happens: no other status, no crash, no hang, no access outside
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/mem/pin.h"
#include "../../csrc/store/check.h"
#include "../../csrc/store/scan.h"
#include "../../csrc/store/settle.h"
#include "damage.h"

typedef struct run {
  damage_world *world;
  damage_trial *trial;
  dsm_call call;
  damage_item items[DAMAGE_KEYS_ALL];
  int in_doubt; /* key with two allowed items, or -1 */
  damage_item doubt;
  uint64_t refused, missed;
  bool wrong;
} run;

static void wrong(run *self, const char *what, uint32_t key, dsm_status status) {
  self->wrong = true;
  fprintf(stderr, "WRONG: seed %llu, number %llu (%s)\n  %s, key %u, %s, %s\n",
          (unsigned long long)self->trial->seed, (unsigned long long)self->trial->number,
          self->trial->what, what, key, dsm_status_name(status),
          self->call.fault.what ? self->call.fault.what : "-");
}

static bool refused(run *self, dsm_status status) {
  if (status != DSM_CORRUPT && status != DSM_NO_REPLICAS) return false;
  self->refused++;
  if (self->trial->verbose)
    printf("  refused: %s (%llx, %llx)\n", self->call.fault.what,
           (unsigned long long)self->call.fault.left, (unsigned long long)self->call.fault.right);
  return true;
}

static void missed(run *self, uint32_t key) {
  self->missed++;
  if (self->trial->verbose) printf("  key %u missed\n", key);
}

static bool matches(uint32_t key, const damage_item *item, const dsm_header *header,
                    const uint8_t *bytes) {
  uint8_t wanted[DAMAGE_VALUE_BYTES_MAX];
  if (!item->present || header->value_bytes != item->length || header->codec != item->codec)
    return false;
  damage_value(key, item, wanted);
  return item->length == 0 || memcmp(bytes, wanted, item->length) == 0;
}

static void check_value(run *self, uint32_t key, const dsm_header *header, const uint8_t *bytes,
                        const char *what) {
  if (matches(key, &self->items[key], header, bytes)) return;
  /* Damage may hide the intent, so the doubt ends only when the key is changed. */
  if (self->in_doubt == (int)key && matches(key, &self->doubt, header, bytes)) return;
  wrong(self, what, key, DSM_OK);
}

static bool may_be_absent(const run *self, uint32_t key) {
  return !self->items[key].present || (self->in_doubt == (int)key && !self->doubt.present);
}

static void get(run *self, dsm_call *call, uint32_t key) {
  dsm_key name = damage_key(self->world, key);
  dsm_read read;
  dsm_status status = dsm_read_begin(call, &name, &read);
  for (int looks = 0; status == DSM_OK; looks++) {
    if (looks > 4) wrong(self, "a read is offered damaged bytes again and again", key, status);
    if (read.header.value_bytes > DAMAGE_VALUE_BYTES_MAX) {
      wrong(self, "get promises more bytes than any value has", key, status);
      return;
    }
    uint8_t *target = malloc(read.header.value_bytes); /* exact, so that an overflow is seen */
    status = dsm_read_copy(call, &read, target);
    if (status == DSM_OK) check_value(self, key, &read.header, target, "get gives another value");
    free(target);
    if (status == DSM_OK) break;
    if (status == DSM_CORRUPT) status = dsm_read_again(call, &name, &read);
  }
  if (status == DSM_OK || refused(self, status)) return;
  if (status != DSM_NOT_FOUND)
    wrong(self, "get", key, status);
  else if (!may_be_absent(self, key))
    missed(self, key);
}

static void get_all(run *self, dsm_call *call) {
  for (uint32_t key = 0; key < DAMAGE_KEYS_ALL; key++) get(self, call, key);
}

static void changed(run *self, uint32_t key, const damage_item *now) {
  self->items[key] = *now;
  if (self->in_doubt == (int)key) self->in_doubt = -1;
}

static void put(run *self) {
  static const uint16_t lengths[] = {64, 8, 0, 300, 1500, 2300, 5000, 9000};
  uint32_t key = (uint32_t)(damage_random(self->trial) % DAMAGE_KEYS_ALL);
  damage_item now = {true, 7, lengths[damage_random(self->trial) % 8],
                     (int64_t)(damage_random(self->trial) >> 20)};
  bool absent_only = damage_random(self->trial) % 8 == 0;
  dsm_status status =
      damage_put(self->world, &self->call, key, &now, absent_only ? 0 : DSM_ANY_VERSION);
  if (status == DSM_OK && absent_only && !may_be_absent(self, key)) missed(self, key);
  if (status == DSM_OK) changed(self, key, &now);
  if (status == DSM_OK || refused(self, status)) return;
  if (status == DSM_VERSION_CONFLICT && self->in_doubt == (int)key && absent_only) return;
  if (status != DSM_VERSION_CONFLICT || !absent_only || !self->items[key].present)
    wrong(self, "put", key, status);
}

static void delete (run *self) {
  uint32_t key = (uint32_t)(damage_random(self->trial) % DAMAGE_KEYS_ALL);
  damage_item now = {.present = false};
  uint64_t version;
  dsm_key name = damage_key(self->world, key);
  dsm_status status = dsm_delete(&self->call, &name, (dsm_condition){2, DSM_ANY_VERSION}, &version);
  if (status == DSM_OK && !self->items[key].present && self->in_doubt != (int)key)
    wrong(self, "delete finds a key that is absent", key, status);
  if (status == DSM_OK) changed(self, key, &now);
  if (status == DSM_OK || refused(self, status)) return;
  if (status != DSM_NOT_FOUND)
    wrong(self, "delete", key, status);
  else if (!may_be_absent(self, key))
    missed(self, key);
}

static void add(run *self) {
  uint32_t key = (uint32_t)(damage_random(self->trial) % DAMAGE_KEYS_ALL);
  const damage_item *old = &self->items[key];
  bool counter = old->codec == DSM_CODEC_INT64 && old->length == 8;
  uint64_t version;
  int64_t result;
  dsm_key name = damage_key(self->world, key);
  if (self->in_doubt == (int)key) return;
  dsm_status status = dsm_add(&self->call, &name, 7, 2, &result, &version);
  damage_item now = {true, DSM_CODEC_INT64, 8, (old->present ? old->tag : 0) + 7};
  if (status == DSM_OK && old->present && result == 7) {
    missed(self, key); /* a damaged slot: the counter begins anew */
    now.tag = 7;
  } else if (status == DSM_OK && (result != now.tag || (old->present && !counter))) {
    wrong(self, "add gives another number", key, status);
  }
  if (status == DSM_OK) changed(self, key, &now);
  if (status == DSM_OK || refused(self, status)) return;
  if (status != DSM_WRONG_TYPE || !old->present || counter) wrong(self, "add", key, status);
}

static int key_named(const run *self, const uint8_t *bytes, uint64_t length) {
  for (uint32_t key = 0; key < DAMAGE_KEYS_ALL; key++)
    if (strlen(self->world->keys[key]) == length &&
        memcmp(self->world->keys[key], bytes, length) == 0)
      return (int)key;
  return -1;
}

static void scan(run *self) {
  static uint8_t buffer[16384];
  bool seen[DAMAGE_KEYS_ALL] = {false}, whole = true;
  uint32_t region = (uint32_t)(damage_random(self->trial) % DAMAGE_REGIONS);
  for (uint32_t stripe = 0; stripe < self->call.space->stripe_count; stripe++) {
    uint64_t used;
    dsm_status status = dsm_scan_stripe(&self->call, (uint16_t)self->world->regions[region], stripe,
                                        buffer, sizeof buffer, &used);
    if (status != DSM_OK) whole = false;
    if (status != DSM_OK && !refused(self, status)) wrong(self, "scan", stripe, status);
    for (uint64_t at = 0; status == DSM_OK && at < used;) {
      uint64_t word;
      memcpy(&word, buffer + at, 8);
      int key = key_named(self, buffer + at + 8, (uint32_t)word);
      at += 8 + (((uint32_t)word + 7ull) & ~7ull);
      if (key < 0 || seen[key] || (!self->items[key].present && self->in_doubt != key) ||
          (uint32_t)key % DAMAGE_REGIONS != region)
        wrong(self, "scan gives a key that is not there, or twice", (uint32_t)key, status);
      else
        seen[key] = true;
    }
  }
  for (uint32_t key = region; key < DAMAGE_KEYS_ALL && whole; key += DAMAGE_REGIONS)
    if (!seen[key] && !may_be_absent(self, key)) missed(self, key);
}

static void length(run *self) {
  uint64_t found, expected = 0;
  uint32_t region = (uint32_t)(damage_random(self->trial) % DAMAGE_REGIONS);
  for (uint32_t key = region; key < DAMAGE_KEYS_ALL; key += DAMAGE_REGIONS)
    expected += self->items[key].present;
  dsm_status status = dsm_region_length(&self->call, self->world->regions[region], &found);
  if (status != DSM_OK && !refused(self, status)) wrong(self, "length", region, status);
  /* A key whose slot is damaged is missed by a put as well, and counted twice: for check to find.
   */
  if (status == DSM_OK && found != expected && self->in_doubt < 0 &&
      self->trial->image->in_doubt < 0)
    missed(self, region);
}

static void open_region(run *self) {
  char name[8];
  uint32_t which = (uint32_t)(damage_random(self->trial) % (DAMAGE_REGIONS + 1)), found;
  dsm_region_settings settings = {2, which}, actual;
  snprintf(name, sizeof name, "r%u", which);
  dsm_status status = dsm_region_open(&self->call, name, 2, &settings, true, &found, &actual);
  if (refused(self, status)) return;
  if (status != DSM_OK || found != which || actual.allow_pickle != which)
    wrong(self, "region", which, status);
}

static void pin(run *self) {
  uint32_t key = 9 + 12 * (uint32_t)(damage_random(self->trial) % 5);
  dsm_key name = damage_key(self->world, key);
  dsm_read read;
  dsm_status status = dsm_read_begin(&self->call, &name, &read);
  if (status == DSM_OK) status = dsm_read_pin(&self->call, &read);
  if (status == DSM_OK) status = dsm_read_verify(&self->call, &read);
  if (status == DSM_CORRUPT && read.pin != DSM_PIN_NONE) {
    dsm_read_unpin(self->call.space, &read);
    status = dsm_read_again(&self->call, &name, &read);
    if (status == DSM_OK) status = dsm_read_pin(&self->call, &read);
    if (status == DSM_OK) status = dsm_read_verify(&self->call, &read);
  }
  if (status == DSM_OK)
    check_value(self, key, &read.header, dsm_read_value(self->call.space, &read),
                "a pinned value is another");
  if (read.pin != DSM_PIN_NONE) dsm_read_unpin(self->call.space, &read);
  if (status == DSM_OK || status == DSM_USAGE || refused(self, status)) return;
  if (status != DSM_NOT_FOUND)
    wrong(self, "pin", key, status);
  else if (!may_be_absent(self, key))
    missed(self, key);
}

static void settle(run *self) {
  for (unsigned node = 0; node < self->call.space->node_count; node++)
    dsm_settle_node(&self->call, node);
}

static void tell(void *context, const dsm_fault *problem) {
  const run *self = context;
  if (self->trial->verbose)
    printf("  check: %s, node %d, stripe %lld (%llx, %llx)\n", problem->what, problem->node,
           (long long)problem->stripe, (unsigned long long)problem->left,
           (unsigned long long)problem->right);
}

static void check(run *self, bool repair) {
  dsm_check_report report;
  dsm_status status = dsm_check(&self->call, repair, tell, self, &report);
  if (status != DSM_OK) {
    wrong(self, "check", 0, status);
    return;
  }
  if (self->missed && report.problems == 0 && self->refused == 0)
    wrong(self, "a key was missed and check finds nothing", 0, status);
}

static void attach(run *self) {
  dsm_cluster *cluster;
  dsm_fault fault;
  bool cut = self->trial->area == AREA_TRUNCATION;
  dsm_status status = dsm_cluster_attach(self->world->segments.name, -1, &cluster, &fault);
  if (status == DSM_OK) {
    dsm_call call = dsm_call_make(&cluster->space, 1000);
    if (cut)
      wrong(self, "attach accepts a segment that was cut", 0, status);
    else
      get_all(self, &call);
    dsm_cluster_drop(cluster);
    return;
  }
  self->call.fault = fault;
  /* A state or a magic that reads as another true one says that there is no cluster. */
  if (refused(self, status) || status == DSM_LAYOUT) return;
  if (status == DSM_NO_CLUSTER && (cut || self->trial->area == AREA_CONTROL)) return;
  wrong(self, "attach", 0, status);
}

/* What was pinned before the damage stays what it was, unless its own bytes or pins were hit. */
static void look_at_view(run *self) {
  uint8_t wanted[DAMAGE_VALUE_BYTES_MAX];
  damage_area area = self->trial->area;
  if (area == AREA_LIMBO || area == AREA_PINS || area == AREA_PARTICIPANTS || area == AREA_CONTROL)
    return;
  damage_value(self->world->view_key, &self->world->view_item, wanted);
  if (memcmp(dsm_read_value(self->call.space, &self->world->view), wanted,
             self->world->view_item.length) != 0)
    wrong(self, "a pinned value was overwritten", self->world->view_key, DSM_OK);
}

static void one_operation(run *self) {
  switch (damage_random(self->trial) % 16) {
  case 0:
  case 1:
  case 2:
  case 3:
    put(self);
    break;
  case 4:
  case 5:
  case 6:
    delete (self);
    break;
  case 7:
  case 8:
    add(self);
    break;
  case 9:
    get_all(self, &self->call);
    break;
  case 10:
    scan(self);
    break;
  case 11:
    length(self);
    break;
  case 12:
    open_region(self);
    break;
  case 13:
    pin(self);
    break;
  case 14:
    settle(self);
    break;
  default:
    check(self, false);
    break;
  }
}

static bool may_be_refused(const damage_trial *trial) {
  return trial->area == AREA_CONTROL || trial->area == AREA_PAGES || trial->area == AREA_TRUNCATION;
}

damage_outcome damage_run(damage_world *world, damage_trial *trial) {
  run self = {.world = world,
              .trial = trial,
              .in_doubt = trial->image->in_doubt,
              .doubt = trial->image->doubt};
  self.call = dsm_call_make(&world->owner->space, 1000);
  memcpy(self.items, trial->image->items, sizeof self.items);
  if (trial->verbose) printf("%llu: %s\n", (unsigned long long)trial->number, trial->what);
  if (trial->area == AREA_TRUNCATION) {
    attach(&self);
    return self.wrong ? OUTCOME_WRONG : self.refused ? OUTCOME_CORRUPT : OUTCOME_UNNOTICED;
  }
  if (damage_random(trial) % 4 == 0) attach(&self);
  for (int i = 0; i < 10; i++) one_operation(&self);
  get_all(&self, &self.call);
  scan(&self);
  look_at_view(&self);
  check(&self, false);
  uint64_t before_repair = self.missed;
  check(&self, true);
  get_all(&self, &self.call);
  if ((self.refused || self.missed) && !may_be_refused(trial))
    wrong(&self, "a replica would have told", 0, DSM_CORRUPT);
  if (self.wrong) return OUTCOME_WRONG;
  if (before_repair) return OUTCOME_MISSED;
  return self.refused ? OUTCOME_CORRUPT : OUTCOME_UNNOTICED;
}
