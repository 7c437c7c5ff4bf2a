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
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "single-stepping is written for x86-64"
#endif

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
    self->shared = mmap(NULL, DSM_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                        -1, 0);
    if (self->shared == MAP_FAILED) give_up("out of memory");
  }
  self->segments = segments;
  self->steps = 0;
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

/* The child was forked from us, so its code lies at the same place here. */
static const uint8_t *code_at(const trace *self) {
  errno = 0;
  long at = ptrace(PTRACE_PEEKUSER, self->child, (void *)offsetof(struct user_regs_struct, rip),
                   NULL);
  if (errno) give_up("cannot read the child's registers");
  return (const uint8_t *)at;
}

/* Pages that were asked of the kernel hold no data yet, so that no picture shows them; one read
 * makes them visible and takes no more memory. */
static void touch_allocated(const trace *self, const struct user_regs_struct *registers) {
  char path[64];
  struct stat asked, known;
  if (registers->orig_rax != SYS_fallocate || registers->rsi != 0) return;
  snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)self->child, (int)registers->rdi);
  if (stat(path, &asked) < 0) give_up("cannot look at the child's descriptor");
  for (unsigned i = 0; i < self->segments->count; i++) {
    if (fstat(self->segments->segment[i].descriptor, &known) < 0 || known.st_ino != asked.st_ino)
      continue;
    for (uint64_t at = registers->rdx & ~4095ull; at < registers->rdx + registers->r10; at += 4096)
      (void)*(const volatile uint8_t *)(self->segments->segment[i].base + at);
  }
}

bool trace_step(trace *self) {
  const uint8_t *code = code_at(self);
  if (*code == BREAKPOINT_CODE) return false;
  self->after_syscall = code[0] == 0x0F && code[1] == 0x05;
  if (ptrace(PTRACE_SINGLESTEP, self->child, NULL, NULL) < 0) give_up("cannot step");
  await_trap(self);
  self->steps++;
  if (self->after_syscall) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, self->child, NULL, &registers) < 0) give_up("no registers");
    touch_allocated(self, &registers);
  }
  return true;
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
  if (self->shared) munmap(self->shared, DSM_PAGE_BYTES);
  self->shared = NULL;
}
