/* Copies between a segment and private memory.
 *
 * A reader may copy bytes that a writer is replacing: it throws the copy away when its validation
 * fails. That race is meant; under ThreadSanitizer the copies are made of relaxed atomic accesses,
 * so that the tool reports only the races that are not.
 */
#ifndef DSM_BASE_COPY_H
#define DSM_BASE_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define DSM_COPY_ATOMIC 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DSM_COPY_ATOMIC 1
#endif
#endif

#ifdef DSM_COPY_ATOMIC
static inline void dsm_copy_out(void *target, const void *shared, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    ((uint8_t *)target)[i] = __atomic_load_n((const uint8_t *)shared + i, __ATOMIC_RELAXED);
}

static inline void dsm_copy_in(void *shared, const void *source, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    __atomic_store_n((uint8_t *)shared + i, ((const uint8_t *)source)[i], __ATOMIC_RELAXED);
}

static inline void dsm_copy_across(void *shared, const void *other, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    __atomic_store_n((uint8_t *)shared + i,
                     __atomic_load_n((const uint8_t *)other + i, __ATOMIC_RELAXED),
                     __ATOMIC_RELAXED);
}

static inline int dsm_copy_compare(const void *shared, const void *other, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    if (__atomic_load_n((const uint8_t *)shared + i, __ATOMIC_RELAXED) !=
        ((const uint8_t *)other)[i])
      return 1;
  return 0;
}
#else
/* From this length on, the processor's own loop beats the C library's (which some versions do not
 * use beyond the size of a cache): 15 instead of 17 us for a warm MiB, 29 instead of 41 for a cold
 * one. Processors on which that loop starts fast came with VAES, which the compiler can ask for. */
#define DSM_COPY_LONG_BYTES 65536u

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
static inline void dsm_copy(void *target, const void *source, size_t bytes) {
  if (__builtin_expect(bytes < DSM_COPY_LONG_BYTES, 1) || !__builtin_cpu_supports("vaes"))
    memcpy(target, source, bytes);
  else
    __asm__ volatile("rep movsb" : "+D"(target), "+S"(source), "+c"(bytes) : : "memory");
}
#else
static inline void dsm_copy(void *target, const void *source, size_t bytes) {
  memcpy(target, source, bytes);
}
#endif

static inline void dsm_copy_out(void *target, const void *shared, size_t bytes) {
  dsm_copy(target, shared, bytes);
}

static inline void dsm_copy_in(void *shared, const void *source, size_t bytes) {
  dsm_copy(shared, source, bytes);
}

/* From shared memory to shared memory. */
static inline void dsm_copy_across(void *shared, const void *other, size_t bytes) {
  memcpy(shared, other, bytes);
}

/* Keys are mostly 8 to 16 bytes long: two words that overlap, and no call. */
static inline int dsm_copy_compare(const void *shared, const void *other, size_t bytes) {
  if (bytes < 8 || bytes > 16) return memcmp(shared, other, bytes);
  uint64_t mine[2], theirs[2];
  memcpy(&mine[0], shared, 8);
  memcpy(&theirs[0], other, 8);
  memcpy(&mine[1], (const uint8_t *)shared + bytes - 8, 8);
  memcpy(&theirs[1], (const uint8_t *)other + bytes - 8, 8);
  return ((mine[0] ^ theirs[0]) | (mine[1] ^ theirs[1])) != 0;
}
#endif

#endif
