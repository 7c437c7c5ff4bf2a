/* The simulated kernel: processes and their death, robust mutexes, clocks, events, threads. */
#include "os_sim_world.h"

#include <stdlib.h>

#define MUTEX_MAGIC 0x58455455494D4953ull
#define START_TICKS_PER_PID 100u

static sim_world *const world = &dsm__sim_world;

static sim_life life_of(uint32_t pid) {
  return pid >= 1 && pid <= SIM_PROCESSES_MAX ? world->processes[pid - 1] : SIM_NEVER;
}

uint32_t dsm_sim_process_new(void) {
  for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++) {
    if (world->processes[i] != SIM_NEVER) continue;
    world->processes[i] = SIM_RUNNING;
    return i + 1;
  }
  DSM_ASSERT(!"room for another simulated process");
  return 0;
}

uint32_t dsm_sim_process_pid(void) {
  return world->running;
}

void dsm_sim_process_run(uint32_t pid) {
  DSM_ASSERT(life_of(pid) == SIM_RUNNING);
  world->running = pid;
  world->idle_calls = 0;
}

/* Time passes for who runs, and nobody else gets a turn: without end, it would never get on. */
static void idle(uint64_t ns) {
  world->now_ns += ns;
  DSM_ASSERT(++world->idle_calls < SIM_IDLE_CALLS_MAX);
}

void dsm_sim_process_end(uint32_t pid) {
  DSM_ASSERT(life_of(pid) == SIM_RUNNING || life_of(pid) == SIM_FROZEN);
  world->processes[pid - 1] = SIM_ENDING;
}

void dsm_sim_process_kill(uint32_t pid) {
  DSM_ASSERT(life_of(pid) != SIM_NEVER && life_of(pid) != SIM_DEAD);
  world->processes[pid - 1] = SIM_DEAD;
  for (unsigned i = 0; i < SIM_SEGMENTS_MAX; i++) {
    world->segments[i].mapped[pid - 1] = 0;
    dsm__sim_release(&world->segments[i]);
  }
}

void dsm_sim_process_freeze(uint32_t pid, bool frozen) {
  DSM_ASSERT(life_of(pid) == SIM_RUNNING || life_of(pid) == SIM_FROZEN);
  world->processes[pid - 1] = frozen ? SIM_FROZEN : SIM_RUNNING;
}

/* Words of a mutex: magic, pid of the owner or 0, pid of an owner found dead and not dealt with. */
static void check_mutex(const dsm_os_mutex_shm *mutex) {
  DSM_ASSERT(mutex->words[0] == MUTEX_MAGIC);
}

dsm_status dsm_os_mutex_init(dsm_os_mutex_shm *mutex) {
  *mutex = (dsm_os_mutex_shm){.words = {MUTEX_MAGIC}};
  return DSM_OK;
}

dsm_os_lock dsm_os_mutex_try(dsm_os_mutex_shm *mutex) {
  check_mutex(mutex);
  uint32_t owner = (uint32_t)mutex->words[1];
  DSM_ASSERT(owner != world->running); /* would wait for itself */
  if (owner && life_of(owner) != SIM_DEAD) return DSM_OS_LOCK_BUSY;
  mutex->words[1] = world->running;
  mutex->words[2] = owner;
  return owner ? DSM_OS_LOCK_OWNER_DIED : DSM_OS_LOCK_TAKEN;
}

dsm_os_lock dsm_os_mutex_wait(dsm_os_mutex_shm *mutex, uint32_t wait_ms) {
  dsm_os_lock result = dsm_os_mutex_try(mutex);
  if (result == DSM_OS_LOCK_BUSY) idle((uint64_t)wait_ms * 1000000u);
  return result;
}

void dsm_os_mutex_consistent(dsm_os_mutex_shm *mutex) {
  check_mutex(mutex);
  DSM_ASSERT(mutex->words[1] == world->running && mutex->words[2] != 0);
  mutex->words[2] = 0;
}

void dsm_os_mutex_unlock(dsm_os_mutex_shm *mutex) {
  check_mutex(mutex);
  DSM_ASSERT(mutex->words[1] == world->running);
  DSM_ASSERT(mutex->words[2] == 0); /* a real one would be unusable for ever */
  mutex->words[1] = 0;
}

/* One thread runs at a time, so nobody else can change the word meanwhile: the wait is spent. */
void dsm_os_word_wait(const dsm_atomic_u32 *word, uint32_t expected, uint32_t wait_us) {
  if (dsm_load_relaxed_u32(word) != expected) return;
  void (*call)(void *argument) = world->while_waiting;
  world->while_waiting = NULL;
  if (call)
    call(world->while_waiting_argument);
  else
    idle((uint64_t)wait_us * 1000u);
}

void dsm_sim_while_waiting(void (*call)(void *argument), void *argument) {
  world->while_waiting = call;
  world->while_waiting_argument = argument;
}

void dsm_os_word_wake(const dsm_atomic_u32 *word, uint32_t waiters) {
  (void)word;
  (void)waiters;
}

void dsm_os_process_of(uint32_t pid, dsm_os_process *out) {
  *out = (dsm_os_process){.pid = pid, .start_ticks = (uint64_t)pid * START_TICKS_PER_PID};
}

void dsm_os_process_self(dsm_os_process *out) {
  dsm_os_process_of(world->running, out);
}

char dsm_os_process_state(const dsm_os_process *process) {
  if (process->start_ticks != (uint64_t)process->pid * START_TICKS_PER_PID) return '?';
  switch (life_of(process->pid)) {
  case SIM_RUNNING:
    return 'S';
  case SIM_FROZEN:
    return 'T';
  case SIM_ENDING:
    return 'R';
  default:
    return '?';
  }
}

bool dsm_os_process_alive(const dsm_os_process *process) {
  return dsm_os_process_state(process) != '?';
}

uint64_t dsm_os_pid_namespace(void) {
  return 4026531836u;
}

static int handle_open(sim_handle_kind kind, uint32_t pid) {
  for (unsigned i = 0; i < SIM_HANDLES_MAX; i++) {
    if (world->handles[i].kind != SIM_HANDLE_FREE) continue;
    world->handles[i] = (sim_handle){.kind = kind, .pid = pid};
    return (int)i;
  }
  return -1;
}

static void handle_close(int handle, sim_handle_kind kind) {
  if (handle < 0) return;
  sim_handle_kind found = world->handles[handle].kind;
  DSM_ASSERT(found == kind || (found == SIM_HANDLE_THREAD && kind == SIM_HANDLE_WATCH));
  world->handles[handle].kind = SIM_HANDLE_FREE;
}

int dsm_os_process_watch(const dsm_os_process *process) {
  return dsm_os_process_alive(process) ? handle_open(SIM_HANDLE_WATCH, process->pid) : -1;
}

void dsm_os_thread_prompt(void) {}

/* A simulated process has one thread, its service thread. */
uint32_t dsm_os_thread_number(void) {
  return world->running;
}

bool dsm_os_thread_exists(uint32_t number) {
  (void)number;
  return true;
}

bool dsm_os_mutex_mend(dsm_os_mutex_shm *mutex) {
  (void)mutex; /* nothing damages a simulated one */
  return false;
}

int dsm_os_thread_watch(const dsm_os_process *process, uint32_t thread) {
  bool found = thread == process->pid && dsm_os_process_alive(process);
  return found ? handle_open(SIM_HANDLE_THREAD, thread) : -1;
}

void dsm_os_process_unwatch(int descriptor) {
  handle_close(descriptor, SIM_HANDLE_WATCH);
}

bool dsm_os_process_signal(int descriptor, dsm_os_signal signal) {
  DSM_ASSERT(world->handles[descriptor].kind == SIM_HANDLE_WATCH);
  uint32_t pid = world->handles[descriptor].pid;
  if (life_of(pid) != SIM_RUNNING && life_of(pid) != SIM_FROZEN) return false;
  if (signal == DSM_OS_SIGNAL_KILL)
    dsm_sim_process_kill(pid);
  else
    world->processes[pid - 1] = signal == DSM_OS_SIGNAL_STOP ? SIM_FROZEN : SIM_RUNNING;
  return true;
}

/* The new process exists; the test runs it. */
dsm_status dsm_os_process_start(char *const *command, char *const *environment,
                                dsm_os_process *out) {
  (void)command;
  (void)environment;
  dsm_os_process_of(dsm_sim_process_new(), out);
  return DSM_OK;
}

bool dsm_os_process_reap(const dsm_os_process *process, int32_t *status) {
  *status = -9;
  return life_of(process->pid) == SIM_DEAD;
}

/* Nobody is woken: one process runs at a time. */
int dsm_os_door_open(uint64_t number) {
  (void)number;
  return -1;
}

void dsm_os_door_knock(const uint64_t *numbers, unsigned count) {
  (void)numbers;
  (void)count;
}

void dsm_os_door_clear(int door) {
  (void)door;
}

void dsm_os_door_close(int door) {
  (void)door;
}

int dsm_os_event_open(void) {
  return handle_open(SIM_HANDLE_EVENT, world->running);
}

void dsm_os_event_set(int event) {
  DSM_ASSERT(world->handles[event].kind == SIM_HANDLE_EVENT);
  world->handles[event].count++;
}

void dsm_os_event_close(int event) {
  handle_close(event, SIM_HANDLE_EVENT);
}

int dsm_os_poller_open(void) {
  return handle_open(SIM_HANDLE_POLLER, world->running);
}

bool dsm_os_poller_add(int poller, int descriptor, uint32_t tag) {
  DSM_ASSERT(world->handles[poller].kind == SIM_HANDLE_POLLER);
  world->handles[descriptor].tag = tag;
  world->handles[descriptor].poller = 1 + poller;
  return true;
}

void dsm_os_poller_remove(int poller, int descriptor) {
  DSM_ASSERT(world->handles[poller].kind == SIM_HANDLE_POLLER);
  if (descriptor >= 0) world->handles[descriptor].poller = 0;
}

static bool is_ready(const sim_handle *handle) {
  if (handle->kind == SIM_HANDLE_EVENT) return handle->count > 0;
  sim_life life = life_of(handle->pid);
  return life == SIM_DEAD || (life == SIM_ENDING && handle->kind == SIM_HANDLE_THREAD);
}

unsigned dsm_os_poller_wait(int poller, uint32_t *tags, unsigned room, uint32_t wait_ms) {
  unsigned found = 0;
  for (unsigned i = 0; i < SIM_HANDLES_MAX && found < room; i++) {
    const sim_handle *handle = &world->handles[i];
    if (handle->kind == SIM_HANDLE_FREE || handle->poller != 1 + poller) continue;
    if (is_ready(handle)) tags[found++] = handle->tag;
  }
  if (!found) world->now_ns += (uint64_t)wait_ms * 1000000u;
  return found;
}

void dsm_os_poller_close(int poller) {
  handle_close(poller, SIM_HANDLE_POLLER);
}

uint64_t dsm_os_monotonic_ns(void) {
  return ++world->now_ns;
}

uint64_t dsm_os_realtime_ns(void) {
  return dsm_os_monotonic_ns() + 1700000000000000000u;
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t dsm_os_random_u64(void) {
  uint64_t value = world->random_state += 0x9E3779B97F4A7C15ull;
  value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ value >> 27) * 0x94D049BB133111EBull;
  return value ^ value >> 31;
}

void dsm_os_yield(void) {
  idle(1000);
}

uint32_t dsm_os_processor(void) {
  uint32_t processor = world->processors[world->running - 1];
  return processor ? processor : SIM_PROCESSES_MAX + world->running;
}

void dsm_sim_processor_set(uint32_t processor) {
  world->processors[world->running - 1] = processor;
}

void dsm_os_processor_leave(void) {
  dsm_sim_processor_set(0);
}

void dsm_sim_clock_advance(uint64_t ns) {
  world->now_ns += ns;
}

struct dsm_os_thread {
  void (*run)(void *);
  void *argument;
};

dsm_status dsm_os_thread_start(void (*run)(void *), void *argument, dsm_os_thread **out) {
  *out = malloc(sizeof **out);
  if (!*out) return DSM_OS;
  **out = (dsm_os_thread){.run = run, .argument = argument};
  return DSM_OK;
}

void dsm_os_thread_join(dsm_os_thread *thread) {
  if (!thread) return;
  thread->run(thread->argument);
  free(thread);
}

const volatile uint32_t *dsm_os_fork_flag_open(void) {
  uint32_t *flag = malloc(sizeof *flag);
  if (flag) *flag = 1;
  return flag;
}

void dsm_os_fork_flag_close(const volatile uint32_t *flag) {
  free((void *)(uintptr_t)flag);
}
