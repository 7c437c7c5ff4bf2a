/* Single-stepping by ptrace, x86-64. */
#define _GNU_SOURCE
#include "trace.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "single-stepping is written for x86-64"
#endif

#define VISITED_SLOTS (1u << 16)
/* A stop at a breakpoint costs as much as a few steps. */
#define LANDMARK_EXECUTIONS_MAX 6u
#define BREAKPOINT_CODE 0xCC
#define BREAKPOINT() __asm__ volatile("int3" ::: "memory")

_Noreturn static void child_main(trace *self, trace_operation *operation, const void *context) {
  dsm_cluster *cluster;
  dsm_fault fault;
  if (dsm_cluster_attach(self->segments->name, -1, &cluster, &fault) != DSM_OK)
    give_up("victim cannot attach: %s", fault.what);
  dsm_call call = dsm_call_make(&cluster->space, 1000);
  self->shared[0] = cluster->space.participant;
  if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) give_up("cannot be traced");
  BREAKPOINT();
  dsm_status status = operation(&call, context);
  BREAKPOINT();
  self->shared[1] = 1 + (uint32_t)status;
  _exit(0);
}

static void await_trap(const trace *self) {
  int status;
  while (waitpid(self->child, &status, 0) < 0)
    if (errno != EINTR) give_up("lost the child");
  if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
    give_up("the stepped process ended, status %#x after %llu steps", status,
            (unsigned long long)self->steps);
}

void trace_start(trace *self, const outside *segments, trace_operation *operation,
                 const void *context) {
  if (!self->shared) {
    self->shared =
        mmap(NULL, DSM_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    self->visits = malloc(VISITED_SLOTS * sizeof *self->visits);
    if (self->shared == MAP_FAILED || !self->visits) give_up("out of memory");
  }
  memset(self->visits, 0, VISITED_SLOTS * sizeof *self->visits);
  self->segments = segments;
  self->steps = 0;
  self->place = (trace_place){0};
  self->after_syscall = self->touched_unbacked = false;
  self->shared[1] = 0;
  fflush(NULL);
  self->child = fork();
  if (self->child < 0) give_up("cannot fork");
  if (self->child == 0) child_main(self, operation, context);
  await_trap(self);
  ptrace(PTRACE_SETOPTIONS, self->child, NULL, (void *)PTRACE_O_EXITKILL);
  self->participant = self->shared[0];
  picture_take(segments, &self->shadow);
  self->blocks = outside_blocks(segments);
}

static uint64_t read_register(const trace *self, size_t offset) {
  errno = 0;
  long value = ptrace(PTRACE_PEEKUSER, self->child, (void *)offset, NULL);
  if (errno) give_up("cannot read the child's registers");
  return (uint64_t)value;
}

#define READ_REGISTER(self, name) read_register(self, offsetof(struct user_regs_struct, name))

static uint64_t read_word(const trace *self, uint64_t address) {
  errno = 0;
  long value = ptrace(PTRACE_PEEKDATA, self->child, (void *)address, NULL);
  if (errno) give_up("cannot read the child's memory");
  return (uint64_t)value;
}

/* Lets the child run until it is about to execute the instruction at `address`. */
static void run_until(const trace *self, uint64_t address) {
  uint64_t word = read_word(self, address), with_trap = (word & ~0xFFull) | BREAKPOINT_CODE;
  ptrace(PTRACE_POKEDATA, self->child, (void *)address, (void *)with_trap);
  ptrace(PTRACE_CONT, self->child, NULL, NULL);
  await_trap(self);
  if (READ_REGISTER(self, rip) != address + 1) give_up("the child stopped elsewhere");
  ptrace(PTRACE_POKEDATA, self->child, (void *)address, (void *)word);
  ptrace(PTRACE_POKEUSER, self->child, (void *)offsetof(struct user_regs_struct, rip),
         (void *)address);
}

/* Pages that were asked of the kernel hold no data yet, so that no picture shows them; one read
 * makes them visible and takes no more memory. */
static void touch_allocated(const trace *self, int descriptor, uint64_t offset, uint64_t bytes) {
  char path[64];
  struct stat asked, known;
  snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)self->child, descriptor);
  if (stat(path, &asked) < 0) give_up("cannot look at the child's descriptor");
  for (unsigned i = 0; i < self->segments->count; i++) {
    if (fstat(self->segments->segment[i].descriptor, &known) < 0 || known.st_ino != asked.st_ino)
      continue;
    for (uint64_t at = offset & ~4095ull; at < offset + bytes; at += DSM_PAGE_BYTES)
      (void)*(const volatile uint8_t *)(self->segments->segment[i].base + at);
  }
}

/* The call that asks the kernel for memory, as one step. */
static void step_over_backing(trace *self) {
  uint64_t segment = READ_REGISTER(self, rdi), offset = READ_REGISTER(self, rsi);
  uint64_t bytes = READ_REGISTER(self, rdx);
  int descriptor = (int)read_word(self, segment + offsetof(dsm_os_segment, handle));
  run_until(self, read_word(self, READ_REGISTER(self, rsp)));
  self->after_syscall = true;
  if ((uint32_t)READ_REGISTER(self, rax) == DSM_OK)
    touch_allocated(self, descriptor, offset, bytes);
}

static void note_visit(trace *self, uint64_t address) {
  uint64_t at = (address * 0x9E3779B97F4A7C15u) >> 48;
  while (self->visits[at].address && self->visits[at].address != address)
    at = (at + 1) % VISITED_SLOTS;
  self->visits[at].address = address;
  self->place.steps_after++;
  if (++self->visits[at].count <= LANDMARK_EXECUTIONS_MAX)
    self->place = (trace_place){address, self->visits[at].count, 1};
}

bool trace_step(trace *self) {
  /* The child was forked from us, so its code lies at the same place here. */
  uint64_t address = READ_REGISTER(self, rip);
  const uint8_t *code = (const uint8_t *)address;
  if (*code == BREAKPOINT_CODE) return false;
  note_visit(self, address);
  self->steps++;
  if (address == (uint64_t)(uintptr_t)dsm_os_segment_back) {
    step_over_backing(self);
    return true;
  }
  self->after_syscall = code[0] == 0x0F && code[1] == 0x05;
  if (ptrace(PTRACE_SINGLESTEP, self->child, NULL, NULL) < 0) give_up("cannot step");
  await_trap(self);
  return true;
}

void trace_run_to(trace *self, const trace_place *place) {
  for (uint64_t execution = 1; execution <= place->execution; execution++) {
    if (execution > 1 && !trace_step(self)) give_up("the landmark was not met again");
    run_until(self, place->landmark);
  }
  for (uint64_t i = 0; i < place->steps_after && trace_step(self); i++) {
  }
}

/* Pages that differ are copied into the shadow. */
static bool compare_pages(trace *self) {
  bool changed = false;
  for (unsigned i = 0; i < self->shadow.count; i++) {
    uint8_t *mine = self->shadow.segment[i].bytes;
    const uint8_t *base = self->segments->segment[i].base;
    for (uint64_t at = 0; at < self->shadow.segment[i].page_count; at++, mine += DSM_PAGE_BYTES) {
      const uint8_t *theirs = base + (uint64_t)self->shadow.segment[i].pages[at] * DSM_PAGE_BYTES;
      if (memcmp(mine, theirs, DSM_PAGE_BYTES) == 0) continue;
      memcpy(mine, theirs, DSM_PAGE_BYTES);
      changed = true;
    }
  }
  return changed;
}

bool trace_changed(trace *self) {
  uint64_t blocks = outside_blocks(self->segments);
  if (blocks == self->blocks && !self->after_syscall) return compare_pages(self);
  /* The kernel gave memory or took it back: the bytes of the pages are a state of their own. */
  bool changed = blocks != self->blocks;
  self->touched_unbacked |= changed && !self->after_syscall;
  if (!changed) changed = compare_pages(self);
  self->blocks = blocks;
  picture_take(self->segments, &self->shadow);
  return changed;
}

uint64_t trace_unwatched(const trace *self) {
  picture now = {0};
  uint64_t unwatched = 0;
  picture_take(self->segments, &now);
  for (unsigned i = 0; i < now.count; i++)
    for (uint64_t at = 0; at < now.segment[i].page_count; at++)
      unwatched += picture_page(&self->shadow, i, now.segment[i].pages[at]) == NULL;
  picture_free(&now);
  return unwatched;
}

void trace_kill(trace *self) {
  int status;
  kill(self->child, SIGKILL);
  while (waitpid(self->child, &status, 0) < 0 && errno == EINTR) {
  }
  self->child = 0;
}

dsm_status trace_finish(trace *self) {
  int status;
  ptrace(PTRACE_CONT, self->child, NULL, NULL); /* into the second breakpoint */
  await_trap(self);
  ptrace(PTRACE_DETACH, self->child, NULL, NULL);
  while (waitpid(self->child, &status, 0) < 0 && errno == EINTR) {
  }
  self->child = 0;
  return (dsm_status)(self->shared[1] - 1);
}

void trace_close(trace *self) {
  picture_free(&self->shadow);
  free(self->visits);
  if (self->shared) munmap(self->shared, DSM_PAGE_BYTES);
  self->shared = NULL;
}
