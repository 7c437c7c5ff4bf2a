/* Offsets of the areas of a segment, computed from its configuration. */
#include "layout.h"

#include "../base/hash.h"
#include "mailbox.h"

static uint64_t take(uint64_t *end, uint64_t bytes) {
  uint64_t start = *end;
  *end = (start + bytes + DSM_PAGE_BYTES - 1) & ~(uint64_t)(DSM_PAGE_BYTES - 1);
  return start;
}

static bool configuration_fits(const dsm_config_shm *config) {
  uint32_t stripes = config->stripe_count;
  return stripes >= 1 && stripes <= DSM_STRIPES_MAX && (stripes & (stripes - 1)) == 0 &&
         config->node_count >= 1 && config->node_count <= DSM_NODES_MAX && config->replicas >= 1 &&
         config->replicas <= DSM_REPLICAS_MAX && config->replicas <= config->node_count &&
         config->node_segment_bytes % DSM_PAGE_BYTES == 0 &&
         config->node_segment_bytes <= (uint64_t)DSM_ARENA_PAGE_BYTES << 28;
}

dsm_status dsm_layout_compute(const dsm_config_shm *config, dsm_layout *out) {
  if (!configuration_fits(config)) return DSM_USAGE;
  uint64_t stripes = config->stripe_count, end = 0;
  *out = (dsm_layout){0};
  take(&end, sizeof(dsm_control_shm));
  out->participants = take(&end, DSM_PARTICIPANTS_MAX * sizeof(dsm_participant_shm));
  out->regions = take(&end, DSM_REGIONS_MAX * sizeof(dsm_region_shm));
  out->routes = take(&end, stripes * 8);
  out->locks = take(&end, stripes * sizeof(dsm_lock_shm));
  out->node_locks = take(&end, DSM_NODES_MAX * sizeof(dsm_lock_shm));
  out->intents = take(&end, stripes * sizeof(dsm_intent_shm));
  out->arena_intents = take(&end, DSM_NODES_MAX * sizeof(dsm_intent_shm));
  out->arrays = take(&end, sizeof(dsm_array_directory_shm));
  out->decisions = take(&end, DSM_DECISIONS_MAX * sizeof(dsm_decision_shm));
  out->bells = take(&end, stripes * sizeof(dsm_atomic_u32));
  out->recovery = take(&end, sizeof(dsm_recovery_shm));
  out->losses = take(&end, stripes * 8);
  out->node_table = take(&end, sizeof(dsm_node_table_shm));
  out->strays = take(&end, stripes * 8);
  out->balance = take(&end, sizeof(dsm_balance_shm));
  out->targets = take(&end, stripes * 8);
  out->events = take(&end, sizeof(dsm_events_shm));
  out->region_counts = take(&end, DSM_REGIONS_MAX * stripes * 8);
  /* Memory comes as it is needed. The holds lie where intents may store. */
  out->holds = take(&end, (uint64_t)DSM_DECISIONS_MAX * DSM_HOLDS_MAX * sizeof(dsm_hold_shm));
  out->decision_logs = take(&end, (uint64_t)DSM_DECISIONS_MAX * DSM_HOLDS_MAX * DSM_HOLD_ENTRIES *
                                      sizeof(dsm_intent_entry_shm));
  out->pins = take(&end, (uint64_t)DSM_PARTICIPANTS_MAX * DSM_PINS_MAX * 8);
  out->syncs = take(&end, DSM_SYNCS_MAX * sizeof(dsm_sync_shm));
  out->sync_heap = take(&end, DSM_SYNC_HEAP_BYTES);
  out->mailboxes = take(&end, sizeof(dsm_mailboxes_shm));
  out->cut = take(&end, sizeof(dsm_cut_shm));
  out->cut_stripes = take(&end, stripes * sizeof(dsm_cut_stripe_shm));
  out->cut_pins = take(&end, (uint64_t)DSM_CUT_PINS_MAX * 8);
  /* Address space; memory comes with what writers replace while a checkpoint runs. */
  out->saved_bytes = config->node_segment_bytes;
  out->saved = take(&end, out->saved_bytes);
  out->control_bytes = end;

  end = 0;
  take(&end, sizeof(dsm_node_shm));
  out->node_unsettled = take(&end, (stripes + 63) / 64 * 8);
  out->node_routes = take(&end, stripes * 8);
  out->node_regions = take(&end, DSM_REGIONS_MAX * sizeof(dsm_region_shm));
  out->node_table_copy = take(&end, sizeof(dsm_node_table_shm));
  out->subs = take(&end, stripes * sizeof(dsm_sub_shm));
  out->page_count = config->node_segment_bytes / DSM_ARENA_PAGE_BYTES;
  out->pages = take(&end, out->page_count * sizeof(dsm_page_shm));
  out->data = end;
  out->data_page = end / DSM_ARENA_PAGE_BYTES;
  out->node_bytes = config->node_segment_bytes;
  return out->data_page + 1 < out->page_count ? DSM_OK : DSM_USAGE;
}

uint64_t dsm_config_checksum(const dsm_config_shm *config) {
  return dsm_hash64(config, sizeof *config, DSM_CONTROL_MAGIC);
}

uint64_t dsm_region_checksum(const dsm_region_shm *record) {
  return dsm_hash64((const uint8_t *)record + 8, sizeof *record - 8, 0x524547494F4Eull);
}

bool dsm_region_record_holds(const dsm_region_shm *record) {
  return record->name_bytes > 0 && record->name_bytes <= DSM_REGION_NAME_BYTES &&
         record->check == dsm_region_checksum(record);
}
