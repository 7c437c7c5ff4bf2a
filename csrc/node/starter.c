/* Noting the command, starting successors, reaping them. */
#include "starter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/crash.h"
#include "../mem/nodes.h"
#include "keeper.h"
#include "registry.h"
#include "report.h"

#define MS 1000000ull
#define SETTLED_NS (1000 * MS)  /* a process that has lived that long was no vain start */
#define OVERDUE_NS (30000 * MS) /* it must have joined by then */
#define BACK_OFF_NS (50 * MS)
#define BACK_OFF_DOUBLINGS 9u /* at most 25.6 s between two tries */
#define PROMPT_TRIES 3u

typedef struct successor {
  dsm_os_process process; /* pid 0: none under way */
  uint32_t tries;         /* in a row that came to nothing */
  uint64_t started_ns, start_at_ns;
} successor;

struct dsm_starter {
  char **command; /* with room for the node's number, "-1" and NULL */
  char **environment;
  unsigned words; /* of the command as it was given */
  successor nodes[DSM_NODES_MAX];
};

static void free_list(char **list) {
  for (char **each = list; list && *each; each++) free(*each);
  free(list);
}

static char **copy_list(const char *const *list, unsigned room, unsigned *count) {
  for (*count = 0; list[*count]; ++*count) continue;
  char **copy = calloc(*count + room + 1, sizeof *copy);
  for (unsigned i = 0; copy && i < *count; i++) {
    copy[i] = malloc(strlen(list[i]) + 1);
    if (!copy[i]) {
      free_list(copy);
      return NULL;
    }
    memcpy(copy[i], list[i], strlen(list[i]) + 1);
  }
  return copy;
}

void dsm_starter_free(struct dsm_starter *starter) {
  if (!starter) return;
  free_list(starter->command);
  free_list(starter->environment);
  free(starter);
}

dsm_status dsm_starter_set(dsm_cluster *cluster, const char *const *command,
                           const char *const *environment) {
  unsigned unused;
  struct dsm_starter *self = calloc(1, sizeof *self);
  if (!self) return DSM_OS;
  self->command = copy_list(command, 2, &self->words);
  self->environment = copy_list(environment, 0, &unused);
  if (!self->command || !self->environment) {
    dsm_starter_free(self);
    return DSM_OS;
  }
  dsm_starter_free(cluster->starter);
  cluster->starter = self;
  return DSM_OK;
}

static bool joined(const dsm_space *space, uint32_t node, const successor *next) {
  const dsm_participant_shm *slot = dsm_space_participant(space, 1 + node);
  return dsm_load_relaxed_u32(&slot->pid) == next->process.pid &&
         dsm_load_acquire_u32(&slot->kind) == DSM_PARTICIPANT_NODE;
}

/* A successor that has ended is reaped; one that does not come to join is killed. */
static void tend(dsm_call *call, uint32_t node, successor *next, uint64_t now_ns) {
  int32_t status;
  bool late = now_ns - next->started_ns > OVERDUE_NS && !joined(call->space, node, next);
  if (late) {
    int descriptor = dsm_os_process_watch(&next->process);
    if (descriptor >= 0) dsm_os_process_signal(descriptor, DSM_OS_SIGNAL_KILL);
    dsm_os_process_unwatch(descriptor);
  }
  if (now_ns - next->started_ns > SETTLED_NS && joined(call->space, node, next)) next->tries = 0;
  if (!dsm_os_process_reap(&next->process, &status)) return;
  if (status != DSM_STATUS_UNKNOWN) dsm_report_exit(call, node, next->process.pid, status);
  next->process.pid = 0;
  uint32_t vain = next->tries < PROMPT_TRIES ? 0 : next->tries - PROMPT_TRIES;
  if (vain > BACK_OFF_DOUBLINGS) vain = BACK_OFF_DOUBLINGS;
  next->start_at_ns = now_ns + (next->tries < PROMPT_TRIES ? 0 : BACK_OFF_NS << vain);
}

static void start(dsm_call *call, struct dsm_starter *self, uint32_t node, uint64_t now_ns) {
  successor *next = &self->nodes[node];
  char number[16], nobody[] = "-1";
  snprintf(number, sizeof number, "%u", node);
  self->command[self->words] = number;
  self->command[self->words + 1] = nobody;
  /* Tasks of an owner that is gone have nobody to answer to. */
  dsm_mailbox_reset(&dsm_space_mailboxes(call->space)->nodes[node]);
  DSM_CRASH_POINT("starter.starting");
  dsm_status status = dsm_os_process_start(self->command, self->environment, &next->process);
  DSM_CRASH_POINT("starter.started");
  self->command[self->words] = NULL; /* what is on this stack frame is not kept */
  if (status != DSM_OK) next->process.pid = 0;
  next->tries++;
  next->started_ns = now_ns;
  next->start_at_ns = now_ns + BACK_OFF_NS;
}

/* A node that drains or leaves needs no process any more. Where deaths are only reported, one that
 * was added gets its first process, and no other. */
static bool wanted(dsm_call *call, uint32_t node) {
  const dsm_space *space = call->space;
  dsm_node_entry entry;
  if (dsm_nodes_read(call, node, &entry) != DSM_OK || entry.state != DSM_NODE_UP) return false;
  return space->config.detection.recovery != DSM_RECOVERY_NONE ||
         dsm_load_relaxed_u64(&dsm_space_participant(space, 1 + node)->died_ns) == 0;
}

void dsm_starter_replace(dsm_call *call, dsm_cluster *cluster, uint64_t now_ns) {
  struct dsm_starter *self = cluster->starter;
  if (!self) return;
  for (uint32_t node = 0; node < DSM_NODES_MAX; node++) {
    successor *next = &self->nodes[node];
    if (next->process.pid) tend(call, node, next, now_ns);
    if (!next->process.pid && now_ns >= next->start_at_ns && wanted(call, node) &&
        dsm_keeper_absent(call->space, node) && dsm_registry_ended(call->space, 1 + node))
      start(call, self, node, now_ns);
  }
}
