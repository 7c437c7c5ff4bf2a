/* What a walk has written, read back: frames, records, values, marks, by the keys of fixtures.
 *
 * Everything is verified on the way, as a reader of a file would: frames, their places, records.
 * What is not as it must be ends the test.
 */
#ifndef DSM_TESTS_CUT_SINK_H
#define DSM_TESTS_CUT_SINK_H

#include "../../csrc/store/walk.h"
#include "fixture.h"

#define CUT_KEYS 24u
#define CUT_VALUE_MAX (300u << 10)

typedef struct cut_sink {
  item items[CUT_KEYS];
  uint64_t versions[CUT_KEYS];
  uint64_t file, read; /* bytes so far */
  uint8_t value[CUT_VALUE_MAX];
  uint64_t value_done;
} cut_sink;

void cut_sink_begin(cut_sink *self, uint64_t file);
/* Takes in what a buffer holds. */
void cut_sink_read(cut_sink *self, const dsm_frames *frames);
/* A whole checkpoint being taken: begun, opened, and filled step by step. */
typedef struct cut_taker {
  uint64_t number;
  dsm_walk walk;
  dsm_frames frames;
  uint8_t buffer[DSM_WALK_ROOM + 128];
  uint64_t gens[8];
  cut_sink sink;
  bool done;
} cut_taker;

void cut_open(cut_taker *self, fixture *by);
/* One step, which ends with the first frame that it writes. */
void cut_step(cut_taker *self, fixture *by);
void cut_close(cut_taker *self, fixture *by);
/* All at once. */
void cut_take(cut_taker *self, fixture *by);

#endif
