/* The fixed sizes of the engine, each with its reason. What may be chosen per cluster is in
 * dsm_config (mem/layout.h); what stands here is part of the segment format.
 */
#ifndef DSM_BASE_LIMITS_H
#define DSM_BASE_LIMITS_H

#define DSM_HUGE_BYTES 2097152u
#define DSM_PAGE_BYTES 4096u /* unit of backing by the kernel and of checksums' laziness */
#define DSM_ARENA_PAGE_BYTES                                                                       \
  1024u                     /* unit of the arena: a small stripe fits one, four share a TLB entry */
#define DSM_LINE_BYTES 64u  /* cache line; alignment of large values */
#define DSM_GRAIN_BYTES 16u /* unit of an extent's offset in a slot */
#define DSM_NODES_MAX 63u   /* 6 bits in a route, one value means "none" */
#define DSM_REPLICAS_MAX 5u /* preference list that fits a route word */
#define DSM_PARTICIPANTS_MAX 256u  /* slots: owner, nodes, attached processes */
#define DSM_CLIENTS_FIRST 64u      /* slots below are those of the owner and of all node ids */
#define DSM_REGIONS_MAX 256u       /* namespaces of one cluster */
#define DSM_ARRAYS_MAX 1024u       /* names in the directory of arrays */
#define DSM_PINS_MAX 4096u         /* pinned extents of one process */
#define DSM_STRIPES_MAX 65536u     /* 16 bits in a page's owner record */
#define DSM_KEY_BYTES_MAX 65535u   /* 16 bits in the object header */
#define DSM_REGION_NAME_BYTES 64u  /* UTF-8, with the terminating zero */
#define DSM_CLUSTER_NAME_BYTES 64u /* with the terminating zero */
#define DSM_INTENT_ENTRIES_MAX 94u /* five replicas, each at its worst of eighteen words */
#define DSM_DECISIONS_MAX 64u      /* transactions that commit at once */
#define DSM_HOLDS_MAX 4096u        /* writes of one transaction, times the copies of each */
#define DSM_LOCKED_MAX                                                                             \
  2000u /* stripes of a transaction: Linux reports 2,048 locks of a dead thread */
#define DSM_SYNCS_MAX 1024u              /* locks, queues and the like of one cluster */
#define DSM_SYNC_NAME_BYTES 64u          /* UTF-8 */
#define DSM_SYNC_HEAP_BYTES (128u << 20) /* address space for their rings and tables */
#define DSM_CUT_PINS_MAX 16384u          /* large values replaced while a checkpoint waits */
#define DSM_LOCK_SLICE_MS 50u            /* longest wait without a re-check (I-4) */
#define DSM_SMALL_BYTES_MAX 992u /* what an arena page holds beside its header; above, a run */
#define DSM_VALUE_BYTES_MAX (1ull << 40)

#endif
