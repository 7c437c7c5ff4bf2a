/* Reading frames back; taking a checkpoint step by step. */
#include "cut_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/store/array_directory.h"

void cut_sink_begin(cut_sink *self, uint64_t file) {
  memset(self, 0, sizeof *self);
  self->file = file;
}

static void remember(cut_sink *self, const dsm_record *record, const uint8_t *key,
                     const uint8_t *value) {
  char text[24] = {0};
  fixture_require(record->key_bytes < sizeof text, "a key of the test");
  memcpy(text, key, record->key_bytes);
  uint64_t number = strtoull(text + 4, NULL, 10);
  fixture_require(number < CUT_KEYS, "a key of the test");
  item found = {ITEM_VALUE, record->value_bytes, 0};
  if (record->codec == DSM_CODEC_INT64) {
    found.kind = ITEM_COUNTER;
    memcpy(&found.seed, value, sizeof found.seed);
  } else {
    fixture_require(pattern_holds(value, record->value_bytes, &found.seed), "a whole value");
  }
  item *known = &self->items[number];
  fixture_require(known->kind == ITEM_ABSENT ||
                      (item_equal(*known, found) && self->versions[number] == record->version),
                  "what is written twice is the same twice");
  *known = found;
  self->versions[number] = record->version;
}

static void read_value(cut_sink *self, const dsm_frame *head, const uint8_t *payload) {
  dsm_record record;
  const uint8_t *key, *value;
  uint64_t at = 0;
  fixture_require(dsm_record_next(payload, head->bytes, false, &at, &record, &key, &value),
                  "a part has its record");
  uint64_t part = head->bytes - at;
  fixture_require(head->detail[0] == 0 || head->detail[0] == self->value_done, "parts in order");
  fixture_require(head->detail[0] + part <= record.value_bytes &&
                      record.value_bytes <= CUT_VALUE_MAX,
                  "parts fit the value");
  memcpy(self->value + head->detail[0], value, part);
  self->value_done = head->detail[0] + part;
  if (self->value_done == record.value_bytes) remember(self, &record, key, self->value);
}

void cut_sink_read(cut_sink *self, const dsm_frames *frames) {
  for (uint64_t at = 0; at < frames->used;) {
    dsm_frame head;
    const uint8_t *frame = frames->bytes + at;
    fixture_require(dsm_frame_head(frame, self->read, self->file, &head) == DSM_OK, "a frame");
    fixture_require(dsm_frame_holds(frame, &head), "a frame verifies");
    const uint8_t *payload = frame + sizeof head, *key, *value;
    dsm_record record;
    uint64_t place = 0;
    while (head.kind == DSM_FRAME_OBJECTS &&
           dsm_record_next(payload, head.bytes, true, &place, &record, &key, &value))
      remember(self, &record, key, value);
    fixture_require(place <= head.bytes, "whole records");
    if (head.kind == DSM_FRAME_VALUE) read_value(self, &head, payload);
    at += dsm_frame_room(head.bytes);
    self->read += dsm_frame_room(head.bytes);
  }
}

static void require(fixture *by, dsm_status status, const char *what) {
  if (status != DSM_OK)
    fprintf(stderr, "%s: %s: %s: %s\n", fixture_story, what, dsm_status_name(status),
            by->call.fault.what ? by->call.fault.what : "?");
  fixture_require(status == DSM_OK, what);
}

void cut_open(cut_taker *self, fixture *by) {
  const dsm_space *space = by->call.space;
  self->done = false;
  self->frames = (dsm_frames){.bytes = self->buffer, .capacity = sizeof self->buffer, .file = 77};
  cut_sink_begin(&self->sink, 77);
  require(by, dsm_cut_begin(&by->call, &self->number), "a checkpoint begins");
  require(by, dsm_cut_open(&by->call, self->number, dsm_array_directory_sum(space)), "the cut");
  dsm_walk_init(space, &self->walk, self->number, NULL, self->gens);
}

void cut_step(cut_taker *self, fixture *by) {
  dsm_cut_back(&by->call);
  require(by, dsm_walk_fill(&by->call, &self->walk, &self->frames, &self->done), "a step");
  cut_sink_read(&self->sink, &self->frames);
  self->frames.written += self->frames.used;
  self->frames.used = 0;
}

void cut_close(cut_taker *self, fixture *by) {
  fixture_require(!dsm_cut_spoiled(by->call.space, self->number), "nothing was spoiled");
  dsm_walk_drop(by->call.space, &self->walk);
  dsm_cut_end(&by->call, self->number, self->done);
}

void cut_take(cut_taker *self, fixture *by) {
  cut_open(self, by);
  while (!self->done) cut_step(self, by);
  cut_close(self, by);
}
