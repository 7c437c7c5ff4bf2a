/* The segments of one cluster seen from outside, and pictures of their bytes.
 *
 * A picture holds every backed page of every segment. It can be laid back into the segments it was
 * taken from, or into those of another cluster, whose name is then written over the old one: the
 * only bytes that a copy does not share with its original. Nobody may change the segments while a
 * picture is taken or laid.
 */
#ifndef DSM_TESTS_KILL_PICTURE_H
#define DSM_TESTS_KILL_PICTURE_H

#include "../../csrc/mem/space.h"

#define SEGMENTS_MAX 6u

typedef struct outside {
  char name[DSM_CLUSTER_NAME_BYTES];
  unsigned count;
  struct {
    int descriptor;
    uint8_t *base;
    uint64_t bytes;
  } segment[SEGMENTS_MAX];
} outside;

typedef struct picture {
  unsigned count;
  struct {
    uint64_t page_count, room;
    uint32_t *pages; /* ascending page numbers */
    uint8_t *bytes;  /* page_count pages */
  } segment[SEGMENTS_MAX];
} picture;

/* Ends the test with a message; for what cannot go wrong unless the machine is full. */
_Noreturn void give_up(const char *format, ...);

/* Opens the segments of a cluster with that many nodes. */
void outside_open(outside *out, const char *cluster, unsigned node_count);
/* Makes the empty segments of a copy, of the same sizes. */
void outside_make(outside *out, const char *cluster, const outside *like);
void outside_close(outside *self);
void outside_unlink(const outside *self);
/* Blocks of memory that the segments hold; changes when a page is backed or given back. */
uint64_t outside_blocks(const outside *self);

void picture_take(const outside *from, picture *out);
void picture_lay(const picture *self, const outside *to);
void picture_copy(const picture *self, picture *out);
void picture_free(picture *self);
/* Page `page` of a segment, or NULL if the picture does not hold it. */
uint8_t *picture_page(const picture *self, unsigned segment, uint64_t page);

/* Gives the segments their own name after another cluster's picture was laid. */
void outside_rename(const outside *self);
/* The kernel's walk over the robust list of a dead thread: what it owned says "owner died". */
unsigned outside_bury(const outside *self, uint32_t thread, const dsm_layout *layout,
                      uint32_t stripe_count);

#endif
