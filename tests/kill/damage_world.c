/* The world whose segments are damaged: keys of all kinds, and writers killed half-way. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../csrc/base/crash.h"
#include "../../csrc/mem/arena.h"
#include "../../csrc/mem/pin.h"
#include "../../csrc/store/settle.h"
#include "damage.h"

extern uint64_t guard_random;

dsm_key damage_key(const damage_world *self, uint32_t index) {
  const dsm_space *space = &self->owner->space;
  const char *bytes = self->keys[index];
  uint32_t length = (uint32_t)strlen(bytes);
  uint16_t region = (uint16_t)self->regions[index % DAMAGE_REGIONS];
  return (dsm_key){bytes, length, DSM_KEY_TEXT, region,
                   dsm_key_hash(space, bytes, length, DSM_KEY_TEXT, region)};
}

void damage_value(uint32_t index, const damage_item *item, uint8_t *out) {
  uint64_t state = (uint64_t)item->tag * 0x9E3779B97F4A7C15u + index;
  if (item->codec == DSM_CODEC_INT64) {
    memcpy(out, &item->tag, sizeof item->tag);
    return;
  }
  for (uint32_t i = 0; i < item->length; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    out[i] = (uint8_t)(state >> 56);
  }
}

dsm_status damage_put(const damage_world *self, dsm_call *call, uint32_t index,
                      const damage_item *item, uint64_t if_version) {
  uint8_t bytes[DAMAGE_VALUE_BYTES_MAX];
  uint64_t version;
  dsm_key key = damage_key(self, index);
  damage_value(index, item, bytes);
  dsm_part part = {bytes, item->length};
  dsm_value value = {&part, 1, item->codec, item->length};
  return dsm_put(call, &key, &value, (dsm_condition){2, if_version}, &version);
}

static void must(const dsm_call *call, dsm_status status, const char *what) {
  if (status != DSM_OK) give_up("%s: %s, %s", what, dsm_status_name(status), call->fault.what);
}

/* A key's first item: a third are small, some fill a slab's extent, some take pages. */
static damage_item first_item(uint32_t index) {
  static const uint16_t lengths[] = {64, 8, 0, 300, 64, 1500, 24, 2300, 64, 5000, 8, 9000};
  uint32_t kind = index % 12;
  return (damage_item){true, kind == 1 || kind == 10 ? DSM_CODEC_INT64 : 7, lengths[kind],
                       1000 + index};
}

static void fill(damage_world *self, dsm_call *call, damage_item *items) {
  for (uint32_t i = 0; i < DAMAGE_KEYS_ALL; i++) {
    snprintf(self->keys[i], sizeof self->keys[i], "%s%u", i % 5 ? "key:" : "a longer key:", i);
    items[i] = first_item(i);
    if (i < DAMAGE_KEYS || i % 2)
      must(call, damage_put(self, call, i, &items[i], DSM_ANY_VERSION), "put");
  }
  for (uint32_t i = DAMAGE_KEYS; i < DAMAGE_KEYS_ALL; i++) {
    uint64_t version;
    dsm_key key = damage_key(self, i);
    if (i % 2)
      must(call, dsm_delete(call, &key, (dsm_condition){2, DSM_ANY_VERSION}, &version), "delete");
    items[i].present = false;
  }
}

/* A pinned value that is overwritten afterwards: its run is in limbo. */
static void make_view(damage_world *self, dsm_call *call, damage_item *items) {
  self->view_key = 9;
  self->view_item = items[self->view_key];
  dsm_key key = damage_key(self, self->view_key);
  must(call, dsm_read_begin(call, &key, &self->view), "read");
  must(call, dsm_read_pin(call, &self->view), "pin");
  items[self->view_key].tag++;
  must(call, damage_put(self, call, self->view_key, &items[self->view_key], DSM_ANY_VERSION),
       "overwrite");
}

/* Where a writer is killed: the n-th time that it comes to a crash point of that name. */
static const struct {
  const char *name, *point;
  unsigned times;
  uint32_t key, length;
} deaths[DAMAGE_IMAGES - 1] = {
    {"put, nothing carried out", "intent.armed", 1, 0, 64},
    {"put, half carried out", "intent.effect", 6, 4, 64},
    {"put of pages, half carried out", "intent.effect", 26, 11, 9000},
    {"arena, half carried out", "intent.effect", 4, 9, 5000},
    {"new key, nearly carried out", "intent.effect", 9, 60, 300},
};

static const char *death_point;
static unsigned death_countdown;

static void die_at_point(const char *name) {
  if (strcmp(name, death_point) == 0 && --death_countdown == 0) {
    kill(getpid(), SIGKILL);
    pause();
  }
}

static void kill_writer(damage_world *self, damage_image *image, unsigned which) {
  int status;
  image->name = deaths[which].name;
  image->in_doubt = (int)deaths[which].key;
  image->doubt = (damage_item){true, 7, deaths[which].length, 5000};
  pid_t child = fork();
  if (child < 0) give_up("cannot fork");
  if (child == 0) {
    dsm_call call = dsm_call_make(&self->owner->space, 1000);
    death_point = deaths[which].point;
    death_countdown = deaths[which].times;
    dsm_crash_hook = die_at_point;
    damage_put(self, &call, deaths[which].key, &image->doubt, DSM_ANY_VERSION);
    _exit(0);
  }
  waitpid(child, &status, 0);
  if (!WIFSIGNALED(status)) give_up("%s: the writer did not die", image->name);
}

void damage_world_open(damage_world *self, const char *name, uint64_t seed) {
  dsm_options options = {name, 3, 2, 4, 160 * DSM_PAGE_BYTES, {0}, 0, 0};
  dsm_fault fault;
  memset(self, 0, sizeof *self);
  guard_random = seed | 1;
  dsm_status status = dsm_cluster_create(&options, &self->owner, &fault);
  if (status != DSM_OK) give_up("create: %s %s", dsm_status_name(status), fault.what);
  dsm_call call = dsm_call_make(&self->owner->space, 1000);
  outside_open(&self->segments, name, 3);
  for (uint32_t i = 0; i < DAMAGE_REGIONS; i++) {
    char region[8];
    dsm_region_settings settings = {2, i}, actual;
    snprintf(region, sizeof region, "r%u", i);
    must(&call, dsm_region_open(&call, region, 2, &settings, true, &self->regions[i], &actual),
         "region");
  }
  damage_image *calm = &self->images[0];
  calm->name = "calm";
  calm->in_doubt = -1;
  fill(self, &call, calm->items);
  make_view(self, &call, calm->items);
  for (unsigned node = 0; node < 3; node++) dsm_settle_node(&call, node);
  damage_map(self, calm);
  picture_take(&self->segments, &calm->bytes);
  for (unsigned i = 1; i < DAMAGE_IMAGES; i++) {
    damage_image *image = &self->images[i];
    memcpy(image->items, calm->items, sizeof calm->items);
    picture_lay(&calm->bytes, &self->segments);
    kill_writer(self, image, i - 1);
    damage_map(self, image);
    picture_take(&self->segments, &image->bytes);
  }
}

void damage_world_close(damage_world *self) {
  picture_lay(&self->images[0].bytes, &self->segments);
  dsm_read_unpin(&self->owner->space, &self->view);
  for (unsigned i = 0; i < DAMAGE_IMAGES; i++) {
    picture_free(&self->images[i].bytes);
    for (unsigned area = 0; area < AREA_COUNT; area++) free(self->images[i].areas[area].ranges);
  }
  outside_unlink(&self->segments);
  outside_close(&self->segments);
  dsm_cluster_drop(self->owner);
}
