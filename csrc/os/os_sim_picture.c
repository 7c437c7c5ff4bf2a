/* The simulated kernel: pictures of the whole world, so that a test tries many endings of one story
 * without telling its beginning again.
 */
#include "os_sim_world.h"

#include <stdlib.h>
#include <string.h>

struct dsm_sim_picture {
  sim_world world;
  uint8_t *backed[SIM_SEGMENTS_MAX]; /* copies of the maps … */
  uint8_t *pages[SIM_SEGMENTS_MAX];  /* … and of the pages they mark, end to end */
};

static sim_world *const world = &dsm__sim_world;

dsm_sim_picture *dsm_sim_picture_take(void) {
  dsm_sim_picture *picture = calloc(1, sizeof *picture);
  DSM_ASSERT(picture);
  picture->world = *world;
  for (unsigned i = 0; i < SIM_SEGMENTS_MAX; i++) {
    const sim_segment *segment = &world->segments[i];
    uint64_t count = dsm__sim_pages(segment), kept = 0;
    if (!segment->base) continue;
    for (uint64_t page = 0; page < count; page++) kept += segment->backed[page];
    picture->backed[i] = malloc(count);
    picture->pages[i] = malloc(kept * DSM_PAGE_BYTES + 1);
    DSM_ASSERT(picture->backed[i] && picture->pages[i]);
    memcpy(picture->backed[i], segment->backed, count);
    uint8_t *at = picture->pages[i];
    for (uint64_t page = 0; page < count; page++) {
      if (!segment->backed[page]) continue;
      memcpy(at, segment->base + page * DSM_PAGE_BYTES, DSM_PAGE_BYTES);
      at += DSM_PAGE_BYTES;
    }
  }
  return picture;
}

/* Makes exactly the pages accessible that were, run by run. */
static void restore_protection(sim_segment *segment, const uint8_t *backed) {
  uint64_t count = dsm__sim_pages(segment);
  for (uint64_t page = 0; page < count;) {
    uint64_t from = page;
    bool now = segment->backed[from], then = backed ? backed[from] : 0;
    while (page < count && segment->backed[page] == now &&
           (backed ? backed[page] : 0) == (uint8_t)then)
      page++;
    if (now != then) dsm__sim_protect(segment, from, page - from, then);
  }
}

void dsm_sim_picture_restore(const dsm_sim_picture *picture) {
  for (unsigned i = 0; i < SIM_SEGMENTS_MAX; i++) {
    sim_segment *segment = &world->segments[i];
    if (!segment->base) continue;
    restore_protection(segment, picture->backed[i]);
    sim_segment now = *segment;
    *segment = picture->world.segments[i];
    segment->base = now.base; /* a slot that was reserved since then stays reserved */
    segment->backed = now.backed;
    segment->bytes = now.bytes;
    const uint8_t *at = picture->pages[i];
    for (uint64_t page = 0; page < dsm__sim_pages(segment); page++) {
      if (!segment->backed[page]) continue;
      memcpy(segment->base + page * DSM_PAGE_BYTES, at, DSM_PAGE_BYTES);
      at += DSM_PAGE_BYTES;
    }
  }
  sim_world *to = world;
  const sim_world *from = &picture->world;
  memcpy(to->processes, from->processes, sizeof to->processes);
  memcpy(to->handles, from->handles, sizeof to->handles);
  to->running = from->running;
  to->now_ns = from->now_ns;
  to->random_state = from->random_state;
  to->room_bytes = from->room_bytes;
  to->backed_bytes = from->backed_bytes;
  to->back_calls = from->back_calls;
  to->refuse_at = from->refuse_at;
}

void dsm_sim_picture_free(dsm_sim_picture *picture) {
  if (!picture) return;
  for (unsigned i = 0; i < SIM_SEGMENTS_MAX; i++) {
    free(picture->backed[i]);
    free(picture->pages[i]);
  }
  free(picture);
}
