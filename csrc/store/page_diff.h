/* Bringing one copy of some bytes up to another, at memory bandwidth.
 *
 * Most pages of a copy are already right. So each page is compared first, which reads both sides
 * and dirties nothing, and only a page that differs is stored. The vector unit is chosen at run
 * time; without one that is known here, plain 64-bit words are used.
 *
 *   I  afterwards the target holds what the source held, if nobody changes either meanwhile
 *   I  a target byte is stored only within a page (of DSM_PAGE_BYTES, counted from the target's
 *      own page boundaries) that differs; doing it again, or after a kill half-way, is harmless
 *
 * Never blocks. May be killed anywhere.
 */
#ifndef DSM_STORE_PAGE_DIFF_H
#define DSM_STORE_PAGE_DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns the number of pages that differed and were copied. */
uint64_t dsm_page_diff_copy(void *target, const void *source, uint64_t bytes);
/* Number of pages that differ; stores nothing. */
uint64_t dsm_page_diff_count(const void *left, const void *right, uint64_t bytes);
/* The comparison that dsm_page_diff_copy uses on this machine, for reports. */
const char *dsm_page_diff_unit(void);

#endif
