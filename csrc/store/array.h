/* An array's segments: what lies where, and their mapping in this process.
 *
 * Each copy of an array is a segment of its own, "/dsm-<uid>-<cluster>-a<build>-<copy>", so that
 * the elements are contiguous and can be used in place. Copy 0 is the primary, which everybody
 * reads and writes; it also holds the tiles' words and the sessions (store/array_session.h). The
 * others are backups. With one replica and undo there is a copy 1 all the same: the undo image,
 * which has memory only where somebody wrote.
 *
 *   I  the header is written before the build is published and never changes; its checksum covers
 *      the geometry and the description of the element type (I-10)
 *   I  all memory but that of the undo image is backed before the build is published (I-9)
 *   I  a number is never used twice, and the names of the segments carry it and the cluster's
 *      identity. A healed array has another number and the same geometry, its first number
 *      (`build`) included: its sound files bear the new names as well (store/array_heal.h)
 *   I  a primary whose elements are not to be believed bears another magic, and nothing is begun in
 *      it, published from it or copied out of it any more
 *
 * A dsm_array is private memory. Opening and closing may happen in any number of processes at once.
 */
#ifndef DSM_STORE_ARRAY_H
#define DSM_STORE_ARRAY_H

#include "../mem/space.h"

#define DSM_ARRAY_MAGIC 0x59415252414D5344ull   /* "DSMARRAY" */
#define DSM_ARRAY_DOUBTED 0x54425544414D5344ull /* "DSMADUBT": what lies here is not believed */
#define DSM_ARRAY_SESSIONS 512u                 /* blocks open at once on one array */
#define DSM_ARRAY_COPIES_MAX DSM_REPLICAS_MAX
#define DSM_ARRAY_DIMENSIONS_MAX 64u
#define DSM_ARRAY_DESCRIPTION_MAX 65535u
#define DSM_ARRAY_BYTES_MAX (1ull << 46)
#define DSM_ARRAY_SEGMENT_NAME_BYTES 128

/* What a build is: fixed when it is made. */
typedef struct dsm_array_geometry_shm {
  uint64_t cluster_id, build;
  uint64_t data_bytes, item_bytes, tile_bytes, tile_count;
  uint32_t copies, replicas;
  uint32_t undo, fortran;
  uint32_t dimensions, description_bytes;
  uint64_t shape[DSM_ARRAY_DIMENSIONS_MAX];
} dsm_array_geometry_shm;
_Static_assert(sizeof(dsm_array_geometry_shm) == 584, "no padding enters the checksum");

typedef struct dsm_array_header_shm {
  uint64_t magic;
  uint32_t layout_version;
  uint32_t copy;
  uint64_t check;               /* over the geometry and the description, salted by the copy */
  dsm_atomic_u32 raw;           /* 1: somebody may write beside the sessions (np.asarray) */
  dsm_atomic_u32 sessions_high; /* sessions above this index were never used */
  dsm_array_geometry_shm geometry;
} dsm_array_header_shm;
_Static_assert(sizeof(dsm_array_header_shm) == 616, "the description follows at once");

/* One tile: a run of rows that is taken as a whole. */
typedef struct dsm_array_tile_shm {
  dsm_atomic_u32 lock;   /* session + 1 of who has it, and DSM_ARRAY_AWAITED; 0: free */
  dsm_atomic_u32 torn;   /* pid of a writer that was killed in it and left no image; 0: whole */
  dsm_atomic_u64 stamp;  /* sealed; odd while it is held for writing, grows with every change */
  dsm_atomic_u32 imaged; /* 1: the undo image has memory here */
  uint32_t reserved;
  dsm_atomic_u64 sum, sum_bound; /* of the elements at one stamp (store/array_scrub.h) */
  uint64_t reserved_words[3];
} dsm_array_tile_shm;
_Static_assert(sizeof(dsm_array_tile_shm) == 64, "tiles do not share lines");

/* One open block: who, what bytes, how far. */
typedef struct dsm_array_session_shm {
  dsm_atomic_u64 owner;       /* participant + 1 | incarnation << 32; 0: free */
  dsm_atomic_u64 state;       /* sealed: serial << 4 | dsm_array_phase */
  dsm_atomic_u64 first, last; /* tiles, both included */
  dsm_atomic_u64 low, high;   /* bytes of the elements, from the first to beyond the last */
  dsm_atomic_u32 pid;
  uint32_t reserved[3];
} dsm_array_session_shm;
_Static_assert(sizeof(dsm_array_session_shm) == 64, "sessions do not share lines");

typedef struct dsm_array {
  dsm_os_segment segments[DSM_ARRAY_COPIES_MAX];
  dsm_array_geometry_shm geometry; /* private copy, verified when it was opened */
  uint64_t number;                 /* by which the directory means it, and its files' names */
  uint32_t entry;                  /* in the directory (store/array_directory.h) */
  uint32_t lost;    /* bit per copy that cannot be used; never in what dsm_array_open gives */
  uint32_t unnamed; /* bit per copy that has no name any more, and was found at another process */
  uint32_t reserved;
  uint64_t sessions, tiles, data; /* offsets in the segments */
} dsm_array;

void dsm_array_segment_name(char *out, const dsm_space *space, uint64_t number, uint32_t copy);

/* Makes all segments of a build, zeroed. `geometry` has all but cluster_id, tile_count and copies.
 * DSM_STORE_FULL, DSM_USAGE; what was made by then goes with the directory's entry. */
dsm_status dsm_array_create(dsm_call *call, const dsm_array_geometry_shm *geometry,
                            const char *description, dsm_array *out);
/* Makes one copy of an array whose geometry and number are set: named, backed, with its header. */
dsm_status dsm_array_create_copy(dsm_call *call, dsm_array *array, uint32_t copy,
                                 const char *description);
/* Words of a primary that nobody ever used. */
void dsm_array_fill_words(const dsm_array *array);
void dsm_array_close(dsm_array *array);
/* Removes the names of all segments of a number; nothing if there are none. */
void dsm_array_unlink(const dsm_space *space, uint64_t number);
/* Offsets from the geometry, and the size of each segment; false if it is outside the limits. */
bool dsm_array_lay_out(dsm_array *array, uint64_t *bytes);
uint64_t dsm_array_header_check(const dsm_array_header_shm *header, uint32_t copy);
/* DSM_CORRUPT if a segment was cut or a copy's header does not verify. */
dsm_status dsm_array_valid(dsm_call *call, const dsm_array *array, uint32_t copy);

/* Maps an array (store/array_open.c). DSM_RETRY if the entry means another number by now;
 * DSM_CORRUPT if a copy is lost, which dsm_array_heal sees to. A copy whose name is gone is found
 * at a process that has it open. */
dsm_status dsm_array_open(dsm_call *call, uint32_t entry, uint64_t number, dsm_array *out);
/* The same whatever is lost, as long as one header tells the geometry: out->lost says what, and a
 * lost copy may be mapped all the same. DSM_NO_REPLICAS if none does. DSM_LOCK_TIMEOUT if a copy is
 * gone that a process may have into which we may not look. */
dsm_status dsm_array_look(dsm_call *call, uint32_t entry, uint64_t number, dsm_array *out);

static inline dsm_array_header_shm *dsm_array_header(const dsm_array *array, uint32_t copy) {
  return (dsm_array_header_shm *)(void *)array->segments[copy].base;
}

/* Whether the copy is there and its header was verified. */
static inline bool dsm_array_usable(const dsm_array *array, uint32_t copy) {
  return copy < array->geometry.copies && !(array->lost >> copy & 1);
}

static inline const char *dsm_array_description(const dsm_array *array) {
  uint32_t copy = 0;
  while (!dsm_array_usable(array, copy)) copy++;
  return (const char *)array->segments[copy].base + sizeof(dsm_array_header_shm);
}

static inline uint8_t *dsm_array_data(const dsm_array *array, uint32_t copy) {
  return array->segments[copy].base + array->data;
}

static inline dsm_array_tile_shm *dsm_array_tile(const dsm_array *array, uint64_t tile) {
  return (dsm_array_tile_shm *)(void *)(array->segments[0].base + array->tiles) + tile;
}

static inline dsm_array_session_shm *dsm_array_session(const dsm_array *array, uint32_t session) {
  return (dsm_array_session_shm *)(void *)(array->segments[0].base + array->sessions) + session;
}

/* In a backup a session says only that its block is being copied there just now, so that a backup
 * that must do without the primary knows what in it is half-way. */
static inline dsm_array_session_shm *dsm_array_mark(const dsm_array *array, uint32_t copy,
                                                    uint32_t session) {
  return (dsm_array_session_shm *)(void *)(array->segments[copy].base + array->sessions) + session;
}

/* Salts of the sealed words: of this build, this kind and this place. */
static inline uint64_t dsm_array_tile_salt(const dsm_array *array, uint64_t tile) {
  return (array->geometry.build << 32 ^ 0x54494C45ull) + tile;
}

static inline uint64_t dsm_array_session_salt(const dsm_array *array, uint32_t session) {
  return (array->geometry.build << 32 ^ 0x53455353494F4Eull) + session;
}

/* From now on backups may lag behind the primary, since somebody can write to it in place. */
static inline void dsm_array_raw(const dsm_array *array) {
  dsm_store_seq_cst_u32(&dsm_array_header(array, 0)->raw, 1);
}

static inline bool dsm_array_is_raw(const dsm_array *array) {
  return dsm_load_acquire_u32(&dsm_array_header(array, 0)->raw) != 0;
}

/* False once the primary's elements are not believed. One load of a line that is in use anyway. */
static inline bool dsm_array_trusted(const dsm_array *array) {
  return dsm_load_acquire_u64((const dsm_atomic_u64 *)(const void *)dsm_array_header(array, 0)) ==
         DSM_ARRAY_MAGIC;
}

/* The copy that serves as the image of what is being written; 0 if there is none. */
static inline uint32_t dsm_array_image_copy(const dsm_array *array) {
  for (uint32_t copy = 1; copy < array->geometry.copies; copy++)
    if (dsm_array_usable(array, copy) && dsm_array_header(array, copy)->magic == DSM_ARRAY_MAGIC)
      return copy;
  return 0;
}

#endif
