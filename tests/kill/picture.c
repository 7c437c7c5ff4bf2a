/* Pictures of segments: pages found by SEEK_DATA, given back by punching holes. */
#define _GNU_SOURCE
#include "picture.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../csrc/node/cluster.h"

/* The futex word of a robust mutex, as the kernel defines it. */
#define WAITERS 0x80000000u
#define OWNER_DIED 0x40000000u
#define THREAD_MASK 0x3fffffffu

void give_up(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  abort();
}

static void map(outside *out, unsigned index, int descriptor, uint64_t bytes) {
  void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (descriptor < 0 || base == MAP_FAILED) give_up("cannot map a segment of %s", out->name);
  /* Present, or a sweeper that runs meanwhile would take the copies for leftovers. */
  if (flock(descriptor, LOCK_SH) < 0) give_up("cannot lock a segment of %s", out->name);
  out->segment[index].descriptor = descriptor;
  out->segment[index].base = base;
  out->segment[index].bytes = bytes;
}

static void name_segment(char *out, const char *cluster, unsigned index) {
  dsm_segment_name(out, cluster, (int)index - 1);
}

void outside_open(outside *out, const char *cluster, unsigned node_count) {
  char name[DSM_SEGMENT_NAME_BYTES];
  *out = (outside){.count = 1 + node_count};
  snprintf(out->name, sizeof out->name, "%s", cluster);
  for (unsigned i = 0; i < out->count; i++) {
    struct stat info;
    name_segment(name, cluster, i);
    int descriptor = shm_open(name, O_RDWR | O_CLOEXEC, 0);
    if (descriptor < 0 || fstat(descriptor, &info) < 0) give_up("cannot open %s", name);
    map(out, i, descriptor, (uint64_t)info.st_size);
  }
}

void outside_make(outside *out, const char *cluster, const outside *like) {
  char name[DSM_SEGMENT_NAME_BYTES];
  *out = (outside){.count = like->count};
  snprintf(out->name, sizeof out->name, "%s", cluster);
  for (unsigned i = 0; i < out->count; i++) {
    name_segment(name, cluster, i);
    int descriptor = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)like->segment[i].bytes) < 0)
      give_up("cannot make %s", name);
    map(out, i, descriptor, like->segment[i].bytes);
  }
}

void outside_close(outside *self) {
  for (unsigned i = 0; i < self->count; i++) {
    munmap(self->segment[i].base, self->segment[i].bytes);
    close(self->segment[i].descriptor);
  }
  self->count = 0;
}

void outside_unlink(const outside *self) {
  char name[DSM_SEGMENT_NAME_BYTES];
  for (unsigned i = 0; i < self->count; i++) {
    name_segment(name, self->name, i);
    shm_unlink(name);
  }
}

uint64_t outside_blocks(const outside *self) {
  uint64_t blocks = 0;
  for (unsigned i = 0; i < self->count; i++) {
    struct stat info;
    if (fstat(self->segment[i].descriptor, &info) == 0) blocks += (uint64_t)info.st_blocks;
  }
  return blocks;
}

static void append_page(picture *out, unsigned segment, uint32_t page, const uint8_t *bytes) {
  uint64_t at = out->segment[segment].page_count++;
  if (at >= out->segment[segment].room) {
    uint64_t room = out->segment[segment].room ? out->segment[segment].room * 2 : 64;
    out->segment[segment].room = room;
    out->segment[segment].pages = realloc(out->segment[segment].pages, room * sizeof(uint32_t));
    out->segment[segment].bytes = realloc(out->segment[segment].bytes, room * DSM_PAGE_BYTES);
    if (!out->segment[segment].pages || !out->segment[segment].bytes) give_up("out of memory");
  }
  out->segment[segment].pages[at] = page;
  memcpy(out->segment[segment].bytes + at * DSM_PAGE_BYTES, bytes, DSM_PAGE_BYTES);
}

void picture_take(const outside *from, picture *out) {
  out->count = from->count;
  for (unsigned i = 0; i < from->count; i++) {
    int descriptor = from->segment[i].descriptor;
    off_t end = 0, start;
    out->segment[i].page_count = 0;
    while ((start = lseek(descriptor, end, SEEK_DATA)) >= 0) {
      end = lseek(descriptor, start, SEEK_HOLE);
      for (off_t at = start; at < end; at += DSM_PAGE_BYTES)
        append_page(out, i, (uint32_t)(at / DSM_PAGE_BYTES), from->segment[i].base + at);
    }
  }
}

static void punch(int descriptor, uint64_t start, uint64_t end) {
  if (end > start)
    fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
              (off_t)(end - start));
}

/* Gives back the pages that the segment holds and the picture does not. */
static void punch_others(const picture *self, const outside *to, unsigned segment) {
  int descriptor = to->segment[segment].descriptor;
  off_t end = 0, start;
  uint64_t next = 0;
  while ((start = lseek(descriptor, end, SEEK_DATA)) >= 0) {
    end = lseek(descriptor, start, SEEK_HOLE);
    for (off_t at = start; at < end; at += DSM_PAGE_BYTES) {
      uint32_t page = (uint32_t)(at / DSM_PAGE_BYTES);
      while (next < self->segment[segment].page_count && self->segment[segment].pages[next] < page)
        next++;
      if (next < self->segment[segment].page_count && self->segment[segment].pages[next] == page)
        continue;
      punch(descriptor, (uint64_t)at, (uint64_t)at + DSM_PAGE_BYTES);
    }
  }
}

void picture_lay(const picture *self, const outside *to) {
  for (unsigned i = 0; i < self->count; i++) {
    punch_others(self, to, i);
    for (uint64_t at = 0; at < self->segment[i].page_count; at++)
      memcpy(to->segment[i].base + (uint64_t)self->segment[i].pages[at] * DSM_PAGE_BYTES,
             self->segment[i].bytes + at * DSM_PAGE_BYTES, DSM_PAGE_BYTES);
  }
}

void picture_copy(const picture *self, picture *out) {
  out->count = self->count;
  for (unsigned i = 0; i < self->count; i++) {
    out->segment[i].page_count = 0;
    for (uint64_t at = 0; at < self->segment[i].page_count; at++)
      append_page(out, i, self->segment[i].pages[at], self->segment[i].bytes + at * DSM_PAGE_BYTES);
  }
}

void picture_free(picture *self) {
  for (unsigned i = 0; i < SEGMENTS_MAX; i++) {
    free(self->segment[i].pages);
    free(self->segment[i].bytes);
  }
  *self = (picture){0};
}

uint8_t *picture_page(const picture *self, unsigned segment, uint64_t page) {
  uint64_t low = 0, high = self->segment[segment].page_count;
  while (low < high) {
    uint64_t middle = (low + high) / 2;
    if (self->segment[segment].pages[middle] < page)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == self->segment[segment].page_count || self->segment[segment].pages[low] != page)
    return NULL;
  return self->segment[segment].bytes + low * DSM_PAGE_BYTES;
}

void outside_rename(const outside *self) {
  dsm_control_shm *control = (dsm_control_shm *)(void *)self->segment[0].base;
  memset(control->config.name, 0, sizeof control->config.name);
  memcpy(control->config.name, self->name, strlen(self->name));
  control->config_check = dsm_config_checksum(&control->config);
  for (unsigned i = 1; i < self->count; i++) {
    dsm_node_shm *node = (dsm_node_shm *)(void *)self->segment[i].base;
    node->config = control->config;
    node->config_check = control->config_check;
  }
}

static unsigned bury(dsm_lock_shm *lock, uint32_t thread) {
  uint32_t *word = (uint32_t *)(void *)lock->mutex.words;
  if ((*word & THREAD_MASK) != thread) return 0;
  *word = (*word & WAITERS) | OWNER_DIED;
  return 1;
}

unsigned outside_bury(const outside *self, uint32_t thread, const dsm_layout *layout,
                      uint32_t stripe_count) {
  uint8_t *base = self->segment[0].base;
  unsigned buried = bury(&((dsm_control_shm *)(void *)base)->registry, thread);
  for (uint32_t i = 0; i < stripe_count; i++)
    buried += bury((dsm_lock_shm *)(void *)(base + layout->locks) + i, thread);
  for (uint32_t i = 0; i + 1 < self->count; i++)
    buried += bury((dsm_lock_shm *)(void *)(base + layout->node_locks) + i, thread);
  return buried;
}
