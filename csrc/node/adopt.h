/* Taking over a segment: what a node's next process verifies before it says that it serves (I-7).
 *
 *   header    the segment's own, told by the control segment where it does not hold
 *   arena     the chain of runs, if not more than DSM_ADOPT_PAGES are in use: the walk holds the
 *             arena's lock; lists and counters are made anew from it
 *   stripes   the words of each sub, the mark of its table, the copy of its route. What does not
 *             hold is mended under the stripe's lock (store/heal.h)
 *
 * No value is hashed here unless something is damaged, so this takes milliseconds; what is left
 * after DSM_ADOPT_NS is asked for and left to the caretaker (caretaker.h), which verifies the
 * checksums of everything right afterwards. Readers compare checksums by themselves meanwhile.
 *
 * May be killed anywhere: each step is a repair that others do as well. Blocks for no stripe longer
 * than call->wait_ms.
 */
#ifndef DSM_NODE_ADOPT_H
#define DSM_NODE_ADOPT_H

#include "../mem/space.h"

#define DSM_ADOPT_NS 200000000u
#define DSM_ADOPT_PAGES (1u << 20)

/* Returns how many parts did not hold and were mended. */
uint32_t dsm_adopt(dsm_call *call, unsigned node);

#endif
