/* A native thread that works at leisure and sleeps until it is rung: duties.h and caretaker.h.
 *
 * No ring is lost: who works reads the bell, then looks what there is to do, then sleeps only if
 * the bell has not changed since. `stop` is told once; whether a last round is due is the work's.
 *
 * operation             who                 blocks
 * dsm_background_ring   any thread of ours  no
 * dsm_background_stop   the one that owns   until the thread has ended
 * the others            the thread itself   sleep alone
 */
#ifndef DSM_NODE_BACKGROUND_H
#define DSM_NODE_BACKGROUND_H

#include "../base/atomic.h"
#include "../os/os.h"

typedef struct dsm_background {
  dsm_os_thread *thread;
  dsm_atomic_u32 bell, stop;
} dsm_background;

/* Runs work(argument) in a thread of its own. */
static inline dsm_status dsm_background_start(dsm_background *self, void (*work)(void *),
                                              void *argument) {
  return dsm_os_thread_start(work, argument, &self->thread);
}

static inline void dsm_background_ring(dsm_background *self) {
  dsm_fetch_add_relaxed_u32(&self->bell, 1);
  dsm_os_word_wake(&self->bell, 1);
}

static inline void dsm_background_stop(dsm_background *self) {
  dsm_store_release_u32(&self->stop, 1);
  dsm_background_ring(self);
  dsm_os_thread_join(self->thread);
}

static inline bool dsm_background_stopping(const dsm_background *self) {
  return dsm_load_acquire_u32(&self->stop) == 1;
}

/* The bell as it is before a look at what there is to do; for the sleep that follows. */
static inline uint32_t dsm_background_listen(const dsm_background *self) {
  return dsm_load_acquire_u32(&self->bell);
}

static inline void dsm_background_sleep(const dsm_background *self, uint32_t heard,
                                        uint32_t sleep_us) {
  dsm_os_word_wait(&self->bell, heard, sleep_us);
}

#endif
