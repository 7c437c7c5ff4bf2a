/* Recovery's counters as plain numbers, each as of about now. */
#ifndef DSM_STORE_RECOVERED_H
#define DSM_STORE_RECOVERED_H

#include "../mem/space.h"

typedef struct dsm_recovered {
  uint64_t stripes_mended, objects_copied, objects_attached, objects_lost, objects_filled;
  uint64_t copies_mended, arrays_lost, array_bytes, array_rounds; /* of arrays */
} dsm_recovered;

typedef struct dsm_scrubbed {
  uint64_t rounds, bytes, found, rebuilds, adoptions, adopt_ns;
  uint32_t adopt_mended, adopt_left;
} dsm_scrubbed;

static inline void dsm_recovered_read(const dsm_space *space, dsm_recovered *out) {
  const dsm_recovery_shm *counts = dsm_space_recovery(space);
  const dsm_array_directory_shm *arrays = dsm_space_arrays(space);
  *out = (dsm_recovered){.stripes_mended = dsm_load_relaxed_u64(&counts->stripes_mended),
                         .objects_copied = dsm_load_relaxed_u64(&counts->objects_copied),
                         .objects_attached = dsm_load_relaxed_u64(&counts->objects_attached),
                         .objects_lost = dsm_load_relaxed_u64(&counts->objects_lost),
                         .objects_filled = dsm_load_relaxed_u64(&counts->objects_filled),
                         .copies_mended = dsm_load_relaxed_u64(&arrays->mended),
                         .arrays_lost = dsm_load_relaxed_u64(&arrays->lost),
                         .array_bytes = dsm_load_relaxed_u64(&arrays->scrubbed),
                         .array_rounds = dsm_load_relaxed_u64(&arrays->rounds)};
}

static inline void dsm_scrubbed_read(const dsm_space *space, unsigned node, dsm_scrubbed *out) {
  const dsm_scrub_shm *counts = &dsm_space_recovery(space)->scrubs[node];
  *out = (dsm_scrubbed){.rounds = dsm_load_relaxed_u64(&counts->rounds),
                        .bytes = dsm_load_relaxed_u64(&counts->bytes),
                        .found = dsm_load_relaxed_u64(&counts->found),
                        .rebuilds = dsm_load_relaxed_u64(&counts->rebuilds),
                        .adoptions = dsm_load_relaxed_u64(&counts->adoptions),
                        .adopt_ns = dsm_load_relaxed_u64(&counts->adopt_ns),
                        .adopt_mended = dsm_load_relaxed_u32(&counts->adopt_mended),
                        .adopt_left = dsm_load_relaxed_u32(&counts->adopt_left)};
}

#endif
