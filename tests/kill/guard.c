/* Guard pages around every shared mapping of the program: linked with --wrap=mmap,--wrap=munmap.
 *
 * An access outside a segment meets memory that nobody may touch, and ends in a report. The random
 * words of a cluster come from a seed, so that an image can be made again:
 * --wrap=dsm_os_random_u64.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define GUARD_BYTES (64u << 12)

void *__real_mmap(void *address, size_t bytes, int protection, int flags, int descriptor,
                  off_t offset);
int __real_munmap(void *address, size_t bytes);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int descriptor,
                  off_t offset);
int __wrap_munmap(void *address, size_t bytes);
uint64_t __wrap_dsm_os_random_u64(void);

uint64_t guard_random = 1;

uint64_t __wrap_dsm_os_random_u64(void) {
  guard_random = guard_random * 6364136223846793005u + 1442695040888963407u;
  return guard_random ^ guard_random >> 29;
}

static size_t whole_pages(size_t bytes) {
  return (bytes + 4095) & ~(size_t)4095;
}

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int descriptor,
                  off_t offset) {
  size_t room = whole_pages(bytes) + 2 * GUARD_BYTES;
  uint8_t *guards =
      __real_mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (guards == MAP_FAILED) return MAP_FAILED;
  void *inside =
      __real_mmap(guards + GUARD_BYTES, bytes, protection, flags | MAP_FIXED, descriptor, offset);
  (void)address;
  if (inside == MAP_FAILED) __real_munmap(guards, room);
  return inside;
}

int __wrap_munmap(void *address, size_t bytes) {
  return __real_munmap((uint8_t *)address - GUARD_BYTES, whole_pages(bytes) + 2 * GUARD_BYTES);
}
