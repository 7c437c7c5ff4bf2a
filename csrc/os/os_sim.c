/* The simulated kernel: segments, their names and their room. */
#define _GNU_SOURCE
#include "os_sim_world.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

sim_world dsm__sim_world;

static sim_world *const world = &dsm__sim_world;

void dsm_sim_start(uint64_t seed) {
  dsm_sim_stop();
  world->random_state = seed ^ 0x9E3779B97F4A7C15ull;
  world->now_ns = 1000000000u;
  world->room_bytes = UINT64_MAX;
  world->refuse_at = UINT64_MAX;
  dsm_sim_process_run(dsm_sim_process_new());
}

void dsm_sim_stop(void) {
  for (unsigned i = 0; i < SIM_SEGMENTS_MAX; i++) {
    sim_segment *segment = &world->segments[i];
    if (!segment->base) continue;
    munmap(segment->base, segment->bytes);
    free(segment->backed);
  }
  memset(world, 0, sizeof *world);
}

void dsm__sim_protect(sim_segment *segment, uint64_t page, uint64_t pages, bool backed) {
  uint8_t *start = segment->base + page * DSM_PAGE_BYTES;
  int result = mprotect(start, pages * DSM_PAGE_BYTES, backed ? PROT_READ | PROT_WRITE : PROT_NONE);
  DSM_ASSERT(result == 0);
  if (!backed) madvise(start, pages * DSM_PAGE_BYTES, MADV_DONTNEED);
  memset(segment->backed + page, backed, pages);
}

bool dsm__sim_mapped(const sim_segment *segment) {
  for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++)
    if (segment->mapped[i]) return true;
  return false;
}

static void unback(sim_segment *segment, uint64_t page, uint64_t pages) {
  uint64_t end = page + pages;
  while (page < end) {
    uint64_t from = page;
    while (page < end && segment->backed[page] == segment->backed[from]) page++;
    if (!segment->backed[from]) continue;
    dsm__sim_protect(segment, from, page - from, false);
    world->backed_bytes -= (page - from) * DSM_PAGE_BYTES;
    if (world->room_bytes != UINT64_MAX) world->room_bytes += (page - from) * DSM_PAGE_BYTES;
  }
}

void dsm__sim_release(sim_segment *segment) {
  if (!segment->used || dsm__sim_named(segment) || dsm__sim_mapped(segment)) return;
  unback(segment, 0, dsm__sim_pages(segment));
  segment->used = segment->truncated = false;
  segment->former[0] = 0;
}

/* Which of its names it is, or -1. */
static int name_of(const sim_segment *segment, const char *name) {
  for (int i = 0; i < 2; i++)
    if (segment->used && strcmp(segment->names[i], name) == 0) return i;
  return -1;
}

static sim_segment *find(const char *name) {
  for (unsigned i = 0; i < SIM_SEGMENTS_MAX; i++)
    if (name_of(&world->segments[i], name) >= 0) return &world->segments[i];
  return NULL;
}

/* A slot of that size that nobody uses; its addresses, once reserved, stay. */
static sim_segment *slot_for(uint64_t bytes) {
  for (unsigned i = 0; i < SIM_SEGMENTS_MAX; i++) {
    sim_segment *segment = &world->segments[i];
    if (segment->used || (segment->base && segment->bytes != bytes)) continue;
    if (segment->base) return segment;
    void *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return NULL;
    segment->base = base;
    segment->bytes = bytes;
    segment->backed = calloc(dsm__sim_pages(segment), 1);
    DSM_ASSERT(segment->backed);
    return segment;
  }
  return NULL;
}

static void map(sim_segment *segment, dsm_os_segment *out) {
  segment->mapped[world->running - 1]++;
  *out = (dsm_os_segment){
      .base = segment->base, .bytes = segment->bytes, .handle = (int)(segment - world->segments)};
}

dsm_status dsm_os_segment_create(const char *name, uint64_t bytes, dsm_os_segment *out) {
  DSM_ASSERT(strlen(name) < SIM_NAME_BYTES && name[0]);
  if (find(name)) return DSM_EXISTS;
  sim_segment *segment = slot_for(bytes);
  if (!segment) return DSM_OS;
  segment->used = true;
  strcpy(segment->names[0], name);
  map(segment, out);
  return DSM_OK;
}

dsm_status dsm_os_segment_open(const char *name, dsm_os_segment *out) {
  sim_segment *segment = find(name);
  if (!segment) return DSM_NO_CLUSTER;
  if (segment->truncated || segment->bytes < DSM_PAGE_BYTES) return DSM_CORRUPT;
  map(segment, out);
  return DSM_OK;
}

void dsm_os_segment_close(dsm_os_segment *segment) {
  if (segment->base) {
    sim_segment *slot = &world->segments[segment->handle];
    DSM_ASSERT(slot->used && slot->mapped[world->running - 1] > 0);
    slot->mapped[world->running - 1]--;
    dsm__sim_release(slot);
  }
  *segment = (dsm_os_segment){.handle = -1};
}

dsm_status dsm_os_segment_unlink(const char *name) {
  sim_segment *segment = find(name);
  if (!segment) return DSM_OK;
  strcpy(segment->former, name);
  segment->names[name_of(segment, name)][0] = 0;
  dsm__sim_release(segment);
  return DSM_OK;
}

dsm_status dsm_os_segment_link(const dsm_os_segment *segment, const char *name) {
  sim_segment *slot = &world->segments[segment->handle];
  if (!dsm__sim_named(slot)) return DSM_NO_CLUSTER;
  if (find(name)) return DSM_EXISTS;
  DSM_ASSERT(!slot->names[0][0] || !slot->names[1][0]);
  strcpy(slot->names[slot->names[0][0] ? 1 : 0], name);
  return DSM_OK;
}

dsm_status dsm_os_segment_borrow(const char *name, const dsm_os_process *process,
                                 dsm_os_segment *out) {
  for (unsigned i = 0; i < SIM_SEGMENTS_MAX; i++) {
    sim_segment *segment = &world->segments[i];
    if (!segment->used || strcmp(segment->former, name) != 0 || !segment->mapped[process->pid - 1])
      continue;
    map(segment, out);
    return DSM_OK;
  }
  return DSM_NOT_FOUND;
}

dsm_status dsm_os_segment_regrow(const char *name, uint64_t bytes) {
  sim_segment *segment = find(name);
  if (!segment) return DSM_NO_CLUSTER;
  if (!segment->truncated) return DSM_OK;
  DSM_ASSERT(segment->bytes == bytes);
  unback(segment, 0, dsm__sim_pages(segment));
  dsm_os_segment whole = {
      .base = segment->base, .bytes = bytes, .handle = (int)(segment - world->segments)};
  DSM_TRY(dsm_os_segment_back(&whole, 0, bytes));
  segment->truncated = false;
  return DSM_OK;
}

uint64_t dsm_os_segment_size(const char *name) {
  const sim_segment *segment = find(name);
  if (!segment) return 0;
  return segment->truncated ? DSM_PAGE_BYTES / 2 : segment->bytes;
}

bool dsm_os_segment_named(const char *name, const dsm_os_segment *segment) {
  const sim_segment *named = find(name);
  return named && named - world->segments == segment->handle;
}

dsm_status dsm_os_segment_unlink_own(const char *name, const dsm_os_segment *segment) {
  return dsm_os_segment_named(name, segment) ? dsm_os_segment_unlink(name) : DSM_OK;
}

dsm_status dsm_os_segment_back(const dsm_os_segment *segment, uint64_t offset, uint64_t bytes) {
  sim_segment *slot = &world->segments[segment->handle];
  if (offset > slot->bytes || bytes > slot->bytes - offset) return DSM_USAGE;
  if (world->back_calls++ >= world->refuse_at) return DSM_STORE_FULL;
  uint64_t first = offset / DSM_PAGE_BYTES, missing = 0;
  uint64_t end = (offset + bytes + DSM_PAGE_BYTES - 1) / DSM_PAGE_BYTES;
  for (uint64_t page = first; page < end; page++) missing += !slot->backed[page];
  if (missing == 0) return DSM_OK;
  if (missing * DSM_PAGE_BYTES > world->room_bytes) return DSM_STORE_FULL;
  if (world->room_bytes != UINT64_MAX) world->room_bytes -= missing * DSM_PAGE_BYTES;
  world->backed_bytes += missing * DSM_PAGE_BYTES;
  dsm__sim_protect(slot, first, end - first, true);
  return DSM_OK;
}

void dsm_os_segment_discard(const dsm_os_segment *segment, uint64_t offset, uint64_t bytes) {
  sim_segment *slot = &world->segments[segment->handle];
  uint64_t first = (offset + DSM_PAGE_BYTES - 1) / DSM_PAGE_BYTES;
  uint64_t last = (offset + bytes) / DSM_PAGE_BYTES;
  if (first > last) first = last; /* within one page */
  for (uint64_t at = offset; at < offset + bytes;) {
    uint64_t page = at / DSM_PAGE_BYTES, end = (page + 1) * DSM_PAGE_BYTES;
    if (end > offset + bytes) end = offset + bytes;
    if ((page < first || page >= last) && slot->backed[page]) memset(slot->base + at, 0, end - at);
    at = end;
  }
  if (first < last) unback(slot, first, last - first);
}

bool dsm_os_segment_truncated(const dsm_os_segment *segment) {
  return world->segments[segment->handle].truncated;
}

dsm_status dsm_os_segment_alone(const char *name, bool *alone) {
  const sim_segment *segment = find(name);
  *alone = segment && !dsm__sim_mapped(segment);
  return segment ? DSM_OK : DSM_NO_CLUSTER;
}

dsm_status dsm_os_segment_sweep(const char *name, bool *removed) {
  bool alone;
  *removed = dsm_os_segment_alone(name, &alone) == DSM_OK && alone;
  return *removed ? dsm_os_segment_unlink(name) : DSM_OK;
}

uint64_t dsm_os_room_bytes(void) {
  return world->room_bytes;
}

uint64_t dsm_os_capacity_bytes(void) {
  return 1ull << 30;
}

unsigned dsm_os_user(void) {
  return 0;
}

void dsm_sim_room_set(uint64_t bytes) {
  world->room_bytes = bytes;
}

void dsm_sim_refuse_after(uint64_t calls) {
  world->refuse_at = calls == UINT64_MAX ? UINT64_MAX : world->back_calls + calls;
}

uint64_t dsm_sim_back_calls(void) {
  return world->back_calls;
}

uint64_t dsm_sim_backed_bytes(void) {
  return world->backed_bytes;
}

unsigned dsm_sim_named_segments(void) {
  unsigned count = 0;
  for (unsigned i = 0; i < SIM_SEGMENTS_MAX; i++) count += dsm__sim_named(&world->segments[i]);
  return count;
}

void dsm_sim_truncate(const char *name) {
  sim_segment *segment = find(name);
  DSM_ASSERT(segment);
  segment->truncated = true;
}

bool dsm_sim_backed(const dsm_os_segment *segment, uint64_t offset) {
  return world->segments[segment->handle].backed[offset / DSM_PAGE_BYTES];
}

void dsm_os_pause(uint32_t wait_us) {
  (void)wait_us;
  dsm_os_yield();
}
