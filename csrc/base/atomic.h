/* Atomics with the memory order in the name. The only file that includes <stdatomic.h>.
 *
 * Words that live in a segment are dsm_atomic_u64 or dsm_atomic_u32: lock-free on x86-64 and arm64,
 * address-free, and of the same size as the integer they hold, so that an offset into a segment is
 * enough to find one.
 */
#ifndef DSM_BASE_ATOMIC_H
#define DSM_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic(uint64_t) dsm_atomic_u64;
typedef _Atomic(uint32_t) dsm_atomic_u32;

_Static_assert(sizeof(dsm_atomic_u64) == 8, "an atomic word is as wide as its integer");
_Static_assert(sizeof(dsm_atomic_u32) == 4, "an atomic word is as wide as its integer");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics are lock-free");

#define DSM_ATOMIC_DEFINE(type, suffix)                                                            \
  static inline type dsm_load_relaxed_##suffix(const _Atomic(type) *word) {                        \
    return atomic_load_explicit(word, memory_order_relaxed);                                       \
  }                                                                                                \
  static inline type dsm_load_acquire_##suffix(const _Atomic(type) *word) {                        \
    return atomic_load_explicit(word, memory_order_acquire);                                       \
  }                                                                                                \
  static inline type dsm_load_seq_cst_##suffix(const _Atomic(type) *word) {                        \
    return atomic_load_explicit(word, memory_order_seq_cst);                                       \
  }                                                                                                \
  static inline void dsm_store_relaxed_##suffix(_Atomic(type) *word, type value) {                 \
    atomic_store_explicit(word, value, memory_order_relaxed);                                      \
  }                                                                                                \
  static inline void dsm_store_release_##suffix(_Atomic(type) *word, type value) {                 \
    atomic_store_explicit(word, value, memory_order_release);                                      \
  }                                                                                                \
  static inline void dsm_store_seq_cst_##suffix(_Atomic(type) *word, type value) {                 \
    atomic_store_explicit(word, value, memory_order_seq_cst);                                      \
  }                                                                                                \
  static inline type dsm_fetch_add_relaxed_##suffix(_Atomic(type) *word, type value) {             \
    return atomic_fetch_add_explicit(word, value, memory_order_relaxed);                           \
  }                                                                                                \
  static inline type dsm_fetch_or_acq_rel_##suffix(_Atomic(type) *word, type value) {              \
    return atomic_fetch_or_explicit(word, value, memory_order_acq_rel);                            \
  }                                                                                                \
  static inline type dsm_fetch_and_acq_rel_##suffix(_Atomic(type) *word, type value) {             \
    return atomic_fetch_and_explicit(word, value, memory_order_acq_rel);                           \
  }                                                                                                \
  static inline type dsm_exchange_acq_rel_##suffix(_Atomic(type) *word, type value) {              \
    return atomic_exchange_explicit(word, value, memory_order_acq_rel);                            \
  }                                                                                                \
  static inline bool dsm_cas_acq_rel_##suffix(_Atomic(type) *word, type *expected, type desired) { \
    return atomic_compare_exchange_strong_explicit(word, expected, desired, memory_order_acq_rel,  \
                                                   memory_order_acquire);                          \
  }

DSM_ATOMIC_DEFINE(uint64_t, u64)
DSM_ATOMIC_DEFINE(uint32_t, u32)
#undef DSM_ATOMIC_DEFINE

static inline void dsm_fence_acquire(void) {
  atomic_thread_fence(memory_order_acquire);
}

static inline void dsm_fence_release(void) {
  atomic_thread_fence(memory_order_release);
}

static inline void dsm_fence_seq_cst(void) {
  atomic_thread_fence(memory_order_seq_cst);
}

static inline void dsm_cpu_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#endif
