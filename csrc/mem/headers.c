/* Verifying and restoring headers. */
#include "headers.h"

#include <string.h>

#include "../base/copy.h"
#include "../base/crash.h"
#include "nodes.h"

bool dsm_headers_control_holds(const dsm_control_shm *control) {
  return control->magic == DSM_CONTROL_MAGIC && control->layout_version == DSM_LAYOUT_VERSION &&
         control->word_bytes == sizeof(void *) &&
         dsm_config_checksum(&control->config) == control->config_check;
}

static bool node_config_holds(const dsm_node_shm *header, uint32_t node) {
  return header->magic == DSM_NODE_MAGIC && header->layout_version == DSM_LAYOUT_VERSION &&
         header->node == node && dsm_config_checksum(&header->config) == header->config_check;
}

/* The configuration that a node's segment tells. */
static bool told_by(const char *cluster, uint32_t node, dsm_config_shm *out) {
  char name[DSM_SEGMENT_NAME_BYTES];
  dsm_os_segment segment = {0};
  dsm_segment_name(name, cluster, (int)node);
  if (dsm_os_segment_open(name, &segment) != DSM_OK) return false;
  const dsm_node_shm *header = (const dsm_node_shm *)(const void *)segment.base;
  bool told = segment.bytes >= DSM_PAGE_BYTES &&
              dsm_os_segment_back(&segment, 0, DSM_PAGE_BYTES) == DSM_OK &&
              node_config_holds(header, node) &&
              strncmp(header->config.name, cluster, sizeof header->config.name) == 0;
  if (told) *out = header->config;
  dsm_os_segment_close(&segment);
  return told;
}

void dsm_headers_control_write(dsm_control_shm *control, const dsm_config_shm *config) {
  dsm_copy_in(&control->config, config, sizeof control->config);
  control->config_check = dsm_config_checksum(config);
  control->layout_version = DSM_LAYOUT_VERSION;
  control->word_bytes = sizeof(void *);
  DSM_CRASH_POINT("headers.control");
  dsm_store_release_u64((dsm_atomic_u64 *)(void *)&control->magic, DSM_CONTROL_MAGIC);
}

bool dsm_headers_control_restore(const char *cluster, dsm_control_shm *control) {
  dsm_config_shm candidates[DSM_NODES_MAX];
  uint32_t votes[DSM_NODES_MAX], count = 0, best = 0;
  for (uint32_t node = 0; node < DSM_NODES_MAX; node++) {
    dsm_config_shm told;
    uint32_t at = 0;
    if (!told_by(cluster, node, &told)) continue;
    while (at < count && memcmp(&candidates[at], &told, sizeof told) != 0) at++;
    if (at == count) {
      candidates[count] = told;
      votes[count++] = 0;
    }
    votes[at]++;
    if (votes[at] > votes[best]) best = at;
  }
  if (count == 0 || control->magic == 0) return false;
  dsm_headers_control_write(control, &candidates[best]);
  return dsm_headers_control_holds(control);
}

uint32_t dsm_headers_build_read(dsm_node_shm *header, uint32_t expected) {
  bool ok;
  uint64_t build = dsm_unseal(header->build, 0x4255494C44ull, &ok);
  if (!ok) header->build = dsm_headers_build(expected);
  return ok ? (uint32_t)build : expected;
}

bool dsm_headers_node_holds(const dsm_space *space, const dsm_node_shm *header, uint32_t node) {
  return node_config_holds(header, node) &&
         header->config_check == dsm_config_checksum(&space->config);
}

bool dsm_headers_node_restore(const dsm_space *space, dsm_node_shm *header, uint32_t node,
                              uint32_t build) {
  uint64_t check = dsm_config_checksum(&space->config);
  if (dsm_config_checksum(&header->config) == header->config_check && header->config_check != check)
    return false;
  header->layout_version = DSM_LAYOUT_VERSION;
  header->node = node;
  header->build = dsm_headers_build(build);
  dsm_copy_in(&header->config, &space->config, sizeof header->config);
  header->config_check = check;
  DSM_CRASH_POINT("headers.node");
  dsm_store_release_u64((dsm_atomic_u64 *)(void *)&header->magic, DSM_NODE_MAGIC);
  return dsm_headers_node_holds(space, header, node);
}
