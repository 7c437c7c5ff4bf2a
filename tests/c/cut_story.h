/* A checkpoint and who writes beside it, for the crash tests.
 *
 * Objects of every size are overwritten, deleted, added, committed and moved before, while and
 * after they are walked. Whoever dies: what was cut holds the instant of its cut exactly, writers
 * go on, the next checkpoint takes what there is then, and in the end nothing is kept: no saved
 * memory, no pin, no run in limbo, no page.
 */
#ifndef DSM_TESTS_CUT_STORY_H
#define DSM_TESTS_CUT_STORY_H

#include "cut_sink.h"
#include "fixture.h"

#define CUT_NODES 3u
#define CUT_STRIPES 4u

/* Keys up to TALE_KEYS are the transaction's; the last one is a counter, some are absent. */
void cut_story_fill(fixture *by);
/* One change, another one with each step. */
void cut_story_change(fixture *by, uint32_t step);
void cut_story_look(fixture *by, item *items);
void cut_story_require_same(const item *found, const item *expected, const char *what);
void cut_story_require_nothing_kept(fixture *by);
/* Takes the next checkpoint; then all keys are deleted, and nothing may be left. */
void cut_story_judge(fixture *by, bool retire);

#endif
