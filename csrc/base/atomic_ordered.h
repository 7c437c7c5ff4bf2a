/* Atomics whose order is an argument: what C11 offers, for users who choose the order themselves.
 *
 * The engine's own code names its orders (atomic.h). Here the order comes from the caller of the
 * Python API, so each operation switches over the constants that C11 admits for it; an order that
 * it does not admit must be refused before (dsm_order_loads, dsm_order_stores). Where the two
 * orders of a compare-exchange are no pair of C11, the weakest pair that is as strong as both is
 * used.
 */
#ifndef DSM_BASE_ATOMIC_ORDERED_H
#define DSM_BASE_ATOMIC_ORDERED_H

#include "atomic.h"
#include "check.h"

typedef enum dsm_order {
  DSM_ORDER_RELAXED,
  DSM_ORDER_ACQUIRE,
  DSM_ORDER_RELEASE,
  DSM_ORDER_ACQ_REL,
  DSM_ORDER_SEQ_CST,
} dsm_order;

/* C11 7.17.7.2: a load is relaxed, acquire or seq_cst. */
static inline bool dsm_order_loads(dsm_order order) {
  return order == DSM_ORDER_RELAXED || order == DSM_ORDER_ACQUIRE || order == DSM_ORDER_SEQ_CST;
}

/* C11 7.17.7.1: a store is relaxed, release or seq_cst. */
static inline bool dsm_order_stores(dsm_order order) {
  return order == DSM_ORDER_RELAXED || order == DSM_ORDER_RELEASE || order == DSM_ORDER_SEQ_CST;
}

#define DSM_ATOMIC_ORDERED_DEFINE(type, suffix)                                                    \
  static inline type dsm_load_##suffix(const _Atomic(type) *word, dsm_order order) {               \
    DSM_ASSERT(dsm_order_loads(order));                                                            \
    if (order == DSM_ORDER_RELAXED) return atomic_load_explicit(word, memory_order_relaxed);       \
    if (order == DSM_ORDER_ACQUIRE) return atomic_load_explicit(word, memory_order_acquire);       \
    return atomic_load_explicit(word, memory_order_seq_cst);                                       \
  }                                                                                                \
  static inline void dsm_store_##suffix(_Atomic(type) *word, type value, dsm_order order) {        \
    DSM_ASSERT(dsm_order_stores(order));                                                           \
    if (order == DSM_ORDER_RELAXED)                                                                \
      atomic_store_explicit(word, value, memory_order_relaxed);                                    \
    else if (order == DSM_ORDER_RELEASE)                                                           \
      atomic_store_explicit(word, value, memory_order_release);                                    \
    else                                                                                           \
      atomic_store_explicit(word, value, memory_order_seq_cst);                                    \
  }                                                                                                \
  DSM__RMW_DEFINE(type, suffix, exchange, atomic_exchange_explicit)                                \
  DSM__RMW_DEFINE(type, suffix, fetch_add, atomic_fetch_add_explicit)                              \
  DSM__RMW_DEFINE(type, suffix, fetch_sub, atomic_fetch_sub_explicit)                              \
  DSM__RMW_DEFINE(type, suffix, fetch_and, atomic_fetch_and_explicit)                              \
  DSM__RMW_DEFINE(type, suffix, fetch_or, atomic_fetch_or_explicit)                                \
  DSM__RMW_DEFINE(type, suffix, fetch_xor, atomic_fetch_xor_explicit)                              \
  static inline bool dsm_cas_##suffix(_Atomic(type) *word, type *expected, type desired,           \
                                      dsm_order success, dsm_order failure) {                      \
    DSM_ASSERT(dsm_order_loads(failure));                                                          \
    if (success == DSM_ORDER_SEQ_CST || failure == DSM_ORDER_SEQ_CST)                              \
      return atomic_compare_exchange_strong_explicit(word, expected, desired,                      \
                                                     memory_order_seq_cst, memory_order_seq_cst);  \
    if (failure == DSM_ORDER_ACQUIRE)                                                              \
      return success == DSM_ORDER_RELAXED || success == DSM_ORDER_ACQUIRE                          \
                 ? atomic_compare_exchange_strong_explicit(                                        \
                       word, expected, desired, memory_order_acquire, memory_order_acquire)        \
                 : atomic_compare_exchange_strong_explicit(                                        \
                       word, expected, desired, memory_order_acq_rel, memory_order_acquire);       \
    if (success == DSM_ORDER_RELAXED)                                                              \
      return atomic_compare_exchange_strong_explicit(word, expected, desired,                      \
                                                     memory_order_relaxed, memory_order_relaxed);  \
    if (success == DSM_ORDER_ACQUIRE)                                                              \
      return atomic_compare_exchange_strong_explicit(word, expected, desired,                      \
                                                     memory_order_acquire, memory_order_relaxed);  \
    if (success == DSM_ORDER_RELEASE)                                                              \
      return atomic_compare_exchange_strong_explicit(word, expected, desired,                      \
                                                     memory_order_release, memory_order_relaxed);  \
    return atomic_compare_exchange_strong_explicit(word, expected, desired, memory_order_acq_rel,  \
                                                   memory_order_relaxed);                          \
  }

#define DSM__RMW_DEFINE(type, suffix, name, operation)                                             \
  static inline type dsm_##name##_##suffix(_Atomic(type) *word, type value, dsm_order order) {     \
    switch (order) {                                                                               \
    case DSM_ORDER_RELAXED:                                                                        \
      return operation(word, value, memory_order_relaxed);                                         \
    case DSM_ORDER_ACQUIRE:                                                                        \
      return operation(word, value, memory_order_acquire);                                         \
    case DSM_ORDER_RELEASE:                                                                        \
      return operation(word, value, memory_order_release);                                         \
    case DSM_ORDER_ACQ_REL:                                                                        \
      return operation(word, value, memory_order_acq_rel);                                         \
    default:                                                                                       \
      return operation(word, value, memory_order_seq_cst);                                         \
    }                                                                                              \
  }

DSM_ATOMIC_ORDERED_DEFINE(uint64_t, u64)
DSM_ATOMIC_ORDERED_DEFINE(uint32_t, u32)
#undef DSM_ATOMIC_ORDERED_DEFINE
#undef DSM__RMW_DEFINE

#endif
