/* What the files of the simulated kernel share: the world as plain data, so that a picture of it is
 * a copy of this struct, of the pages and of nothing else. Internal to os_sim*.c.
 */
#ifndef DSM_OS_OS_SIM_WORLD_H
#define DSM_OS_OS_SIM_WORLD_H

#include "../base/check.h"
#include "../base/limits.h"
#include "os_sim.h"

#define SIM_SEGMENTS_MAX 96u
#define SIM_PROCESSES_MAX 64u
#define SIM_HANDLES_MAX 1024u
#define SIM_NAME_BYTES 128u
#define SIM_IDLE_CALLS_MAX 1000000u /* waits and yields of a process in one turn of its */

/* A slot keeps its reserved addresses until the world ends, so that pictures stay valid. */
typedef struct sim_segment {
  uint8_t *base;   /* reserved addresses; NULL: slot never used */
  uint8_t *backed; /* one byte per page: 1 if it may be touched */
  uint64_t bytes;
  bool used, truncated;
  char names[2][SIM_NAME_BYTES]; /* empty: none; with both empty it is unlinked */
  char former[SIM_NAME_BYTES];   /* the one that it lost last */
  uint32_t mapped[SIM_PROCESSES_MAX];
} sim_segment;

typedef enum sim_life { SIM_NEVER, SIM_RUNNING, SIM_FROZEN, SIM_ENDING, SIM_DEAD } sim_life;

typedef enum sim_handle_kind {
  SIM_HANDLE_FREE,
  SIM_HANDLE_EVENT,
  SIM_HANDLE_WATCH,
  SIM_HANDLE_THREAD,
  SIM_HANDLE_POLLER
} sim_handle_kind;

typedef struct sim_handle {
  sim_handle_kind kind;
  uint32_t pid; /* watched, or of the event's owner */
  uint64_t count;
  uint32_t tag;
  int poller; /* 1 + the poller that waits for it; 0: none */
} sim_handle;

typedef struct sim_world {
  sim_segment segments[SIM_SEGMENTS_MAX];
  sim_life processes[SIM_PROCESSES_MAX]; /* by pid - 1 */
  sim_handle handles[SIM_HANDLES_MAX];
  uint32_t running; /* pid */
  uint64_t now_ns, random_state, idle_calls;
  uint64_t room_bytes, backed_bytes, back_calls, refuse_at;
  uint32_t processors[SIM_PROCESSES_MAX]; /* by pid - 1; 0: the process's own */
  void (*while_waiting)(void *argument);
  void *while_waiting_argument;
} sim_world;

extern sim_world dsm__sim_world;

static inline uint64_t dsm__sim_pages(const sim_segment *segment) {
  return (segment->bytes + DSM_PAGE_BYTES - 1) / DSM_PAGE_BYTES;
}

/* Makes pages of a slot accessible or not; the bytes of those that are not are gone. */
void dsm__sim_protect(sim_segment *segment, uint64_t page, uint64_t pages, bool backed);
/* Forgets an unnamed segment that nobody maps. */
void dsm__sim_release(sim_segment *segment);
bool dsm__sim_mapped(const sim_segment *segment);

static inline bool dsm__sim_named(const sim_segment *segment) {
  return segment->used && (segment->names[0][0] || segment->names[1][0]);
}

#endif
