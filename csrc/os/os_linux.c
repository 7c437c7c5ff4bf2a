/* The contract with the kernel, on Linux: segments and their room.
 *
 * Segments are POSIX shared memory (the objects that multiprocessing.shared_memory opens by name).
 * They are created here and not through Python, because presence locks, backing and sweeping need
 * the descriptor, and because no resource tracker may learn of them (I-11).
 */
#define _GNU_SOURCE
#include "os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../base/limits.h"

#define SHM_FOLDER "/dev/shm"
/* Never hand out the machine's last memory: the kernel would kill instead of refuse. */
#define MEMORY_SPARE_BYTES (64ull << 20)
#define PRESENCE_LOOKS 3
#define PRESENCE_LOOK_US 1000

/* The mapping begins at a multiple of a huge page, or none of it could be mapped by one. */
static dsm_status map_descriptor(int descriptor, uint64_t bytes, dsm_os_segment *out) {
  uint8_t *room = mmap(NULL, bytes + DSM_HUGE_BYTES, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return DSM_OS;
  uint8_t *aligned = room + (-(uintptr_t)room & (DSM_HUGE_BYTES - 1));
  void *base = mmap(aligned, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED,
                    descriptor, 0);
  if (base == MAP_FAILED) {
    munmap(room, bytes + DSM_HUGE_BYTES);
    return DSM_OS;
  }
  uint8_t *end = aligned + ((bytes + DSM_PAGE_BYTES - 1) & ~(uint64_t)(DSM_PAGE_BYTES - 1));
  if (aligned > room) munmap(room, (size_t)(aligned - room));
  munmap(end, (size_t)(room + bytes + DSM_HUGE_BYTES - end));
  madvise(base, bytes, MADV_DONTDUMP);
  *out = (dsm_os_segment){.base = base, .bytes = bytes, .handle = descriptor};
  return DSM_OK;
}

/* The name may have been swept between open and flock: true if it still means this file. */
static bool still_named(int descriptor, const char *name) {
  struct stat opened, named;
  int other = shm_open(name, O_RDONLY | O_CLOEXEC, 0);
  if (other < 0) return false;
  bool same = fstat(descriptor, &opened) == 0 && fstat(other, &named) == 0 &&
              opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
  close(other);
  return same;
}

static int lock_shared(int descriptor) {
  int result;
  do result = flock(descriptor, LOCK_SH);
  while (result < 0 && errno == EINTR);
  return result;
}

/* A sweeper may find the new file before our presence lock is on it, and remove it: then the name
 * is free, or another's, and we begin again. */
static dsm_status create_present(const char *name, int *descriptor) {
  for (;;) {
    *descriptor = shm_open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (*descriptor < 0) return errno == EEXIST ? DSM_EXISTS : DSM_OS;
    if (lock_shared(*descriptor) < 0) {
      shm_unlink(name);
      close(*descriptor);
      return DSM_OS;
    }
    if (still_named(*descriptor, name)) return DSM_OK;
    close(*descriptor);
  }
}

dsm_status dsm_os_segment_create(const char *name, uint64_t bytes, dsm_os_segment *out) {
  int descriptor;
  DSM_TRY(create_present(name, &descriptor));
  dsm_status status = DSM_OS;
  if (ftruncate(descriptor, (off_t)bytes) == 0) status = map_descriptor(descriptor, bytes, out);
  if (status != DSM_OK) {
    int saved = errno;
    shm_unlink(name);
    close(descriptor);
    errno = saved;
  }
  return status;
}

dsm_status dsm_os_segment_open(const char *name, dsm_os_segment *out) {
  int descriptor = shm_open(name, O_RDWR | O_CLOEXEC, 0);
  if (descriptor < 0) return errno == ENOENT ? DSM_NO_CLUSTER : DSM_OS;
  struct stat info;
  dsm_status status = DSM_OS;
  if (lock_shared(descriptor) == 0 && fstat(descriptor, &info) == 0) {
    if (!still_named(descriptor, name))
      status = DSM_NO_CLUSTER;
    else if (info.st_size < (off_t)DSM_PAGE_BYTES)
      status = DSM_CORRUPT;
    else
      status = map_descriptor(descriptor, (uint64_t)info.st_size, out);
  }
  if (status != DSM_OK) close(descriptor);
  return status;
}

void dsm_os_segment_close(dsm_os_segment *segment) {
  if (segment->base) munmap(segment->base, segment->bytes);
  if (segment->base && segment->handle >= 0) close(segment->handle);
  *segment = (dsm_os_segment){.handle = -1};
}

dsm_status dsm_os_segment_unlink(const char *name) {
  return shm_unlink(name) == 0 || errno == ENOENT ? DSM_OK : DSM_OS;
}

dsm_status dsm_os_segment_link(const dsm_os_segment *segment, const char *name) {
  char from[64], to[512];
  snprintf(from, sizeof from, "/proc/self/fd/%d", segment->handle);
  snprintf(to, sizeof to, SHM_FOLDER "%s", name);
  if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0) return DSM_OK;
  return errno == ENOENT ? DSM_NO_CLUSTER : errno == EEXIST ? DSM_EXISTS : DSM_OS;
}

/* The file behind one descriptor of another process, as a descriptor of ours. */
static dsm_status borrow_descriptor(const char *path, dsm_os_segment *out) {
  struct stat info;
  int descriptor = open(path, O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return DSM_NOT_FOUND;
  dsm_status status = DSM_OS;
  if (lock_shared(descriptor) == 0 && fstat(descriptor, &info) == 0)
    status = info.st_size < (off_t)DSM_PAGE_BYTES
                 ? DSM_NOT_FOUND
                 : map_descriptor(descriptor, (uint64_t)info.st_size, out);
  if (status != DSM_OK) close(descriptor);
  return status;
}

dsm_status dsm_os_segment_borrow(const char *name, const dsm_os_process *process,
                                 dsm_os_segment *out) {
  char folder[64], path[384], target[512], wanted[512];
  snprintf(folder, sizeof folder, "/proc/%u/fd", process->pid);
  snprintf(wanted, sizeof wanted, SHM_FOLDER "%s (deleted)", name);
  DIR *entries = opendir(folder);
  if (!entries) return dsm_os_process_alive(process) ? DSM_OS : DSM_NOT_FOUND;
  dsm_status status = DSM_NOT_FOUND;
  const struct dirent *entry;
  while (status == DSM_NOT_FOUND && (entry = readdir(entries))) {
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) continue;
    target[length] = 0;
    if (strcmp(target, wanted) == 0) status = borrow_descriptor(path, out);
  }
  closedir(entries);
  return status;
}

dsm_status dsm_os_segment_regrow(const char *name, uint64_t bytes) {
  struct stat info;
  int descriptor = shm_open(name, O_RDWR | O_CLOEXEC, 0);
  if (descriptor < 0) return errno == ENOENT ? DSM_NO_CLUSTER : DSM_OS;
  dsm_status status = fstat(descriptor, &info) == 0 ? DSM_OK : DSM_OS;
  if (status == DSM_OK && (uint64_t)info.st_size < bytes) {
    dsm_os_segment file = {.bytes = bytes, .handle = descriptor};
    status =
        ftruncate(descriptor, (off_t)bytes) == 0 ? dsm_os_segment_back(&file, 0, bytes) : DSM_OS;
  }
  close(descriptor);
  return status;
}

uint64_t dsm_os_segment_size(const char *name) {
  struct stat info;
  char path[512];
  snprintf(path, sizeof path, SHM_FOLDER "%s", name);
  return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

bool dsm_os_segment_named(const char *name, const dsm_os_segment *segment) {
  return still_named(segment->handle, name);
}

dsm_status dsm_os_segment_unlink_own(const char *name, const dsm_os_segment *segment) {
  return still_named(segment->handle, name) ? dsm_os_segment_unlink(name) : DSM_OK;
}

/* Reads one unsigned number that follows `label` in a small file of the kernel; false if absent. */
static bool read_number(const char *path, const char *label, uint64_t *out) {
  char text[4096];
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  ssize_t length = read(descriptor, text, sizeof text - 1);
  close(descriptor);
  if (length <= 0) return false;
  text[length] = 0;
  const char *at = label ? strstr(text, label) : text;
  if (!at) return false;
  char *end;
  *out = strtoull(at + (label ? strlen(label) : 0), &end, 10);
  return end != at + (label ? strlen(label) : 0);
}

/* Room under the memory.max of this process's control group and of its ancestors, which would kill
 * instead of refuse; UINT64_MAX where none is set. */
static uint64_t cgroup_room(void) {
  char line[1024] = "", path[1280], number[1400];
  int descriptor = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return UINT64_MAX;
  ssize_t length = read(descriptor, line, sizeof line - 1);
  close(descriptor);
  if (length <= 0) return UINT64_MAX;
  line[length] = 0;
  char *group = strstr(line, "0::");
  if (!group) return UINT64_MAX;
  group += 3;
  group[strcspn(group, "\n")] = 0;
  uint64_t room = UINT64_MAX;
  for (;;) {
    uint64_t limit, used;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s", strcmp(group, "/") == 0 ? "" : group);
    snprintf(number, sizeof number, "%s/memory.max", path);
    if (read_number(number, NULL, &limit)) {
      snprintf(number, sizeof number, "%s/memory.current", path);
      if (read_number(number, NULL, &used)) {
        uint64_t left = limit > used ? limit - used : 0;
        if (left < room) room = left;
      }
    }
    char *slash = strrchr(group, '/');
    if (!slash || group[0] == 0) return room;
    *slash = 0;
  }
}

static uint64_t memory_room(void) {
  uint64_t kib, room = cgroup_room();
  if (read_number("/proc/meminfo", "MemAvailable:", &kib) && kib * 1024 < room) room = kib * 1024;
  return room > MEMORY_SPARE_BYTES ? room - MEMORY_SPARE_BYTES : 0;
}

dsm_status dsm_os_segment_back(const dsm_os_segment *segment, uint64_t offset, uint64_t bytes) {
  if (offset > segment->bytes || bytes > segment->bytes - offset) return DSM_USAGE;
  if (bytes > memory_room()) return DSM_STORE_FULL;
  int result;
  do result = posix_fallocate(segment->handle, (off_t)offset, (off_t)bytes);
  while (result == EINTR);
  if (result == 0) return DSM_OK;
  errno = result;
  return result == ENOSPC || result == ENOMEM || result == EFBIG ? DSM_STORE_FULL : DSM_OS;
}

void dsm_os_segment_discard(const dsm_os_segment *segment, uint64_t offset, uint64_t bytes) {
  fallocate(segment->handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
            (off_t)bytes);
}

bool dsm_os_segment_truncated(const dsm_os_segment *segment) {
  struct stat info;
  return fstat(segment->handle, &info) < 0 || (uint64_t)info.st_size < segment->bytes;
}

dsm_status dsm_os_segment_alone(const char *name, bool *alone) {
  int descriptor = shm_open(name, O_RDWR | O_CLOEXEC, 0);
  *alone = false;
  if (descriptor < 0) return errno == ENOENT ? DSM_NO_CLUSTER : DSM_OS;
  /* A sweeper holds the lock for some microseconds: that is no presence, so look again. */
  for (int look = 0; look < PRESENCE_LOOKS && !*alone; look++) {
    if (look > 0) usleep(PRESENCE_LOOK_US);
    *alone = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
  }
  close(descriptor);
  return DSM_OK;
}

dsm_status dsm_os_segment_sweep(const char *name, bool *removed) {
  int descriptor = shm_open(name, O_RDWR | O_CLOEXEC, 0);
  *removed = false;
  if (descriptor < 0) return errno == ENOENT ? DSM_OK : DSM_OS;
  if (flock(descriptor, LOCK_EX | LOCK_NB) == 0 && still_named(descriptor, name))
    *removed = shm_unlink(name) == 0;
  close(descriptor);
  return DSM_OK;
}

uint64_t dsm_os_room_bytes(void) {
  struct statvfs info;
  uint64_t memory = memory_room();
  if (statvfs(SHM_FOLDER, &info) < 0) return memory;
  uint64_t room = (uint64_t)info.f_bavail * info.f_frsize;
  return room < memory ? room : memory;
}

uint64_t dsm_os_capacity_bytes(void) {
  struct statvfs info;
  uint64_t kib, memory = UINT64_MAX;
  if (read_number("/proc/meminfo", "MemTotal:", &kib)) memory = kib * 1024;
  if (statvfs(SHM_FOLDER, &info) < 0) return memory;
  uint64_t capacity = (uint64_t)info.f_blocks * info.f_frsize;
  return capacity < memory ? capacity : memory;
}

unsigned dsm_os_user(void) {
  return (unsigned)geteuid();
}
