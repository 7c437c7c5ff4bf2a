/* A bounded queue of items, first in, first out.
 *
 *   I  a put fills the slot behind the tail and becomes true by storing the tail; a get copies the
 *      slot at the head and becomes true by storing the head. Positions only grow.
 *   I  with acknowledgement, a get first copies the item to a place, marked with its position and
 *      its taker; the place counts once the head has passed that position. An acknowledgement frees
 *      the place; the taker's death, or giving back, makes it the first to be taken again.
 *   I  the numbers of places in use and of items to be delivered again are derived.
 *   I  an item carries a checksum salted with its position: a damaged one is told, not delivered,
 *      and is passed over.
 *
 * Sleepers on word 0 wait for items, those on word 1 for room and for the end of all items.
 */
#ifndef DSM_MEM_SYNC_QUEUE_H
#define DSM_MEM_SYNC_QUEUE_H

#include "sync.h"

#define DSM_SYNC_QUEUE_MAXSIZE 0u /* settings */
#define DSM_SYNC_QUEUE_ACKNOWLEDGE 1u
#define DSM_SYNC_QUEUE_MAXSIZE_MAX 131072u
#define DSM_SYNC_ITEM_BYTES 240u
/* The codec of an item that names an object elsewhere. Without acknowledgement a get leaves it at
 * the head: who has fetched the object passes it (dsm_sync_queue_pass). */
#define DSM_SYNC_REFERENCE 255u

typedef struct dsm_sync_slot_shm {
  dsm_atomic_u64 head;  /* sealed: bytes 8 | codec 8 | low 28 bits of the position */
  dsm_atomic_u64 check; /* of the bytes, salted with the position */
  uint8_t bytes[DSM_SYNC_ITEM_BYTES];
} dsm_sync_slot_shm;
_Static_assert(sizeof(dsm_sync_slot_shm) == 256, "four lines");

/* Where an item lies that was taken and not yet acknowledged. */
typedef struct dsm_sync_place_shm {
  dsm_atomic_u64 state;    /* sealed: state 2 | party 9 + 13 | serial 20 */
  dsm_atomic_u64 position; /* sealed */
  dsm_atomic_u64 times;    /* sealed: how often it was delivered */
  uint64_t reserved;
} dsm_sync_place_shm;
_Static_assert(sizeof(dsm_sync_place_shm) == 32, "two to a line");

typedef struct dsm_sync_item {
  uint8_t codec;
  uint8_t length;
  uint32_t place;   /* with acknowledgement */
  uint64_t receipt; /* proves that the place is still ours */
  uint32_t times;   /* deliveries, this one included */
  bool more;        /* others can be taken */
  uint64_t position;
  uint8_t bytes[DSM_SYNC_ITEM_BYTES];
} dsm_sync_item;

typedef struct dsm_sync_queue_counts {
  uint64_t waiting;    /* to be taken, those to be delivered again included */
  uint64_t unfinished; /* put and neither acknowledged nor told done */
} dsm_sync_queue_counts;

/* Bytes of the heap that a queue needs. */
uint64_t dsm_sync_queue_bytes(uint64_t maxsize, bool acknowledge);

/* DSM_RETRY if full. *more: there is room for another. At most DSM_SYNC_ITEM_BYTES. */
dsm_status dsm_sync_queue_put(dsm_call *call, const dsm_sync *sync, uint8_t codec,
                              const void *bytes, uint32_t length, bool *more);
/* DSM_RETRY if empty (or all places are in use); DSM_CORRUPT: the item was damaged, and is gone. */
dsm_status dsm_sync_queue_get(dsm_call *call, const dsm_sync *sync, dsm_sync_item *out);
/* Takes the item of that position if it is still the next one. */
dsm_status dsm_sync_queue_pass(dsm_call *call, const dsm_sync *sync, uint64_t position);
/* DSM_NOT_OWNER if the receipt is out of date: the item was delivered again. */
dsm_status dsm_sync_queue_acknowledge(dsm_call *call, const dsm_sync *sync, uint32_t place,
                                      uint64_t receipt);
dsm_status dsm_sync_queue_give_back(dsm_call *call, const dsm_sync *sync, uint32_t place,
                                    uint64_t receipt);
/* Without acknowledgement: one more item is done. DSM_USAGE if more than were put. */
dsm_status dsm_sync_queue_done(dsm_call *call, const dsm_sync *sync);
dsm_status dsm_sync_queue_count(dsm_call *call, const dsm_sync *sync, dsm_sync_queue_counts *out);

#endif
