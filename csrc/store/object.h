/* Objects: header, key and value in one extent. The format; read.c and put.c do the work.
 *
 *   word 0  version; 0 means "not live": the extent is free, or filled but not yet published
 *   word 1  value bytes (40) | codec (8) | flags (8) | key kind (8)
 *   word 2  checksum (32) | region (16) | key bytes (16)
 *   word 3  only with LAZY: hash of the value, 0 until a service thread or check() has settled it
 *   3 words only with EXTENDED: timestamp, dot, expiry (for weaker levels, caches, checkpoints)
 *   key, then the value; with ALIGNED the value begins at the next multiple of 64 bytes
 *
 *   I  the checksum covers header and key always, and the value unless LAZY; the version is part of
 *      it, so an older copy of the same key never passes for the newer one
 *   I  a published extent is never written again, but for word 3 (settled) and word 0 (freed)
 */
#ifndef DSM_STORE_OBJECT_H
#define DSM_STORE_OBJECT_H

#include "../base/copy.h"
#include "../base/hash.h"
#include "../mem/space.h"

#define DSM_OBJECT_LAZY 1u
#define DSM_OBJECT_ALIGNED 2u
#define DSM_OBJECT_EXTENDED 4u
#define DSM_OBJECT_FLAGS 7u
#define DSM_LAZY_BYTES_MIN 4097u /* values over one page settle their checksum later */

typedef struct dsm_object_shm {
  dsm_atomic_u64 version;
  dsm_atomic_u64 shape;
  dsm_atomic_u64 binding;
} dsm_object_shm;
_Static_assert(sizeof(dsm_object_shm) == 24, "24 bytes beyond key and value");

typedef enum dsm_key_kind {
  DSM_KEY_TEXT = 1,
  DSM_KEY_BYTES = 2,
  DSM_KEY_INTEGER = 3,
  DSM_KEY_TUPLE = 4,
} dsm_key_kind;

/* A key as the caller encoded it, with its hash. Borrowed bytes; valid during the call. */
typedef struct dsm_key {
  const void *bytes;
  uint32_t length;
  uint8_t kind;
  uint16_t region;
  uint64_t hash;
} dsm_key;

/* A value as parts that are laid end to end. Borrowed; valid during the call. */
typedef struct dsm_part {
  const void *bytes;
  uint64_t length;
} dsm_part;

typedef struct dsm_value {
  const dsm_part *parts;
  uint32_t part_count;
  uint8_t codec;
  uint64_t length; /* sum of the parts */
} dsm_value;

/* Codecs that the core itself understands; the others are the caller's. */
#define DSM_CODEC_INT64 1u
#define DSM_CODEC_LOST 254u /* no value: stands for one of which no replica was left (heal.h) */

typedef struct dsm_header {
  uint64_t version, shape, binding;
  uint64_t value_bytes;
  uint64_t value_offset; /* from the start of the object */
  uint32_t key_bytes, key_offset;
  uint16_t region;
  uint8_t codec, flags, key_kind;
} dsm_header;

static inline uint64_t dsm_key_hash(const dsm_space *space, const void *bytes, uint32_t length,
                                    uint8_t kind, uint16_t region) {
  uint64_t seed = space->hash_seed ^ ((uint64_t)region << 8 | kind) * 0x9E3779B97F4A7C15ull;
  return dsm_hash64(bytes, length, seed);
}

static inline uint32_t dsm_key_stripe(const dsm_space *space, uint64_t hash) {
  return space->stripe_count == 1 ? 0 : (uint32_t)(hash >> space->stripe_shift);
}

static inline uint32_t dsm_header_bytes(uint8_t flags) {
  return 24u + (flags & DSM_OBJECT_LAZY ? 8u : 0u) + (flags & DSM_OBJECT_EXTENDED ? 24u : 0u);
}

static inline void dsm_header_decode(dsm_header *header, uint64_t version, uint64_t shape,
                                     uint64_t binding) {
  header->version = version;
  header->shape = shape;
  header->binding = binding;
  header->value_bytes = shape & ((1ull << 40) - 1);
  header->codec = (uint8_t)(shape >> 40);
  header->flags = (uint8_t)(shape >> 48);
  header->key_kind = (uint8_t)(shape >> 56);
  header->region = (uint16_t)(binding >> 16);
  header->key_bytes = (uint32_t)(binding & 0xFFFF);
  header->key_offset = dsm_header_bytes(header->flags);
  uint64_t end = header->key_offset + header->key_bytes;
  header->value_offset = header->flags & DSM_OBJECT_ALIGNED ? (end + 63) & ~63ull : end;
}

/* Reads the words once; they may be garbage if the extent is being reused, and are bounded later.
 */
static inline void dsm_header_read(const dsm_object_shm *object, dsm_header *header) {
  dsm_header_decode(header, dsm_load_relaxed_u64(&object->version),
                    dsm_load_relaxed_u64(&object->shape), dsm_load_relaxed_u64(&object->binding));
}

/* 32 bits over header, key (by its hash) and value (by its hash; 0 for LAZY objects). */
static inline uint32_t dsm_object_checksum(uint64_t version, uint64_t shape, uint64_t binding,
                                           uint64_t key_hash, uint64_t value_hash) {
  uint64_t mixed = (key_hash ^ value_hash * 0x9FB21C651E98DF25ull) +
                   (version ^ 0x165667919E3779F9ull) * 0x9E3779B185EBCA87ull;
  mixed ^= (shape + (binding & 0xFFFFFFFFull)) * 0xC2B2AE3D27D4EB4Full;
  mixed ^= mixed >> 32;
  mixed *= 0x85EBCA77C2B2AE63ull;
  return (uint32_t)(mixed >> 32);
}

static inline uint64_t dsm_value_hash(const void *bytes, uint64_t length) {
  uint64_t hash = dsm_hash64(bytes, length, 0);
  return hash ? hash : 1; /* 0 says "not settled" */
}

static inline dsm_atomic_u64 *dsm_object_settled(dsm_object_shm *object) {
  return (dsm_atomic_u64 *)(void *)(object + 1);
}

#endif
