/* Which bytes of an image are what: the ranges of each area. */
#include <stdlib.h>

#include "../../csrc/mem/arena.h"
#include "../../csrc/store/table.h"
#include "damage.h"

const char *const damage_area_names[AREA_COUNT] = {
#define DAMAGE_AREA_NAME(name, text) text,
    DAMAGE_AREA_LIST(DAMAGE_AREA_NAME)
#undef DAMAGE_AREA_NAME
};

static void append(damage_image *image, damage_area area, uint32_t segment, uint64_t offset,
                   uint64_t bytes) {
  uint64_t at = image->areas[area].count++;
  if (at >= image->areas[area].room) {
    image->areas[area].room = image->areas[area].room ? image->areas[area].room * 2 : 16;
    image->areas[area].ranges =
        realloc(image->areas[area].ranges, image->areas[area].room * sizeof(damage_range));
    if (!image->areas[area].ranges) give_up("out of memory");
  }
  image->areas[area].ranges[at] = (damage_range){segment, offset, bytes};
}

/* The part of a record that is filled. Of an image with a dead writer the armed records only. */
static void map_intent(const damage_world *self, damage_image *image, damage_area area,
                       uint64_t offset) {
  const dsm_intent_shm *intent =
      (const dsm_intent_shm *)(const void *)(self->segments.segment[0].base + offset);
  uint64_t bytes = offsetof(dsm_intent_shm, entries) +
                   dsm_load_relaxed_u64(&intent->count) * sizeof(dsm_intent_entry_shm);
  if (image->in_doubt < 0 || dsm_load_relaxed_u64(&intent->armed) != 0)
    append(image, area, 0, offset, bytes);
}

static void map_control(const damage_world *self, damage_image *image) {
  const dsm_space *space = &self->owner->space;
  const dsm_layout *layout = &space->layout;
  append(image, AREA_CONTROL, 0, 0, offsetof(dsm_control_shm, registry) + sizeof(dsm_lock_shm));
  append(image, AREA_PARTICIPANTS, 0, layout->participants, 6 * sizeof(dsm_participant_shm));
  append(image, AREA_REGIONS, 0, layout->regions, (DAMAGE_REGIONS + 1) * sizeof(dsm_region_shm));
  append(image, AREA_ROUTES, 0, layout->routes, space->stripe_count * 8);
  for (uint32_t i = 0; i < space->stripe_count; i++)
    append(image, AREA_LOCKS, 0, layout->locks + i * sizeof(dsm_lock_shm) + DSM_OS_MUTEX_BYTES,
           sizeof(dsm_lock_shm) - DSM_OS_MUTEX_BYTES);
  for (uint32_t i = 0; i < space->node_count; i++)
    append(image, AREA_LOCKS, 0, layout->node_locks + i * sizeof(dsm_lock_shm) + DSM_OS_MUTEX_BYTES,
           sizeof(dsm_lock_shm) - DSM_OS_MUTEX_BYTES);
  for (uint32_t i = 0; i < space->stripe_count; i++)
    map_intent(self, image, AREA_INTENTS, layout->intents + i * sizeof(dsm_intent_shm));
  for (uint32_t i = 0; i < space->node_count; i++)
    map_intent(self, image, AREA_ARENA_INTENTS, layout->arena_intents + i * sizeof(dsm_intent_shm));
  append(image, AREA_COUNTS, 0, layout->region_counts, DAMAGE_REGIONS * space->stripe_count * 8);
  append(image, AREA_PINS, 0, layout->pins, 64);
}

typedef struct page_context {
  damage_image *image;
  uint32_t segment;
} page_context;

static void map_run(void *context, uint64_t page, const dsm_run *run) {
  page_context *self = context;
  uint64_t offset = page * DSM_ARENA_PAGE_BYTES, bytes = run->pages * DSM_ARENA_PAGE_BYTES;
  if (run->kind == DSM_RUN_SLAB)
    append(self->image, AREA_SLAB, self->segment, offset, sizeof(dsm_slab_shm));
  if (run->kind == DSM_RUN_VALUE) {
    /* Half of the ranges are headers, or hardly any mutation would meet one. */
    append(self->image, AREA_VALUE, self->segment, offset, 128);
    append(self->image, AREA_VALUE, self->segment, offset, bytes);
  }
  if (run->kind == DSM_RUN_FREE)
    append(self->image, AREA_FREE_PAGE, self->segment, offset, DSM_ARENA_PAGE_BYTES);
  if (run->kind == DSM_RUN_LIMBO) append(self->image, AREA_LIMBO, self->segment, offset, bytes);
}

static void map_node(damage_world *self, damage_image *image, unsigned node) {
  dsm_call call = dsm_call_make(&self->owner->space, 1000);
  const dsm_layout *layout = &self->owner->space.layout;
  page_context context = {image, node + 1};
  append(image, AREA_NODE, node + 1, 0, offsetof(dsm_node_shm, arena));
  append(image, AREA_ARENA, node + 1, offsetof(dsm_node_shm, arena), sizeof(dsm_arena_shm));
  append(image, AREA_UNSETTLED, node + 1, layout->node_unsettled, 8);
  append(image, AREA_SUBS, node + 1, layout->subs,
         self->owner->space.stripe_count * sizeof(dsm_sub_shm));
  append(image, AREA_PAGES, node + 1, layout->pages + layout->data_page * sizeof(dsm_page_shm),
         (layout->page_count - layout->data_page) * sizeof(dsm_page_shm));
  /* Of a killed writer's image only the calm one's runs are known: looking would repair it. */
  if (image->in_doubt < 0 && dsm_arena_valid(&call, node, map_run, &context) != DSM_OK)
    give_up("arena is not valid");
}

/* The table of a sub, its objects, and the free extents between them. */
static void map_sub(damage_world *self, damage_image *image, unsigned node, uint32_t stripe) {
  dsm_space *space = &self->owner->space;
  dsm_call call = dsm_call_make(space, 1000);
  dsm_table table;
  if (dsm_table_read(&call, node, stripe, &table) != DSM_OK) give_up("table is not valid");
  if (!table.slots) return;
  append(image, AREA_TABLE, node + 1, table.offset, dsm_table_bytes(table.size));
  for (uint32_t i = 0; i < table.capacity; i++) {
    uint64_t slot = dsm_load_relaxed_u64(&table.slots[i]), offset = dsm_slot_offset(slot);
    dsm_header header;
    if (slot <= DSM_SLOT_TOMBSTONE) continue;
    dsm_header_read(dsm_object_at(space, node, offset), &header);
    if (header.flags & DSM_OBJECT_ALIGNED) continue;
    uint64_t bytes = header.value_offset + header.value_bytes;
    append(image, AREA_OBJECT, node + 1, offset, bytes);
    /* What follows in the slab is free, or a neighbour's. */
    uint64_t end = (offset + bytes + DSM_GRAIN_BYTES - 1) & ~(DSM_GRAIN_BYTES - 1ull);
    if (end % DSM_ARENA_PAGE_BYTES != 0)
      append(image, AREA_FREE_EXTENT, node + 1, end,
             DSM_ARENA_PAGE_BYTES - end % DSM_ARENA_PAGE_BYTES);
  }
}

/* What lies in the slabs and runs, from the calm image. Not the free pages if the dead writer's
 * value may lie there, not yet settled: until then nobody notices damage to it. */
static void copy_calm_areas(const damage_world *self, damage_image *image) {
  for (unsigned area = AREA_SLAB; area < AREA_COUNT; area++) {
    if (area == AREA_FREE_PAGE && image->doubt.length >= DSM_LAZY_BYTES_MIN) continue;
    for (uint64_t i = 0; i < self->images[0].areas[area].count; i++) {
      const damage_range *range = &self->images[0].areas[area].ranges[i];
      append(image, (damage_area)area, range->segment, range->offset, range->bytes);
    }
  }
}

void damage_map(damage_world *self, damage_image *image) {
  map_control(self, image);
  for (unsigned node = 0; node < self->owner->space.node_count; node++) map_node(self, image, node);
  if (image->in_doubt >= 0) {
    copy_calm_areas(self, image);
    return;
  }
  for (uint32_t stripe = 0; stripe < self->owner->space.stripe_count; stripe++) {
    dsm_route route;
    uint64_t word = dsm_load_acquire_u64(dsm_space_route(&self->owner->space, stripe));
    if (!dsm_route_unseal(&self->owner->space, word, stripe, &route)) give_up("route");
    for (uint32_t i = 0; i < route.count; i++) map_sub(self, image, route.nodes[i], stripe);
  }
}
